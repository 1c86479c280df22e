//! What of many objects a page looks at: the rest is passed over as it is read, which costs a tenth of keeping it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The fields that are kept, and what is kept of each; all of a field below which none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted(Vec<(String, Wanted)>);

impl Wanted {
    /// A list whose items have these fields, each as a path such as `/metadata/name`; a path leads through lists to the fields
    /// of each of their items.
    pub(crate) fn of_items(paths: &[&[&str]]) -> Self {
        let mut item = Self::default();
        for path in paths.concat() {
            item.add(path.split('/').skip(1));
        }
        Self(vec![("items".to_owned(), item), ("metadata".to_owned(), Self::default())])
    }

    fn add<'p>(&mut self, mut path: impl Iterator<Item = &'p str>) {
        let Some(name) = path.next() else { return };
        let at = self.0.iter().position(|(field, _)| field == name).unwrap_or_else(|| {
            self.0.push((name.to_owned(), Self::default()));
            self.0.len() - 1
        });
        self.0[at].1.add(path);
    }

    fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// What JSON says, as far as it is wanted.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn read(&self, json: &[u8]) -> Result<Value, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let value = self.deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for &Wanted {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.is_all() {
            return serde::Deserialize::deserialize(deserializer);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Wanted {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(field) = fields.next_key_seed(Name(self))? {
            match field {
                Some((name, wanted)) => {
                    kept.insert(name.clone(), fields.next_value_seed(wanted)?);
                }
                None => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(kept.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            kept.push(item);
        }
        Ok(kept.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
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

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
}

/// Reads the name of a field; `None` of one that is not wanted.
struct Name<'w>(&'w Wanted);

impl<'de, 'w> DeserializeSeed<'de> for Name<'w> {
    type Value = Option<(&'w String, &'w Wanted)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'w> Visitor<'_> for Name<'w> {
    type Value = Option<(&'w String, &'w Wanted)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.0.iter().find(|(field, _)| field == name).map(|(field, wanted)| (field, wanted)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wanted_is_kept_and_the_rest_is_passed_over() {
        let wanted =
            Wanted::of_items(&[&["/metadata/name", "/spec/containers/image"], &["/status", "/spec/none"]]);
        let list = json!({
            "kind": "PodList",
            "metadata": {"resourceVersion": "7"},
            "items": [
                {
                    "metadata": {"name": "a\u{e9}\"", "managedFields": [{"f": {}}]},
                    "spec": {"containers": [{"image": "i", "env": [1, 2.5, null]}, {"name": "c"}], "volumes": []},
                    "status": {"phase": "Running", "n": [1, -2, 2.5, true, null]},
                },
                {"spec": {"containers": null}, "status": 1},
            ],
        });
        let kept = json!({
            "metadata": {"resourceVersion": "7"},
            "items": [
                {
                    "metadata": {"name": "a\u{e9}\""},
                    "spec": {"containers": [{"image": "i"}, {}]},
                    "status": {"phase": "Running", "n": [1, -2, 2.5, true, null]},
                },
                {"spec": {"containers": null}, "status": 1},
            ],
        });
        assert_eq!(wanted.read(list.to_string().as_bytes()).unwrap(), kept);
        // What is of another form than thought is kept as far as it goes.
        let odd =
            json!({"items": [{"metadata": {"name": {"a": 1}}, "spec": [[{"containers": 2.5}], -1, "x"]}]});
        assert_eq!(wanted.read(odd.to_string().as_bytes()).unwrap(), odd);
        for broken in ["", "{", "{}x", "{\"items\":[{\"spec\":}]}"] {
            assert!(wanted.read(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
