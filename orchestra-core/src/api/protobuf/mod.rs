//! Bodies of requests in protobuf, which Go clients write for the built-in kinds: kubectl from 1.31 on, among others.
//!
//! A body is an envelope, which names the kind, around the message of that kind. The message is turned into the JSON
//! that the same client would have sent: one walker goes over the bytes by the table of [`schema`], and a request in
//! protobuf is from there on like any other. Answers are in JSON, which every client accepts that sends protobuf.
//!
//! Go writes fields that are not pointers even when they are zero, so zero says nothing about them and is left out.
//! What a pointer points to is kept. Fields with unknown numbers are skipped. Go's clients may be newer than this.
//!
//! How much memory a body takes is bounded by its length, how much stack by the depth of the table.

mod schema;
#[cfg(test)]
mod tests;
mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use thiserror::Error;

use self::schema::{Field, Message, Shape, Type};
use self::wire::{Fault, Reader, Wire};
use super::{Reason, Status};

/// The media type of these bodies.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// What is wrong, and in which field, as a path of names.
#[derive(Debug, Error)]
#[error("{path}: {fault}")]
struct Malformed {
    path: String,
    fault: Fault,
}

impl From<Fault> for Malformed {
    fn from(fault: Fault) -> Self {
        Self { path: String::new(), fault }
    }
}

impl Malformed {
    fn within(mut self, field: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.path = format!("{field}{dot}{}", self.path);
        self
    }
}

/// Reads an object of a built-in kind.
///
/// # Errors
/// `BadRequest` when the bytes are malformed, `UnsupportedMediaType` when there is no protobuf message of the kind.
pub(crate) fn decode(body: &[u8]) -> Result<Value, Status> {
    let malformed =
        |why: String| Status::bad_request(format!("the body of the request is not valid protobuf: {why}"));
    let envelope = body.strip_prefix(MAGIC).ok_or_else(|| {
        malformed("it does not begin with the four bytes \"k8s\\0\" that Kubernetes' envelope has".to_owned())
    })?;
    let envelope = Envelope::read(envelope).map_err(|fault| malformed(format!("envelope: {fault}")))?;
    let message = envelope.message()?;
    let mut object = Map::new();
    fill(&mut object, message, envelope.raw)
        .map_err(|error| malformed(error.within(envelope.kind).to_string()))?;
    object.insert("apiVersion".to_owned(), envelope.api_version.into());
    object.insert("kind".to_owned(), envelope.kind.into());
    Ok(Value::Object(object))
}

/// `runtime.Unknown`: a message, and what it is.
#[derive(Debug, Default)]
struct Envelope<'b> {
    api_version: &'b str,
    kind: &'b str,
    raw: &'b [u8],
    encoding: &'b str,
    content_type: &'b str,
}

impl<'b> Envelope<'b> {
    fn read(bytes: &'b [u8]) -> Result<Self, Fault> {
        let text = |wire: Option<Wire<'b>>| wire.map_or(Ok(""), Wire::text);
        let [type_meta, raw, encoding, content_type] = wire::fields(bytes)?;
        let [api_version, kind] = wire::fields(type_meta.map_or(Ok(&[][..]), Wire::bytes)?)?;
        Ok(Self {
            api_version: text(api_version)?,
            kind: text(kind)?,
            raw: raw.map_or(Ok(&[][..]), Wire::bytes)?,
            encoding: text(encoding)?,
            content_type: text(content_type)?,
        })
    }

    fn message(&self) -> Result<&'static Message, Status> {
        let Self { api_version, kind, encoding, content_type, .. } = self;
        let unsupported = |why: String| Err(Status::new(Reason::UnsupportedMediaType, why));
        if !encoding.is_empty() || !matches!(*content_type, "" | MEDIA_TYPE) {
            return unsupported(format!(
                "the protobuf envelope holds {content_type:?} encoded as {encoding:?}; only {MEDIA_TYPE} without an \
                 encoding is read"
            ));
        }
        // Options and statuses go by whichever group the client works with.
        let api_version =
            if matches!(*kind, "DeleteOptions" | "Status") { "meta.k8s.io/v1" } else { api_version };
        match Message::find(api_version, kind) {
            Some(message) => Ok(message),
            None => unsupported(format!(
                "{kind:?} of {:?} cannot be read from protobuf; send it as application/json",
                self.api_version
            )),
        }
    }
}

