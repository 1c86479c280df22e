//! Paths into an object as printer columns have them: the part of Kubernetes' JSONPath templates that leads to values.

use serde_json::Value;

/// How many steps a path may have.
const MAX_STEPS: usize = 128;

/// A path, read.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Into a field.
    Field(String),
    /// Into every field or element.
    All,
    /// Into every value below, at any depth, and itself.
    Descend,
    /// Into elements from one to before another, by a stride.
    Slice { from: Option<i64>, to: Option<i64>, by: i64 },
    /// Into one element. Below zero counts from the end.
    Index(i64),
    /// Into the elements for which a comparison holds.
    Filter { left: Operand, comparison: Comparison, right: Option<Operand> },
    /// Into the union of these.
    Union(Vec<Step>),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Value(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Exists,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Reads a path such as `.status.conditions[?(@.type=="Ready")].status`; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        while !rest.is_empty() {
            if steps.len() > MAX_STEPS {
                return None;
            }
            if let Some(inside) = rest.strip_prefix('[') {
                let end = closing(inside)?;
                steps.push(brackets(inside[..end].trim())?);
                rest = &inside[end + 1..];
            } else if let Some(after) = rest.strip_prefix("..") {
                steps.push(Step::Descend);
                rest = after;
                if !rest.starts_with(['[', '.']) && !rest.is_empty() {
                    let (name, after) = field(rest);
                    steps.push(named(name));
                    rest = after;
                }
            } else {
                let after = rest.strip_prefix('.').unwrap_or(rest);
                if after.is_empty() {
                    break;
                }
                if after.starts_with('[') {
                    rest = after;
                    continue;
                }
                let (name, after) = field(after);
                if name.is_empty() {
                    return None;
                }
                steps.push(named(name));
                rest = after;
            }
        }
        Some(Self(steps))
    }

    /// The values that the path leads to; none where something is missing on the way.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        self.0
            .iter()
            .fold(vec![value], |values, step| values.into_iter().flat_map(|value| step.from(value)).collect())
    }
}

fn named(name: String) -> Step {
    if name == "*" { Step::All } else { Step::Field(name) }
}

/// The name of a field, in which a backslash takes the meaning from what follows it, and what comes after it.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, &text[at..]),
            other => name.push(other),
        }
    }
    (name, "")
}

/// Where the bracket ends whose inside this begins.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn brackets(text: &str) -> Option<Step> {
    if let Some(filter) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return parse_filter(filter.trim());
    }
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(name) = quoted(text) {
        return Some(Step::Field(name));
    }
    if text.contains(',') {
        return text.split(',').map(|part| brackets(part.trim())).collect::<Option<_>>().map(Step::Union);
    }
    if text.contains(':') {
        let mut parts = text.split(':').map(str::trim);
        let mut number = || match parts.next() {
            None | Some("") => Some(None),
            Some(text) => text.parse::<i64>().ok().map(Some),
        };
        let (from, to, by) = (number()?, number()?, number()?);
        return Some(Step::Slice { from, to, by: by.unwrap_or(1) });
    }
    text.parse().ok().map(Step::Index)
}

fn quoted(text: &str) -> Option<String> {
    let open = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inside = text[1..].strip_suffix(open)?;
    Some(inside.replace("\\'", "'").replace("\\\"", "\"").replace("\\.", "."))
}

fn parse_filter(text: &str) -> Option<Step> {
    let (mut quote, mut found) = (None, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '=' | '!' | '<' | '>') => {
                found = Some(at);
                break;
            }
            (None, _) => {}
        }
    }
    let Some(at) = found else {
        return Some(Step::Filter { left: operand(text)?, comparison: Comparison::Exists, right: None });
    };
    let operators = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let (sign, comparison) = operators.into_iter().find(|(sign, _)| text[at..].starts_with(sign))?;
    let (left, right) = (text[..at].trim(), text[at + sign.len()..].trim());
    Some(Step::Filter { left: operand(left)?, comparison, right: Some(operand(right)?) })
}

