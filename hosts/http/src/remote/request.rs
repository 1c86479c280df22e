//! What is asked, as HTTP has it; pure.

use bytes::Bytes;
use http::Method;
use orchestra_core::api::{
    Body, DeleteOptions, FieldValidation, ListOptions, Operation, Propagation, RevisionMatch, Target,
    WatchOptions, WriteOptions,
};
use orchestra_core::meta::Revision;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::query::AS_OF;

const JSON: &str = "application/json";
/// All but what a path or a value may hold as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request, without the server it goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    /// What the body is; empty if there is none.
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

impl Call {
    /// A read of a path.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), content_type: "", body: Bytes::new() }
    }

    /// The request for an operation.
    pub(crate) fn of(target: &Target, operation: Operation) -> Self {
        let mut query = Query::default();
        let (method, (content_type, body)) = match operation {
            Operation::Get { revision: Some(revision), revision_match: Some(RevisionMatch::Exact) } => {
                query.add(AS_OF, &revision.to_string());
                (Method::GET, nothing())
            }
            Operation::Get { revision, .. } => {
                query.revision(revision, None);
                (Method::GET, nothing())
            }
            Operation::List(options) => {
                query.list(&options);
                (Method::GET, nothing())
            }
            Operation::Create { body, options } => {
                query.write(&options);
                (Method::POST, sent(body))
            }
            Operation::Update { body, options } => {
                query.write(&options);
                (Method::PUT, sent(body))
            }
            Operation::Patch { kind, patch, force, options } => {
                query.write(&options);
                query.flag("force", force);
                (Method::PATCH, (kind.content_type(), patch))
            }
            Operation::Delete(options) => (Method::DELETE, deletion(&options)),
            Operation::DeleteCollection(list, options) => {
                query.list(&list);
                (Method::DELETE, deletion(&options))
            }
        };
        Self { method, path: query.after(path(target)), content_type, body }
    }

    /// The request for a watch. One object is watched as the only one of its name, which every server knows.
    pub(crate) fn watch(target: &Target, options: &WatchOptions) -> Self {
        let mut query = Query::default();
        query.flag("watch", true);
        query.flag("allowWatchBookmarks", options.bookmarks);
        query.revision(options.after, None);
        if let Some(initial) = options.initial_events {
            query.add("sendInitialEvents", if initial { "true" } else { "false" });
            query.add("resourceVersionMatch", "NotOlderThan");
        }
        if let Some(labels) = &options.labels {
            query.add("labelSelector", &labels.to_string());
        }
        let name = target.name.as_deref().map(|name| format!("metadata.name={name}"));
        let fields: Vec<String> = options.fields.iter().map(ToString::to_string).chain(name).collect();
        if !fields.is_empty() {
            query.add("fieldSelector", &fields.join(","));
        }
        Self::get(query.after(path(&Target { name: None, ..target.clone() })))
    }
}

fn nothing() -> (&'static str, Bytes) {
    ("", Bytes::new())
}

fn sent(body: Body) -> (&'static str, Bytes) {
    match body {
        Body::Json(bytes) => (JSON, bytes),
        Body::Yaml(bytes) => ("application/yaml", bytes),
        Body::Protobuf(bytes) => ("application/vnd.kubernetes.protobuf", bytes),
        Body::Value(value) => (JSON, value.to_string().into()),
    }
}

