//! The order and the layout of JSON, for clients that compare bytes and for people.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::Value;

/// The fields of the documents of discovery in the order in which Kubernetes' types have them. An object is of the first
/// of these that has all its fields.
const ORDERS: &[&[&str]] = &[
    &["kind", "apiVersion", "groupVersion", "resources"],
    &["kind", "apiVersion", "groups"],
    &["kind", "apiVersion", "name", "versions", "preferredVersion", "serverAddressByClientCIDRs"],
    &[
        "name",
        "singularName",
        "namespaced",
        "group",
        "version",
        "kind",
        "verbs",
        "shortNames",
        "categories",
        "storageVersionHash",
    ],
    &["groupVersion", "version"],
    &["clientCIDR", "serverAddress"],
    &[
        "major",
        "minor",
        "emulationMajor",
        "emulationMinor",
        "minCompatibilityMajor",
        "minCompatibilityMinor",
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    ],
];

/// A document of discovery whose fields are in Kubernetes' order.
pub(crate) struct Ordered<'v>(pub(crate) &'v Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
            Value::Object(fields) => {
                let order =
                    ORDERS.iter().find(|order| fields.keys().all(|key| order.contains(&key.as_str())));
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                match order {
                    Some(order) => {
                        for (key, value) in order.iter().filter_map(|key| Some((key, fields.get(*key)?))) {
                            map.serialize_entry(key, &Ordered(value))?;
                        }
                    }
                    None => {
                        for (key, value) in fields {
                            map.serialize_entry(key, &Ordered(value))?;
                        }
                    }
                }
                map.end()
            }
            value => value.serialize(serializer),
        }
    }
}

/// The same JSON, indented by two spaces a level as Go does it.
pub(crate) fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                if let Some(end) = bytes.next_if(|next| matches!(next, b'}' | b']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b'"' => {
                out.push(byte);
                string(&mut bytes, &mut out);
            }
            byte if byte.is_ascii_whitespace() => {}
            byte => out.push(byte),
        }
    }
    out
}

/// The rest of a string, which is copied as it is.
fn string(bytes: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    while let Some(byte) = bytes.next() {
        out.push(byte);
        match byte {
            b'"' => return,
            b'\\' => out.extend(bytes.next()),
            _ => {}
        }
    }
}

fn line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', depth * 2));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_in_kubernetes_order() {
        let document = json!({
            "apiVersion": "v1", "kind": "APIResourceList", "groupVersion": "v1", "resources": [
                {"kind": "Pod", "name": "pods", "namespaced": true, "singularName": "pod", "verbs": ["get"]},
                {"other": 1, "kind": 2},
            ],
        });
        assert_eq!(
            serde_json::to_string(&Ordered(&document)).unwrap(),
            "{\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":\"v1\",\"resources\":[{\"name\":\"pods\",\
             \"singularName\":\"pod\",\"namespaced\":true,\"kind\":\"Pod\",\"verbs\":[\"get\"]},{\"kind\":2,\"other\":1}]}"
        );
    }

    #[test]
    fn the_layout_is_serde_jsons() {
        for value in [
            json!({"a": [1, {"b": "x:{},[]\"\\"}, [], {}], "c": {"d": null, "e": ""}}),
            json!([]),
            json!("a, b"),
            json!([[1.5, true]]),
        ] {
            let text = indent(value.to_string().as_bytes());
            assert_eq!(String::from_utf8(text.clone()).unwrap(), format!("{value:#}"));
            assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
            assert_eq!(indent(&text), text, "once is enough");
        }
    }
}
