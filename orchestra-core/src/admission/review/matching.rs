//! Whether a request is one that is meant: pure.

use k8s_openapi::api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, RuleWithOperations,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::subject::Subject;
use crate::selector::Selector;

/// One rule: the requests that it means.
#[derive(Clone, Debug, Default)]
pub(in crate::admission) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
    /// The names of the objects, or none for all.
    names: Vec<String>,
}

impl From<&RuleWithOperations> for Rule {
    fn from(rule: &RuleWithOperations) -> Self {
        Self {
            operations: rule.operations.clone().unwrap_or_default(),
            groups: rule.api_groups.clone().unwrap_or_default(),
            versions: rule.api_versions.clone().unwrap_or_default(),
            resources: rule.resources.clone().unwrap_or_default(),
            scope: rule.scope.clone().unwrap_or_default(),
            names: Vec::new(),
        }
    }
}

impl From<&NamedRuleWithOperations> for Rule {
    fn from(rule: &NamedRuleWithOperations) -> Self {
        Self {
            operations: rule.operations.clone().unwrap_or_default(),
            groups: rule.api_groups.clone().unwrap_or_default(),
            versions: rule.api_versions.clone().unwrap_or_default(),
            resources: rule.resources.clone().unwrap_or_default(),
            scope: rule.scope.clone().unwrap_or_default(),
            names: rule.resource_names.clone().unwrap_or_default(),
        }
    }
}

/// What rules look at of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Seen<'a> {
    pub(in crate::admission) operation: &'a str,
    pub(in crate::admission) resource: &'a str,
    pub(in crate::admission) subresource: &'a str,
    pub(in crate::admission) name: &'a str,
    pub(in crate::admission) in_namespace: bool,
}

impl Rule {
    /// Whether it means a request that is seen in a version.
    pub(in crate::admission) fn means(&self, seen: Seen<'_>, (group, version): (&str, &str)) -> bool {
        let has = |list: &[String], item: &str| list.iter().any(|held| held == "*" || held == item);
        has(&self.operations, seen.operation)
            && has(&self.groups, group)
            && has(&self.versions, version)
            && self.resources.iter().any(|resource| means_resource(resource, seen))
            && match &*self.scope {
                "Namespaced" => seen.in_namespace,
                "Cluster" => !seen.in_namespace,
                _ => true,
            }
            && (self.names.is_empty() || self.names.iter().any(|name| name == seen.name))
    }
}

/// A resource as a rule writes it, such as `pods`, `pods/status`, `*/scale` or `*`.
fn means_resource(written: &str, seen: Seen<'_>) -> bool {
    let (resource, subresource) = written.split_once('/').unwrap_or((written, ""));
    (resource == "*" || resource == seen.resource) && (subresource == "*" || subresource == seen.subresource)
}

/// Rules, of which one is enough.
#[derive(Clone, Debug, Default)]
pub(in crate::admission) struct RuleSet {
    rules: Vec<Rule>,
    /// Whether a request in another version than a rule names is meant too.
    equivalent: bool,
}

impl RuleSet {
    pub(in crate::admission) fn new(rules: Vec<Rule>, policy: Option<&str>) -> Self {
        Self { rules, equivalent: policy != Some("Exact") }
    }

    /// The version in which the request is to be seen, if it is meant: that of the request if a rule names it, else one of
    /// `served` that a rule names.
    pub(in crate::admission) fn version<'v>(
        &self,
        seen: Seen<'_>,
        spoken: (&'v str, &'v str),
        served: impl Iterator<Item = (&'v str, &'v str)> + Clone,
    ) -> Option<(&'v str, &'v str)> {
        if self.rules.iter().any(|rule| rule.means(seen, spoken)) {
            return Some(spoken);
        }
        if !self.equivalent {
            return None;
        }
        self.rules
            .iter()
            .find_map(|rule| served.clone().find(|version| *version != spoken && rule.means(seen, *version)))
    }
}

/// The version in which a request that is meant is to be seen.
pub(in crate::admission) type Matched<'v> = (&'v str, &'v str);

/// Which requests a webhook, a policy or a binding is about.
#[derive(Clone, Debug)]
pub(in crate::admission) struct Matcher {
    rules: RuleSet,
    except: RuleSet,
    /// Whether having no rules is to mean everything, as it does in bindings.
    all: bool,
    namespaces: Selector,
    objects: Selector,
}

impl Matcher {
    pub(in crate::admission) fn new(
        rules: RuleSet,
        namespaces: Option<&LabelSelector>,
        objects: Option<&LabelSelector>,
    ) -> Self {
        let selector = |given: Option<&LabelSelector>| {
            // What is not said selects everything. One that is wrong was refused when it was written.
            given.map_or_else(Selector::everything, |given| {
                Selector::try_from(given).unwrap_or_else(|_| Selector::nothing())
            })
        };
        let (namespaces, objects) = (selector(namespaces), selector(objects));
        Self { rules, except: RuleSet::default(), all: false, namespaces, objects }
    }