fn deletion(options: &DeleteOptions) -> (&'static str, Bytes) {
    let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    if options.dry_run {
        body["dryRun"] = json!(["All"]);
    }
    if let Some(seconds) = options.grace_period {
        body["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(propagation) = options.propagation {
        body["propagationPolicy"] = json!(match propagation {
            Propagation::Orphan => "Orphan",
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
        });
    }
    if let Some(uid) = &options.uid {
        body["preconditions"]["uid"] = json!(uid);
    }
    if let Some(revision) = options.revision {
        body["preconditions"]["resourceVersion"] = json!(revision.to_string());
    }
    (JSON, body.to_string().into())
}

pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

pub(crate) fn path(target: &Target) -> String {
    let mut path = match &*target.group {
        "" => format!("/api/{}", escape(&target.version)),
        group => format!("/apis/{}/{}", escape(group), escape(&target.version)),
    };
    let namespace = target.namespace.as_deref().map(|namespace| ["namespaces", namespace]);
    let steps = namespace.into_iter().flatten().chain([&*target.resource]);
    for step in steps.chain(target.name.as_deref()).chain(target.subresource.as_deref()) {
        path.push('/');
        path.push_str(&escape(step));
    }
    path
}

#[derive(Default)]
struct Query(Vec<String>);

impl Query {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push(format!("{name}={}", escape(value)));
    }

    fn flag(&mut self, name: &str, set: bool) {
        if set {
            self.add(name, "true");
        }
    }

    fn revision(&mut self, revision: Option<Revision>, revision_match: Option<RevisionMatch>) {
        if let Some(revision) = revision {
            self.add("resourceVersion", &revision.to_string());
        }
        match revision_match {
            None => {}
            Some(RevisionMatch::Exact) => self.add("resourceVersionMatch", "Exact"),
            Some(RevisionMatch::NotOlderThan) => self.add("resourceVersionMatch", "NotOlderThan"),
        }
    }

    fn list(&mut self, options: &ListOptions) {
        if let Some(labels) = &options.labels {
            self.add("labelSelector", &labels.to_string());
        }
        if let Some(fields) = &options.fields {
            self.add("fieldSelector", &fields.to_string());
        }
        if options.limit > 0 {
            self.add("limit", &options.limit.to_string());
        }
        if let Some(token) = &options.continue_token {
            self.add("continue", token);
        }
        self.revision(options.revision, options.revision_match);
    }

    fn write(&mut self, options: &WriteOptions) {
        if options.dry_run {
            self.add("dryRun", "All");
        }
        if let Some(manager) = &options.field_manager {
            self.add("fieldManager", manager);
        }
        match options.field_validation {
            FieldValidation::Ignore => self.add("fieldValidation", "Ignore"),
            FieldValidation::Warn => {}
            FieldValidation::Strict => self.add("fieldValidation", "Strict"),
        }
    }

    fn after(self, path: String) -> String {
        if self.0.is_empty() { path } else { format!("{path}?{}", self.0.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use orchestra_core::api::PatchKind;
    use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
    use orchestra_core::k8s_openapi::api::core::v1::{Node, Pod};
    use orchestra_core::selector::{FieldSelector, Selector};

    use super::*;
    use crate::path::Route;
    use crate::query::QueryString;

    #[test]
    fn paths_lead_back_to_what_is_meant() {
        for target in [
            Target::of::<Pod>(None),
            Target::of::<Pod>(Some("default")).named("a").sub("binding"),
            Target::of::<Deployment>(Some("kube-system")).named("web").sub("scale"),
            Target::of::<Node>(None).named("system:edge/1"),
        ] {
            let call = Call::of(&target, Operation::GET);
            let Route::Resource { target: read, .. } =
                Route::parse(&call.path, &orchestra_core::objects::builtin()).0
            else {
                panic!("{}", call.path)
            };
            assert_eq!(read, target);
        }
    }

    #[test]
    fn options_are_read_as_they_were_meant() {
        let list = ListOptions {
            labels: Some(Selector::parse("app in (a,b),!x").unwrap()),
            fields: Some(FieldSelector::parse("spec.nodeName=n").unwrap()),
            limit: 7,
            continue_token: None,
            revision: Some(Revision(3)),
            revision_match: Some(RevisionMatch::Exact),
        };
        let rest = ListOptions { continue_token: Some("a+/=".into()), ..ListOptions::default() };
        for list in [list, rest] {
            let call = Call::of(&Target::of::<Pod>(None), Operation::List(list.clone()));
            let query = QueryString::parse(call.path.split_once('?').map(|(_, query)| query)).unwrap();
            assert_eq!(format!("{:?}", query.list().unwrap()), format!("{list:?}"));
        }
        let given = DeleteOptions {
            dry_run: true,
            grace_period: Some(0),
            propagation: Some(Propagation::Foreground),
            uid: Some("u".into()),
            revision: Some(Revision(9)),
        };
        let call = Call::of(&Target::of::<Pod>(Some("d")).named("a"), Operation::Delete(given.clone()));
        let body = serde_json::from_slice(&call.body).unwrap();
        let read = QueryString::parse(None).unwrap().delete(Some(body)).unwrap();
        assert_eq!(format!("{read:?}"), format!("{given:?}"));
    }

    #[test]
    fn a_patch_says_of_which_kind_it_is() {
        let options = WriteOptions { dry_run: true, ..WriteOptions::default() };
        let patch = Operation::Patch {
            kind: PatchKind::Merge,
            patch: Bytes::from_static(b"{}"),
            force: false,
            options,
        };
        let call = Call::of(&Target::of::<Node>(None).named("n"), patch);
        assert_eq!((call.method, call.content_type), (Method::PATCH, "application/merge-patch+json"));
        assert_eq!(call.path, "/api/v1/nodes/n?dryRun=All");
    }

    #[test]
    fn one_object_is_watched_by_its_name() {
        let options = WatchOptions { bookmarks: true, after: Some(Revision(5)), ..WatchOptions::default() };
        let call = Call::watch(&Target::of::<Node>(None).named("n"), &options);
        assert_eq!(
            call.path,
            "/api/v1/nodes?watch=true&allowWatchBookmarks=true&resourceVersion=5&fieldSelector=metadata.name%3Dn"
        );
    }
}
