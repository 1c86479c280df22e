//! The document of version 2 in protobuf: the messages of `openapi.v2` that describe Swagger, which `kubectl` reads.
//!
//! Only what our documents have is encoded. Field numbers are those of the published `OpenAPIv2.proto`.

use serde_json::Value;

/// A message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u64, message: Message) {
        self.bytes(field, &message.0);
    }

    /// A text, if the value is one.
    fn text(&mut self, field: u64, value: &Value) {
        if let Some(text) = value.as_str() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: u64, value: &Value) {
        value.as_array().into_iter().flatten().for_each(|item| self.text(field, item));
    }

    fn flag(&mut self, field: u64, value: &Value) {
        if value == &Value::Bool(true) {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    /// A map of named values.
    fn named(&mut self, field: u64, name: &str, value: Message) {
        let mut pair = Message::default();
        pair.bytes(1, name.as_bytes());
        pair.message(2, value);
        self.message(field, pair);
    }

    /// The keys that begin with `x-`.
    fn extensions(&mut self, field: u64, value: &Value) {
        for (name, value) in
            value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-"))
        {
            self.named(field, name, any(value));
        }
    }
}

/// A value of any type, as YAML. JSON is YAML.
fn any(value: &Value) -> Message {
    let mut any = Message::default();
    any.bytes(2, value.to_string().as_bytes());
    any
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Encodes a document.
pub(super) fn document(value: &Value) -> Vec<u8> {
    let mut document = Message::default();
    document.text(1, &value["swagger"]);
    let mut info = Message::default();
    info.text(1, &value["info"]["title"]);
    info.text(2, &value["info"]["version"]);
    document.message(2, info);
    let mut paths = Message::default();
    for (name, path) in entries(&value["paths"]) {
        paths.named(2, name, path_item(path));
    }
    document.message(8, paths);
    let mut definitions = Message::default();
    for (name, definition) in entries(&value["definitions"]) {
        definitions.named(1, name, schema(definition));
    }
    document.message(9, definitions);
    document.0
}

fn path_item(value: &Value) -> Message {
    let mut item = Message::default();
    for (field, verb) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(value) = value.get(verb) {
            item.message(field, operation(value));
        }
    }
    value["parameters"].as_array().into_iter().flatten().for_each(|value| item.message(9, parameter(value)));
    item
}

fn operation(value: &Value) -> Message {
    let mut operation = Message::default();
    operation.texts(1, &value["tags"]);
    operation.text(5, &value["operationId"]);
    operation.texts(6, &value["produces"]);
    operation.texts(7, &value["consumes"]);
    value["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .for_each(|value| operation.message(8, parameter(value)));
    let mut responses = Message::default();
    for (code, value) in entries(&value["responses"]) {
        let (mut item, mut response) = (Message::default(), Message::default());
        response.text(1, &value["description"]);
        item.message(1, schema(&value["schema"]));
        response.message(2, item);
        let mut either = Message::default();
        either.message(1, response);
        responses.named(1, code, either);
    }
    operation.message(9, responses);
    operation.extensions(13, value);
    operation
}

/// A parameter, within the three messages that say which sort it is.
fn parameter(value: &Value) -> Message {
    let (mut item, mut either, mut inner) = (Message::default(), Message::default(), Message::default());
    if value["in"] == "body" {
        inner.text(2, &value["name"]);
        inner.text(3, &value["in"]);
        inner.flag(4, &value["required"]);
        inner.message(5, schema(&value["schema"]));
        either.message(1, inner);
    } else {
        let (sort, type_field) = if value["in"] == "path" { (4, 5) } else { (3, 6) };
        inner.flag(1, &value["required"]);
        inner.text(2, &value["in"]);
        inner.text(3, &value["description"]);
        inner.text(4, &value["name"]);
        inner.text(type_field, &value["type"]);
        let mut sorted = Message::default();
        sorted.message(sort, inner);
        either.message(2, sorted);
    }
    item.message(1, either);
    item
}

fn schema(value: &Value) -> Message {
    let mut schema_message = Message::default();
    schema_message.text(1, &value["$ref"]);
    schema_message.text(2, &value["format"]);
    schema_message.text(4, &value["description"]);
    schema_message.texts(19, &value["required"]);
    value["enum"].as_array().into_iter().flatten().for_each(|value| schema_message.message(20, any(value)));
    if let Some(additional) = value.get("additionalProperties") {
        let mut item = Message::default();
        match additional {
            Value::Bool(_) => item.flag(2, additional),
            additional => item.message(1, schema(additional)),
        }
        schema_message.message(21, item);
    }
    if value.get("type").is_some() {
        let mut kind = Message::default();
        kind.text(1, &value["type"]);
        kind.texts(1, &value["type"]);
        schema_message.message(22, kind);
    }
    if let Some(items) = value.get("items") {
        let mut item = Message::default();
        item.message(1, schema(items));
        schema_message.message(23, item);
    }
    if value.get("properties").is_some() {
        let mut properties = Message::default();
        for (name, value) in entries(&value["properties"]) {
            properties.named(1, name, schema(value));
        }
        schema_message.message(25, properties);
    }
    schema_message.extensions(31, value);
    schema_message
}
