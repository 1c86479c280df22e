//! Strict reading by the table of types against the types themselves: what the one takes, the others read.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::reduce;
use crate::api::field::Errors;
use crate::api::schema::{Field, Kind, Place, Shape, Type};
use crate::objects::builtin;

/// Makes documents out of random bytes; without any left, small ones.
struct Maker<'b>(std::slice::Iter<'b, u8>);

impl Maker<'_> {
    fn below(&mut self, bound: u8) -> u8 {
        self.0.next().map_or(1, |byte| byte % bound)
    }

    /// A value of the type, with some fields of it and now and then one that it does not have.
    fn message(&mut self, of: &Type, depth: usize) -> Value {
        let mut fields = Map::new();
        for field in of.fields() {
            if depth < 6 && self.below(3) == 0 {
                fields.insert(field.name.to_owned(), self.field(field, depth + 1));
            }
        }
        if self.below(20) == 0 {
            fields.insert("made-up".to_owned(), json!([{}]));
        }
        fields.into()
    }

    fn field(&mut self, field: &Field, depth: usize) -> Value {
        match (self.below(60), field.shape) {
            (0, _) => json!([{"a": 1}]),
            (2, _) => json!(true),
            (3, _) => Value::Null,
            (_, Shape::Plain | Shape::Pointer) => self.single(field.of, depth),
            (_, Shape::List) => json!([self.single(field.of, depth), self.single(field.of, depth)]),
            (_, Shape::Map) => {
                json!({"a": self.single(field.of, depth), "b/c.d": self.single(field.of, depth)})
            }
            (_, Shape::MapOfLists) => json!({"a": [self.single(field.of, depth)], "b": null}),
        }
    }

    fn single(&mut self, of: Kind, depth: usize) -> Value {
        match (self.below(40), of) {
            (0, _) => Value::Null,
            (2, _) => json!("a"),
            (3, _) => json!(5_000_000_000_i64),
            (4, _) => json!(1.5),
            (_, Kind::Bool) => json!(true),
            (_, Kind::Int32 | Kind::Int64) => json!(7),
            (_, Kind::Float64) => json!(0.5),
            (which, Kind::IntOrString) => {
                if which % 2 == 0 {
                    json!("25%")
                } else {
                    json!(3)
                }
            }
            (_, Kind::String) => json!("a"),
            (_, Kind::Bytes) => json!("YQ=="),
            (which, Kind::Quantity) => {
                if which % 2 == 0 {
                    json!("1Gi")
                } else {
                    json!(2)
                }
            }
            (_, Kind::Time) => json!("2026-11-28T00:00:00Z"),
            (_, Kind::MicroTime) => json!("2026-11-28T00:00:00.000001Z"),
            (_, Kind::Raw) => json!({"any": [1]}),
            (_, Kind::Message(of) | Kind::Either(of, _)) => self.message(of.get(), depth),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Never does a type refuse what the table has taken, and never does the table find anything in what it has left.
    #[test]
    fn what_fits_is_read_by_the_type(bytes in vec(any::<u8>(), 0..600)) {
        for row in builtin().iter() {
            let Some(Place::Type(of)) = Place::of(row) else { panic!("{row:?} is not in the table") };
            let mut object = Maker(bytes.iter()).message(of, 0);
            object["apiVersion"] = row.api_version().into();
            object["kind"] = (*row.kind).into();
            let Ok(fits) = reduce(row, &mut object) else { continue };
            let found = row.rules.check(&mut object);
            prop_assert!(!fits || found == Ok(Vec::new()), "{:?} has taken {} for fitting: {:?}", row, object, found);
            if found.is_err() {
                continue;
            }
            prop_assert_eq!(row.rules.check(&mut object.clone()), Ok(Vec::new()));
            if let Err(error) = row.rules.validate(&object, &mut Errors::new()) {
                // Conditions cannot be without their times, though Go can read them so: such a write is refused.
                let timeless = error.to_string() == "missing field `lastTransitionTime`";
                prop_assert!(timeless, "{:?} does not read {}: {}", row, object, error);
            }
        }
    }
}
