//! Reads which module uses which out of the sources: every path that begins with `crate`, `self` or `super`.
//!
//! This reads text, not Rust: a path that a macro puts together is not seen. What it must see is shown by its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fmt, fs, io};

/// A module by its path from the crate's root, such as `api::server`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Module(Vec<String>);

impl Module {
    /// The root of the crate.
    pub fn root() -> Self {
        Self::default()
    }

    fn of_file(path: &Path) -> Self {
        let mut steps: Vec<_> =
            path.with_extension("").iter().map(|step| step.to_string_lossy().into_owned()).collect();
        if matches!(steps.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            steps.pop();
        }
        Self(steps)
    }

    fn parent(&self, levels: usize) -> Self {
        Self(self.0[..self.0.len().saturating_sub(levels)].to_vec())
    }

    fn is_of_tests(&self) -> bool {
        self.0.iter().any(|step| matches!(step.as_str(), "tests" | "testing"))
    }

    /// The step below `folder` that leads to this module, if one does.
    fn below<'m>(&'m self, folder: &Self) -> Option<&'m String> {
        self.0.strip_prefix(folder.0.as_slice())?.first()
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("::"))
    }
}

/// The modules of a crate and their uses of each other.
pub struct Graph {
    modules: BTreeSet<Module>,
    uses: BTreeSet<(Module, Module)>,
}

impl Graph {
    /// Reads all of a crate's sources.
    pub fn read(sources: &Path) -> io::Result<Self> {
        let mut texts = BTreeMap::new();
        read_folder(sources, sources, &mut texts)?;
        Ok(Self::of(&texts))
    }

    fn of(texts: &BTreeMap<Module, String>) -> Self {
        let modules: BTreeSet<_> = texts.keys().cloned().collect();
        let mut uses = BTreeSet::new();
        for (module, text) in texts.iter().filter(|(module, _)| !module.is_of_tests()) {
            for path in paths(module, &without_tests_and_comments(text)) {
                let used = nearest(&modules, path);
                if used != *module && !used.is_of_tests() {
                    uses.insert((module.clone(), used));
                }
            }
        }
        Self { modules, uses }
    }

    /// Which modules of a folder use which others of it, by their names, with one file that does.
    pub fn between_siblings(&self, folder: &Module) -> BTreeMap<(String, String), Module> {
        let mut found = BTreeMap::new();
        for (user, used) in &self.uses {
            if let (Some(from), Some(to)) = (user.below(folder), used.below(folder))
                && from != to
            {
                found.entry((from.clone(), to.clone())).or_insert_with(|| user.clone());
            }
        }
        found
    }

    /// The circles among modules side by side, one line each.
    pub fn circles(&self) -> Vec<String> {
        let folders: BTreeSet<_> = self.modules.iter().map(|module| module.parent(1)).collect();
        folders
            .iter()
            .filter_map(|folder| {
                let edges: Vec<_> = self.between_siblings(folder).into_keys().collect();
                let left = within_circles(edges);
                if left.is_empty() {
                    return None;
                }
                let edges: Vec<_> = left.iter().map(|(from, to)| format!("{from} → {to}")).collect();
                let place = if folder.0.is_empty() { "the root".to_owned() } else { format!("`{folder}`") };
                Some(format!("in {place}: {}", edges.join(", ")))
            })
            .collect()
    }
}

/// The edges that are left when those to and from modules at an end are taken away, again and again.
fn within_circles(mut edges: Vec<(String, String)>) -> Vec<(String, String)> {
    loop {
        let users: BTreeSet<_> = edges.iter().map(|(from, _)| from.clone()).collect();
        let used: BTreeSet<_> = edges.iter().map(|(_, to)| to.clone()).collect();
        let before = edges.len();
        edges.retain(|(from, to)| users.contains(to) && used.contains(from));
        if edges.len() == before {
            return edges;
        }
    }
}

fn read_folder(root: &Path, folder: &Path, texts: &mut BTreeMap<Module, String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_folder(root, &path, texts)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            texts.insert(Module::of_file(relative), fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// The module that a path leads to or into.
fn nearest(modules: &BTreeSet<Module>, mut path: Vec<String>) -> Module {
    while !path.is_empty() && !modules.contains(&Module(path.clone())) {
        path.pop();
    }
    Module(path)
}

fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every path of a module's text that begins with `crate`, `self` or `super`, from the crate's root.
fn paths(module: &Module, text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("::") {
        let first = last_word(&rest[..at]);
        let before = rest[..at - first.len()].trim_end();
        rest = &rest[at + 2..];
        // A step in the middle of a path begins none.
        if before.ends_with("::") {
            continue;
        }
        let mut base = match first {
            "crate" => Module::root(),
            "self" => module.clone(),
            "super" => module.parent(1),
            _ => continue,
        };
        let mut tail = rest;
        while let Some(further) = tail.strip_prefix("super::") {
            base = base.parent(1);
            tail = further;
        }
        for steps in tree(tail) {
            found.push(base.0.iter().cloned().chain(steps).collect());
        }
    }
    found
}

fn last_word(text: &str) -> &str {
    let start = text.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    // A character of more than one byte is no part of a path's first word.
    text.get(start..).unwrap_or_default()
}

/// The paths that the beginning of a text stands for: `a::b`, or `a::{b, c::d}` with several.
fn tree(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(inside) = text.strip_prefix('{') {
        return branches(inside).into_iter().flat_map(tree).collect();
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (step, rest) = text.split_at(end);
    if step.is_empty() {
        return vec![Vec::new()];
    }
    let further = rest.strip_prefix("::").map_or_else(|| vec![Vec::new()], tree);
    further.into_iter().map(|steps| std::iter::once(step.to_owned()).chain(steps).collect()).collect()
}

/// What stands between commas up to the closing brace.
fn branches(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&text[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|branch| !branch.trim().is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(files: &[(&str, &str)]) -> Graph {
        let texts = files.iter().map(|(path, text)| (Module::of_file(Path::new(path)), (*text).to_owned()));
        Graph::of(&texts.collect())
    }

    #[test]
    fn uses_are_found_in_every_form() {
        let graph = graph(&[
            ("lib.rs", ""),
            ("a.rs", "use crate::b::{One, deep::{Two, Three}};\nfn f() { crate::c::g(); }"),
            ("b/mod.rs", ""),
            (
                "b/deep.rs",
                "use super::super::d;\n// use crate::a;\n#[cfg(test)]\nmod tests { use crate::a; }",
            ),
            ("c.rs", "fn g() -> self::X { super::d::h() }"),
            ("d.rs", "use other::crate_like::a;"),
        ]);
        let uses: Vec<_> = graph.between_siblings(&Module::root()).into_keys().collect();
        let expected = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")];
        assert_eq!(uses, expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
    }

    #[test]
    fn a_circle_is_named_with_its_edges_alone() {
        let graph = graph(&[
            ("x/mod.rs", ""),
            ("x/a.rs", "use super::b::B;"),
            ("x/b.rs", "use super::a::A; use super::c::C;"),
            ("x/c.rs", ""),
        ]);
        assert_eq!(graph.circles(), ["in `x`: a → b, b → a"]);
    }

    #[test]
    fn a_parent_and_its_child_are_no_circle() {
        let graph = graph(&[("x/mod.rs", "use self::a::A;"), ("x/a.rs", "use super::X;")]);
        assert!(graph.circles().is_empty());
    }
}
