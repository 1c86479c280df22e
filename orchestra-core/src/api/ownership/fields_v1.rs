//! `fieldsV1`: how a set of paths is written in an object.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::element::{Element, ParseElementError, push_escaped, push_text};
use super::set::FieldSet;

const SELF: &str = ".";

impl<'a> FieldSet<'a> {
    /// Reads `fieldsV1`. What a later version may have added is left out.
    ///
    /// # Errors
    /// When a key is damaged, or stands where none can.
    pub fn read(fields: &'a Value) -> Result<Self, ParseElementError> {
        Ok(read(fields)?.0)
    }

    /// The set as `fieldsV1`.
    pub fn write(&self) -> Value {
        write(self, false)
    }

    /// The set as the text of `fieldsV1`, its keys in Kubernetes' order.
    pub fn write_text(&self) -> String {
        let mut out = String::new();
        self.write_into(&mut out);
        out
    }

    pub(super) fn write_into(&self, out: &mut String) {
        write_text(self, false, out);
    }
}

/// From the text of `fieldsV1`, without a [`Value`] on the way.
impl<'de: 'a, 'a> Deserialize<'de> for FieldSet<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Read::deserialize(deserializer)?.set)
    }
}

/// What is below, and whether the path to here is in the set itself: it is if nothing is below.
struct Read<'a> {
    set: FieldSet<'a>,
    member: bool,
}

impl<'de> Deserialize<'de> for Read<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Read<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Read { set: FieldSet::default(), member: true })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut set = FieldSet::default();
        let mut member = false;
        while let Some(Key(key)) = map.next_key()? {
            let element = match key {
                Cow::Borrowed(key) => Element::parse(key),
                Cow::Owned(ref key) => Element::parse(key).map(Element::into_owned),
            };
            let element = match element {
                _ if key == SELF => {
                    member = true;
                    None
                }
                Err(ParseElementError::Unknown) => None,
                element => Some(element.map_err(A::Error::custom)?),
            };
            let Some(element) = element else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let Read { set: below, member: is_member } = map.next_value()?;
            let node = set.descend(element);
            node.member |= is_member;
            node.below = below;
        }
        member |= set.is_empty();
        Ok(Read { set, member })
    }
}

impl FieldSet<'_> {
    /// How many of its paths the text of another set has. That is read only where this one leads.
    ///
    /// # Errors
    /// When what was read is no set.
    pub(super) fn count_in(&self, text: &str) -> Result<usize, serde_json::Error> {
        if self.is_empty() {
            return Ok(0);
        }
        let (count, _) = Count(self).deserialize(&mut serde_json::Deserializer::from_str(text))?;
        Ok(count)
    }
}

/// Counts the paths below that are in the text too, and says whether the path to here is in that itself.
struct Count<'c, 'a>(&'c FieldSet<'a>);

impl<'de> DeserializeSeed<'de> for Count<'_, '_> {
    type Value = (usize, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_, '_> {
    type Value = (usize, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok((0, true))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut count, mut member, mut nothing_below) = (0, false, true);
        while let Some(Key(key)) = map.next_key()? {
            let ours = match Element::parse(&key) {
                _ if key == SELF => {
                    member = true;
                    None
                }
                Err(ParseElementError::Unknown) => None,
                element => {
                    nothing_below = false;
                    self.0.get(&element.map_err(A::Error::custom)?)
                }
            };
            let Some(ours) = ours else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (below, is_member) = map.next_value_seed(Count(&ours.below))?;
            count += below + usize::from(ours.member && is_member);
        }
        Ok((count, member || nothing_below))
    }
}

/// A text that is copied only if it is written with escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// What is below, and whether the path to here is in the set itself: it is if nothing is below.
fn read(fields: &Value) -> Result<(FieldSet<'_>, bool), ParseElementError> {
    let mut set = FieldSet::default();
    let mut member = false;
    let fields = match fields {
        Value::Object(fields) => fields,
        Value::Null => return Ok((set, true)),
        _ => return Err(ParseElementError::Malformed("expected an object".to_owned())),
    };
    for (key, value) in fields {
        if key == SELF {
            member = true;
            continue;
        }
        let element = match Element::parse(key) {
            Err(ParseElementError::Unknown) => continue,
            element => element?,
        };
        let (below, is_member) = read(value)?;
        // Keys stand mostly in their order, and then this is the last place.
        let node = set.descend(element);
        node.member |= is_member;
        node.below = below;
    }
    member |= set.is_empty();
    Ok((set, member))
}

fn write(set: &FieldSet<'_>, with_self: bool) -> Value {
    let mut out = Map::new();
    if with_self {
        out.insert(SELF.to_owned(), Map::new().into());
    }
    for node in &set.nodes {
        let below = write(&node.below, node.member && !node.below.is_empty());
        out.insert(node.element.to_key(), below);
    }
    out.into()
}

fn write_text(set: &FieldSet<'_>, with_self: bool, out: &mut String) {
    out.push('{');
    if with_self {
        out.push_str("\".\":{}");
    }
    for (place, node) in set.nodes.iter().enumerate() {
        if with_self || place > 0 {
            out.push(',');
        }
        match &node.element {
            Element::Field(name) => {
                out.push_str("\"f:");
                push_escaped(name, out);
                out.push('"');
            }
            element => push_text(&element.to_key(), out),
        }
        out.push(':');
        write_text(&node.below, node.member && !node.below.is_empty(), out);
    }
    out.push('}');
}
