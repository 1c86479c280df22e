use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::objects::builtin;

const DEPLOYMENT: &str = r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web","namespace":"a","uid":"u","labels":{"app":"web"}},"spec":{"replicas":2,"selector":{},"template":{}}}"#;

fn entry() -> Arc<Entry> {
    Arc::new(
        Entry::read(
            Bytes::from_static(DEPLOYMENT.as_bytes()),
            Revision(7),
            &crate::watch::IndexedFields::none(),
        )
        .unwrap(),
    )
}

fn list() -> ObjectList {
    ObjectList {
        objects: vec![entry(), entry()],
        revision: Revision(9),
        continue_token: Some("more".into()),
        remaining: Some(3),
    }
}

fn written(
    group: &str,
    form: Form,
    include: IncludeObject,
    write: impl Fn(&Writer<'_>, &mut Vec<u8>),
) -> Value {
    let kinds = builtin();
    let version = if group == "apps" { "v1" } else { "v1beta1" };
    let row = kinds.served(group, version, "deployments").unwrap();
    let writer = Writer::new(row, (group, version), form, Timestamp::UNIX_EPOCH).including(include);
    let mut out = Vec::new();
    write(&writer, &mut out);
    serde_json::from_slice(&out).unwrap()
}

const TABLE: Form = Form::Table(MetaVersion::V1);

#[test]
fn a_scale_has_a_table_of_its_own_and_what_else_is_answered_has_none() {
    let metadata = json!({"name": "web", "namespace": "a", "resourceVersion": "7"});
    let scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": 3}, "status": {"replicas": 2},
    });
    let write = |value: &Value, form| {
        written("apps", form, IncludeObject::default(), |writer, out| writer.value(value, out))
    };
    let table = write(&scale, TABLE);
    let columns: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|of| &of["name"]).collect();
    assert_eq!(columns, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(table["rows"][0]["cells"], json!(["web", 3, 2, "<unknown>"]));
    assert_eq!(table["rows"][0]["object"]["metadata"], metadata);
    assert_eq!(write(&scale, Form::Metadata(MetaVersion::V1))["kind"], "PartialObjectMetadata");
    assert_eq!(write(&scale, Form::Object), scale);
    let status = json!({"kind": "Status", "apiVersion": "v1"});
    assert_eq!(write(&status, TABLE), status);
}

