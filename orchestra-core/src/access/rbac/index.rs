//! Roles and bindings, compiled so that a decision looks at nothing but the rules that are about its resource: by subject,
//! then by resource. It is changed object by object, as the caches are.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};

use crate::api::User;
use crate::api::access::{AccessRequest, PathRule, Permissions, ResourceRule};
use crate::meta::ObjectName;

/// The rules of a role.
#[derive(Debug, Default)]
pub(super) struct Role {
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

impl Role {
    pub(super) fn of(rules: &[PolicyRule]) -> Self {
        let mut role = Self::default();
        for rule in rules {
            let resources = rule.resources.clone().unwrap_or_default();
            if !resources.is_empty() {
                role.resources.push(ResourceRule {
                    verbs: rule.verbs.clone(),
                    groups: rule.api_groups.clone().unwrap_or_default(),
                    resources,
                    names: rule.resource_names.clone().unwrap_or_default(),
                });
            }
            let paths = rule.non_resource_urls.clone().unwrap_or_default();
            if !paths.is_empty() {
                role.paths.push(PathRule { verbs: rule.verbs.clone(), paths });
            }
        }
        role
    }

    pub(super) fn permissions(&self) -> Permissions {
        Permissions { resources: self.resources.clone(), paths: self.paths.clone(), ..Permissions::default() }
    }
}

/// Which role is meant: of a namespace, or of the cluster.
pub(super) type RoleName = ObjectName;

/// A binding of the cluster or of a namespace.
#[derive(Debug)]
pub(super) struct Binding {
    name: ObjectName,
    role_kind: String,
    role: RoleName,
    subjects: Vec<Subject>,
}

impl Binding {
    /// A binding of this name; `None` if it is to a role that cannot be.
    pub(super) fn of(name: &ObjectName, role: &RoleRef, subjects: Vec<Subject>) -> Option<Self> {
        let namespace = match role.kind.as_str() {
            "Role" => Some(name.namespace()?),
            "ClusterRole" => None,
            _ => return None,
        };
        let named = ObjectName::new(namespace, &role.name);
        Some(Self { name: name.clone(), role_kind: role.kind.clone(), role: named, subjects })
    }

    /// Each subject as what a user is called, with its number.
    fn holders(&self) -> impl Iterator<Item = (Holder<'_>, usize)> {
        self.subjects.iter().enumerate().filter_map(|(number, subject)| {
            let holder = match subject.kind.as_str() {
                "User" => Holder::User(Cow::Borrowed(&subject.name)),
                "Group" => Holder::Group(&subject.name),
                "ServiceAccount" => {
                    let namespace = self.namespace_of(subject)?;
                    Holder::User(format!("system:serviceaccount:{namespace}:{}", subject.name).into())
                }
                _ => return None,
            };
            Some((holder, number))
        })
    }

    fn namespace_of<'s>(&'s self, subject: &'s Subject) -> Option<&'s str> {
        let given = subject.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        given.or_else(|| self.name.namespace())
    }

