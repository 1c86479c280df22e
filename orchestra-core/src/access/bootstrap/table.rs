//! The roles and bindings as a text, and what it is read into.
//!
//! ```text
//! role [NAMESPACE/]NAME            a ClusterRole, or a Role
//! controller NAME                  the ClusterRole system:controller:NAME, bound to the account NAME of kube-system
//! extra controller NAME            the same, as orchestra:controller:NAME
//!   part-of NAME                   its rules are gathered by roles of that name
//!   gathers NAME                   it has the rules of the roles that are part of it
//!   may VERBS GROUPS RESOURCES [NAMES]
//!   at VERBS PATHS
//! binding [NAMESPACE/]NAME KIND ROLE
//!   to user|group|account NAME
//! ```
//!
//! Lists are separated by commas, and `core` is the group without a name.

use serde_json::{Map, Value, json};

use crate::meta::Object as _;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};

const GROUP: &str = ClusterRole::GROUP;
/// Whose value `true` has the object brought back to what it was at each start.
pub(super) const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// An object of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// The kind.
    pub(super) kind: &'static str,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// The object, in JSON.
    pub(super) object: Value,
}

/// A line that says nothing.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the table of roles says nothing: {text}")]
pub(super) struct Senseless {
    line: usize,
    text: String,
}

/// The objects of a table.
pub(super) fn read(text: &str) -> Result<Vec<Item>, Senseless> {
    let mut items = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if !line.starts_with('#') {
            let words: Vec<&str> = line.split_whitespace().collect();
            let senseless = || Senseless { line: number + 1, text: line.to_owned() };
            take(&words, &mut items).ok_or_else(senseless)?;
        }
    }
    // A controller's role is written before its binding, and is filled after it.
    Ok(items)
}

fn take(words: &[&str], items: &mut Vec<Item>) -> Option<()> {
    match *words {
        ["role", name] => items.push(role(name)),
        ["controller", name] => controller(&format!("system:controller:{name}"), name, items),
        ["extra", "controller", name] => controller(&format!("orchestra:controller:{name}"), name, items),
        ["binding", name, kind, role] => items.push(binding(name, kind, role)),
        ["part-of", name] => {
            let labels = items.last_mut()?.object["metadata"]["labels"].as_object_mut()?;
            labels.insert(part_of(name), "true".into());
        }
        ["gathers", name] => {
            let label = Map::from_iter([(part_of(name), "true".into())]);
            items.last_mut()?.object["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": label}]});
        }
        ["may", verbs, groups, resources, ref names @ ..] => {
            let mut rule = json!({
                "verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources),
            });
            if let [names] = names {
                rule["resourceNames"] = json!(list(names));
            }
            items.last_mut()?.object["rules"].as_array_mut()?.push(rule);
        }
        ["at", verbs, paths] => {
            let rule = json!({"verbs": list(verbs), "nonResourceURLs": list(paths)});
            items.last_mut()?.object["rules"].as_array_mut()?.push(rule);
        }
        ["to", kind, name] => {
            items.last_mut()?.object["subjects"].as_array_mut()?.push(subject(kind, name)?);
        }
        _ => return None,
    }
    Some(())
}

fn part_of(name: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{name}")
}

fn list(words: &str) -> Vec<&str> {
    words.split(',').map(|word| if word == "core" { "" } else { word }).collect()
}

fn item(kinds: [&'static str; 2], name: &str, fields: Value) -> Item {
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, name),
    };
    let mut object = fields;
    object["metadata"] = json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {AUTOUPDATE: "true"},
    });
    let kind = kinds[usize::from(namespace.is_some())];
    Item { kind, namespace, name: name.to_owned(), object }
}

fn role(name: &str) -> Item {
    item([ClusterRole::KIND, Role::KIND], name, json!({"rules": []}))
}

fn binding(name: &str, kind: &str, role: &str) -> Item {
    let role = json!({"apiGroup": GROUP, "kind": kind, "name": role});
    let kinds = [ClusterRoleBinding::KIND, RoleBinding::KIND];
    item(kinds, name, json!({"roleRef": role, "subjects": []}))
}

/// The role of a controller, last so that its rules follow, after its binding.
fn controller(role_name: &str, account: &str, items: &mut Vec<Item>) {
    let mut bound = binding(role_name, ClusterRole::KIND, role_name);
    let account = json!({"kind": "ServiceAccount", "name": account, "namespace": "kube-system"});
    bound.object["subjects"] = json!([account]);
    items.extend([bound, role(role_name)]);
}

fn subject(kind: &str, name: &str) -> Option<Value> {
    Some(match kind {
        "user" => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        "group" => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        "account" => {
            let (namespace, name) = name.split_once('/')?;
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_objects() {
        let text = "# a comment\nrole r\npart-of view\nmay get,list core,apps pods,pods/log a,b\nat get /x\n\
                    controller c\nmay * * *\nbinding n/b Role r\nto account n/s\nto group g";
        let [role, bound, of_controller, binding] = read(text).unwrap().try_into().unwrap();
        assert_eq!((role.kind, role.name.as_str(), role.namespace), ("ClusterRole", "r", None));
        assert_eq!(role.object["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"], "true");
        assert_eq!(
            role.object["rules"],
            json!([
                {"verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["pods", "pods/log"],
                 "resourceNames": ["a", "b"]},
                {"verbs": ["get"], "nonResourceURLs": ["/x"]},
            ])
        );
        assert_eq!(bound.object["subjects"][0]["name"], "c");
        assert_eq!((of_controller.name.as_str(), bound.kind), ("system:controller:c", "ClusterRoleBinding"));
        assert_eq!(of_controller.object["rules"][0]["verbs"], json!(["*"]));
        assert_eq!((binding.kind, binding.namespace.as_deref()), ("RoleBinding", Some("n")));
        assert_eq!(binding.object["subjects"].as_array().unwrap().len(), 2);
        for wrong in ["may get", "to user a", "rolle r", "binding b", "role a b"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