    /// What a policy says that it is about, or a binding, where a policy holds.
    pub(in crate::admission) fn of(resources: &MatchResources, binding: bool) -> Self {
        let set = |rules: &Option<Vec<NamedRuleWithOperations>>| {
            let rules = rules.iter().flatten().map(Rule::from).collect();
            RuleSet::new(rules, resources.match_policy.as_deref())
        };
        let rules = set(&resources.resource_rules);
        let all = binding && rules.rules.is_empty();
        let (namespaces, objects) = (&resources.namespace_selector, &resources.object_selector);
        let plain = Self::new(rules, namespaces.as_ref(), objects.as_ref());
        Self { except: set(&resources.exclude_resource_rules), all, ..plain }
    }

    /// The version in which the request is to be seen, if it is one that is meant.
    pub(in crate::admission) fn version<'v>(&self, subject: &Subject<'v>) -> Option<Matched<'v>> {
        let (attributes, row) = (subject.attributes, subject.attributes.resource);
        let seen = Seen {
            operation: subject.operation.as_str(),
            resource: &row.id.resource,
            subresource: subject.subresource(),
            name: attributes.name.name(),
            in_namespace: attributes.name.namespace().is_some(),
        };
        let served = row.served().collect::<Vec<_>>();
        let spoken = attributes.spoken;
        if self.except.version(seen, spoken, served.iter().copied()).is_some() {
            return None;
        }
        let version = match self.all {
            true => Some(spoken),
            false => self.rules.version(seen, spoken, served.iter().copied()),
        }?;
        (self.selects_namespace(subject) && self.selects_object(subject)).then_some(version)
    }

    fn selects_namespace(&self, subject: &Subject<'_>) -> bool {
        self.namespaces.is_everything()
            || subject.namespace_labels().is_none_or(|labels| self.namespaces.matches(&labels))
    }

    fn selects_object(&self, subject: &Subject<'_>) -> bool {
        self.objects.is_everything() || subject.object_labels().any(|labels| self.objects.matches(&labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(operations: &str, group: &str, versions: &str, resources: &str, scope: &str) -> Rule {
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        Rule {
            operations: list(operations),
            groups: list(group),
            versions: list(versions),
            resources: list(resources),
            scope: scope.to_owned(),
            names: Vec::new(),
        }
    }

    fn seen<'a>(operation: &'a str, resource: &'a str, subresource: &'a str, in_namespace: bool) -> Seen<'a> {
        Seen { operation, resource, subresource, name: "x", in_namespace }
    }

    #[test]
    fn rules_mean_what_kubernetes_says_they_mean() {
        let pods = seen("CREATE", "pods", "", true);
        let status = seen("UPDATE", "pods", "status", true);
        let nodes = seen("CREATE", "nodes", "", false);
        for (rule, request, meant) in [
            (rule("CREATE", "", "v1", "pods", "*"), pods, true),
            (rule("*", "*", "*", "*", "*"), pods, true),
            (rule("UPDATE", "", "v1", "pods", "*"), pods, false),
            (rule("CREATE", "apps", "v1", "pods", "*"), pods, false),
            (rule("CREATE", "", "v2", "pods", "*"), pods, false),
            (rule("CREATE", "", "v1", "pods", "Cluster"), pods, false),
            (rule("CREATE", "", "v1", "pods", "Namespaced"), pods, true),
            (rule("CREATE", "", "v1", "*", "Cluster"), nodes, true),
            (rule("CREATE", "", "v1", "*", "Namespaced"), nodes, false),
            // A star is for kinds; their subresources have a star of their own.
            (rule("*", "", "v1", "*", "*"), status, false),
            (rule("*", "", "v1", "pods", "*"), status, false),
            (rule("*", "", "v1", "pods/*", "*"), status, true),
            (rule("*", "", "v1", "pods/*", "*"), pods, true),
            (rule("*", "", "v1", "*/status", "*"), status, true),
            (rule("*", "", "v1", "*/*", "*"), status, true),
            (rule("*", "", "v1", "pods/exec", "*"), status, false),
        ] {
            assert_eq!(rule.means(request, ("", "v1")), meant, "{rule:?} {request:?}");
        }
        let named = Rule { names: vec!["y".to_owned()], ..rule("*", "", "v1", "pods", "*") };
        assert!(!named.means(pods, ("", "v1")));
    }

    #[test]
    fn a_request_in_another_version_is_seen_in_the_one_that_a_rule_names() {
        let served = [("autoscaling", "v2"), ("autoscaling", "v1")];
        let rules = || vec![rule("*", "autoscaling", "v1", "horizontalpodautoscalers", "*")];
        let request = seen("UPDATE", "horizontalpodautoscalers", "", true);
        let version =
            |policy, spoken| RuleSet::new(rules(), policy).version(request, spoken, served.into_iter());
        assert_eq!(version(Some("Exact"), served[1]), Some(served[1]));
        assert_eq!(version(Some("Exact"), served[0]), None);
        assert_eq!(version(Some("Equivalent"), served[0]), Some(served[1]));
        assert_eq!(version(None, served[0]), Some(served[1]));
    }
}
