//! JSON values as they are read of a request's body: with the keys that stand twice in them.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// A JSON value, and the paths of the keys that stood twice in it. The last of two wins.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    pub(crate) repeated: Vec<String>,
}

/// The same of YAML, whose whole numbers may be written as fractions, and whose maps may take over those of others.
#[derive(Debug)]
pub(super) struct FromYaml(pub(super) Decoded);

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, false)
    }
}

impl<'de> Deserialize<'de> for FromYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, true).map(Self)
    }
}

/// The paths of all keys of a JSON text, in the order in which they stand there, with those that stand there twice.
pub(super) fn keys(text: &[u8]) -> Vec<String> {
    let (keys, repeated) = (RefCell::default(), RefCell::default());
    let reader = Strict { at: At::Root, repeated: &repeated, keys: Some(&keys), yaml: false };
    // What is no JSON was refused before.
    let _read = reader.deserialize(&mut serde_json::Deserializer::from_slice(text));
    keys.into_inner()
}

fn read<'de, D: Deserializer<'de>>(deserializer: D, yaml: bool) -> Result<Decoded, D::Error> {
    let repeated = RefCell::default();
    let reader = Strict { at: At::Root, repeated: &repeated, keys: None, yaml };
    let value = reader.deserialize(deserializer)?;
    Ok(Decoded { value, repeated: repeated.into_inner() })
}

/// The key under which a map of YAML names the maps that it takes over.
const MERGE: &str = "<<";

/// Where a value stands. Written out only for what is to be told of it, which of most values is nothing.
#[derive(Clone, Copy)]
enum At<'r> {
    Root,
    Field(&'r At<'r>, &'r str),
    Item(&'r At<'r>, usize),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, key) => f.write_str(key),
            Self::Field(within, key) => write!(f, "{within}.{key}"),
            Self::Item(within, index) => write!(f, "{within}[{index}]"),
        }
    }
}

struct Strict<'r> {
    at: At<'r>,
    repeated: &'r RefCell<Vec<String>>,
    /// Where every key is noted, if they are asked for.
    keys: Option<&'r RefCell<Vec<String>>>,
    yaml: bool,
}

impl Strict<'_> {
    fn below<'b>(&'b self, at: At<'b>) -> Strict<'b> {
        Strict { at, repeated: self.repeated, keys: self.keys, yaml: self.yaml }
    }

    fn note_repeated(&self, key: &str) {
        self.repeated.borrow_mut().push(At::Field(&self.at, key).to_string());
    }

    /// Adds the entries of another map, or of several. What stands in the map itself comes first.
    fn take_over<E: Error>(&self, fields: &mut Map<String, Value>, value: Value) -> Result<(), E> {
        match value {
            Value::Object(others) => {
                for (key, value) in others {
                    if fields.contains_key(&key) {
                        self.note_repeated(&key);
                    } else {
                        fields.insert(key, value);
                    }
                }
                Ok(())
            }
            Value::Array(maps) if maps.iter().all(Value::is_object) => {
                maps.into_iter().try_for_each(|map| self.take_over(fields, map))
            }
            _ => Err(E::custom("map merge requires map or sequence of maps as the value")),
        }
    }
}

/// The whole number that a floating-point number is.
fn whole(value: f64) -> Option<i64> {
    // Beyond 2⁵³ not every whole number has one.
    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
}

/// A key, as text. YAML's may be of other types, and are written as Kubernetes writes them in JSON.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor).map(Self)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<String, E> {
        Ok(key.to_owned())
    }

    fn visit_string<E>(self, key: String) -> Result<String, E> {
        Ok(key)
    }

    fn visit_bool<E>(self, key: bool) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_i64<E>(self, key: i64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_u64<E>(self, key: u64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_f64<E>(self, key: f64) -> Result<String, E> {
        Ok(whole(key).map_or_else(|| key.to_string(), |whole| whole.to_string()))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        if let (true, Some(whole)) = (self.yaml, whole(value)) {
            return Ok(whole.into());
        }
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a JSON number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(self.below(At::Item(&self.at, list.len())))? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let (mut fields, mut taken_over) = (Map::new(), Vec::new());
        while let Some(Key(key)) = map.next_key()? {
            let below = self.below(At::Field(&self.at, &key));
            if let Some(keys) = self.keys {
                keys.borrow_mut().push(below.at.to_string());
            }
            if self.yaml && key == MERGE {
                taken_over.push(map.next_value_seed(below)?);
                continue;
            }
            let value = map.next_value_seed(below)?;
            match fields.entry(key) {
                Entry::Vacant(free) => drop(free.insert(value)),
                Entry::Occupied(mut taken) => {
                    self.note_repeated(taken.key());
                    taken.insert(value);
                }
            }
        }
        for value in taken_over {
            self.take_over(&mut fields, value)?;
        }
        Ok(Value::Object(fields))
    }
}
