//! Bodies of requests in protobuf, which Go clients write for the built-in kinds: kubectl from 1.31 on, among others.
//!
//! A body is an envelope, which names the kind, around the message of that kind. The message is turned into the JSON
//! that the same client would have sent: one walker goes over the bytes by the table of
//! [`schema`](super::schema), and a request in protobuf is from there on like any other. Answers are in JSON, which every client accepts that sends protobuf.
//!
//! Go writes fields that are not pointers even when they are zero, so zero says nothing about them and is left out.
//! What a pointer points to is kept. Fields with unknown numbers are skipped. Go's clients may be newer than this.
//!
//! How much memory a body takes is bounded by its length, how much stack by [`DEEPEST`].

#[cfg(test)]
mod tests;
mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use thiserror::Error;

use self::wire::{Fault, Reader, Wire};
use super::schema::{Field, Kind, Other, Shape, Type, TypeRef};

/// The media type of these bodies.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// As deep as messages may be nested: deeper than any kind is, but for schemas of custom resources.
const DEEPEST: usize = 64;

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

/// Why a body cannot be read.
#[derive(Debug, Error)]
pub(crate) enum Undecodable {
    #[error("the body of the request is not valid protobuf: {0}")]
    Malformed(String),
    /// There is no protobuf message of the kind, or it is in another encoding.
    #[error("{0}")]
    Unsupported(String),
}

/// Reads an object of a built-in kind.
///
/// # Errors
/// When the bytes are malformed, or there is no message of the kind.
pub(crate) fn decode(body: &[u8]) -> Result<Value, Undecodable> {
    let malformed = Undecodable::Malformed;
    let envelope = body.strip_prefix(MAGIC).ok_or_else(|| {
        malformed("it does not begin with the four bytes \"k8s\\0\" that Kubernetes' envelope has".to_owned())
    })?;
    let envelope = Envelope::read(envelope).map_err(|fault| malformed(format!("envelope: {fault}")))?;
    let message = envelope.message()?;
    let mut object = Map::new();
    fill(&mut object, message, envelope.raw, DEEPEST)
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

    fn message(&self) -> Result<&'static Type, Undecodable> {
        let Self { api_version, kind, encoding, content_type, .. } = self;
        let unsupported = |why| Err(Undecodable::Unsupported(why));
        if !encoding.is_empty() || !matches!(*content_type, "" | MEDIA_TYPE) {
            return unsupported(format!(
                "the protobuf envelope holds {content_type:?} encoded as {encoding:?}; only {MEDIA_TYPE} without an \
                 encoding is read"
            ));
        }
        // Options and statuses go by whichever group the client works with.
        let api_version =
            if matches!(*kind, "DeleteOptions" | "Status") { "meta.k8s.io/v1" } else { api_version };
        match Type::find(api_version, kind) {
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
fn fill(
    object: &mut Map<String, Value>,
    message: &Type,
    bytes: &[u8],
    depth: usize,
) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Fault::TooDeep)?;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        let Some(field) = message.numbered(number) else { continue };
        match (field.name, field.of) {
            ("", Kind::Message(inlined)) => fill(object, inlined.get(), wire.bytes()?, depth)?,
            (name, _) => put(object, field, wire, depth).map_err(|error| error.within(name))?,
        }
    }
    Ok(())
}

fn put(
    object: &mut Map<String, Value>,
    field: &Field,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(), Malformed> {
    let name = field.name;
    match (field.shape, field.of) {
        // Of packed numbers there may be none, which is no list.
        (Shape::List, Kind::Bool | Kind::Int32 | Kind::Int64) if matches!(wire, Wire::Bytes([])) => {
            return Ok(());
        }
        (Shape::List, of) => {
            let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                push(list, of, wire, depth)?;
            }
            return Ok(());
        }
        (Shape::Map | Shape::MapOfLists, of) => {
            let [key, value] = wire::fields(wire.bytes()?)?;
            let key = key.map_or(Ok(""), Wire::text)?;
            let value = value.unwrap_or(Wire::Bytes(&[]));
            let value = if field.shape == Shape::Map {
                single(of, value, depth)?
            } else {
                items(of, value.bytes()?, depth)?
            };
            let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key.to_owned(), value);
            }
            return Ok(());
        }
        (Shape::Plain | Shape::Pointer, _) => {}
    }
    let value = match (field.of, object.remove(name)) {
        (Kind::Message(of), Some(Value::Object(mut inner))) => {
            fill(&mut inner, of.get(), wire.bytes()?, depth)?;
            Value::Object(inner)
        }
        (of, _) => single(of, wire, depth)?,
    };
    let missing = if field.shape == Shape::Pointer { value.is_null() } else { is_zero(&value) };
    if !missing {
        object.insert(name.to_owned(), value);
    }
    Ok(())
}

