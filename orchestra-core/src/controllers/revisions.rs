//! The history of pod templates, as ControllerRevisions: what a DaemonSet and a StatefulSet have in common.
//!
//! A revision holds the template as the patch that brings it back, which is what `kubectl rollout undo` applies. Its
//! number is the highest if it is the present one: a template that comes back gets a new number and no second revision.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde_json::{Value, json};

use super::deployment::hash;
use crate::control::{Action, Context, Error, owner_reference, write};
use crate::meta::Object;
use crate::watch::{Entry, EntryError};

/// How long the beginning of a revision's name may be.
const LONGEST_PREFIX: usize = 223;

/// Notes that the name of a revision is taken by another, which gives the next one another name.
pub(super) async fn count_collision<K: Object>(
    context: &Context,
    set: &Entry,
    so_far: Option<i32>,
) -> Result<Action, Error> {
    let count = so_far.unwrap_or_default().saturating_add(1);
    let patch = json!({ "collisionCount": count });
    write::unless_gone(write::patch_status::<K>(context.client(), set, patch).await)?;
    Ok(Action::Done)
}

/// One template of the past or the present.
#[derive(Clone, Debug)]
pub(super) struct Revision {
    pub(super) entry: Arc<Entry>,
    view: Arc<View>,
}

#[derive(Debug, Deserialize)]
struct View {
    metadata: Meta,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    revision: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    creation_timestamp: Option<Time>,
}

impl Revision {
    pub(super) fn new(entry: Arc<Entry>) -> Result<Self, EntryError> {
        Ok(Self { view: entry.view()?, entry })
    }

    pub(super) fn name(&self) -> &str {
        self.entry.name().name()
    }

    /// The template it brings back.
    pub(super) fn template(&self) -> Value {
        let mut template = self.view.data["spec"]["template"].clone();
        if let Some(template) = template.as_object_mut() {
            template.remove("$patch");
        }
        template
    }

    /// Older before newer.
    fn order(&self, other: &Self) -> Ordering {
        let created = |it: &Self| it.view.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let number = self.view.revision.cmp(&other.view.revision);
        number.then(created(self).cmp(&created(other))).then_with(|| self.name().cmp(other.name()))
    }
}

/// The revisions of one owner, the oldest first.
pub(super) fn sorted(entries: Vec<Arc<Entry>>) -> Result<Vec<Revision>, EntryError> {
    let mut revisions = entries.into_iter().map(Revision::new).collect::<Result<Vec<_>, _>>()?;
    revisions.sort_by(Revision::order);
    Ok(revisions)
}

/// What is to be done so that the last revision is that of the present template.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is.
    Keep,
    /// The one at a place is of that template and gets this number.
    Renumber(usize, i64),
    /// One of this number is made.
    Create(i64),
}

fn step(revisions: &[Revision], data: &Value) -> Step {
    let next = revisions.last().map_or(1, |last| last.view.revision.saturating_add(1));
    match revisions.iter().rposition(|revision| revision.view.data == *data) {
        Some(place) if place + 1 == revisions.len() => Step::Keep,
        Some(place) => Step::Renumber(place, next),
        None => Step::Create(next),
    }
}

