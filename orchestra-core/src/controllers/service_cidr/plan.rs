//! What is to become of a ServiceCIDR: pure.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::View;

/// Keeps a range until no address in it is in use.
pub(super) const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// How long a range that is to go stays at least, so that every master has heard that nothing is to be taken from it.
const GRACE: Duration = Duration::from_secs(10);
pub(super) const READY: &str = "Ready";

/// What is to be done of a ServiceCIDR.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Next {
    /// The conditions that it is to have, if others than it has.
    pub(super) conditions: Option<Vec<Condition>>,
    /// The finalizers that it is to have, if others than it has.
    pub(super) finalizers: Option<Vec<String>>,
    /// When to look again.
    pub(super) again: Option<Duration>,
}

/// `used`: whether an address in it, and in no other, is in use.
pub(super) fn next(view: &View, used: bool, now: Timestamp) -> Next {
    let held = &view.metadata.finalizers;
    let kept = held.iter().any(|finalizer| finalizer == FINALIZER);
    match view.metadata.deletion_timestamp {
        None if !kept => {
            let finalizers = held.iter().cloned().chain([FINALIZER.to_owned()]).collect();
            Next { finalizers: Some(finalizers), ..Next::default() }
        }
        None => Next {
            conditions: condition(view, "True", "", "Kubernetes Service CIDR is ready", now),
            ..Next::default()
        },
        Some(_) if used => {
            let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a \
                           new ServiceCIDR";
            Next { conditions: condition(view, "False", "Terminating", message, now), ..Next::default() }
        }
        Some(since) => {
            let left =
                GRACE.saturating_sub(Duration::try_from(now.duration_since(since)).unwrap_or_default());
            if !left.is_zero() {
                return Next { again: Some(left), ..Next::default() };
            }
            let rest = held.iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
            Next { finalizers: kept.then_some(rest), ..Next::default() }
        }
    }
}

/// The conditions with this one among them, if it is not there as it is to be.
fn condition(
    view: &View,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let held = &view.status.conditions;
    let before = held.iter().find(|condition| condition.type_ == READY);
    if before
        .is_some_and(|before| before.status == status && before.reason == reason && before.message == message)
    {
        return None;
    }
    let ready = Condition {
        type_: READY.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(now),
        observed_generation: None,
    };
    Some(held.iter().filter(|condition| condition.type_ != READY).cloned().chain([ready]).collect())
}

/// Whether an address is in one of these ranges.
pub(super) fn contains(cidrs: &[String], address: &str) -> bool {
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    cidrs.iter().filter_map(|cidr| cidr.split_once('/')).any(|(first, bits)| {
        let (Ok(first), Ok(bits)) = (first.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
        match (first, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits.min(32),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits.min(128),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::testing::{at, text};

    fn view(value: Value) -> View {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_range_is_kept_made_ready_and_goes_when_nothing_in_it_is_used() {
        let kept = json!([FINALIZER]);
        let new = next(&view(json!({ "metadata": { "finalizers": ["a/b"] } })), false, at(0));
        assert_eq!(new.finalizers.unwrap(), ["a/b", FINALIZER]);
        let ready = next(&view(json!({ "metadata": { "finalizers": kept } })), false, at(0));
        let conditions = ready.conditions.unwrap();
        assert_eq!((conditions[0].type_.as_str(), conditions[0].status.as_str()), ("Ready", "True"));
        let settled =
            view(json!({ "metadata": { "finalizers": kept }, "status": { "conditions": conditions } }));
        assert_eq!(next(&settled, false, at(9)), Next::default());
        let going = view(json!({
            "metadata": { "finalizers": kept, "deletionTimestamp": text(0) },
            "status": { "conditions": conditions },
        }));
        let waiting = next(&going, true, at(60));
        assert_eq!(waiting.conditions.unwrap()[0].reason, "Terminating");
        assert_eq!(waiting.finalizers, None);
        assert_eq!(next(&going, false, at(4)).again, Some(Duration::from_secs(6)));
        assert_eq!(next(&going, false, at(10)).finalizers, Some(Vec::new()));
    }

    #[test]
    fn an_address_is_in_a_range_of_its_family() {
        let ranges = ["10.96.0.0/12".to_owned(), "fd00::/64".to_owned(), "bad".to_owned()];
        for (address, inside) in [
            ("10.96.0.1", true),
            ("10.111.255.255", true),
            ("10.112.0.0", false),
            ("fd00::1", true),
            ("fd01::1", false),
            ("None", false),
        ] {
            assert_eq!(contains(&ranges, address), inside, "{address}");
        }
        assert!(contains(&["0.0.0.0/0".to_owned()], "1.2.3.4"));
    }
}
