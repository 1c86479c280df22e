//! Which flow a request belongs to: by who sends it and what it asks for. Pure.

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchemaSpec, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule,
    Subject as SubjectObject,
};

use crate::api::User;
use crate::api::access::AccessRequest;

const ALL: &str = "*";

/// What tells the flows of one schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distinguisher {
    Nothing,
    User,
    Namespace,
}

/// The rules of a flow schema.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    distinguisher: Distinguisher,
}

#[derive(Clone, Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourcePolicyRule>,
    paths: Vec<NonResourcePolicyRule>,
}

#[derive(Clone, Debug)]
enum Subject {
    Anyone,
    User(String),
    Group(String),
    /// What the name of a service account begins with, up to its namespace.
    Accounts(String),
}

impl Rules {
    pub(super) fn of(spec: &FlowSchemaSpec) -> Self {
        let method = spec.distinguisher_method.as_ref().map(|method| method.type_.as_str());
        let distinguisher = match method {
            Some("ByUser") => Distinguisher::User,
            Some("ByNamespace") => Distinguisher::Namespace,
            _ => Distinguisher::Nothing,
        };
        Self { rules: spec.rules.iter().flatten().map(Rule::of).collect(), distinguisher }
    }

    pub(super) fn matches(&self, user: &User, request: &AccessRequest<'_>) -> bool {
        self.rules.iter().any(|rule| rule.matches(user, request))
    }

    /// What tells the flow of a request from others of the same schema.
    pub(super) fn flow<'r>(&self, user: &'r User, request: &'r AccessRequest<'_>) -> &'r str {
        match (self.distinguisher, request) {
            (Distinguisher::User, _) => &user.name,
            (Distinguisher::Namespace, AccessRequest::Resource { target, .. }) => {
                target.namespace.as_deref().unwrap_or_default()
            }
            _ => "",
        }
    }
}

impl Rule {
    fn of(rule: &PolicyRulesWithSubjects) -> Self {
        Self {
            subjects: rule.subjects.iter().filter_map(Subject::of).collect(),
            resources: rule.resource_rules.clone().unwrap_or_default(),
            paths: rule.non_resource_rules.clone().unwrap_or_default(),
        }
    }

    fn matches(&self, user: &User, request: &AccessRequest<'_>) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && match request {
                AccessRequest::Resource { .. } => self.resources.iter().any(|rule| covers(rule, request)),
                AccessRequest::Path { verb, path, .. } => self.paths.iter().any(|rule| {
                    has(&rule.verbs, verb) && rule.non_resource_urls.iter().any(|held| is_below(held, path))
                }),
            }
    }
}

impl Subject {
    fn of(subject: &SubjectObject) -> Option<Self> {
        Some(match subject.kind.as_str() {
            "User" => match subject.user.as_ref()?.name.as_str() {
                ALL => Self::Anyone,
                name => Self::User(name.to_owned()),
            },
            "Group" => match subject.group.as_ref()?.name.as_str() {
                ALL => Self::Anyone,
                name => Self::Group(name.to_owned()),
            },
            "ServiceAccount" => {
                let account = subject.service_account.as_ref()?;
                let of = format!("system:serviceaccount:{}:", account.namespace);
                match account.name.as_str() {
                    ALL => Self::Accounts(of),
                    name => Self::User(of + name),
                }
            }
            _ => return None,
        })
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::Anyone => true,
            Self::User(name) => *name == user.name,
            Self::Group(name) => user.groups.iter().any(|group| group == name),
            Self::Accounts(of) => user.name.starts_with(of.as_str()),
        }
    }
}

fn covers(rule: &ResourcePolicyRule, request: &AccessRequest<'_>) -> bool {
    let AccessRequest::Resource { verb, target, .. } = request else { return false };
    let of_resource = |held: &String| match target.subresource.as_deref() {
        None => **held == *target.resource,
        Some(sub) => held.split_once('/') == Some((&*target.resource, sub)),
    };
    let all_resources = matches!(&*rule.resources, [all] if all == ALL);
    has(&rule.verbs, verb)
        && (all_resources || rule.resources.iter().any(of_resource))
        && has(&rule.api_groups, &target.group)
        && match target.namespace.as_deref().unwrap_or_default() {
            "" => rule.cluster_scope == Some(true),
            namespace => has(rule.namespaces.as_deref().unwrap_or_default(), namespace),
        }
}

/// Whether a list has a text, or is the one that means all.
fn has(list: &[String], text: &str) -> bool {
    matches!(list, [all] if all == ALL) || list.iter().any(|held| held == text)
}

/// Whether a path is the one that is meant, or lies below it.
fn is_below(held: &str, path: &str) -> bool {
    if held == ALL || held == path {
        return true;
    }
    let above = held.strip_suffix('*').unwrap_or(held);
    let above = above.strip_suffix('/').unwrap_or(above);
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}