fn operand(text: &str) -> Option<Operand> {
    if let Some(path) = text.strip_prefix('@') {
        return JsonPath::parse(path).map(Operand::Path);
    }
    if let Some(text) = quoted(text) {
        return Some(Operand::Value(text.into()));
    }
    serde_json::from_str(text).ok().map(Operand::Value)
}

impl Step {
    fn from<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Field(name) => value.get(name.as_str()).into_iter().collect(),
            Self::All => children(value),
            Self::Descend => {
                let below = children(value).into_iter().flat_map(|child| self.from(child));
                std::iter::once(value).chain(below).collect()
            }
            Self::Index(index) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                position(*index, items.len()).and_then(|index| items.get(index)).into_iter().collect()
            }
            Self::Slice { from, to, by } => slice(value, *from, *to, *by),
            Self::Filter { left, comparison, right } => {
                let holds = |item: &&Value| compares(item, left, *comparison, right.as_ref());
                value.as_array().into_iter().flatten().filter(holds).collect()
            }
            Self::Union(steps) => steps.iter().flat_map(|step| step.from(value)).collect(),
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { length.checked_add(index)? } else { index };
    usize::try_from(index).ok()
}

fn slice(value: &Value, from: Option<i64>, to: Option<i64>, by: i64) -> Vec<&Value> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let length = items.len();
    let bound = |index: Option<i64>, or: usize| match index {
        None => or,
        Some(index) => position(index, length).unwrap_or(0).min(length),
    };
    let (from, to) = (bound(from, 0), bound(to, length));
    let Ok(by) = usize::try_from(by.max(1)) else { return Vec::new() };
    items.get(from..to).map(|items| items.iter().step_by(by).collect()).unwrap_or_default()
}

fn compares(item: &Value, left: &Operand, comparison: Comparison, right: Option<&Operand>) -> bool {
    let find = |operand: &Operand| match operand {
        Operand::Path(path) => path.find(item).first().map(|value| (*value).clone()),
        Operand::Value(value) => Some(value.clone()),
    };
    let Some(left) = find(left) else { return false };
    let Some(right) = right else { return comparison == Comparison::Exists };
    let Some(right) = find(right) else { return false };
    let order = match (&left, &right) {
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right))
        }
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => (left == right).then_some(std::cmp::Ordering::Equal),
    };
    match comparison {
        Comparison::Exists => true,
        Comparison::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Comparison::NotEqual => !order.is_some_and(std::cmp::Ordering::is_eq),
        Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Comparison::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Comparison::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values_as_in_kubernetes() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "v", "k": "w"}},
            "spec": {"n": 5, "list": [1, 2, 3]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "n": 1}, {"type": "Other", "status": "False", "n": 2},
            ]},
        });
        for (path, expected) in [
            (".spec.n", json!([5])),
            ("$.spec.n", json!([5])),
            (".spec", json!([{"n": 5, "list": [1, 2, 3]}])),
            (".metadata.labels.a\\.b/c", json!(["v"])),
            (".metadata.labels['a.b/c']", json!(["v"])),
            (".spec.list[0]", json!([1])),
            (".spec.list[-1]", json!([3])),
            (".spec.list[-1:]", json!([3])),
            (".spec.list[0:2]", json!([1, 2])),
            (".spec.list[*]", json!([1, 2, 3])),
            (".spec.list[0,2]", json!([1, 3])),
            (".status.conditions[?(@.type=='Ready')].status", json!(["True"])),
            (".status.conditions[?(@.type==\"Other\")].status", json!(["False"])),
            (".status.conditions[?(@.n>1)].type", json!(["Other"])),
            (".status.conditions[?(@.type!='Ready')].type", json!(["Other"])),
            (".status.conditions[?(@.n)].type", json!(["Ready", "Other"])),
            ("..type", json!(["Ready", "Other"])),
            (".nothing.there", json!([])),
            (".spec.list[9]", json!([])),
        ] {
            let found = JsonPath::parse(path).unwrap();
            assert_eq!(json!(found.find(&object)), expected, "{path}");
        }
        for wrong in [".a[", ".a[x]", ".a[?(@.b=)]"] {
            assert_eq!(JsonPath::parse(wrong), None, "{wrong}");
        }
    }
}