#[test]
fn lists_have_their_metadata_in_every_form() {
    for (form, kind, items) in [
        (Form::Object, "DeploymentList", "items"),
        (Form::Metadata(MetaVersion::V1), "PartialObjectMetadataList", "items"),
        (TABLE, "Table", "rows"),
    ] {
        let list = written("apps", form, IncludeObject::None, |writer, out| {
            writer.list(&list(), out).unwrap();
        });
        assert_eq!(list["kind"], kind);
        let metadata = json!({"resourceVersion": "9", "continue": "more", "remainingItemCount": 3});
        assert_eq!(list["metadata"], metadata);
        assert_eq!(list[items].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn a_list_of_nothing_is_null_where_kubernetes_makes_the_form_alike_for_all() {
    let kinds = builtin();
    for (resource, form, items, told) in [
        ("deployments", Form::Object, "items", json!([])),
        ("deployments", Form::Metadata(MetaVersion::V1), "items", Value::Null),
        ("deployments", TABLE, "rows", json!([])),
        ("limitranges", TABLE, "rows", Value::Null),
    ] {
        let group = if resource == "deployments" { "apps" } else { "" };
        let row = kinds.served(group, "v1", resource).unwrap();
        let writer = Writer::new(row, (group, "v1"), form, Timestamp::UNIX_EPOCH);
        let mut out = Vec::new();
        writer.list(&ObjectList { objects: Vec::new(), ..list() }, &mut out).unwrap();
        let list: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(list.get(items), Some(&told), "{resource}");
    }
    // What is made up when it is asked for has no revision.
    let row = kinds.served("", "v1", "componentstatuses").unwrap();
    let writer = Writer::new(row, ("", "v1"), Form::Object, Timestamp::UNIX_EPOCH);
    let (mut out, list) =
        (Vec::new(), ObjectList { objects: Vec::new(), continue_token: None, remaining: None, ..list() });
    writer.list(&list, &mut out).unwrap();
    let told: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(told["metadata"], json!({}));
}

#[test]
fn rows_have_a_cell_for_each_column_and_as_much_of_the_object_as_asked() {
    let meta = json!({"name": "web", "namespace": "a", "uid": "u", "labels": {"app": "web"}, "resourceVersion": "7"});
    for (include, object) in [
        (IncludeObject::None, Value::Null),
        (
            IncludeObject::Metadata,
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}),
        ),
    ] {
        let table = written("apps", TABLE, include, |writer, out| writer.object(&entry(), out).unwrap());
        let columns = table["columnDefinitions"].as_array().unwrap();
        let row = &table["rows"][0];
        assert_eq!(row["cells"].as_array().map(Vec::len), Some(columns.len()));
        assert_eq!((&row["cells"][0], &columns[0]["format"]), (&json!("web"), &json!("name")));
        assert_eq!(row["object"], object);
    }
    let whole =
        written("apps", TABLE, IncludeObject::Object, |writer, out| writer.object(&entry(), out).unwrap());
    assert_eq!(whole["rows"][0]["object"]["spec"]["replicas"], 2);
}

#[test]
fn objects_go_out_in_the_version_that_was_asked_for() {
    for group in ["apps", "extensions"] {
        let object = written(group, Form::Object, IncludeObject::None, |writer, out| {
            writer.object(&entry(), out).unwrap();
        });
        let version = if group == "apps" { "apps/v1" } else { "extensions/v1beta1" };
        assert_eq!(
            (&object["apiVersion"], &object["metadata"]["resourceVersion"]),
            (&json!(version), &json!("7"))
        );
    }
}

#[test]
fn events_are_lines_and_only_the_first_has_columns() {
    let lines = |form, event: WatchEvent, first| {
        written("apps", form, IncludeObject::None, |writer, out| {
            writer.event(&event, first, out).unwrap();
            assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        })
    };
    let event = lines(TABLE, WatchEvent::Added(entry()), true);
    assert_eq!(event["type"], "ADDED");
    assert!(event["object"]["columnDefinitions"].is_array());
    let event = lines(TABLE, WatchEvent::Deleted(entry()), false);
    assert!(event["object"]["columnDefinitions"].is_null());
    let mark = WatchEvent::Bookmark { revision: Revision(8), initial_events_end: true };
    let event = lines(Form::Object, mark, false);
    assert_eq!(event["object"]["metadata"]["resourceVersion"], "8");
    assert_eq!(event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let mut out = Vec::new();
    Writer::error(&Status::expired("too old"), &mut out);
    let event: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
}

#[test]
fn clients_get_the_form_they_ask_for() {
    let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                   application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
                    application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
    for (accept, form) in [
        (kubectl, Ok((TABLE, Format::Json))),
        (metadata, Ok((Form::Metadata(MetaVersion::V1), Format::Json))),
        ("application/json;as=Table;v=v9;g=meta.k8s.io, application/json", Ok((Form::Object, Format::Json))),
        ("application/vnd.kubernetes.protobuf,application/json", Ok((Form::Object, Format::Json))),
        ("application/yaml", Ok((Form::Object, Format::Yaml))),
        ("text/html,*/*;q=0.8", Ok((Form::Object, Format::Json))),
        ("", Ok((Form::Object, Format::Json))),
        ("text/html", Err(406)),
        ("application/*", Err(406)),
    ] {
        let shown = Offer { tables: true, streams: false };
        assert_eq!(Form::negotiate(accept, shown).map_err(|status| status.code()), form, "{accept}");
    }
    // What has no tables is answered in the next form that is accepted, if there is one.
    assert_eq!(Form::negotiate(kubectl, Offer::default()), Ok((Form::Object, Format::Json)));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    assert_eq!(Form::negotiate(table, Offer::default()).unwrap_err().code(), 406);
    assert_eq!(Form::negotiate_document(kubectl), Ok(Format::Json));
    assert_eq!(Form::negotiate_document(table).unwrap_err().code(), 406);
    // Groups are answered by who knows what stands for several types.
    assert_eq!(Form::negotiate_groups("application/*"), Ok(Format::Json));
    assert_eq!(Form::negotiate_document("application/*").unwrap_err().code(), 406);
    for (accept, takes) in
        [("", true), ("text/html, */*;q=0.1", true), (table, true), ("application/yaml", false)]
    {
        assert_eq!(Form::negotiate_json(accept).is_ok(), takes, "{accept}");
    }
    let of_lists = Form::negotiate("text/html", Offer { streams: true, ..Offer::default() }).unwrap_err();
    assert!(of_lists.message().ends_with("application/vnd.kubernetes.protobuf;stream=watch"), "{of_lists}");
}
