//! Which messages there are, and which fields they have: `fields.txt`, read once.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A message, such as `apps/v1.DeploymentSpec`.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) name: &'static str,
    fields: Vec<Field>,
}

impl Message {
    /// The message of that API version and name. For kinds, the name is the kind.
    pub(super) fn find(api_version: &str, name: &str) -> Option<&'static Self> {
        Self::named(&format!("{api_version}.{name}"))
    }

    pub(super) fn named(name: &str) -> Option<&'static Self> {
        MESSAGES.get(name)
    }

    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        self.fields.iter().find(|field| field.number == number)
    }
}

/// A field of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) number: u32,
    /// Its name in JSON; `None` if it is a message whose fields stand in JSON among those around it.
    pub(super) name: Option<&'static str>,
    pub(super) shape: Shape,
    pub(super) of: Type,
}

/// How often a field is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Always: zero, empty and missing are the same, and Go writes all three as zero.
    Plain,
    /// Once or not at all: a pointer in Go. Set to zero is something else than missing.
    Pointer,
    /// In a list.
    List,
    /// In a map from strings.
    Map,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int32,
    Int64,
    String,
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    /// JSON as it is: `RawExtension`, `FieldsV1`.
    Raw,
    Message(&'static str),
}

static MESSAGES: LazyLock<HashMap<&'static str, Message>> = LazyLock::new(|| {
    let lines = TABLE.lines().filter_map(message);
    lines.map(|message| (message.name, message)).collect()
});

const TABLE: &str = include_str!("fields.txt");

fn message(line: &'static str) -> Option<Message> {
    let (name, fields) = line.split_once(": ").filter(|(name, _)| !name.starts_with('#'))?;
    Some(Message { name, fields: fields.split(' ').filter_map(field).collect() })
}

fn field(text: &'static str) -> Option<Field> {
    let mut parts = text.splitn(3, ':');
    let (number, name, kind) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
    let (shape, kind) = match kind.split_at_checked(1)? {
        ("?", kind) => (Shape::Pointer, kind),
        ("*", kind) => (Shape::List, kind),
        ("%", kind) => (Shape::Map, kind),
        _ => (Shape::Plain, kind),
    };
    let of = match kind {
        "bool" => Type::Bool,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "quantity" => Type::Quantity,
        "intorstring" => Type::IntOrString,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "raw" => Type::Raw,
        message => Type::Message(message),
    };
    Some(Field { number, name: (name != "-").then_some(name), shape, of })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects;

    fn depth(message: &Message, above: usize) -> usize {
        assert!(above < 32, "{} is nested without end", message.name);
        let below = message.fields.iter().filter_map(|field| match field.of {
            Type::Message(name) => Some(depth(Message::named(name).expect(name), above + 1)),
            _ => None,
        });
        below.max().unwrap_or(above)
    }

    #[test]
    fn every_line_and_field_of_the_table_is_read() {
        let lines: Vec<&str> = TABLE.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(MESSAGES.len(), lines.len());
        for line in lines {
            let read = message(line).unwrap();
            assert_eq!(read.fields.len(), line.split(' ').count() - 1, "{line}");
            for (index, field) in read.fields.iter().enumerate() {
                assert!(read.fields[..index].iter().all(|other| other.number != field.number), "{line}");
                assert!(field.name.is_some() || matches!(field.of, Type::Message(_)), "{line}");
            }
        }
    }

    /// The walker goes as deep as the table does, so the table's depth is the limit.
    #[test]
    fn messages_are_all_there_and_none_is_within_itself() {
        assert!(MESSAGES.values().map(|message| depth(message, 0)).max().unwrap() > 5);
    }

    #[test]
    fn every_builtin_kind_has_a_message() {
        for resource in objects::builtin().iter() {
            assert!(
                Message::find(&resource.api_version(), &resource.kind).is_some(),
                "add {} to fields.txt",
                resource.kind
            );
        }
    }
}