/// The patch that brings a template back.
fn data(template: &Value) -> Value {
    let mut template = template.clone();
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// What differs between the kinds that have revisions.
pub(super) trait Owner: Object {
    /// The label in which a revision has its hash.
    const HASH_LABEL: &'static str;
}

/// The revision of the present template, which is made if there is none.
pub(super) enum Present {
    Is(Revision),
    /// Its name is that of a revision of another template: the collision has to be counted in the owner's status, so that
    /// the next name is another.
    Taken,
}

/// Sees to it that the last revision is that of the owner's present template.
///
/// # Errors
/// What the API says.
pub(super) async fn present<O: Owner>(
    context: &Context,
    owner: &Entry,
    revisions: &[Revision],
    collisions: Option<i32>,
) -> Result<Present, Error> {
    let object = owner.to_value()?;
    let data = data(&object["spec"]["template"]);
    let client = context.client();
    match step(revisions, &data) {
        Step::Keep => match revisions.last() {
            Some(last) => Ok(Present::Is(last.clone())),
            None => Err(Error::from("no revision was found where there must be one")),
        },
        Step::Renumber(place, number) => {
            let revision = revisions[place].clone();
            let patch = json!({ "revision": number });
            write::patch::<ControllerRevision>(client, &revision.entry, patch).await?;
            Ok(Present::Is(revision))
        }
        Step::Create(number) => {
            let wanted = wanted::<O>(&object, owner, data, number, collisions)?;
            create::<O>(context, owner, wanted).await
        }
    }
}

fn wanted<O: Owner>(
    object: &Value,
    owner: &Entry,
    data: Value,
    number: i64,
    collisions: Option<i32>,
) -> Result<Value, Error> {
    let template = &object["spec"]["template"];
    let hash = hash::template(&PodTemplateSpec::deserialize(template)?, collisions);
    let name = owner.name().name();
    let prefix = name.get(..LONGEST_PREFIX).unwrap_or(name);
    let mut labels = template["metadata"]["labels"].clone();
    labels[O::HASH_LABEL] = hash.as_str().into();
    let mut revision = json!({
        "metadata": {
            "name": format!("{prefix}-{hash}"),
            "namespace": owner.name().namespace(),
            "labels": labels,
            "ownerReferences": [owner_reference::controller::<O>(owner)],
        },
        "data": data,
        "revision": number,
    });
    if let Some(annotations) = object["metadata"].get("annotations") {
        revision["metadata"]["annotations"] = annotations.clone();
    }
    Ok(revision)
}

async fn create<O: Owner>(context: &Context, owner: &Entry, wanted: Value) -> Result<Present, Error> {
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let data = wanted["data"].clone();
    let client = context.client();
    match write::create_entry::<ControllerRevision>(client, context.namespace(), wanted).await {
        Ok(entry) => Ok(Present::Is(Revision::new(entry)?)),
        Err(status) if status.is_already_exists() => {
            let held = context.api::<ControllerRevision>().find(&name).await?;
            let ours = held.as_ref().is_some_and(|held| {
                let mut owners = held.metadata.owner_references.iter().flatten();
                owners.any(|it| it.uid == owner.uid().as_str())
                    && held.data.as_ref().is_some_and(|held| held.0 == data)
            });
            // Ours: the cache will have it soon. Gone again: the next run makes it.
            if ours || held.is_none() { Err(status.into()) } else { Ok(Present::Taken) }
        }
        Err(status) => Err(status.into()),
    }
}

/// So many revisions that are not alive, the oldest first.
pub(super) fn oldest_dead<'r>(
    revisions: impl IntoIterator<Item = &'r Revision>,
    count: usize,
    is_alive: impl Fn(&Revision) -> bool,
) -> Vec<&'r Revision> {
    revisions.into_iter().filter(|revision| !is_alive(revision)).take(count).collect()
}

/// A limit of the history as a number; a negative one is none.
pub(super) fn limit(of: Option<i32>) -> usize {
    usize::try_from(of.unwrap_or(10)).unwrap_or(usize::MAX)
}

/// Deletes revisions.
///
/// # Errors
/// What the API says.
pub(super) async fn delete(context: &Context, revisions: &[&Revision]) -> Result<(), Error> {
    for revision in revisions {
        let entry = &revision.entry;
        write::delete::<ControllerRevision>(context.client(), entry.name(), entry.uid()).await?;
    }
    Ok(())
}

/// The values that pods have of a label.
pub(super) fn label_values<'p>(pods: impl Iterator<Item = &'p Arc<Entry>>, label: &str) -> HashSet<String> {
    pods.filter_map(|pod| pod.labels().get(label)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::testing::entry;

    fn revision(name: &str, number: i64, image: &str) -> Arc<Entry> {
        let template = json!({"spec": {"image": image}});
        entry(&json!({
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "data": data(&template), "revision": number,
        }))
    }

    #[test]
    fn a_template_that_comes_back_gets_a_new_number_and_no_second_revision() {
        let revisions = sorted(vec![revision("b", 2, "y"), revision("a", 1, "x")]).unwrap();
        let step = |image: &str| super::step(&revisions, &data(&json!({"spec": {"image": image}})));
        assert_eq!(step("y"), Step::Keep);
        assert_eq!(step("x"), Step::Renumber(0, 3));
        assert_eq!(step("z"), Step::Create(3));
        assert_eq!(super::step(&[], &json!({})), Step::Create(1));
        assert_eq!(revisions[0].template(), json!({"spec": {"image": "x"}}));
    }

    #[test]
    fn the_oldest_go_first_and_none_that_is_alive() {
        let all = ["a", "b", "c", "d"];
        let entries = all.iter().zip(1..).map(|(name, number)| revision(name, number, name)).collect();
        let revisions = sorted(entries).unwrap();
        for (count, expected) in [(9, &["a", "c"][..]), (1, &["a"]), (0, &[])] {
            let gone = oldest_dead(&revisions, count, |it| matches!(it.name(), "b" | "d"));
            assert_eq!(gone.iter().map(|it| it.name()).collect::<Vec<_>>(), expected, "{count}");
        }
    }
}
