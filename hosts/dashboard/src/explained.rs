//! What is wrong, as the API server explains it; of a server that does not, as it is worked out here.

use futures::future::join_all;
use jiff::Timestamp;
use orchestra_core::explain::{About, Facts, Story, explain, sources, wrong};
use serde_json::Value;

use crate::api::{Asker, Failure, items};
use crate::route::{Place, Query, Spot};

/// Where orchestra's API server explains.
const PATH: &str = "/orchestra/v1/explain";

/// What is wrong, and which kinds could not be looked at.
pub(crate) struct Wrong {
    pub(crate) stories: Vec<Story>,
    pub(crate) unread: Vec<String>,
}

/// All that is wrong in a namespace, or everywhere, of what who looks may see.
pub(crate) async fn stories(asker: &Asker<'_>, namespace: &str) -> Result<Wrong, Failure> {
    let query = Query::default().with("namespace", namespace);
    match asker.get(&crate::api::with(PATH, &query)).await {
        Ok(answer) => {
            let unread = answer["unread"].as_array().into_iter().flatten();
            let unread = unread.filter_map(|kind| kind.as_str()).map(str::to_owned).collect();
            Ok(Wrong { stories: read(&answer), unread })
        }
        Err(failure) if matches!(failure.code, 403 | 404) => match gather(asker, namespace).await {
            Some((facts, unread)) => Ok(Wrong { stories: wrong(&facts), unread }),
            None => Err(Failure::new(403, "You may not see what could be wrong here.")),
        },
        Err(failure) => Err(failure),
    }
}

/// What is the matter with one object, if anything is.
pub(crate) async fn story(asker: &Asker<'_>, spot: &Spot) -> Option<Story> {
    if !sources().any(|source| source.group == spot.place.group && source.resource == spot.place.resource) {
        return None;
    }
    match asker.get(&crate::api::with(PATH, &query_of(spot))).await {
        Ok(answer) => read(&answer).into_iter().next(),
        Err(failure) if matches!(failure.code, 403 | 404) => {
            let about = About::new(&spot.place.group, &spot.place.resource, &spot.namespace, &spot.name);
            explain(&gather(asker, &spot.namespace).await?.0, &about)
        }
        Err(_) => None,
    }
}

fn query_of(spot: &Spot) -> Query {
    Query::default()
        .with("namespace", &*spot.namespace)
        .with("group", &*spot.place.group)
        .with("resource", &*spot.place.resource)
        .with("name", &*spot.name)
}

/// The smallest change that helps an object, as the API server tried it in copies of the cluster; null if none does.
pub(crate) async fn helps(asker: &Asker<'_>, spot: &Spot) -> Result<Value, Failure> {
    let mut answer = asker.get(&crate::api::with(PATH, &query_of(spot).with("try", "true"))).await?;
    Ok(answer["helps"].take())
}

fn read(answer: &Value) -> Vec<Story> {
    let read = |item: &Value| serde_json::from_value(item.clone()).ok();
    items(Some(answer)).iter().filter_map(read).collect()
}

/// What who looks may see of what is looked at, and which kinds they may not; `None` if they may see nothing.
async fn gather(asker: &Asker<'_>, namespace: &str) -> Option<(Facts, Vec<String>)> {
    let asked = sources().map(|source| async move {
        let namespace = if source.is_namespaced { namespace } else { "" };
        let path = Place::new(source.group, source.version, source.resource).path(namespace);
        (source.resource, asker.get(&path).await.ok())
    });
    let mut facts = Facts::new(Timestamp::now());
    let mut unread = Vec::new();
    for (resource, list) in join_all(asked).await {
        let Some(Value::Array(all)) = list.map(|mut list| list["items"].take()) else {
            unread.push(resource.to_owned());
            continue;
        };
        for object in all {
            // What cannot be read says nothing.
            let _ = facts.add(resource, object);
        }
    }
    (unread.len() < sources().len()).then_some((facts, unread))
}

/// Where an object of a story is.
pub(crate) fn spot(about: &About) -> Spot {
    let version = sources().find(|source| source.resource == about.resource && source.group == about.group);
    let place = Place::new(&about.group, version.map_or("v1", |source| source.version), &about.resource);
    Spot::new(place, &about.namespace, &about.name)
}
