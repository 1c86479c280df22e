//! Pages that change while they are looked at: a stream that says when to look again, and logs.
//!
//! A page names what it shows as paths of collections with the revision at which it read them. Each is watched, and the
//! browser is told that something changed, not what: it asks for the page again and changes what differs. So there is one
//! way in which a page is made, and none in which it goes stale.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{self, BoxStream, select_all};
use futures::{StreamExt as _, TryStreamExt as _};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use crate::answer;
use crate::api::{Body, Failure, with};
use crate::route::{Place, Query, Spot, escape};
use crate::visit::Visit;

/// How often a page is made again at most.
const PAUSE: Duration = Duration::from_millis(400);
/// How often a stream says that it is there, so that nobody in between gives it up.
const BEAT: Duration = Duration::from_secs(20);
/// How many collections a page follows.
const MOST: usize = 8;

/// One collection that a page shows: where it is, and which of its objects.
pub(crate) struct Follow {
    place: Place,
    namespace: String,
    labels: String,
    fields: String,
}

impl Follow {
    pub(crate) fn all(place: &Place, namespace: &str) -> Self {
        Self {
            place: place.clone(),
            namespace: namespace.to_owned(),
            labels: String::new(),
            fields: String::new(),
        }
    }

    pub(crate) fn selected(self, labels: &str, fields: &str) -> Self {
        Self { labels: labels.to_owned(), fields: fields.to_owned(), ..self }
    }

    pub(crate) fn one(spot: &Spot) -> Self {
        Self::all(&spot.place, &spot.namespace).selected("", &format!("metadata.name={}", spot.name))
    }
}

/// The URL of a page's stream.
pub(crate) fn url(follows: &[Follow], revision: &str) -> String {
    let mut url = format!("live?at={}", escape(revision));
    for follow in follows {
        let query = follow.place.query().with("in", &*follow.namespace);
        let query = query.with("l", &*follow.labels).with("f", &*follow.fields);
        url.push_str(&format!("&w={}", escape(&query.to_string())));
    }
    url
}

/// Says when what a page shows has changed.
pub(crate) async fn follow(visit: &Visit<'_>) -> Response<Body> {
    let at = visit.query.get("at");
    let watches = visit.query.all("w").take(MOST).map(|text| {
        let query = Query::parse(text);
        let place = Place::of(&query);
        let is_sound = Spot::new(place.clone(), query.get("in"), "x").is_sound();
        let words = Query::default()
            .with("watch", "1")
            .with("resourceVersion", at)
            .with("labelSelector", query.get("l"))
            .with("fieldSelector", query.get("f"))
            .with("timeoutSeconds", "1500");
        let path = with(&place.path(query.get("in")), &words);
        async move {
            match is_sound {
                true => visit.asker.open(&path, true).await,
                false => Err(Failure::new(400, "no collection is named")),
            }
        }
    });
    // What may not be read is not shown either, and need not be followed.
    let open: Vec<BoxStream<'static, ()>> =
        join_all(watches).await.into_iter().filter_map(Result::ok).map(changes).collect();
    if open.is_empty() {
        // Nothing to follow: the browser is told not to come back.
        return answer::text(204, "");
    }
    let watches = select_all(open.into_iter().map(|watch| watch.chain(stream::once(async {})).boxed()));
    let said = stream::unfold(watches, next);
    let hello = stream::once(async { Bytes::from_static(b"retry: 3000\n\n") });
    let frames = hello.chain(said).map(|chunk| Ok(Frame::data(chunk)));
    answer::of(200, "text/event-stream", StreamBody::new(frames).boxed_unsync())
}

type Changes = stream::SelectAll<BoxStream<'static, ()>>;

/// Waits for a change, and for those that come right after it.
async fn next(mut watches: Changes) -> Option<(Bytes, Changes)> {
    match tokio::time::timeout(BEAT, watches.next()).await {
        Err(_) => Some((Bytes::from_static(b": still here\n\n"), watches)),
        Ok(None) => None,
        Ok(Some(())) => {
            tokio::time::sleep(PAUSE).await;
            while let Some(Some(())) = futures::FutureExt::now_or_never(watches.next()) {}
            Some((Bytes::from_static(b"event: change\ndata: 1\n\n"), watches))
        }
    }
}

/// The events of a watch, each as that there was one.
fn changes(body: Body) -> BoxStream<'static, ()> {
    let data = body.into_data_stream().map_ok(|_| ());
    data.filter_map(async |chunk| chunk.ok()).boxed()
}

/// The URL of a log that is followed.
pub(crate) fn log_path(spot: &Spot, query: &Query, follow: bool) -> String {
    let lines = query.get("lines").parse::<u32>().unwrap_or(500).min(100_000);
    let set = |on: bool| if on { "true" } else { "" };
    let words = Query::default()
        .with("container", query.get("c"))
        .with("previous", set(query.is_set("previous")))
        .with("timestamps", set(query.is_set("times")))
        .with("follow", set(follow))
        .with("tailLines", lines.to_string());
    with(&format!("{}/log", spot.path()), &words)
}

/// A log, and what is added to it.
pub(crate) async fn log(visit: &Visit<'_>) -> Response<Body> {
    let spot = Spot::of(&visit.query);
    if !spot.is_sound() {
        return answer::text(400, "no pod is named\n");
    }
    match visit.asker.open(&log_path(&spot, &visit.query, true), false).await {
        Ok(body) => answer::of(200, "text/plain; charset=utf-8", body),
        Err(failure) => answer::text(failure.code, &failure.message),
    }
}