/// Adds to an object the fields that stand in a message. Of a field that stands twice, the last counts; messages are
/// laid over each other.
fn fill(object: &mut Map<String, Value>, message: &Message, bytes: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        let Some(field) = message.field(number) else { continue };
        match (field.name, field.of) {
            (Some(name), _) => put(object, field, name, wire).map_err(|error| error.within(name))?,
            (None, Type::Message(inlined)) => nest(object, inlined, wire)?,
            (None, _) => {}
        }
    }
    Ok(())
}

fn put(object: &mut Map<String, Value>, field: &Field, name: &str, wire: Wire<'_>) -> Result<(), Malformed> {
    match (field.shape, field.of) {
        (Shape::List, of) => {
            let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                push(list, of, wire)?;
            }
            return Ok(());
        }
        (Shape::Map, of) => {
            let [key, value] = wire::fields(wire.bytes()?)?;
            let key = key.map_or(Ok(""), Wire::text)?;
            let value = single(of, value.unwrap_or(Wire::Bytes(&[])))?;
            let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key.to_owned(), value);
            }
            return Ok(());
        }
        (Shape::Plain | Shape::Pointer, _) => {}
    }
    let value = match (field.of, object.remove(name)) {
        (Type::Message(of), Some(Value::Object(mut inner))) => {
            nest(&mut inner, of, wire)?;
            Value::Object(inner)
        }
        (of, _) => single(of, wire)?,
    };
    let missing = if field.shape == Shape::Pointer { value.is_null() } else { is_zero(&value) };
    if !missing {
        object.insert(name.to_owned(), value);
    }
    Ok(())
}

/// Adds an item to a list, or all at once when they are numbers that were packed.
fn push(list: &mut Vec<Value>, of: Type, wire: Wire<'_>) -> Result<(), Malformed> {
    if let (Type::Bool | Type::Int32 | Type::Int64, Wire::Bytes(packed)) = (of, wire) {
        let mut packed = Reader::new(packed);
        while let Some(item) = packed.packed()? {
            list.push(single(of, item)?);
        }
    } else {
        list.push(single(of, wire)?);
    }
    Ok(())
}

fn nest(object: &mut Map<String, Value>, of: &str, wire: Wire<'_>) -> Result<(), Malformed> {
    let bytes = wire.bytes()?;
    // Of a message that is not in the table no field is known, and so all are skipped.
    Message::named(of).map_or(Ok(()), |message| fill(object, message, bytes))
}

/// One value as JSON has it; null for a time or JSON that is not there.
fn single(of: Type, wire: Wire<'_>) -> Result<Value, Malformed> {
    Ok(match of {
        Type::Bool => (wire.varint()? != 0).into(),
        // Protobuf extends negative numbers to 64 bits.
        Type::Int32 => (wire.varint()? as i32).into(),
        Type::Int64 => (wire.varint()? as i64).into(),
        Type::String => wire.text()?.into(),
        Type::Bytes => STANDARD.encode(wire.bytes()?).into(),
        Type::Quantity => {
            let [amount] = wire::fields(wire.bytes()?)?;
            amount.map_or(Ok(""), Wire::text)?.into()
        }
        Type::IntOrString => int_or_string(wire.bytes()?)?,
        Type::Time => time(wire.bytes()?)?.map_or(Value::Null, |time| format!("{time:.0}").into()),
        Type::MicroTime => time(wire.bytes()?)?.map_or(Value::Null, |time| format!("{time:.6}").into()),
        Type::Raw => {
            let [json] = wire::fields(wire.bytes()?)?;
            match json.map_or(Ok(&[][..]), Wire::bytes)? {
                [] => Value::Null,
                json => serde_json::from_slice(json).map_err(|_| Fault::NotJson)?,
            }
        }
        Type::Message(of) => {
            let mut object = Map::new();
            nest(&mut object, of, wire)?;
            Value::Object(object)
        }
    })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Fault> {
    let [is_text, number, text] = wire::fields(bytes)?;
    if is_text.map_or(Ok(0), Wire::varint)? == 0 {
        Ok((number.map_or(Ok(0), Wire::varint)? as i32).into())
    } else {
        Ok(text.map_or(Ok(""), Wire::text)?.into())
    }
}

/// A time; `None` for the zero time, which is written without any field.
fn time(bytes: &[u8]) -> Result<Option<Timestamp>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let [seconds, nanos] = wire::fields(bytes)?;
    let seconds = seconds.map_or(Ok(0), Wire::varint)? as i64;
    let nanos = nanos.map_or(Ok(0), Wire::varint)? as i32;
    Timestamp::new(seconds, nanos).map(Some).map_err(|_| Fault::NotATime)
}

/// Whether a field that holds this is one that Go would take for missing.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_i64() == Some(0),
        Value::String(value) => value.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}