/// Adds an item to a list, or all at once when they are numbers that were packed.
fn push(list: &mut Vec<Value>, of: Kind, wire: Wire<'_>, depth: usize) -> Result<(), Malformed> {
    if let (Kind::Bool | Kind::Int32 | Kind::Int64, Wire::Bytes(packed)) = (of, wire) {
        let mut packed = Reader::new(packed);
        while let Some(item) = packed.packed()? {
            list.push(single(of, item, depth)?);
        }
    } else {
        list.push(single(of, wire, depth)?);
    }
    Ok(())
}

/// A message that holds nothing but a list.
fn items(of: Kind, bytes: &[u8], depth: usize) -> Result<Value, Malformed> {
    let (mut list, mut reader) = (Vec::new(), Reader::new(bytes));
    while let Some((number, wire)) = reader.next()? {
        if number == 1 {
            push(&mut list, of, wire, depth)?;
        }
    }
    Ok(Value::Array(list))
}

/// A message, or what stands in its place.
fn either(of: TypeRef, other: Other, bytes: &[u8], depth: usize) -> Result<Value, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Fault::TooDeep)?;
    let (message, items_of) =
        (Kind::Message(of), if other == Other::Strings { Kind::String } else { Kind::Message(of) });
    let (mut reader, mut alone, mut allowed, mut list) = (Reader::new(bytes), None, None, Vec::new());
    while let Some((number, wire)) = reader.next()? {
        match (number, other) {
            (1, Other::Bool) => allowed = Some(single(Kind::Bool, wire, depth)?),
            (2, Other::Bool) | (1, _) => alone = Some(single(message, wire, depth)?),
            (2, _) => push(&mut list, items_of, wire, depth)?,
            _ => {}
        }
    }
    Ok(if list.is_empty() { alone.or(allowed).unwrap_or(Value::Null) } else { Value::Array(list) })
}

/// One value as JSON has it; null for a time or JSON that is not there.
fn single(of: Kind, wire: Wire<'_>, depth: usize) -> Result<Value, Malformed> {
    Ok(match of {
        Kind::Bool => (wire.varint()? != 0).into(),
        // Protobuf extends negative numbers to 64 bits.
        Kind::Int32 => (wire.varint()? as i32).into(),
        Kind::Int64 => (wire.varint()? as i64).into(),
        Kind::String => wire.text()?.into(),
        Kind::Bytes => STANDARD.encode(wire.bytes()?).into(),
        Kind::Quantity => {
            let [amount] = wire::fields(wire.bytes()?)?;
            amount.map_or(Ok(""), Wire::text)?.into()
        }
        Kind::IntOrString => int_or_string(wire.bytes()?)?,
        Kind::Time => time(wire.bytes()?)?.map_or(Value::Null, |time| format!("{time:.0}").into()),
        Kind::MicroTime => time(wire.bytes()?)?.map_or(Value::Null, |time| format!("{time:.6}").into()),
        Kind::Raw => {
            let [json] = wire::fields(wire.bytes()?)?;
            match json.map_or(Ok(&[][..]), Wire::bytes)? {
                [] => Value::Null,
                json => serde_json::from_slice(json).map_err(|_| Fault::NotJson)?,
            }
        }
        Kind::Float64 => wire.double()?.into(),
        Kind::Message(of) => {
            let mut object = Map::new();
            fill(&mut object, of.get(), wire.bytes()?, depth)?;
            Value::Object(object)
        }
        Kind::Either(of, other) => either(of, other, wire.bytes()?, depth)?,
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
