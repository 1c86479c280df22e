use std::fmt;

use super::AccessRequest;

/// What may be done with resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceRule {
    /// The verbs; `*` is all of them.
    pub verbs: Vec<String>,
    /// The API groups; `*` is all of them.
    pub groups: Vec<String>,
    /// The resources, `pods` or `pods/log`; `*` is all, `*/scale` a subresource of all.
    pub resources: Vec<String>,
    /// The objects; none is all of them.
    pub names: Vec<String>,
}

/// What may be done with paths that are no resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathRule {
    /// The verbs; `*` is all of them.
    pub verbs: Vec<String>,
    /// The paths; a `*` at the end stands for whatever follows.
    pub paths: Vec<String>,
}

/// What somebody may do in a namespace and in the cluster as a whole, as far as it can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// With resources.
    pub resources: Vec<ResourceRule>,
    /// With paths that are no resources.
    pub paths: Vec<PathRule>,
    /// Whether there may be more.
    pub incomplete: bool,
    /// Why there may be more. May be empty.
    pub error: String,
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|held| held == text)
}

fn has_or_all(list: &[String], text: &str) -> bool {
    list.iter().any(|held| held == "*" || held == text)
}

impl ResourceRule {
    /// Whether the verb and the group are among those of the rule, and the object among its names.
    pub(crate) fn allows(&self, verb: &str, group: &str, name: &str) -> bool {
        has_or_all(&self.verbs, verb)
            && has_or_all(&self.groups, group)
            && (self.names.is_empty() || has(&self.names, name))
    }

    /// Whether all that `other` allows is allowed by this alone. `other` has one verb, group, resource and name at most.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let one = |list: &[String], wanted: &[String]| wanted.iter().all(|wanted| has_or_all(list, wanted));
        one(&self.verbs, &other.verbs)
            && one(&self.groups, &other.groups)
            && other.resources.iter().all(|wanted| self.covers_resource(wanted))
            && match other.names.is_empty() {
                true => self.names.is_empty(),
                false => self.names.is_empty() || other.names.iter().all(|name| has(&self.names, name)),
            }
    }

    fn covers_resource(&self, wanted: &str) -> bool {
        let of_all =
            |(_, sub): (&str, &str)| self.resources.iter().any(|held| held.strip_prefix("*/") == Some(sub));
        has_or_all(&self.resources, wanted) || wanted.split_once('/').is_some_and(of_all)
    }

    /// The same as rules of one verb, group, resource and name each.
    pub(crate) fn broken_down(&self) -> impl Iterator<Item = Self> {
        let names = if self.names.is_empty() { vec![None] } else { self.names.iter().map(Some).collect() };
        let one = |text: &String| vec![text.clone()];
        self.groups.iter().flat_map(move |group| {
            let names = names.clone();
            self.resources.iter().flat_map(move |resource| {
                let names = names.clone();
                self.verbs.iter().flat_map(move |verb| {
                    names.clone().into_iter().map(move |name| Self {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        names: name.map(one).unwrap_or_default(),
                    })
                })
            })
        })
    }
}

impl PathRule {
    /// Whether the verb may be done to the path.
    pub(crate) fn allows(&self, verb: &str, path: &str) -> bool {
        has_or_all(&self.verbs, verb) && self.paths.iter().any(|held| matches_path(held, path))
    }

    /// Whether all that `other` allows, which has one verb and one path, is allowed by this alone.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.verbs.iter().all(|verb| has_or_all(&self.verbs, verb))
            && other.paths.iter().all(|path| self.paths.iter().any(|held| matches_path(held, path)))
    }

    /// The same as rules of one verb and path each.
    pub(crate) fn broken_down(&self) -> impl Iterator<Item = Self> {
        self.paths.iter().flat_map(|path| {
            self.verbs.iter().map(|verb| Self { verbs: vec![verb.clone()], paths: vec![path.clone()] })
        })
    }
}

fn matches_path(held: &str, path: &str) -> bool {
    held == path || held.ends_with('*') && path.starts_with(held.trim_end_matches('*'))
}

impl Permissions {
    /// That nothing is known of what there is.
    pub fn unknown(error: impl Into<String>) -> Self {
        Self { incomplete: true, error: error.into(), ..Self::default() }
    }

    /// Everything.
    pub fn all() -> Self {
        let all = || vec!["*".to_owned()];
        Self {
            resources: vec![ResourceRule {
                verbs: all(),
                groups: all(),
                resources: all(),
                names: Vec::new(),
            }],
            paths: vec![PathRule { verbs: all(), paths: all() }],
            ..Self::default()
        }
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.resources.extend(other.resources);
        self.paths.extend(other.paths);
        self.incomplete |= other.incomplete;
        if !self.error.is_empty() && !other.error.is_empty() {
            self.error.push_str(", ");
        }
        self.error.push_str(&other.error);
        self
    }

