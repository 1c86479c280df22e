//! Answers without what differs between any two runs: uids, revisions, times, generated names, allocated addresses.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use regex::{Captures, Regex};
use serde_json::{Map, Value};

use super::compare::last;

/// Fields whose texts mean nothing to a reader, and what stands for them.
const OPAQUE: [(&str, &str); 14] = [
    ("uid", "UID"),
    ("resourceVersion", "RV"),
    ("creationTimestamp", "TIME"),
    ("continue", "CONTINUE"),
    ("storageVersionHash", "HASH"),
    ("gitVersion", "V"),
    ("gitCommit", "V"),
    ("gitTreeState", "V"),
    ("buildDate", "V"),
    ("goVersion", "V"),
    ("compiler", "V"),
    ("platform", "V"),
    ("pod-template-hash", "HASH"),
    ("caBundle", "CA"),
];

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

static STAMP: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(\d{4})-(\d\d)-(\d\d)T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"));
static UUID: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"));
static CLUSTER_IP: LazyLock<Regex> = LazyLock::new(|| regex(r"\b10\.(9[6-9]|1[01]\d)\.\d+\.\d+"));
static SUFFIX: LazyLock<Regex> = LazyLock::new(|| regex(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}\b"));
static OBJECT: LazyLock<Regex> = LazyLock::new(|| regex(r#"Invalid value: "\{[^\x00]*\}(\\n)?": "#));
static AGE: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$"));
static INVALID: LazyLock<Regex> = LazyLock::new(|| regex(r"(is invalid: )[^\x00]*"));
static REASONS: LazyLock<Regex> = LazyLock::new(|| regex(r"^([^\x00]*? is forbidden: \[)([^\x00]*)\]$"));
static GENERATED: LazyLock<Regex> = LazyLock::new(|| regex(r#""generateName":"([^"]+)""#));

/// What stands for a text, wherever it occurs.
static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules = [
        (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "JWT"),
        (r"-----BEGIN [^\x00]*-----END [A-Z ]+-----\n?", "PEM"),
        (r"\b0x[0-9a-f]{6,}", "POINTER"),
        (r"\bkube-api-access-[a-z0-9]{5}\b", "kube-api-access-*"),
        (r":3[0-2]\d{3}/", ":NODEPORT/"),
        (
            r"(current: |too old resource version: |resource version |record \(|object meta: )\d+( \(\d+\))?",
            "${1}N",
        ),
        (r"\.[0-9a-f]{16}\b", ".HEX"),
        (r"(core|v1)\.PodSpec\{[^\x00]*", "GODUMP"),
        (r#"(resourceVersion(=|: "))\d+"#, "${1}N"),
        (r#" in scheme "[^"]*""#, ""),
    ];
    rules.map(|(pattern, new)| (regex(pattern), new)).into()
});

pub struct Normaliser<'s> {
    unique: &'s str,
    /// All that was sent, as text: what a request gives is compared as it is.
    sent: &'s str,
    keep: &'s [String],
    /// Names that the server made, and what stands for them; the longest first.
    names: BTreeMap<(usize, String), String>,
    generated: Vec<(Regex, String)>,
    today: i64,
}

impl<'s> Normaliser<'s> {
    pub fn new(unique: &'s str, sent: &'s str, keep: &'s [String]) -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let generated = GENERATED.captures_iter(sent).map(|found| {
            let prefix = found[1].to_owned();
            (regex(&format!(r"{}[a-z0-9]{{5}}\b", regex::escape(&prefix))), format!("{prefix}*"))
        });
        let generated = generated.collect();
        let today = i64::try_from(seconds / 86_400).unwrap();
        Self { unique, sent, keep, names: BTreeMap::new(), generated, today }
    }

    /// Takes note of the names that the server made.
    pub fn learn(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.learn(item)),
            Value::Object(fields) => {
                let text = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default();
                let (prefix, name) = (text("generateName"), text("name"));
                if !prefix.is_empty() && name != prefix && name.starts_with(prefix) {
                    self.name(name, format!("{prefix}*"));
                }
                for key in ["pod-template-hash", "controller-revision-hash"] {
                    let hash =
                        fields.get("labels").and_then(|labels| labels.get(key)).and_then(Value::as_str);
                    if let Some(hash) = hash.filter(|hash| hash.len() > 4) {
                        self.name(hash.rsplit('-').next().unwrap_or_default(), "HASH".to_owned());
                    }
                }
                fields.values().for_each(|value| self.learn(value));
            }
            _ => {}
        }
    }

    fn name(&mut self, name: &str, stands_for: String) {
        self.names.insert((usize::MAX - name.len(), name.to_owned()), stands_for);
    }

    pub fn value(&self, value: &Value, key: &str) -> Value {
        let key = last(key);
        match value {
            Value::Object(fields) => self.object(fields, key),
            Value::Array(items) => {
                let items = items.iter().filter(|item| !is_of_the_cluster(item, key));
                items.map(|item| self.value(item, key)).collect()
            }
            Value::String(text) if key == "message" => self.text(&sorted_reasons(text)).into(),
            Value::String(text) if key == "cells" && !text.is_empty() && AGE.is_match(text) => "AGE".into(),
            Value::String(text) => self.text(text).into(),
            other => other.clone(),
        }
    }

    fn object(&self, fields: &Map<String, Value>, key: &str) -> Value {
        let mut out = Map::new();
        for (field, value) in fields {
            let is_kept = || self.keep.iter().any(|kept| kept == field);
            if field == "managedFields" && !is_kept() || field == "description" && key == "columnDefinitions"
            {
                continue;
            }
            match self.opaque(last(field), value) {
                Some(stands_for) => out.insert(field.clone(), stands_for.into()),
                None => out.insert(self.text(field), self.value(value, field)),
            };
        }
        let causes = out.get("details").and_then(|details| details.get("causes")).and_then(Value::as_array);
        if out.get("kind").is_some_and(|kind| kind == "Status")
            && causes.is_some_and(|causes| causes.len() > 1)
            && let Some(Value::String(message)) = out.get_mut("message")
        {
            *message = INVALID.replace(message, "${1}CAUSES").into_owned();
        }
        out.into()
    }

    fn opaque(&self, field: &str, value: &Value) -> Option<&'static str> {
        if matches!(field, "nodePort" | "healthCheckNodePort") {
            let number = value.as_i64().filter(|number| *number != 0)?;
            return (!self.sent.contains(&number.to_string())).then_some("NODEPORT");
        }
        // A revision of one digit is found within many a number: it was sent where it stands as a text of its own.
        let was_sent = |text: &str| match field {
            "resourceVersion" => self.sent.contains(&format!("\"{text}\"")),
            _ => self.sent.contains(text),
        };
        let is_made = value.as_str().is_some_and(|text| !text.is_empty() && !was_sent(text));
        OPAQUE.iter().find(|(name, _)| *name == field && is_made).map(|(_, stands_for)| *stands_for)
    }

    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for ((_, name), stands_for) in &self.names {
            text = text.replace(name, stands_for);
        }
        for (pattern, stands_for) in &self.generated {
            text = pattern.replace_all(&text, regex::NoExpand(stands_for)).into_owned();
        }
        text = text.replace(self.unique, "{u}");
        text = STAMP.replace_all(&text, |found: &Captures<'_>| self.stamp(found)).into_owned();
        text = self.unless_sent(&UUID, &text, |_, _| Some("UID".to_owned()));
        text = self.unless_sent(&CLUSTER_IP, &text, |_, rest| {
            (!rest.starts_with('/')).then(|| "CLUSTERIP".to_owned())
        });
        for (pattern, new) in RULES.iter() {
            text = self.unless_sent(pattern, &text, |found, _| {
                let mut out = String::new();
                found.expand(new, &mut out);
                Some(out)
            });
        }
        text = self.unless_sent(&OBJECT, &text, |found, rest| {
            let named = found[0].contains(r#"\"apiVersion\":"#) || rest.contains(r#"\"apiVersion\":"#);
            named.then(|| "Invalid value: OBJECT: ".to_owned())
        });
        self.unless_sent(&SUFFIX, &text, |found, rest| {
            let after = format!("{}{rest}", &found[0][1..]);
            let letters = after.trim_start_matches(|letter: char| letter.is_ascii_lowercase());
            letters.starts_with(|digit: char| digit.is_ascii_digit()).then(|| "-HASH".to_owned())
        })
    }

    /// Replaces what a pattern finds, unless it was sent, by what is made of it and of the text after it.
    fn unless_sent(
        &self,
        pattern: &Regex,
        text: &str,
        new: impl Fn(&Captures<'_>, &str) -> Option<String>,
    ) -> String {
        let replaced = pattern.replace_all(text, |found: &Captures<'_>| {
            let whole = found.get(0).unwrap();
            let new =
                if self.sent.contains(whole.as_str()) { None } else { new(found, &text[whole.end()..]) };
            new.unwrap_or_else(|| whole.as_str().to_owned())
        });
        replaced.into_owned()
    }

    /// A time near the present is of this run; others were sent.
    fn stamp(&self, found: &Captures<'_>) -> String {
        let part = |index: usize| found[index].parse::<i64>().unwrap();
        let near = (days(part(1), part(2), part(3)) - self.today).abs() < 400;
        match (near, found.get(4)) {
            (false, _) => found[0].to_owned(),
            (true, Some(_)) => "MICROTIME".to_owned(),
            (true, None) => "TIME".to_owned(),
        }
    }
}

/// Days since 1970 of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// What controllers and another build of Kubernetes add beside what is compared.
fn is_of_the_cluster(item: &Value, key: &str) -> bool {
    match key {
        "managedFields" => {
            matches!(item["manager"].as_str(), Some("kube-controller-manager" | "kube-scheduler"))
        }
        "sources" => item.pointer("/configMap/name").is_some_and(|name| name == "openshift-service-ca.crt"),
        _ => false,
    }
}

/// A message with a list of reasons that stand in no order.
fn sorted_reasons(message: &str) -> String {
    let Some(found) = REASONS.captures(message) else { return message.to_owned() };
    let mut reasons: Vec<&str> = found[2].split(", ").collect();
    reasons.sort_unstable();
    format!("{}{}]", &found[1], reasons.join(", "))
}
