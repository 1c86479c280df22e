//! What becomes of one object, by its owners and its dependents. Pure.

use crate::api::Propagation;
use crate::meta::Uid;

/// The finalizers that say how the dependents of a deleted object fare.
pub(super) const ORPHAN: &str = "orphan";
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// What became of an owner that a reference names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there.
    Solid,
    /// There is no object of that uid, or none where the reference says.
    Absent,
    /// It is there and waits for its dependents to go before it.
    Waiting,
    /// It cannot be there: the reference is from an object of the whole cluster to one of a namespace.
    OutOfReach,
    /// It cannot be known: the reference is to a kind that is not served.
    Unknown,
}

/// One object, as far as garbage collection is concerned.
#[derive(Clone, Debug, Default)]
pub(super) struct Item {
    pub(super) deleting: bool,
    pub(super) finalizers: Vec<String>,
    pub(super) owners: Vec<(Uid, Owner)>,
    /// How many objects it owns.
    pub(super) dependents: usize,
    /// How many of these it waits for when it goes last.
    pub(super) blocking: usize,
    /// Whether one of those it owns waits for its own dependents, as in a circle of owners.
    pub(super) dependent_waits: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// Take these owners out of its references: they are gone, others are not.
    Forget(Vec<Uid>),
    /// Delete it so. If `unblock`, nobody is to wait for it any more, or a circle would wait for itself.
    Delete {
        propagation: Propagation,
        unblock: bool,
    },
    /// Let its dependents go free, then it.
    Orphan,
    /// Delete its dependents; it stays until they are gone.
    DeleteDependents,
    /// It has nothing more to wait for.
    Release,
}

/// Decides.
pub(super) fn plan(item: &Item) -> Verdict {
    let has = |name: &str| item.finalizers.iter().any(|finalizer| finalizer == name);
    if item.deleting {
        return match (has(ORPHAN), has(FOREGROUND)) {
            (true, _) => Verdict::Orphan,
            (false, true) if item.blocking == 0 => Verdict::Release,
            (false, true) => Verdict::DeleteDependents,
            (false, false) => Verdict::Nothing,
        };
    }
    let of = |wanted: Owner| {
        let owners = item.owners.iter().filter(move |(_, owner)| *owner == wanted);
        owners.map(|(uid, _)| uid.clone()).collect::<Vec<_>>()
    };
    let (absent, waiting) = (of(Owner::Absent), of(Owner::Waiting));
    if absent.is_empty() && waiting.is_empty() {
        return Verdict::Nothing;
    }
    if absent.len() + waiting.len() < item.owners.len() {
        return Verdict::Forget([absent, waiting].concat());
    }
    if !waiting.is_empty() && item.dependents > 0 {
        return Verdict::Delete { propagation: Propagation::Foreground, unblock: item.dependent_waits };
    }
    let propagation = if has(ORPHAN) {
        Propagation::Orphan
    } else if has(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    Verdict::Delete { propagation, unblock: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Owner::{Absent, OutOfReach, Solid, Unknown, Waiting};
    use proptest::prelude::*;

    fn item(owners: &[Owner]) -> Item {
        let uid = |index: usize| Uid::from(format!("u{index}").as_str());
        let owners = owners.iter().enumerate().map(|(index, owner)| (uid(index), *owner)).collect();
        Item { owners, ..Item::default() }
    }

    fn deletion(propagation: Propagation) -> Verdict {
        Verdict::Delete { propagation, unblock: false }
    }

    #[test]
    fn an_object_goes_when_no_owner_is_left() {
        let forget = |uids: &[&str]| Verdict::Forget(uids.iter().map(|uid| Uid::from(*uid)).collect());
        for (owners, verdict) in [
            (&[][..], Verdict::Nothing),
            (&[Solid], Verdict::Nothing),
            (&[Unknown], Verdict::Nothing),
            (&[OutOfReach], Verdict::Nothing),
            (&[Absent], deletion(Propagation::Background)),
            (&[Absent, Absent], deletion(Propagation::Background)),
            (&[Waiting], deletion(Propagation::Background)),
            (&[Solid, Absent], forget(&["u1"])),
            (&[Waiting, Solid, Absent], forget(&["u2", "u0"])),
            (&[Unknown, Absent], forget(&["u1"])),
        ] {
            assert_eq!(plan(&item(owners)), verdict, "{owners:?}");
        }
    }

    #[test]
    fn finalizers_say_how_dependents_fare() {
        let with = |finalizer: &str, deleting, blocking| Item {
            deleting,
            finalizers: vec![finalizer.to_owned()],
            blocking,
            dependents: blocking,
            ..item(&[Absent])
        };
        assert_eq!(plan(&with(ORPHAN, true, 2)), Verdict::Orphan);
        assert_eq!(plan(&with(FOREGROUND, true, 2)), Verdict::DeleteDependents);
        assert_eq!(plan(&with(FOREGROUND, true, 0)), Verdict::Release);
        assert_eq!(plan(&with("example.org/keep", true, 2)), Verdict::Nothing);
        assert_eq!(plan(&with(ORPHAN, false, 2)), deletion(Propagation::Orphan));
        assert_eq!(plan(&with(FOREGROUND, false, 2)), deletion(Propagation::Foreground));
    }

    #[test]
    fn a_chain_that_goes_from_its_end_passes_the_order_on() {
        let middle = Item { dependents: 1, ..item(&[Waiting]) };
        assert_eq!(plan(&middle), deletion(Propagation::Foreground));
        let circle = Item { dependent_waits: true, ..middle };
        assert_eq!(plan(&circle), Verdict::Delete { propagation: Propagation::Foreground, unblock: true });
    }

    proptest! {
        #[test]
        fn an_object_with_an_owner_is_never_deleted(
            owners in prop::collection::vec(prop::sample::select(vec![Solid, Absent, Waiting, Unknown, OutOfReach]), 0..5),
            dependents in 0..3_usize,
        ) {
            let owned = owners.is_empty() || owners.iter().any(|owner| matches!(owner, Solid | Unknown | OutOfReach));
            let verdict = plan(&Item { dependents, ..item(&owners) });
            prop_assert_eq!(matches!(verdict, Verdict::Delete { .. }), !owned);
        }
    }
}
