//! Writes what [`decode`](crate::api::protobuf::decode) reads, by the same table, to see that nothing is lost on the way.

use serde_json::{Map, Value};

use crate::api::schema::{Field, Kind, Other, Shape, Type};

pub(super) fn encode(api_version: &str, kind: &str, of: &Type, object: &Value) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    let raw = object.as_object().map(|fields| message(of, fields)).unwrap_or_default();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, &raw)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    [varint(u64::from(number) << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn message(of: &Type, fields: &Map<String, Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for held in of.numbers() {
        if let ("", Kind::Message(inlined)) = (held.name, held.of) {
            let within = message(inlined.get(), fields);
            bytes.extend(field(held.number, &within));
        } else if let Some(value) = fields.get(held.name) {
            bytes.extend(whole(held, value));
        }
    }
    bytes
}

fn whole(held: &Field, value: &Value) -> Vec<u8> {
    match (held.shape, value) {
        (Shape::List, Value::Array(items)) => {
            items.iter().flat_map(|item| single(held.number, held.of, item)).collect()
        }
        (Shape::Map, Value::Object(entries)) => entries
            .iter()
            .flat_map(|(key, value)| {
                field(held.number, &[field(1, key.as_bytes()), single(2, held.of, value)].concat())
            })
            .collect(),
        (Shape::MapOfLists, Value::Object(entries)) => entries
            .iter()
            .flat_map(|(key, list)| {
                let items = list.as_array().into_iter().flatten();
                let list: Vec<u8> = items.flat_map(|item| single(1, held.of, item)).collect();
                field(held.number, &[field(1, key.as_bytes()), field(2, &list)].concat())
            })
            .collect(),
        (_, value) => single(held.number, held.of, value),
    }
}

fn single(number: u32, of: Kind, value: &Value) -> Vec<u8> {
    use base64::Engine as _;
    let text = value.as_str().unwrap_or_default();
    let number_of =
        |value: &Value| [varint(u64::from(number) << 3), varint(value.as_i64().unwrap_or(0) as u64)].concat();
    match of {
        Kind::Bool => number_of(&i64::from(value.as_bool().unwrap_or(false)).into()),
        Kind::Int32 | Kind::Int64 => number_of(value),
        Kind::Float64 => {
            let bits = value.as_f64().unwrap_or(f64::NAN).to_le_bytes();
            [varint(u64::from(number) << 3 | 1), bits.to_vec()].concat()
        }
        Kind::String => field(number, text.as_bytes()),
        Kind::Bytes => field(number, &base64::prelude::BASE64_STANDARD.decode(text).unwrap_or_default()),
        Kind::Quantity => field(number, &field(1, text.as_bytes())),
        Kind::IntOrString => match value {
            Value::String(text) => field(number, &[&[8, 1][..], &field(3, text.as_bytes())].concat()),
            value => field(number, &[vec![16], varint(value.as_i64().unwrap_or(0) as u64)].concat()),
        },
        Kind::Time | Kind::MicroTime => match text.parse::<jiff::Timestamp>() {
            Ok(time) => {
                let (seconds, nanos) = (time.as_second() as u64, i64::from(time.subsec_nanosecond()) as u64);
                field(number, &[vec![8], varint(seconds), vec![16], varint(nanos)].concat())
            }
            Err(_) => field(number, &[]),
        },
        Kind::Raw if value.is_null() => field(number, &[]),
        Kind::Raw => field(number, &field(1, value.to_string().as_bytes())),
        Kind::Message(of) => {
            field(number, &value.as_object().map(|fields| message(of.get(), fields)).unwrap_or_default())
        }
        Kind::Either(of, other) => field(number, &either(Kind::Message(of), other, value)),
    }
}

fn either(message: Kind, other: Other, value: &Value) -> Vec<u8> {
    match (other, value) {
        (_, Value::Null) => Vec::new(),
        (Other::Bool, Value::Bool(_)) => single(1, Kind::Bool, value),
        (Other::Bool, value) => single(2, message, value),
        (Other::Strings, Value::Array(items)) => {
            items.iter().flat_map(|item| single(2, Kind::String, item)).collect()
        }
        (_, Value::Array(items)) => items.iter().flat_map(|item| single(2, message, item)).collect(),
        (_, value) => single(1, message, value),
    }
}