    /// How the binding gives the role to one of its subjects, in Kubernetes' words.
    fn explain(&self, number: usize) -> String {
        let subject = &self.subjects[number];
        let whom = match self.namespace_of(subject) {
            Some(namespace) if subject.kind == "ServiceAccount" => format!("{}/{namespace}", subject.name),
            _ => subject.name.clone(),
        };
        let (kind, name) = match self.name.namespace() {
            None => ("ClusterRoleBinding", self.name.name().to_owned()),
            Some(namespace) => ("RoleBinding", format!("{}/{namespace}", self.name.name())),
        };
        let (role_kind, role) = (&self.role_kind, self.role.name());
        format!("{kind} {name:?} of {role_kind} {role:?} to {} {whom:?}", subject.kind)
    }
}

/// A user or a group.
enum Holder<'s> {
    User(Cow<'s, str>),
    Group(&'s str),
}

/// A rule of a role that a binding gives to a subject.
#[derive(Debug)]
struct Grant {
    binding: Arc<Binding>,
    /// The number of the subject in the binding.
    subject: usize,
    role: Arc<Role>,
    /// The number of the rule in the role.
    rule: usize,
}

/// What one subject is given, in the order of the bindings' names.
#[derive(Debug, Default)]
struct Grants {
    /// Of rules that name a resource, by the resource.
    by_resource: HashMap<Box<str>, Vec<Grant>>,
    paths: Vec<Grant>,
    bindings: BTreeMap<ObjectName, (Arc<Binding>, Arc<Role>)>,
}

impl Grants {
    fn add(&mut self, binding: &Arc<Binding>, subject: usize, role: &Arc<Role>) {
        self.bindings.insert(binding.name.clone(), (Arc::clone(binding), Arc::clone(role)));
        let grant = |rule| Grant { binding: Arc::clone(binding), subject, role: Arc::clone(role), rule };
        for (number, rule) in role.resources.iter().enumerate() {
            let unique: BTreeSet<&String> = rule.resources.iter().collect();
            for resource in unique {
                insert(self.by_resource.entry(resource.as_str().into()).or_default(), grant(number));
            }
        }
        for number in 0..role.paths.len() {
            insert(&mut self.paths, grant(number));
        }
    }

    fn remove(&mut self, binding: &ObjectName) {
        self.bindings.remove(binding);
        self.paths.retain(|grant| grant.binding.name != *binding);
        self.by_resource.retain(|_, grants| {
            grants.retain(|grant| grant.binding.name != *binding);
            !grants.is_empty()
        });
    }

    /// The grant by which something may be done, if there is one.
    fn find(&self, asked: &Asked<'_>) -> Option<&Grant> {
        match asked {
            Asked::Resource { verb, group, resources, name } => {
                let of = |resource: &&str| self.by_resource.get(*resource).into_iter().flatten();
                resources
                    .iter()
                    .flat_map(of)
                    .find(|grant| grant.role.resources[grant.rule].allows(verb, group, name))
            }
            Asked::Path { verb, path } => {
                self.paths.iter().find(|grant| grant.role.paths[grant.rule].allows(verb, path))
            }
        }
    }
}

/// Keeps the grants in the order of the names of their bindings.
fn insert(grants: &mut Vec<Grant>, grant: Grant) {
    let at = grants.partition_point(|held| held.binding.name <= grant.binding.name);
    grants.insert(at, grant);
}

/// What is asked for, as rules name it.
enum Asked<'a> {
    Resource { verb: &'a str, group: &'a str, resources: &'a [&'a str], name: &'a str },
    Path { verb: &'a str, path: &'a str },
}

/// The bindings of a namespace, or those of the cluster.
#[derive(Debug, Default)]
struct Scope {
    users: HashMap<Box<str>, Grants>,
    groups: HashMap<Box<str>, Grants>,
}

impl Scope {
    fn change(&mut self, holder: &Holder<'_>, change: impl FnOnce(&mut Grants)) {
        let (map, name) = match holder {
            Holder::User(name) => (&mut self.users, &**name),
            Holder::Group(name) => (&mut self.groups, *name),
        };
        let grants = map.entry(name.into()).or_default();
        change(grants);
        if grants.bindings.is_empty() {
            map.remove(name);
        }
    }

    /// What a user is given by name and by groups.
    fn of<'s>(&'s self, user: &'s User) -> impl Iterator<Item = &'s Grants> {
        let by_name = self.users.get(&*user.name);
        by_name.into_iter().chain(user.groups.iter().filter_map(|group| self.groups.get(&**group)))
    }
}

/// All roles and bindings.
#[derive(Default)]
pub(super) struct Index {
    roles: HashMap<RoleName, Arc<Role>>,
    bindings: HashMap<ObjectName, Arc<Binding>>,
    bindings_of: HashMap<RoleName, BTreeSet<ObjectName>>,
    cluster: Scope,
    namespaces: HashMap<Box<str>, Scope>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (roles, bindings) = (self.roles.len(), self.bindings.len());
        f.debug_struct("Index").field("roles", &roles).field("bindings", &bindings).finish_non_exhaustive()
    }
}

impl Index {
    /// A role is as given, or is gone.
    pub(super) fn set_role(&mut self, name: &RoleName, role: Option<Role>) {
        let bound: Vec<_> = self.bindings_of.get(name).into_iter().flatten().cloned().collect();
        let bound: Vec<_> = bound.iter().filter_map(|name| self.bindings.get(name)).cloned().collect();
        for binding in &bound {
            self.revoke(binding);
        }
        match role {
            Some(role) => drop(self.roles.insert(name.clone(), Arc::new(role))),
            None => drop(self.roles.remove(name)),
        }
        for binding in &bound {
            self.grant(binding);
        }
    }

    /// A binding is as given, or is gone.
    pub(super) fn set_binding(&mut self, name: &ObjectName, binding: Option<Binding>) {
        if let Some(old) = self.bindings.remove(name) {
            self.revoke(&old);
            if let Some(bound) = self.bindings_of.get_mut(&old.role) {
                bound.remove(name);
                if bound.is_empty() {
                    self.bindings_of.remove(&old.role);
                }
            }
        }
        if let Some(binding) = binding.map(Arc::new) {
            self.bindings_of.entry(binding.role.clone()).or_default().insert(name.clone());
            self.grant(&binding);
            self.bindings.insert(name.clone(), binding);
        }
    }

