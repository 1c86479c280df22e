//! What the kernel is to hold, as a value, and what leads from one such value to another. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::family::Family;
use super::rule::{Key, Kind, Name, Rule, Verdict, list};

/// A table in each family of addresses, of one name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ruleset {
    pub(super) table: String,
    pub(super) v4: Table,
    pub(super) v6: Table,
}

/// The sets and chains of one family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    pub(super) sets: BTreeMap<Name, Set>,
    pub(super) chains: BTreeMap<Name, Chain>,
}

/// A set, or a map from its elements to what becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) is_map: bool,
    pub(super) kind: Kind,
    /// After how many seconds the kernel forgets what a rule put in.
    pub(super) forgets: Option<u64>,
    pub(super) elements: BTreeMap<Key, Option<Verdict>>,
}

impl Set {
    pub(super) fn new(kind: Kind) -> Self {
        Self { is_map: false, kind, forgets: None, elements: BTreeMap::new() }
    }

    pub(super) fn map(kind: Kind) -> Self {
        Self { is_map: true, ..Self::new(kind) }
    }

    fn word(&self) -> &'static str {
        if self.is_map { "map" } else { "set" }
    }

    /// Its type and flags, which do not change while it is there.
    fn spec(&self, family: Family) -> String {
        let kind = self.kind.text(family);
        match self.forgets {
            _ if self.is_map => format!("type {kind} : verdict;"),
            None => format!("type {kind};"),
            Some(seconds) => format!("type {kind}; flags dynamic, timeout; timeout {seconds}s;"),
        }
    }
}

/// A chain: where the kernel enters it, if it does by itself, and its rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Chain {
    pub(super) hook: Option<&'static str>,
    pub(super) rules: Vec<Rule>,
}

/// What leads from what is held to what is to be held: it is done as a whole or not at all.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    pub(super) table: &'a str,
    pub(super) list: Vec<(Family, Change<'a>)>,
}

/// One step of it.
#[derive(Debug)]
pub(super) enum Change<'a> {
    AddSet(&'a Name, &'a Set),
    AddChain(&'a Name, &'a Chain),
    FlushChain(&'a Name),
    RemoveElements(&'a Name, Vec<&'a Key>),
    AddRule(&'a Name, &'a Rule),
    AddElements(&'a Name, Vec<(&'a Key, Option<&'a Verdict>)>),
    RemoveChain(&'a Name),
    RemoveSet(&'a Name, &'a Set),
}

impl Ruleset {
    /// What makes the kernel hold this, whatever it holds now: all of it goes in at once or nothing does.
    pub(super) fn load(&self) -> String {
        let mut text = self.removal();
        let nothing = Table::default();
        for (family, table) in self.families() {
            let _ = writeln!(text, "add table {} {}", family.ip(), self.table);
            let mut list = Vec::new();
            changes(family, &nothing, table, &mut list);
            text.push_str(&Changes { table: &self.table, list }.text());
        }
        text
    }

    /// What makes the kernel hold this if it holds another one now; empty if that is the same.
    pub(super) fn change_from<'a>(&'a self, before: &'a Self) -> Changes<'a> {
        let mut list = Vec::new();
        for ((family, table), (_, old)) in self.families().into_iter().zip(before.families()) {
            changes(family, old, table, &mut list);
        }
        Changes { table: &self.table, list }
    }

    /// What makes the kernel hold nothing of it. That there was nothing is no error.
    pub(super) fn removal(&self) -> String {
        let mut text = String::new();
        for (family, _) in self.families() {
            let _ = writeln!(text, "add table {0} {1}\ndelete table {0} {1}", family.ip(), self.table);
        }
        text
    }

    fn families(&self) -> [(Family, &Table); 2] {
        [(Family::V4, &self.v4), (Family::V6, &self.v6)]
    }
}

/// The changes of one table. What others refer to comes before them and goes after them.
fn changes<'a>(family: Family, old: &'a Table, new: &'a Table, list: &mut Vec<(Family, Change<'a>)>) {
    let mut tell = |change| list.push((family, change));
    for (name, set) in new.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name)) {
        tell(Change::AddSet(name, set));
    }
    for (name, chain) in new.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
        tell(Change::AddChain(name, chain));
    }
    for (name, chain) in &old.chains {
        if new.chains.get(name).is_none_or(|now| now.rules != chain.rules) {
            tell(Change::FlushChain(name));
        }
    }
    for (name, set) in &old.sets {
        let now = new.sets.get(name).map(|set| &set.elements);
        let gone =
            set.elements.iter().filter(|(key, value)| now.is_none_or(|now| now.get(key) != Some(value)));
        let gone: Vec<_> = gone.map(|(key, _)| key).collect();
        if !gone.is_empty() {
            tell(Change::RemoveElements(name, gone));
        }
    }
    for (name, chain) in &new.chains {
        if old.chains.get(name).map_or(&[][..], |old| &old.rules) != chain.rules {
            chain.rules.iter().for_each(|rule| tell(Change::AddRule(name, rule)));
        }
    }
    for (name, set) in &new.sets {
        let old = old.sets.get(name).map(|set| &set.elements);
        let come =
            set.elements.iter().filter(|(key, value)| old.is_none_or(|old| old.get(key) != Some(value)));
        let come: Vec<_> = come.map(|(key, value)| (key, value.as_ref())).collect();
        if !come.is_empty() {
            tell(Change::AddElements(name, come));
        }
    }
    for name in old.chains.keys().filter(|name| !new.chains.contains_key(*name)) {
        tell(Change::RemoveChain(name));
    }
    for (name, set) in old.sets.iter().filter(|(name, _)| !new.sets.contains_key(*name)) {
        tell(Change::RemoveSet(name, set));
    }
}

impl Changes<'_> {
    /// The text of it.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (family, change) in &self.list {
            let mut line = |verb: &str, name: &str, rest: &str| {
                let space = if rest.is_empty() { "" } else { " " };
                let _ = writeln!(text, "{verb} {} {} {name}{space}{rest}", family.ip(), self.table);
            };
            match change {
                Change::AddSet(name, set) => {
                    line(&format!("add {}", set.word()), name, &format!("{{ {} }}", set.spec(*family)));
                }
                Change::AddChain(name, chain) => {
                    let hook = chain.hook.map(|hook| format!("{{ {hook} }}")).unwrap_or_default();
                    line("add chain", name, &hook);
                }
                Change::FlushChain(name) => line("flush chain", name, ""),
                Change::RemoveElements(set, keys) => {
                    line("delete element", set, &format!("{{ {} }}", list(keys)));
                }
                Change::AddRule(chain, rule) => line("add rule", chain, &rule.text(*family)),
                Change::AddElements(set, elements) => {
                    let elements = elements.iter().map(|(key, value)| match value {
                        Some(value) => format!("{key} : {value}"),
                        None => key.to_string(),
                    });
                    line("add element", set, &format!("{{ {} }}", list(elements)));
                }
                Change::RemoveChain(name) => line("delete chain", name, ""),
                Change::RemoveSet(name, set) => line(&format!("delete {}", set.word()), name, ""),
            }
        }
        text
    }
}
