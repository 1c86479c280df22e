//! Which backend a request is for: Kubernetes' rules of precedence. Pure.
//!
//! The host is looked up first: one that is named, then a wildcard that it fits, then rules for any host. Among the paths
//! of that host the longest that fits wins, and of two that are as long the exact one. What fits none goes to the default
//! backend of an Ingress that has rules for the host, or else to that of the cluster.

use std::collections::BTreeMap;

/// How a path is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathType {
    /// By its elements, from the front.
    Prefix,
    /// To the letter.
    Exact,
}

/// One rule: what a host and a path lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule<B> {
    /// The host as it is written, `*.example.com` for all of one level; empty for any.
    pub host: String,
    /// The path, which begins with `/`.
    pub path: String,
    /// How it is to be read.
    pub path_type: PathType,
    /// Where it leads.
    pub backend: B,
}

/// The paths of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host<B> {
    /// In the order in which they are tried.
    paths: Vec<(String, PathType, B)>,
    default: Option<B>,
}

impl<B> Default for Host<B> {
    fn default() -> Self {
        Self { paths: Vec::new(), default: None }
    }
}

/// All rules of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<B> {
    /// By their names, those of wildcards without the star: `.example.com`; of any host: nothing.
    hosts: BTreeMap<String, Host<B>>,
    default: Option<B>,
}

impl<B> Default for Table<B> {
    fn default() -> Self {
        Self { hosts: BTreeMap::new(), default: None }
    }
}

impl<B> Table<B> {
    /// Adds a rule. Of two for the same host and path the one that was added first stays.
    pub fn add(&mut self, rule: Rule<B>) {
        let host = self.hosts.entry(key(&rule.host)).or_default();
        let path = match rule.path_type {
            // `/shop/` is the same prefix as `/shop`.
            PathType::Prefix => rule.path.trim_end_matches('/').to_owned(),
            PathType::Exact => rule.path,
        };
        let same = |(other, kind, _): &(String, PathType, B)| *other == path && *kind == rule.path_type;
        if !host.paths.iter().any(same) {
            host.paths.push((path, rule.path_type, rule.backend));
            host.paths.sort_by(|(a, a_type, _), (b, b_type, _)| {
                (b.len(), b_type).cmp(&(a.len(), a_type)).then_with(|| a.cmp(b))
            });
        }
    }

    /// Where requests for a host go that no path of it fits. The first that was added stays.
    pub fn add_host_default(&mut self, host: &str, backend: B) {
        self.hosts.entry(key(host)).or_default().default.get_or_insert(backend);
    }

    /// Where requests go that nothing else fits. The first that was added stays.
    pub fn add_default(&mut self, backend: B) {
        self.default.get_or_insert(backend);
    }

    /// Where a request goes. `host` is as the client sent it, perhaps with a port.
    pub fn find(&self, host: &str, path: &str) -> Option<&B> {
        let host = plain(host);
        let wildcard = host.find('.').map(|dot| &host[dot..]);
        let known = [Some(host.as_str()), wildcard, Some("")]
            .into_iter()
            .flatten()
            .find_map(|name| self.hosts.get(name));
        let found = known.and_then(|host| {
            let fits = host.paths.iter().find(|(rule, kind, _)| fits(rule, *kind, path));
            fits.map(|(_, _, backend)| backend).or(host.default.as_ref())
        });
        found.or(self.default.as_ref())
    }
}

/// How a host of a rule is kept.
fn key(host: &str) -> String {
    host.strip_prefix('*').unwrap_or(host).to_ascii_lowercase()
}

