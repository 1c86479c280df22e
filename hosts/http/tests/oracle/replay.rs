//! One scenario, from its first request to what differs.

use std::time::{Duration, Instant};

use orchestra_core::testing;
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::compare::{at, differences, plain};
use super::document::{Known, fill, fill_text};
use super::normal::Normaliser;
use super::scenario::{Only, Scenario, Step};

/// How a scenario went.
pub enum Outcome {
    Same,
    /// What differs, step by step.
    Differs(Vec<String>),
    /// What was asked for that this server does not serve.
    Unserved(String),
}

/// Sends the steps of a scenario, in a namespace of its own if they name one, and compares the answers.
pub async fn run(client: &mut Client<'_>, scenario: &Scenario, unique: &str) -> Outcome {
    let mut known =
        Known::from([("u".to_owned(), unique.into()), ("ns".to_owned(), format!("t-{unique}").into())]);
    let sent = sent(scenario, &known);
    let mut normal = Normaliser::new(unique, &sent, &scenario.keep);
    let mut made = Vec::new();
    if names_the_namespace(scenario) {
        make_namespace(client, unique).await;
        made.push(format!("/api/v1/namespaces/t-{unique}"));
    }
    let mut answers = Vec::new();
    let mut unserved = None;
    for step in &scenario.steps {
        let path = path_of(step, &known);
        let answer = perform(client, step, &path, &known).await;
        for (name, pointer) in &step.save {
            let value = at(&answer.body, pointer).map_or(Value::Null, std::borrow::Cow::into_owned);
            known.insert(name.clone(), value);
        }
        made.extend(made_by(step, &path, &answer, unique));
        normal.learn(&answer.body);
        if is_unserved(step, &answer) {
            unserved = Some(format!("{} {}", step.method, step.path.split('?').next().unwrap_or_default()));
            break;
        }
        answers.push(answer);
    }
    for path in made.iter().rev() {
        client.send("DELETE", path, &[], Some(r#"{"propagationPolicy":"Background"}"#.into()), None).await;
    }
    match unserved {
        Some(path) => Outcome::Unserved(path),
        None => compare(scenario, &answers, &normal),
    }
}

fn compare(scenario: &Scenario, answers: &[Answer], normal: &Normaliser<'_>) -> Outcome {
    let mut lines = Vec::new();
    for (index, (step, answer)) in
        scenario.steps.iter().zip(answers).enumerate().filter(|(_, (step, _))| !step.skip)
    {
        let found = differences(&plain(&step.expect, ""), &plain(&shown(step, answer, normal), ""));
        if !found.is_empty() {
            lines.push(format!("  step {}: {} {}", index + 1, step.method, step.path));
            lines.extend(found.iter().map(|line| format!("    {line}")));
        }
    }
    if lines.is_empty() { Outcome::Same } else { Outcome::Differs(lines) }
}

/// All bodies and paths of a scenario, as text.
fn sent(scenario: &Scenario, known: &Known) -> String {
    let one = |step: &Step| {
        let body = step.body.as_ref().map_or("null".to_owned(), |body| body.filled(known).text());
        format!("{body} {}", fill_text(&step.path, known))
    };
    scenario.steps.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn names_the_namespace(scenario: &Scenario) -> bool {
    let names = |step: &Step| {
        step.path.contains("{ns}")
            || step.body.as_ref().is_some_and(|body| body.text().contains("{ns}"))
            || step.expect.to_string().contains("{ns}")
            || step.headers.values().any(|value| value.contains("{ns}"))
    };
    scenario.steps.iter().any(names)
}

/// A namespace, with the service account that a controller makes in it.
async fn make_namespace(client: &mut Client<'_>, unique: &str) {
    let body = json!({ "metadata": { "name": format!("t-{unique}") } }).to_string();
    client.send("POST", "/api/v1/namespaces", &[], Some(body), None).await;
    let account = format!("/api/v1/namespaces/t-{unique}/serviceaccounts/default");
    testing::until(&account, Duration::from_secs(60), async || {
        (client.send("GET", &account, &[], None, None).await.code == 200).then_some(())
    })
    .await;
}

fn path_of(step: &Step, known: &Known) -> String {
    let encode = |letter: char| match letter {
        '!'..='~' => letter.to_string(),
        other => other.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
    };
    fill_text(&step.path, known).chars().map(encode).collect()
}

/// One step's request, repeated if it waits for something.
async fn perform(client: &mut Client<'_>, step: &Step, path: &str, known: &Known) -> Answer {
    let headers: Vec<_> =
        step.headers.iter().map(|(name, value)| (name.clone(), fill_text(value, known))).collect();
    let body = step.body.as_ref().map(|body| match body.filled(known) {
        super::document::Document::Leaf(Value::String(text)) => text,
        other => other.text(),
    });
    tokio::time::sleep(Duration::from_secs_f64(step.wait)).await;
    let seconds = step.until.as_ref().and_then(|until| until.seconds).unwrap_or(20.0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    loop {
        let answer = client.send(&step.method, path, &headers, body.clone(), step.watch.as_ref()).await;
        let Some(until) = &step.until else { return answer };
        let is = |at_: &String| {
            let wanted = match &until.is {
                Value::String(text) => fill(text, known),
                other => other.clone(),
            };
            at(&answer.body, at_).map_or(Value::Null, std::borrow::Cow::into_owned) == wanted
        };
        let done = answer.code == until.status.unwrap_or(200) && until.at.as_ref().is_none_or(is);
        // A custom kind, whose group has the scenario's word in it, is served once its definition has been read.
        let may_come = until.served || step.path.contains("{u}.");
        if done || Instant::now() > end || is_not_served(&answer) && !may_come {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether nothing is served under the path at all.
fn is_not_served(answer: &Answer) -> bool {
    answer.code == 404 && says_unserved(&answer.body)
}

fn says_unserved(body: &Value) -> bool {
    let named = body["details"]["name"].as_str().is_some_and(|name| !name.is_empty());
    let message = body["message"].as_str().unwrap_or_default();
    !body.is_object() || !named && message.contains("could not find the requested resource")
}

fn is_unserved(step: &Step, answer: &Answer) -> bool {
    let awaited = step.until.as_ref().is_some_and(|until| until.status == Some(404));
    let expected = step.expect["status"] == 404 && says_unserved(&step.expect["body"]);
    is_not_served(answer) && !awaited && !expected
}

/// The path of an object of the whole cluster that a step made, so that it can be removed again.
fn made_by(step: &Step, path: &str, answer: &Answer, unique: &str) -> Option<String> {
    let meta = answer.body.get("metadata")?;
    let name = meta.get("name")?.as_str()?;
    let is_ours = answer.code == 201 && !path.contains("dryRun") && meta.get("namespace").is_none();
    let path = path.split('?').next().unwrap_or_default();
    let below = if step.method == "POST" { format!("/{name}") } else { String::new() };
    let outside = !path.contains(&format!("/namespaces/t-{unique}"));
    (is_ours && outside).then(|| format!("{path}{below}"))
}

/// An answer in the form in which the expected ones are written down.
fn shown(step: &Step, answer: &Answer, normal: &Normaliser<'_>) -> Value {
    let body = match &step.only {
        None => answer.body.clone(),
        Some(Only::At(pointers)) => parts(&answer.body, pointers),
        Some(Only::Error) => {
            let causes = at(&answer.body, "/details/causes");
            let has_causes =
                causes.is_some_and(|causes| causes.as_array().is_some_and(|list| !list.is_empty()));
            let second = if has_causes { "/details/causes" } else { "/message" };
            parts(&answer.body, &["/reason".to_owned(), second.to_owned()])
        }
    };
    let mut shown = json!({ "status": answer.code, "body": normal.value(&body, "") });
    let texts = |name: &str| {
        let values = answer.headers.get_all(name).into_iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect::<Vec<_>>()
    };
    let mut warnings: Vec<String> = texts("warning").iter().map(|text| normal.text(text)).collect();
    warnings.sort();
    if !warnings.is_empty() {
        shown["warnings"] = warnings.into();
    }
    let kind = texts("content-type").concat().replace(' ', "");
    if !matches!(&*kind, "" | "application/json") {
        shown["type"] = kind.into();
    }
    shown
}

fn parts(body: &Value, pointers: &[String]) -> Value {
    let found =
        pointers.iter().filter_map(|pointer| Some((pointer.clone(), at(body, pointer)?.into_owned())));
    found.collect::<serde_json::Map<_, _>>().into()
}
