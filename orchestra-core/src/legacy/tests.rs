use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::api::schema::{Kind, Other, Shape, Type};
use crate::api::{api_version, yaml};

fn cases() -> Vec<(String, Vec<Value>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/legacy/cases");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |file: PathBuf| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        (name, yaml::read(&std::fs::read(&file).unwrap()).unwrap())
    };
    files.into_iter().map(read).collect()
}

fn told(outcome: &Result<Converted, Refused>) -> String {
    let mut text = String::from("---\n");
    let notes = match outcome {
        Ok(converted) => {
            converted.notes.iter().for_each(|note| writeln!(text, "# note: {note}").unwrap());
            return text + &yaml::write(&converted.object).unwrap();
        }
        Err(refused) => &refused.wrong,
    };
    notes.iter().for_each(|note| writeln!(text, "# wrong: {note}").unwrap());
    text
}

#[test]
fn each_manifest_becomes_what_is_written_down() {
    for (name, documents) in cases() {
        let text: String = documents.into_iter().map(|document| told(&convert(document))).collect();
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn what_is_converted_is_of_today() {
    for (name, documents) in cases() {
        for converted in documents.into_iter().filter_map(|document| convert(document).ok()) {
            let again = convert(converted.object.clone()).unwrap();
            assert_eq!(again.object, converted.object, "{name}");
            if !name.contains("wrong") {
                assert_eq!(again.notes, [], "{name}");
            }
        }
    }
}

#[test]
fn lists_of_today_stay_lists() {
    for list in [
        json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [{"metadata": {"name": "a"}}]}),
        json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "items": []}),
        json!({"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod"}]}),
    ] {
        assert_eq!(convert(list.clone()).unwrap(), Converted { object: list, notes: Vec::new() });
    }
    let mut deep = json!({"apiVersion": "v1", "kind": "Pod"});
    for _ in 0..20 {
        deep = json!({"apiVersion": "v1", "kind": "List", "items": [deep]});
    }
    assert!(convert(deep).is_err());
    let wrong = json!({"apiVersion": "v1beta1", "kind": "List", "items": [
        {"apiVersion": "v1beta1", "kind": "Service", "id": "a", "color": "red"},
    ]});
    assert_eq!(convert(wrong).unwrap_err().wrong[0].path, "items[0].color");
}

/// Numbers out of a seed, so that a failure is told by one.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

fn object(of: &Type, depth: u32, chance: &mut Chance) -> Value {
    let mut fields = Map::new();
    for field in of.fields() {
        if depth > 5 || chance.below(3) > 0 {
            continue;
        }
        let one = |chance: &mut Chance| single(field.of, depth, chance);
        let value = match field.shape {
            Shape::Plain | Shape::Pointer => one(chance),
            Shape::List => (0..chance.below(3)).map(|_| one(chance)).collect(),
            Shape::Map => json!({"some.key/x": one(chance)}),
            Shape::MapOfLists => json!({"key": [one(chance)]}),
        };
        fields.insert(field.name.to_owned(), value);
    }
    Value::Object(fields)
}

fn single(of: Kind, depth: u32, chance: &mut Chance) -> Value {
    let number = chance.below(100);
    match of {
        Kind::Bool => json!(number.is_multiple_of(2)),
        Kind::Int32 | Kind::Int64 | Kind::IntOrString => json!(number),
        Kind::Float64 => json!(0.5),
        Kind::String => json!(["Some_Name", "", "x"][number as usize % 3]),
        Kind::Bytes => json!("YQ=="),
        Kind::Quantity => json!("100m"),
        Kind::Time | Kind::MicroTime => json!("2020-01-01T00:00:00Z"),
        Kind::Raw => json!({"desiredState": number}),
        Kind::Either(_, Other::Bool) => json!(true),
        Kind::Either(_, Other::Strings) => json!(["a"]),
        Kind::Message(of) | Kind::Either(of, _) => object(of.get(), depth + 1, chance),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn what_is_of_today_is_left_as_it_is(seed: u64) {
        let mut chance = Chance(seed);
        for row in TODAY.iter() {
            for (group, version) in row.served() {
                let version = api_version(group, version);
                let Some(Place::Type(of)) = Place::of_kind(&version, &row.kind) else { continue };
                if table::row(&version, &row.kind).is_some() {
                    continue;
                }
                let mut document = object(of, 0, &mut chance);
                document["apiVersion"] = json!(version);
                document["kind"] = json!(row.kind);
                let converted = convert(document.clone());
                prop_assert_eq!(converted, Ok(Converted { object: document, notes: Vec::new() }));
            }
        }
    }

    #[test]
    fn nothing_that_is_read_makes_it_fail_otherwise(seed: u64) {
        // Shapes of today under the names of yesterday: refused or converted, and never with a panic.
        let mut chance = Chance(seed);
        for version in ["v1beta1", "v1beta3", "extensions/v1beta1", "apps/v1beta1", "autoscaling/v2beta1", "policy/v1beta1"] {
            for row in TODAY.iter() {
                let Some(Place::Type(of)) = Place::of_kind(&row.api_version(), &row.kind) else { continue };
                let mut document = object(of, 0, &mut chance);
                document["apiVersion"] = json!(version);
                document["kind"] = json!(row.kind);
                let _ = convert(document);
            }
        }
    }
}
