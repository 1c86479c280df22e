//! Metrics as annotations of the older version have them: with names of their own for what `autoscaling/v2` calls by
//! other names.

use serde_json::{Map, Value, json};

/// A field in the older version, where it is in the newer one, and what the older one says if it is not there.
type Field = (&'static str, &'static [&'static str], Option<&'static str>);
/// The fields of a source of metrics.
type Source = (&'static str, &'static [Field]);

const NAME: Field = ("metricName", &["metric", "name"], Some(""));
const SELECTOR: Field = ("selector", &["metric", "selector"], None);
const RESOURCE: Field = ("name", &["name"], Some(""));
const CONTAINER: Field = ("container", &["container"], Some(""));
const DESCRIBED: Field = ("target", &["describedObject"], None);

/// What is to be.
pub(super) const TARGETS: &[Source] = &[
    (
        "object",
        &[
            DESCRIBED,
            NAME,
            ("targetValue", &["target", "value"], Some("0")),
            SELECTOR,
            ("averageValue", &["target", "averageValue"], None),
        ],
    ),
    ("pods", &[NAME, ("targetAverageValue", &["target", "averageValue"], Some("0")), SELECTOR]),
    (
        "resource",
        &[
            RESOURCE,
            ("targetAverageUtilization", &["target", "averageUtilization"], None),
            ("targetAverageValue", &["target", "averageValue"], None),
        ],
    ),
    (
        "containerResource",
        &[
            RESOURCE,
            ("targetAverageUtilization", &["target", "averageUtilization"], None),
            ("targetAverageValue", &["target", "averageValue"], None),
            CONTAINER,
        ],
    ),
    (
        "external",
        &[
            NAME,
            ("metricSelector", &["metric", "selector"], None),
            ("targetValue", &["target", "value"], None),
            ("targetAverageValue", &["target", "averageValue"], None),
        ],
    ),
];

/// What is.
pub(super) const CURRENT: &[Source] = &[
    (
        "object",
        &[
            DESCRIBED,
            NAME,
            ("currentValue", &["current", "value"], Some("0")),
            SELECTOR,
            ("averageValue", &["current", "averageValue"], None),
        ],
    ),
    ("pods", &[NAME, ("currentAverageValue", &["current", "averageValue"], Some("0")), SELECTOR]),
    (
        "resource",
        &[
            RESOURCE,
            ("currentAverageUtilization", &["current", "averageUtilization"], None),
            ("currentAverageValue", &["current", "averageValue"], Some("0")),
        ],
    ),
    (
        "containerResource",
        &[
            RESOURCE,
            ("currentAverageUtilization", &["current", "averageUtilization"], None),
            ("currentAverageValue", &["current", "averageValue"], Some("0")),
            CONTAINER,
        ],
    ),
    (
        "external",
        &[
            NAME,
            ("metricSelector", &["metric", "selector"], None),
            ("currentValue", &["current", "value"], Some("0")),
            ("currentAverageValue", &["current", "averageValue"], None),
        ],
    ),
];

/// A metric of the newer version as the older one has it.
pub(super) fn to_older(metric: &Value, sources: &[Source]) -> Value {
    convert(metric, sources, |source, fields| {
        let mut older = Map::new();
        for (name, path, otherwise) in fields {
            let value = path.iter().try_fold(source, |value, step| value.get(step)).cloned();
            if let Some(value) = value.or_else(|| otherwise.map(Value::from)) {
                older.insert((*name).to_owned(), value);
            }
        }
        older.into()
    })
}

/// The other way.
pub(super) fn to_newer(metric: &Value, sources: &[Source]) -> Value {
    let mut newer = convert(metric, sources, |source, fields| {
        let mut newer = json!({});
        for (name, path, _) in fields {
            if let Some(value) = source.get(name).filter(|value| !value.is_null()) {
                path.iter().fold(&mut newer, |at, step| &mut at[*step]).clone_from(value);
            }
        }
        newer
    });
    for (name, _) in sources {
        if let Some(target) = newer.get_mut(name).and_then(|source| source.get_mut("target")) {
            set_type(name, target);
        }
    }
    newer
}

fn convert(metric: &Value, sources: &[Source], one: impl Fn(&Value, &[Field]) -> Value) -> Value {
    let mut converted = json!({ "type": metric.get("type").cloned().unwrap_or_default() });
    for (name, fields) in sources {
        if let Some(source) = metric.get(name).filter(|source| source.is_object()) {
            converted[*name] = one(source, fields);
        }
    }
    converted
}

/// The newer version says which of its fields a target is about; in the older one it follows from which are there.
fn set_type(source: &str, target: &mut Value) {
    let Some(target) = target.as_object_mut() else { return };
    let kind = match source {
        "object" if target.contains_key("averageValue") => {
            // The older version cannot leave the value out.
            if target.get("value").is_some_and(|value| value == "0") {
                target.remove("value");
            }
            "AverageValue"
        }
        "object" => "Value",
        "external" if target.contains_key("value") => "Value",
        "resource" | "containerResource" if target.contains_key("averageUtilization") => "Utilization",
        _ => "AverageValue",
    };
    target.insert("type".to_owned(), kind.into());
}
