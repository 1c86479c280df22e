//! The roles and bindings that a cluster has from the start, and is given again at each start what they lack of them: so
//! that a newer version brings what it needs, and what somebody took away by mistake comes back. Who does not want that
//! sets the annotation `rbac.authorization.kubernetes.io/autoupdate` to `false`. What was added to them stays.

mod table;

use futures::future::try_join_all;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use self::table::{AUTOUPDATE, Item};
use super::rbac::permissions_of;
use crate::api::access::Permissions;
use crate::api::{Client, DeleteOptions, Kind, Objects, Patch, Status, WriteOptions};
use crate::meta::Object as _;

/// Of clusters that serve figures of use.
const FIGURES: &str = include_str!("figures.txt");
const TABLES: [&str; 2] = [include_str!("kubernetes.txt"), include_str!("own.txt")];

/// Makes the roles and bindings that are not there, with those of figures of use if the cluster serves them, and adds to
/// the others what they lack. The namespaces `kube-system` and `kube-public` are there already.
///
/// # Errors
/// When one of them cannot be read or written.
pub async fn reconcile(client: &Client, figures_of_use: bool) -> Result<(), Status> {
    for text in TABLES.into_iter().chain(figures_of_use.then_some(FIGURES)) {
        let items = table::read(text).map_err(Status::internal)?;
        // Together, so that a store that waits for its disk does so once for many.
        try_join_all(items.into_iter().map(|item| ensure(client, item))).await?;
    }
    Ok(())
}

/// What every node may do, whatever it is about.
pub(super) fn rules_of_nodes() -> Permissions {
    let items = table::read(TABLES[0]).unwrap_or_default();
    let role = items.iter().find(|item| item.kind == ClusterRole::KIND && item.name == "system:node");
    role.map(|role| permissions(list(&role.object, "rules"))).unwrap_or_default()
}

fn permissions(rules: &[Value]) -> Permissions {
    let rules: Vec<_> = rules.iter().filter_map(|rule| PolicyRule::deserialize(rule).ok()).collect();
    permissions_of(&rules)
}

fn objects(client: &Client, item: &Item) -> Objects {
    let kind = match item.kind {
        "Role" => Kind::of::<Role>(),
        "RoleBinding" => Kind::of::<RoleBinding>(),
        "ClusterRoleBinding" => Kind::of::<ClusterRoleBinding>(),
        _ => Kind::of::<ClusterRole>(),
    };
    client.objects(&kind, item.namespace.as_deref())
}

/// How often it is tried again when somebody changes the object meanwhile.
const ATTEMPTS: usize = 5;

async fn ensure(client: &Client, item: Item) -> Result<(), Status> {
    let objects = objects(client, &item);
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        outcome = put_right(&objects, &item).await;
        match &outcome {
            // It came, went or changed since it was read.
            Err(status) if status.is_conflict() || status.is_not_found() => {}
            _ => return outcome,
        }
    }
    outcome
}

async fn put_right(objects: &Objects, item: &Item) -> Result<(), Status> {
    let held = match objects.get(&item.name).await {
        Ok(entry) => entry.to_value().map_err(Status::internal)?,
        Err(status) if status.is_not_found() => return create(objects, item.object.clone()).await,
        Err(status) => return Err(status),
    };
    if held["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return Ok(());
    }
    if held.get("roleRef") != item.object.get("roleRef") {
        // It cannot be changed.
        let uid = held["metadata"]["uid"].as_str().map(str::to_owned);
        objects.delete(&item.name, DeleteOptions { uid, ..Default::default() }).await?;
        return create(objects, item.object.clone()).await;
    }
    match lacking(&held, &item.object) {
        Some(mut patch) => {
            patch["metadata"]["resourceVersion"] = held["metadata"]["resourceVersion"].clone();
            objects.patch(&item.name, Patch::Merge(patch), WriteOptions::default()).await.map(drop)
        }
        None => Ok(()),
    }
}

