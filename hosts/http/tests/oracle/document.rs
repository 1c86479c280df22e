//! JSON that keeps the order of its fields, as a request's body must: the server tells faults in that order.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;

/// What scenarios know by name: `{u}`, `{ns}`, and what their steps saved.
pub type Known = BTreeMap<String, Value>;

#[derive(Clone, Debug)]
pub enum Document {
    Object(Vec<(String, Document)>),
    List(Vec<Document>),
    Leaf(Value),
}

impl Document {
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap()
    }

    /// The document with every `{name}` in it replaced by what is known under that name.
    pub fn filled(&self, known: &Known) -> Self {
        match self {
            Self::Leaf(Value::String(text)) => Self::Leaf(fill(text, known)),
            Self::Leaf(other) => Self::Leaf(other.clone()),
            Self::List(items) => Self::List(items.iter().map(|item| item.filled(known)).collect()),
            Self::Object(fields) => {
                let filled = fields.iter().map(|(key, value)| (fill_text(key, known), value.filled(known)));
                Self::Object(filled.collect())
            }
        }
    }

    /// Sets what a pointer leads to; `-` is the end of a list.
    pub fn set(&mut self, pointer: &str, value: Self) {
        let (parent, last) = self.parent(pointer);
        match parent {
            Self::Object(fields) => match fields.iter_mut().find(|(key, _)| *key == last) {
                Some((_, held)) => *held = value,
                None => fields.push((last, value)),
            },
            Self::List(items) if last == "-" => items.push(value),
            Self::List(items) => items[last.parse::<usize>().unwrap()] = value,
            Self::Leaf(_) => panic!("nothing can be set at {pointer}"),
        }
    }

    /// Removes what a pointer leads to.
    pub fn unset(&mut self, pointer: &str) {
        let (parent, last) = self.parent(pointer);
        match parent {
            Self::Object(fields) => fields.retain(|(key, _)| *key != last),
            Self::List(items) => drop(items.remove(last.parse().unwrap())),
            Self::Leaf(_) => panic!("there is nothing at {pointer}"),
        }
    }

    fn parent(&mut self, pointer: &str) -> (&mut Self, String) {
        let mut steps: Vec<String> =
            pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
        let last = steps.pop().unwrap_or_default();
        let parent = steps.iter().fold(self, |held, step| match held {
            Self::Object(fields) => &mut fields.iter_mut().find(|(key, _)| key == step).unwrap().1,
            Self::List(items) => &mut items[step.parse::<usize>().unwrap()],
            Self::Leaf(_) => panic!("{pointer} leads nowhere"),
        });
        (parent, last)
    }
}

/// A text with names in it; what is known, if the text is no more than one name.
pub fn fill(text: &str, known: &Known) -> Value {
    let whole = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match whole.and_then(|name| known.get(name)) {
        Some(value) => value.clone(),
        None => fill_text(text, known).into(),
    }
}

/// A text with names in it.
pub fn fill_text(text: &str, known: &Known) -> String {
    let filled = |text: String, (name, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.replace(&format!("{{{name}}}"), &value)
    };
    known.iter().fold(text.to_owned(), filled)
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Leaf(value) => value.serialize(serializer),
            Self::List(items) => items.serialize(serializer),
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Document, E> {
        Ok(Document::Leaf(Value::Null))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Document, E> {
        Ok(Document::Leaf(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Document, E> {
        Ok(Document::Leaf(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Document, E> {
        Ok(Document::Leaf(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Document, E> {
        Ok(Document::Leaf(value.into()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Document, E> {
        Ok(Document::Leaf(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Document::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Document, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            fields.push(entry);
        }
        Ok(Document::Object(fields))
    }
}