    /// Whether one of the rules allows what is asked.
    pub fn allows(&self, request: &AccessRequest<'_>) -> bool {
        match *request {
            AccessRequest::Path { verb, path } => self.paths.iter().any(|rule| rule.allows(verb, path)),
            AccessRequest::Resource { verb, target, .. } => {
                let (resource, name) = (&*target.resource, target.name.as_deref().unwrap_or_default());
                let wanted = match target.subresource.as_deref() {
                    Some(sub) => format!("{resource}/{sub}"),
                    None => resource.to_owned(),
                };
                let of_it = |rule: &&ResourceRule| rule.covers_resource(&wanted);
                self.resources.iter().filter(of_it).any(|rule| rule.allows(verb, &target.group, name))
            }
        }
    }

    /// What of `others` is not allowed by these, put together and in the words of Kubernetes; empty if all is.
    pub(crate) fn missing(&self, others: &Self) -> Vec<String> {
        let mut lacking: Vec<ResourceRule> = Vec::new();
        for wanted in others.resources.iter().flat_map(ResourceRule::broken_down) {
            if self.resources.iter().any(|held| held.covers(&wanted)) {
                continue;
            }
            let same = |held: &&mut ResourceRule| {
                (&held.groups, &held.resources, &held.names)
                    == (&wanted.groups, &wanted.resources, &wanted.names)
            };
            match lacking.iter_mut().find(same) {
                Some(held) => held.verbs.extend(wanted.verbs),
                None => lacking.push(wanted),
            }
        }
        let paths = others.paths.iter().flat_map(PathRule::broken_down);
        let paths = paths.filter(|wanted| !self.paths.iter().any(|held| held.covers(wanted)));
        let mut missing: Vec<String> =
            lacking.iter().map(ToString::to_string).chain(paths.map(|rule| rule.to_string())).collect();
        missing.sort();
        missing.dedup();
        missing
    }
}

/// A list of texts as Go prints it with `%q`.
pub(crate) fn quoted(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

fn show(f: &mut fmt::Formatter<'_>, parts: &[(&str, &[String])]) -> fmt::Result {
    let held = parts.iter().filter(|(_, list)| !list.is_empty());
    let shown: Vec<String> = held.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
    write!(f, "{{{}}}", shown.join(", "))
}

impl fmt::Display for ResourceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("APIGroups", &*self.groups), ("Resources", &*self.resources)];
        show(f, &[parts[0], parts[1], ("ResourceNames", &self.names), ("Verbs", &self.verbs)])
    }
}

impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, &[("NonResourceURLs", &self.paths), ("Verbs", &self.verbs)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split(',').filter(|part| *part != "-").map(|part| part.replace("core", "")).collect()
    }

    /// A rule out of `groups resources verbs names`, each separated by commas, `-` for none.
    fn rule(text: &str) -> ResourceRule {
        let parts: Vec<_> = text.split(' ').map(list).collect();
        let [groups, resources, verbs, names] = parts.try_into().unwrap();
        ResourceRule { verbs, groups, resources, names }
    }

    fn path(text: &str) -> PathRule {
        let (paths, verbs) = text.split_once(' ').unwrap();
        PathRule { verbs: list(verbs), paths: list(paths) }
    }

    #[test]
    fn what_is_not_held_is_named_as_kubernetes_names_it() {
        for (held, wanted, missing) in [
            ("core configmaps get -", "core configmaps get -", vec![]),
            (
                "core configmaps get -",
                "core configmaps,secrets get,list -",
                vec![
                    r#"{APIGroups:[""], Resources:["configmaps"], Verbs:["list"]}"#,
                    r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}"#,
                ],
            ),
            ("core configmaps get a", "core configmaps get a", vec![]),
            (
                "core configmaps get a",
                "core configmaps get a,b",
                vec![r#"{APIGroups:[""], Resources:["configmaps"], ResourceNames:["b"], Verbs:["get"]}"#],
            ),
            (
                "core configmaps get a",
                "core configmaps get -",
                vec![r#"{APIGroups:[""], Resources:["configmaps"], Verbs:["get"]}"#],
            ),
            ("core configmaps get -", "core configmaps get a", vec![]),
            ("* * * -", "apps deployments/scale patch x", vec![]),
            ("* */scale * -", "apps deployments/scale patch -", vec![]),
            (
                "* */scale * -",
                "apps deployments patch -",
                vec![r#"{APIGroups:["apps"], Resources:["deployments"], Verbs:["patch"]}"#],
            ),
            ("core pods get -", "* * * -", vec![r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#]),
        ] {
            let held = Permissions { resources: vec![rule(held)], ..Permissions::default() };
            let others = Permissions { resources: vec![rule(wanted)], ..Permissions::default() };
            assert_eq!(held.missing(&others), missing, "{held:?} {wanted}");
        }
    }

    #[test]
    fn paths_are_covered_by_what_they_begin_with() {
        let missing = r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#;
        for (held, wanted, expected) in [
            ("/metrics get", "/metrics get", None),
            ("/met* get", "/metrics get", None),
            ("* *", "/metrics get", None),
            ("/metrics post", "/metrics get", Some(missing)),
            ("/metrics/* get", "/metrics get", Some(missing)),
        ] {
            let held = Permissions { paths: vec![path(held)], ..Permissions::default() };
            let others = Permissions { paths: vec![path(wanted)], ..Permissions::default() };
            assert_eq!(held.missing(&others), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
