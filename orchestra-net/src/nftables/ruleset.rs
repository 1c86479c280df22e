//! What the kernel is to hold, as a value, and the text that leads from one such value to another. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

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
    pub(super) sets: BTreeMap<String, Set>,
    pub(super) chains: BTreeMap<String, Chain>,
}

/// A set, or a map if its elements have values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) is_map: bool,
    /// Its type and flags, which do not change while it is there.
    pub(super) spec: String,
    pub(super) elements: BTreeMap<String, String>,
}

impl Set {
    pub(super) fn new(spec: impl Into<String>) -> Self {
        Self { is_map: false, spec: spec.into(), elements: BTreeMap::new() }
    }

    pub(super) fn map(spec: impl Into<String>) -> Self {
        Self { is_map: true, ..Self::new(spec) }
    }

    fn word(&self) -> &'static str {
        if self.is_map { "map" } else { "set" }
    }
}

/// A chain: where the kernel enters it, if it does by itself, and its rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Chain {
    pub(super) hook: Option<&'static str>,
    pub(super) rules: Vec<String>,
}

impl Ruleset {
    /// What makes the kernel hold this, whatever it holds now: all of it goes in at once or nothing does.
    pub(super) fn load(&self) -> String {
        let mut text = self.removal();
        let nothing = Table::default();
        for (family, table) in self.families() {
            let _ = writeln!(text, "add table {family} {}", self.table);
            Change { family, table: &self.table, text: &mut text }.from(&nothing, table);
        }
        text
    }

    /// What makes the kernel hold this if it holds another one now; empty if that is the same.
    pub(super) fn change_from(&self, before: &Self) -> String {
        let mut text = String::new();
        for ((family, table), (_, old)) in self.families().into_iter().zip(before.families()) {
            Change { family, table: &self.table, text: &mut text }.from(old, table);
        }
        text
    }

    /// What makes the kernel hold nothing of it. That there was nothing is no error.
    pub(super) fn removal(&self) -> String {
        let mut text = String::new();
        for (family, _) in self.families() {
            let _ = writeln!(text, "add table {family} {0}\ndelete table {family} {0}", self.table);
        }
        text
    }

    fn families(&self) -> [(&'static str, &Table); 2] {
        [("ip", &self.v4), ("ip6", &self.v6)]
    }
}

/// The text of a change of one table.
struct Change<'a> {
    family: &'static str,
    table: &'a str,
    text: &'a mut String,
}

impl Change<'_> {
    /// What others refer to comes before them and goes after them.
    fn from(&mut self, old: &Table, new: &Table) {
        self.declare(old, new);
        for (name, chain) in &old.chains {
            if new.chains.get(name).is_none_or(|now| now.rules != chain.rules) {
                self.line("flush chain", name, "");
            }
        }
        self.remove_elements(old, new);
        let nothing = Chain::default();
        for (name, chain) in &new.chains {
            if old.chains.get(name).unwrap_or(&nothing).rules != chain.rules {
                chain.rules.iter().for_each(|rule| self.line("add rule", name, rule));
            }
        }
        self.add_elements(old, new);
        for name in old.chains.keys().filter(|name| !new.chains.contains_key(*name)) {
            self.line("delete chain", name, "");
        }
        for (name, set) in old.sets.iter().filter(|(name, _)| !new.sets.contains_key(*name)) {
            self.line(&format!("delete {}", set.word()), name, "");
        }
    }

    fn declare(&mut self, old: &Table, new: &Table) {
        for (name, set) in new.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name)) {
            self.line(&format!("add {}", set.word()), name, &format!("{{ {} }}", set.spec));
        }
        for (name, chain) in new.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
            let hook = chain.hook.map(|hook| format!("{{ {hook} }}")).unwrap_or_default();
            self.line("add chain", name, &hook);
        }
    }

    fn remove_elements(&mut self, old: &Table, new: &Table) {
        for (name, set) in &old.sets {
            let now = new.sets.get(name).map(|set| &set.elements);
            let gone =
                set.elements.iter().filter(|(key, value)| now.is_none_or(|now| now.get(*key) != Some(value)));
            self.elements("delete element", name, gone.map(|(key, _)| key.clone()).collect());
        }
    }

    fn add_elements(&mut self, old: &Table, new: &Table) {
        for (name, set) in &new.sets {
            let before = old.sets.get(name).map(|set| &set.elements);
            let come = set
                .elements
                .iter()
                .filter(|(key, value)| before.is_none_or(|old| old.get(*key) != Some(value)));
            let shown = come.map(|(key, value)| match set.is_map {
                true => format!("{key} : {value}"),
                false => key.clone(),
            });
            self.elements("add element", name, shown.collect());
        }
    }

    fn elements(&mut self, verb: &str, set: &str, elements: Vec<String>) {
        if !elements.is_empty() {
            self.line(verb, set, &format!("{{ {} }}", elements.join(", ")));
        }
    }

    fn line(&mut self, verb: &str, name: &str, rest: &str) {
        let space = if rest.is_empty() { "" } else { " " };
        let _ = writeln!(self.text, "{verb} {} {} {name}{space}{rest}", self.family, self.table);
    }
}
