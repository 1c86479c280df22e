//! What is wrong with a request is said as Kubernetes says it, over real HTTPS, and changes nothing.

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod patches;
mod queries;
mod requests;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use support::{Answer, Served};

/// A request that is refused.
struct Case {
    name: &'static str,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    code: u16,
    reason: &'static str,
    /// With `…` for what the test does not know.
    message: String,
    /// The fields that the causes name.
    fields: &'static [&'static str],
}

impl Case {
    fn new(name: &'static str, method: Method, path: impl Into<String>) -> Self {
        Self {
            name,
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            code: 400,
            reason: "BadRequest",
            message: String::new(),
            fields: &[],
        }
    }

    fn get(name: &'static str, path: impl Into<String>) -> Self {
        Self::new(name, Method::GET, path)
    }

    fn post(name: &'static str, path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new(name, Method::POST, path) }
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// With this code, reason and message.
    fn is(self, code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), ..self }
    }

    /// 400 with this message.
    fn bad(self, message: impl Into<String>) -> Self {
        self.is(400, "BadRequest", message)
    }

    /// 422 with this message, and causes at these fields.
    fn invalid(self, message: impl Into<String>, fields: &'static [&'static str]) -> Self {
        Self { fields, ..self.is(422, "Invalid", message) }
    }

    async fn send(&self, served: &Served) -> Answer {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        served.send(self.method.clone(), &self.path, &headers, self.body.clone()).await
    }

    /// What is not as expected; empty if all is.
    async fn run(&self, served: &Served) -> String {
        let answer = self.send(served).await;
        if answer.header("content-type") != "application/json" {
            return format!("{}: {} {:?}\n", self.name, answer.code, answer.text());
        }
        let status = answer.json();
        let causes = status["details"]["causes"].as_array().into_iter().flatten();
        let fields: Vec<&str> = causes.filter_map(|cause| cause["field"].as_str()).collect();
        let found = (answer.code, status["reason"].as_str().unwrap_or_default(), fields);
        let mut wrong = String::new();
        if status["kind"] != "Status" || status["status"] != "Failure" || status["code"] != self.code {
            wrong.push_str(&format!("{}: not a Status of a failure: {status}\n", self.name));
        }
        if found != (self.code, self.reason, self.fields.to_vec()) {
            wrong.push_str(&format!("{}: {found:?}\n", self.name));
        }
        let message = status["message"].as_str().unwrap_or_default();
        let (begins, ends) = self.message.split_once('…').unwrap_or((&self.message, ""));
        let elided = self.message.contains('…') && message.starts_with(begins) && message.ends_with(ends);
        if message != self.message && !elided {
            wrong.push_str(&format!("{}:\n  wanted {:?}\n  found  {message:?}\n", self.name, self.message));
        }
        wrong
    }
}

/// Sends everything, and sees that nothing in the cluster is changed by it.
async fn refused(served: &Served, cases: Vec<Case>) {
    let before = state(served).await;
    let mut wrong = String::new();
    for case in cases {
        wrong.push_str(&case.run(served).await);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!(state(served).await, before);
}

/// Every object of the kinds that the tests write to.
async fn state(served: &Served) -> Vec<Value> {
    let mut all = Vec::new();
    for path in ["/api/v1/pods", "/api/v1/services", "/api/v1/configmaps", "/apis/apps/v1/deployments"] {
        all.push(served.get(path, &[]).await.json()["items"].take());
    }
    all
}
