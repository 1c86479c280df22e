use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::Status;

const CAPTURED: &str = include_str!("captured.txt");

/// The commands, bodies and objects of the captures.
fn captured() -> Vec<(&'static str, Vec<u8>, Value)> {
    let lines: Vec<&str> =
        CAPTURED.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let entries = lines.chunks_exact(3);
    assert!(entries.remainder().is_empty());
    entries.map(|entry| (entry[0], hex(entry[1]), serde_json::from_str(entry[2]).unwrap())).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A field of bytes.
fn held(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    assert!(bytes.len() < 128 && number < 16, "one byte each");
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

/// A field of a small number.
fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn all(fields: &[Vec<u8>]) -> Vec<u8> {
    fields.concat()
}

fn enveloped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = all(&[held(1, api_version), held(2, kind)]);
    [MAGIC, &held(1, type_meta), &held(2, raw)].concat()
}

/// What a message of a kind says, without its kind.
fn read(api_version: &str, kind: &str, raw: &[u8]) -> Value {
    let mut object = decode(&enveloped(api_version, kind, raw)).unwrap();
    let object = object.as_object_mut().unwrap();
    assert_eq!(object.remove("apiVersion").unwrap(), api_version);
    assert_eq!(object.remove("kind").unwrap(), kind);
    Value::Object(object.clone())
}

#[test]
fn what_kubectl_sends_is_what_it_means() {
    assert_eq!(captured().len(), 8);
    for (command, body, object) in captured() {
        assert_eq!(decode(&body).unwrap(), object, "{command}");
    }
}

#[test]
fn zero_counts_only_behind_a_pointer() {
    let spec = all(&[number(1, 0), held(4, ""), number(5, 0), number(6, 0), number(7, 0)]);
    assert_eq!(
        read("apps/v1", "Deployment", &held(2, spec)),
        json!({ "spec": { "replicas": 0, "revisionHistoryLimit": 0 } })
    );
    assert_eq!(
        read("v1", "ServiceAccount", &all(&[held(1, held(1, "")), number(4, 0)])),
        json!({ "automountServiceAccountToken": false })
    );
    assert_eq!(read("v1", "Namespace", &held(2, held(1, ""))), json!({ "spec": { "finalizers": [""] } }));
}

#[test]
fn negative_numbers_are_of_their_size() {
    let minus_one = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let value = [&[2 << 3][..], &minus_one].concat();
    assert_eq!(read("scheduling.k8s.io/v1", "PriorityClass", &value), json!({ "value": -1 }));
    let revision = [&[3 << 3][..], &minus_one].concat();
    assert_eq!(read("apps/v1", "ControllerRevision", &revision), json!({ "revision": -1 }));
}

#[test]
fn times_amounts_and_json_are_as_json_has_them() {
    let at = all(&[number(1, 61), number(2, 100)]);
    assert_eq!(
        read("v1", "Namespace", &held(1, all(&[held(8, &at), held(9, "")]))),
        json!({ "metadata": { "creationTimestamp": "1970-01-01T00:01:01Z" } })
    );
    assert_eq!(
        read(
            "coordination.k8s.io/v1",
            "Lease",
            &held(2, held(3, all(&[number(1, 61), [vec![16], vec![0x80, 0x89, 0x7a]].concat()])))
        ),
        json!({ "spec": { "acquireTime": "1970-01-01T00:01:01.002000Z" } })
    );
    let data = held(2, held(1, br#"{"a":[1,{}]}"#));
    assert_eq!(read("apps/v1", "ControllerRevision", &data), json!({ "data": { "a": [1, {}] } }));
    let port = |target: Vec<u8>| read("v1", "Service", &held(2, held(1, held(4, target))));
    assert_eq!(
        port(all(&[number(1, 1), held(3, "http")])),
        json!({ "spec": { "ports": [{ "targetPort": "http" }] } })
    );
    assert_eq!(
        port(all(&[number(1, 0), number(2, 80)])),
        json!({ "spec": { "ports": [{ "targetPort": 80 }] } })
    );
    assert_eq!(port(number(2, 0)), json!({ "spec": { "ports": [{}] } }));
}

#[test]
fn the_last_of_a_field_counts_and_messages_are_laid_over_each_other() {
    let spec = |fields: &[Vec<u8>]| held(2, all(fields));
    let raw = all(&[
        spec(&[number(1, 3), number(7, 1)]),
        spec(&[number(1, 4), number(7, 0)]),
        held(2, number(5, 2)),
    ]);
    assert_eq!(
        read("apps/v1", "Deployment", &raw),
        json!({ "spec": { "replicas": 4, "minReadySeconds": 2 } })
    );
}

#[test]
fn unknown_fields_of_every_wire_type_are_skipped() {
    let unknown = all(&[
        number(15, 1),
        held(15, "x"),
        [&[15 << 3 | 1][..], &[0; 8]].concat(),
        [&[15 << 3 | 5][..], &[0; 4]].concat(),
    ]);
    assert_eq!(
        read("v1", "Namespace", &all(&[unknown.clone(), held(1, all(&[held(1, "n"), unknown]))])),
        json!({ "metadata": { "name": "n" } })
    );
}

#[test]
fn lists_of_numbers_may_be_packed() {
    let groups = |fields: &[Vec<u8>]| read("v1", "Pod", &held(2, held(14, all(fields))));
    let both = json!({ "spec": { "securityContext": { "supplementalGroups": [0, 7] } } });
    assert_eq!(groups(&[number(4, 0), number(4, 7)]), both);
    assert_eq!(groups(&[held(4, [0, 7])]), both);
    assert_eq!(groups(&[held(4, [0]), held(4, []), number(4, 7)]), both);
    assert_eq!(groups(&[held(4, [])]), json!({ "spec": { "securityContext": {} } }));
}

#[test]
fn options_go_by_any_group() {
    for api_version in ["v1", "apps/v1", "meta.k8s.io/v1"] {
        let raw = all(&[number(1, 0), held(2, held(1, "u")), held(4, "Orphan"), held(5, "All")]);
        assert_eq!(
            read(api_version, "DeleteOptions", &raw),
            json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": "u" }, "propagationPolicy": "Orphan", "dryRun": ["All"] })
        );
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_said() {
    let namespace = |raw: &[u8]| enveloped("v1", "Namespace", raw);
    let envelope = "the body of the request is not valid protobuf: ";
    for (body, code, message) in [
        (b"{}".to_vec(), 400, format!("{envelope}it does not begin with the four bytes \"k8s\\0\" that Kubernetes' envelope has")),
        (b"k8s\0\x0a\x7f".to_vec(), 400, format!("{envelope}envelope: the data ends in the middle of it")),
        (namespace(&held(1, [0x0a, 9])), 400, format!("{envelope}Namespace.metadata: the data ends in the middle of it")),
        (namespace(&held(1, held(1, [0xff]))), 400, format!("{envelope}Namespace.metadata.name: it is not valid UTF-8")),
        (namespace(&number(1, 1)), 400, format!("{envelope}Namespace.metadata: wire type 0 is not one that Kubernetes writes there")),
        (namespace(&[0x0b]), 400, format!("{envelope}Namespace: wire type 3 is not one that Kubernetes writes there")),
        (namespace(&[0x02, 0]), 400, format!("{envelope}Namespace: it has no field number that protobuf allows")),
        (namespace(&[0xff; 11]), 400, format!("{envelope}Namespace: a number is longer than 64 bits")),
        (
            enveloped("example.com/v1", "Widget", b""),
            415,
            "\"Widget\" of \"example.com/v1\" cannot be read from protobuf; send it as application/json".to_owned(),
        ),
        (
            [enveloped("v1", "Namespace", b""), held(3, "gzip")].concat(),
            415,
            "the protobuf envelope holds \"\" encoded as \"gzip\"; only application/vnd.kubernetes.protobuf without an \
             encoding is read"
                .to_owned(),
        ),
    ] {
        let status = Status::from(decode(&body).unwrap_err());
        assert_eq!((status.code(), status.message()), (code, &*message));
    }
}

#[test]
fn a_length_that_lies_reserves_nothing() {
    let longest = [&[0x12][..], &[0xff; 9], &[0x01]].concat();
    assert!(matches!(decode(&[MAGIC, &longest].concat()), Err(Undecodable::Malformed(_))));
    assert!(matches!(decode(&enveloped("v1", "Pod", &longest)), Err(Undecodable::Malformed(_))));
}

#[test]
fn no_body_that_was_cut_off_is_taken_for_whole() {
    for (command, body, object) in captured() {
        // The last four bytes are empty fields of the envelope, which may as well be missing.
        for end in 0..body.len() - 4 {
            assert_ne!(decode(&body[..end]).ok(), Some(object.clone()), "{command}, {end} bytes");
        }
    }
}

/// How many values there are in a value.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum(),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn garbage_never_panics_nor_grows(
        kind in prop::sample::select(vec!["Pod", "Service", "Event", "Node", "Secret"]),
        raw in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        if let Ok(object) = decode(&enveloped("v1", kind, &raw)) {
            prop_assert!(size(&object) <= raw.len() + 3);
        }
    }

    #[test]
    fn a_damaged_body_never_panics_nor_grows(
        which in 0..8_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (_, mut body, _) = captured().swap_remove(which);
        for (place, byte) in damage {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if let Ok(object) = decode(&body) {
            prop_assert!(size(&object) <= body.len());
        }
    }
}