/// A host as a client sent it, without its port and in small letters.
pub fn plain(host: &str) -> String {
    let name = match (host.rfind(']'), host.rfind(':')) {
        (Some(end), Some(colon)) if colon > end => &host[..colon],
        (None, Some(colon)) => &host[..colon],
        _ => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether a path fits a rule, whose own has no slash at its end if it is a prefix.
fn fits(rule: &str, kind: PathType, path: &str) -> bool {
    match kind {
        PathType::Exact => rule == path,
        PathType::Prefix => {
            path.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(rules: &[(&str, &str, PathType)]) -> Table<String> {
        let mut table = Table::default();
        for (host, path, path_type) in rules {
            let backend = format!("{host}{path}{}", if *path_type == PathType::Exact { "=" } else { "" });
            table.add(Rule { host: (*host).into(), path: (*path).into(), path_type: *path_type, backend });
        }
        table
    }

    fn found(table: &Table<String>, host: &str, path: &str) -> String {
        table.find(host, path).cloned().unwrap_or_else(|| "none".to_owned())
    }

    /// The examples of Kubernetes' documentation.
    #[test]
    fn paths_are_read_as_kubernetes_says() {
        use PathType::{Exact, Prefix};
        for (kind, rule, path, fits) in [
            (Prefix, "/", "/anything", true),
            (Exact, "/foo", "/foo", true),
            (Exact, "/foo", "/bar", false),
            (Exact, "/foo", "/foo/", false),
            (Exact, "/foo/", "/foo", false),
            (Prefix, "/foo", "/foo", true),
            (Prefix, "/foo", "/foo/", true),
            (Prefix, "/foo/", "/foo", true),
            (Prefix, "/foo/", "/foo/", true),
            (Prefix, "/aaa/bb", "/aaa/bbb", false),
            (Prefix, "/aaa/bbb", "/aaa/bbb", true),
            (Prefix, "/aaa/bbb/", "/aaa/bbb", true),
            (Prefix, "/aaa/bbb", "/aaa/bbb/", true),
            (Prefix, "/aaa/bbb", "/aaa/bbb/ccc", true),
            (Prefix, "/aaa/bbb", "/aaa/bbbxyz", false),
            (Prefix, "/foo", "/FOO", false),
        ] {
            let table = table(&[("", rule, kind)]);
            assert_eq!(table.find("x", path).is_some(), fits, "{kind:?} {rule} {path}");
        }
    }

    #[test]
    fn the_longest_path_wins_and_then_the_exact_one() {
        use PathType::{Exact, Prefix};
        let table = table(&[
            ("", "/", Prefix),
            ("", "/aaa", Prefix),
            ("", "/aaa", Exact),
            ("", "/aaa/bbb", Prefix),
            ("", "/aaa/bbb/", Exact),
        ]);
        for (path, backend) in [
            ("/aaa/bbb/ccc", "/aaa/bbb"),
            ("/aaa/ccc", "/aaa"),
            ("/aaa", "/aaa="),
            ("/aaa/", "/aaa"),
            ("/aaa/bbb/", "/aaa/bbb/="),
            ("/ccc", "/"),
        ] {
            assert_eq!(found(&table, "x", path), backend, "{path}");
        }
    }

    #[test]
    fn a_host_that_is_named_comes_before_a_wildcard_and_that_before_any() {
        let mut table = table(&[
            ("foo.example.com", "/foo", PathType::Prefix),
            ("*.example.com", "/", PathType::Prefix),
            ("", "/", PathType::Prefix),
        ]);
        for (host, path, backend) in [
            ("foo.example.com", "/foo", "foo.example.com/foo"),
            ("FOO.example.com.:8443", "/foo/1", "foo.example.com/foo"),
            ("bar.example.com", "/", "*.example.com/"),
            ("a.b.example.com", "/", "/"),
            ("example.com", "/", "/"),
            ("[2001:db8::1]:80", "/", "/"),
            ("[2001:db8::1]", "/", "/"),
            ("", "/", "/"),
            // It has rules of its own, and none fits.
            ("foo.example.com", "/bar", "none"),
        ] {
            assert_eq!(found(&table, host, path), backend, "{host}{path}");
        }
        table.add_default("default".into());
        table.add_default("second".into());
        assert_eq!(found(&table, "foo.example.com", "/bar"), "default");
        table.add_host_default("foo.example.com", "its own".into());
        assert_eq!(found(&table, "foo.example.com", "/bar"), "its own");
    }

    #[test]
    fn of_two_that_say_the_same_the_first_stays() {
        let mut table = Table::default();
        for backend in [1, 2] {
            let (host, path) = ("a.example.com".to_owned(), "/x".to_owned());
            table.add(Rule { host, path, path_type: PathType::Prefix, backend });
        }
        assert_eq!(table.find("a.example.com", "/x"), Some(&1));
    }

    proptest! {
        #[test]
        fn what_is_found_fits_and_nothing_that_fits_is_longer(
            rules in prop::collection::vec(("(/[ab]{1,2}){0,3}", any::<bool>()), 0..8), path in "(/[ab]{1,2}){1,4}/?",
        ) {
            let rules: Vec<(String, PathType)> = rules
                .into_iter()
                .map(|(path, exact)| (if path.is_empty() { "/".to_owned() } else { path }, if exact { PathType::Exact } else { PathType::Prefix }))
                .collect();
            let mut table = Table::default();
            for (index, (path, path_type)) in rules.iter().enumerate() {
                table.add(Rule { host: String::new(), path: path.clone(), path_type: *path_type, backend: index });
            }
            let fitting = |(rule, kind): &&(String, PathType)| match kind {
                PathType::Exact => *rule == path,
                // By elements, as Kubernetes words it.
                PathType::Prefix => {
                    let elements = |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
                    elements(&path).starts_with(&elements(rule))
                }
            };
            match table.find("x", &path) {
                None => prop_assert!(!rules.iter().any(|rule| fitting(&rule))),
                Some(index) => {
                    let (rule, kind) = &rules[*index];
                    prop_assert!(fitting(&&rules[*index]));
                    for other in rules.iter().filter(fitting) {
                        let longer = other.0.len() > rule.len();
                        let exact = other.0.len() == rule.len() && other.1 > *kind;
                        prop_assert!(!longer && !exact, "{other:?} before {rule} {kind:?}");
                    }
                }
            }
        }
    }
}