/// Another master may be about to make it too.
async fn create(objects: &Objects, object: Value) -> Result<(), Status> {
    match objects.create(object, WriteOptions::default()).await {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}

/// What has to be changed of an object so that it has all that it should; `None` if it has.
fn lacking(held: &Value, wanted: &Value) -> Option<Value> {
    let mut patch = Map::new();
    for field in ["labels", "annotations"] {
        let more: Map<_, _> = wanted["metadata"][field]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| held["metadata"][field].get(key.as_str()).is_none())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !more.is_empty() {
            let metadata = patch.entry("metadata").or_insert_with(|| json!({}));
            metadata[field] = more.into();
        }
    }
    if let Some(rule) = gathering(&held["aggregationRule"], &wanted["aggregationRule"]) {
        patch.insert("aggregationRule".to_owned(), rule);
    }
    // The rules of a role that gathers others' are whatever those have.
    if wanted.get("aggregationRule").is_none() {
        for (field, more) in [("rules", more_rules(held, wanted)), ("subjects", more_subjects(held, wanted))]
        {
            if !more.is_empty() {
                let all = list(held, field).iter().cloned().chain(more).collect();
                patch.insert(field.to_owned(), Value::Array(all));
            }
        }
    }
    (!patch.is_empty()).then_some(patch.into())
}

/// What a role must gather that it does not; null if it gathers and must not.
fn gathering(held: &Value, wanted: &Value) -> Option<Value> {
    const SELECTORS: &str = "clusterRoleSelectors";
    if wanted.is_null() {
        return (!held.is_null()).then_some(Value::Null);
    }
    let gathered = list(held, SELECTORS);
    let more: Vec<_> =
        list(wanted, SELECTORS).iter().filter(|one| !gathered.contains(one)).cloned().collect();
    (!more.is_empty()).then(|| json!({SELECTORS: gathered.iter().cloned().chain(more).collect::<Vec<_>>()}))
}

fn list<'v>(object: &'v Value, field: &str) -> &'v [Value] {
    object[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn more_subjects(held: &Value, wanted: &Value) -> Vec<Value> {
    let held = list(held, "subjects");
    list(wanted, "subjects").iter().filter(|subject| !held.contains(subject)).cloned().collect()
}

/// The rules that allow something which the held ones do not.
fn more_rules(held: &Value, wanted: &Value) -> Vec<Value> {
    let (held, wanted) = (list(held, "rules"), list(wanted, "rules"));
    if held == wanted {
        // At most starts all of them are as they were made.
        return Vec::new();
    }
    let held = permissions(held);
    let lacks = |rule: &&Value| !held.missing(&permissions(std::slice::from_ref(rule))).is_empty();
    wanted.iter().filter(lacks).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_says_something() {
        let count = |text| table::read(text).unwrap().len();
        assert_eq!(TABLES.map(count).map(|count| count > 20), [true, true]);
    }

    #[test]
    fn what_is_lacking_is_added_and_what_was_added_stays() {
        let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
        let wanted = json!({"metadata": {"labels": {"a": "b"}}, "rules": [rule("get"), rule("list")]});
        assert_eq!(lacking(&wanted, &wanted), None);
        let held = json!({"metadata": {"labels": {"a": "other"}}, "rules": [rule("watch"), rule("get")]});
        assert_eq!(
            lacking(&held, &wanted),
            Some(json!({"rules": [rule("watch"), rule("get"), rule("list")]})),
            "a label that was changed stays changed"
        );
        let all = json!({"metadata": {"labels": {"a": "b"}}, "rules": [rule("*")]});
        assert_eq!(lacking(&all, &wanted), None, "what is covered is not lacking");
        let of = |names: &[&str]| json!({"clusterRoleSelectors": names});
        let gathering = json!({"aggregationRule": of(&["a"]), "rules": []});
        let gathered = json!({"aggregationRule": of(&["b", "a"]), "rules": [rule("get")]});
        assert_eq!(lacking(&gathered, &gathering), None, "what more is gathered stays");
        let other = json!({"aggregationRule": of(&["b"]), "rules": [rule("get")]});
        let both = json!({"aggregationRule": of(&["b", "a"])});
        assert_eq!(lacking(&other, &gathering), Some(both));
        let plain = json!({"rules": [rule("get")]});
        let not_any_more = json!({"aggregationRule": null});
        assert_eq!(lacking(&gathered, &plain), Some(not_any_more), "it was to gather nothing");
        let to = |name: &str| json!({"kind": "Group", "name": name});
        let (held, wanted) = (json!({"subjects": [to("a")]}), json!({"subjects": [to("b")]}));
        assert_eq!(lacking(&held, &wanted), Some(json!({"subjects": [to("a"), to("b")]})));
    }
}
