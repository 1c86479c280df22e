//! The lists of what is known to differ, and of what is not served.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::replay::Outcome;

pub struct Lists {
    /// The names of scenarios, and why they differ.
    differs: BTreeMap<String, String>,
    /// The beginnings of paths, with neither namespaces nor names in them: `/api/v1/pods/exec`.
    unserved: BTreeSet<String>,
}

impl Lists {
    /// Reads both lists. In that of differences, a line that begins with `#` is the reason of those below it.
    pub fn read(folder: &Path) -> Self {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let (mut reason, mut differs) = (String::new(), BTreeMap::new());
        for line in read("differs.txt").lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix('#') {
                Some(text) => reason = text.trim().to_owned(),
                None => drop(differs.insert(line.to_owned(), reason.clone())),
            }
        }
        let unserved =
            read("unserved.txt").lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Self { differs, unserved }
    }

    /// Strikes from the list of differences what is the same, and writes it anew.
    pub fn strike(folder: &Path, outcomes: &[(String, Outcome)]) {
        let same: BTreeSet<&str> = outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Same))
            .map(|(name, _)| name.as_str())
            .collect();
        let file = folder.join("differs.txt");
        let text = std::fs::read_to_string(&file).unwrap();
        let left: Vec<&str> = text.lines().filter(|line| !same.contains(line)).collect();
        std::fs::write(&file, left.join("\n") + "\n").unwrap();
    }

    /// What is not as the lists say.
    pub fn check(&self, outcomes: &[(String, Outcome)]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut hit = BTreeSet::new();
        for (name, outcome) in outcomes {
            match (outcome, self.differs.contains_key(name)) {
                (Outcome::Differs(lines), false) => wrong.push(format!("{name} differs:\n{}", some(lines))),
                (Outcome::Same, true) if self.is_chance(name) => {}
                (Outcome::Same, true) => {
                    wrong.push(format!("{name} is the same: strike it from differs.txt"))
                }
                (Outcome::Unserved(path), true) => {
                    wrong.push(format!("{name} is listed, but {path} is not served"))
                }
                (Outcome::Unserved(path), false) => match self.unserved_by(path) {
                    Some(listed) => drop(hit.insert(listed)),
                    None => wrong.push(format!("{name}: {path} is no longer served")),
                },
                _ => {}
            }
        }
        let idle = self.unserved.iter().filter(|path| !hit.contains(path.as_str()));
        wrong.extend(idle.map(|path| format!("{path} is served: strike it from unserved.txt")));
        let ran: BTreeSet<&String> = outcomes.iter().map(|(name, _)| name).collect();
        let unknown = self.differs.keys().filter(|name| !ran.contains(name));
        wrong.extend(unknown.map(|name| format!("{name} is in differs.txt, and there is no such scenario")));
        wrong
    }

    /// Whether a scenario is listed as one that chance decides: it looks at something before all of it has happened.
    fn is_chance(&self, name: &str) -> bool {
        self.differs.get(name).is_some_and(|reason| reason.starts_with("Chance: "))
    }

    /// The listed beginning of a path, names left out.
    fn unserved_by(&self, path: &str) -> Option<&str> {
        let path = without_names(path.split_once(' ').map_or(path, |(_, path)| path));
        let fits = |listed: &&String| {
            path.strip_prefix(listed.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.unserved.iter().find(fits).map(String::as_str)
    }

    /// Prints every difference, with the reason if it is a known one.
    pub fn show(&self, outcomes: &[(String, Outcome)]) {
        for (name, outcome) in outcomes {
            match outcome {
                Outcome::Same => {}
                Outcome::Unserved(path) => println!("{name}: {path} is not served"),
                Outcome::Differs(lines) => {
                    let reason = self.differs.get(name).map_or("", String::as_str);
                    println!("{name} differs ({reason}):\n{}", lines.join("\n"));
                }
            }
        }
    }
}

fn some(lines: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut shown = lines.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    if lines.len() > SHOWN {
        shown.push(format!("    … and {} lines more", lines.len() - SHOWN));
    }
    shown.join("\n")
}

/// A path without the namespace and the name in it.
fn without_names(path: &str) -> String {
    let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty()).collect();
    let head = if steps.first() == Some(&"apis") { 3 } else { 2 };
    let (head, mut rest) = steps.split_at(head.min(steps.len()));
    if let ["namespaces", _, next, ..] = rest
        && !matches!(*next, "status" | "finalize")
    {
        rest = &rest[2..];
    }
    let rest = rest.iter().enumerate().filter(|(index, _)| *index != 1).map(|(_, step)| step);
    head.iter().chain(rest).map(|step| format!("/{step}")).collect()
}