    /// There are no roles in namespaces, or none of the cluster.
    pub(super) fn forget_roles(&mut self, namespaced: bool) {
        let of_scope = |name: &&RoleName| name.namespace().is_some() == namespaced;
        let names: Vec<_> = self.roles.keys().filter(of_scope).cloned().collect();
        names.iter().for_each(|name| self.set_role(name, None));
    }

    /// There are no bindings in namespaces, or none of the cluster.
    pub(super) fn forget_bindings(&mut self, namespaced: bool) {
        let of_scope = |name: &&ObjectName| name.namespace().is_some() == namespaced;
        let names: Vec<_> = self.bindings.keys().filter(of_scope).cloned().collect();
        names.iter().for_each(|name| self.set_binding(name, None));
    }

    fn grant(&mut self, binding: &Arc<Binding>) {
        let Some(role) = self.roles.get(&binding.role).cloned() else { return };
        let scope = self.scope_of(&binding.name);
        for (holder, number) in binding.holders() {
            scope.change(&holder, |grants| {
                // Of a subject that stands twice, the first counts.
                if !grants.bindings.contains_key(&binding.name) {
                    grants.add(binding, number, &role);
                }
            });
        }
    }

    fn revoke(&mut self, binding: &Binding) {
        let scope = self.scope_of(&binding.name);
        for (holder, _) in binding.holders() {
            scope.change(&holder, |grants| grants.remove(&binding.name));
        }
        if let Some(namespace) = binding.name.namespace()
            && self
                .namespaces
                .get(namespace)
                .is_some_and(|scope| scope.users.is_empty() && scope.groups.is_empty())
        {
            self.namespaces.remove(namespace);
        }
    }

    fn scope_of(&mut self, name: &ObjectName) -> &mut Scope {
        match name.namespace() {
            None => &mut self.cluster,
            Some(namespace) => self.namespaces.entry(namespace.into()).or_default(),
        }
    }

    /// Why a user may do something; `None` if no rule says that they may.
    pub(super) fn allows(&self, user: &User, request: &AccessRequest<'_>) -> Option<String> {
        match *request {
            AccessRequest::Path { verb, path } => self.find(user, None, &Asked::Path { verb, path }),
            AccessRequest::Resource { verb, target, .. } => {
                let (group, name) = (&*target.group, target.name.as_deref().unwrap_or_default());
                let namespace = target.namespace.as_deref();
                match target.subresource.as_deref() {
                    None => {
                        let resources = [&*target.resource, "*"];
                        self.find(
                            user,
                            namespace,
                            &Asked::Resource { verb, group, resources: &resources, name },
                        )
                    }
                    Some(sub) => {
                        let (one, all) = (format!("{}/{sub}", target.resource), format!("*/{sub}"));
                        let resources = [&*one, &*all, "*"];
                        self.find(
                            user,
                            namespace,
                            &Asked::Resource { verb, group, resources: &resources, name },
                        )
                    }
                }
            }
        }
    }

    fn find(&self, user: &User, namespace: Option<&str>, asked: &Asked<'_>) -> Option<String> {
        let mut grants = self.scopes(namespace).flat_map(|scope| scope.of(user));
        let grant = grants.find_map(|grants| grants.find(asked))?;
        Some(grant.binding.explain(grant.subject))
    }

    fn scopes(&self, namespace: Option<&str>) -> impl Iterator<Item = &Scope> {
        let of_namespace = namespace.and_then(|namespace| self.namespaces.get(namespace));
        std::iter::once(&self.cluster).chain(of_namespace)
    }

    /// What a user may do in a namespace, or in the cluster if it is empty.
    pub(super) fn permissions(&self, user: &User, namespace: &str) -> Permissions {
        // A binding that a user has by name and by a group, or by two groups, counts once.
        let mut bound = BTreeMap::new();
        for scope in self.scopes(Some(namespace)) {
            for grants in scope.of(user) {
                bound.extend(grants.bindings.iter().map(|(name, (_, role))| (name, role)));
            }
        }
        bound.into_values().map(|role| role.permissions()).fold(Permissions::default(), Permissions::and)
    }

    /// Whether nobody is given anything, and nothing is held for it.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let scope = |scope: &Scope| scope.users.is_empty() && scope.groups.is_empty();
        self.bindings.is_empty()
            && self.bindings_of.is_empty()
            && self.namespaces.is_empty()
            && scope(&self.cluster)
    }
}
