//! The files of recorded answers: a scenario a line. `README.md` in this folder says what a line holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::document::Document;

/// Steps that are sent one after another, with what Kubernetes answered to each.
pub struct Scenario {
    /// The theme and the name: `validation/pod-full-3`.
    pub name: String,
    pub alone: bool,
    pub keep: Vec<String>,
    pub steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: Option<String>,
    #[serde(default)]
    steps: Vec<BTreeMap<String, Document>>,
    #[serde(default)]
    each: BTreeMap<String, Document>,
    #[serde(default)]
    bodies: BTreeMap<String, Document>,
    #[serde(default)]
    keep: Vec<String>,
    #[serde(default)]
    alone: bool,
}

/// A request, how long it is repeated, and what of its answer is compared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub body: Option<Document>,
    #[serde(default)]
    pub expect: Value,
    #[serde(default)]
    pub save: BTreeMap<String, String>,
    pub until: Option<Until>,
    pub watch: Option<Watch>,
    #[serde(default)]
    pub wait: f64,
    pub only: Option<Only>,
    #[serde(default)]
    pub skip: bool,
    base: Option<String>,
    #[serde(default)]
    set: BTreeMap<String, Document>,
    #[serde(default)]
    unset: Vec<String>,
}

#[derive(Deserialize)]
pub struct Until {
    pub at: Option<String>,
    #[serde(default)]
    pub is: Value,
    pub status: Option<u16>,
    #[serde(default)]
    pub served: bool,
    pub seconds: Option<f64>,
}

#[derive(Deserialize)]
pub struct Watch {
    pub events: usize,
    pub seconds: f64,
}

/// Which parts of a body are compared.
#[derive(Deserialize)]
#[serde(from = "Value")]
pub enum Only {
    /// `"error"`: an error's reason and causes.
    Error,
    At(Vec<String>),
}

impl From<Value> for Only {
    fn from(value: Value) -> Self {
        serde_json::from_value(value).map_or(Self::Error, Self::At)
    }
}

/// Reads every scenario below a folder. The folders in it are the themes.
pub fn read_all(folder: &Path) -> Vec<Scenario> {
    let sorted = |folder: &Path| {
        let mut paths: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let mut all = Vec::new();
    for theme in sorted(folder) {
        for file in sorted(&theme) {
            read_file(&file, theme.file_name().unwrap().to_str().unwrap(), &mut all);
        }
    }
    all
}

fn read_file(file: &Path, theme: &str, all: &mut Vec<Scenario>) {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| {
        serde_json::from_str::<Line>(line).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    });
    let (scenarios, shared): (Vec<Line>, Vec<Line>) = lines.partition(|line| line.name.is_some());
    let shared: BTreeMap<_, _> = shared.into_iter().flat_map(|line| line.bodies).collect();
    for line in scenarios {
        let name = format!("{theme}/{}", line.name.as_deref().unwrap_or_default());
        let step = |own: &BTreeMap<String, Document>| read_step(&line, own, &shared, &name);
        let steps = line.steps.iter().map(step).collect();
        all.push(Scenario { name: name.clone(), alone: line.alone, keep: line.keep.clone(), steps });
    }
}

fn read_step(
    line: &Line,
    own: &BTreeMap<String, Document>,
    shared: &BTreeMap<String, Document>,
    name: &str,
) -> Step {
    let mut fields = line.each.clone();
    fields.extend(own.clone());
    // A body goes round the generic form, in which it would lose the order of its fields.
    let (body, set) = (fields.remove("body"), fields.remove("set"));
    let mut step: Step = serde_json::to_value(&fields)
        .and_then(serde_json::from_value)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    step.body = body;
    if let Some(Document::Object(set)) = set {
        step.set = set.into_iter().collect();
    }
    if let Some(base) = &step.base {
        let mut body = line.bodies.get(base).or_else(|| shared.get(base)).unwrap().clone();
        step.unset.iter().for_each(|pointer| body.unset(pointer));
        step.set.iter().for_each(|(pointer, value)| body.set(pointer, value.clone()));
        step.body = Some(body);
    }
    step
}
