//! Pages of answers as an API server gives them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::{Api, Body, Dashboard};

/// An API of few answers, that remembers what it was asked, and as whom.
#[derive(Default)]
struct Scripted {
    answers: BTreeMap<String, Value>,
    asked: Mutex<Vec<(Method, String, String)>>,
}

#[async_trait]
impl Api for Scripted {
    async fn send(&self, request: Request<Bytes>) -> Response<Body> {
        let path = request.uri().to_string();
        let who = request.headers().get(AUTHORIZATION).map_or("", |value| value.to_str().unwrap()).to_owned();
        self.asked.lock().unwrap().push((request.method().clone(), path.clone(), who));
        let (code, answer) = match self.answers.get(&path) {
            Some(answer) => (200, answer.clone()),
            None => (404, json!({"kind": "Status", "message": format!("{path} is not found"), "code": 404})),
        };
        Response::builder().status(code).body(crate::answer::whole(answer.to_string())).unwrap()
    }
}

impl Scripted {
    fn new(answers: &[(&str, Value)]) -> Self {
        let resource = |plural: &str, kind: &str, verbs: Value| json!({"resource": plural, "responseKind": {"kind": kind}, "scope": "Namespaced", "verbs": verbs});
        let core = json!({"items": [{"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": [
            resource("pods", "Pod", json!(["list", "get", "delete"])),
            resource("configmaps", "ConfigMap", json!(["list", "get", "update"])),
        ]}]}]});
        let mut all: BTreeMap<String, Value> =
            answers.iter().map(|(path, answer)| ((*path).to_owned(), answer.clone())).collect();
        all.insert("/api".to_owned(), core);
        all.insert("/apis".to_owned(), json!({"items": []}));
        let review = json!({"status": {"userInfo": {"username": "jane"}}});
        all.insert("/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned(), review);
        Self { answers: all, asked: Mutex::default() }
    }

    async fn page(&self, path: &str, cookie: &str) -> (u16, String) {
        let request = Request::builder().uri(path).header(COOKIE, cookie).body(Bytes::new()).unwrap();
        let answer = Dashboard::at("/ui").answer(request, self).await;
        let code = answer.status().as_u16();
        (code, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }
}

fn pods() -> Value {
    let column = |name: &str, priority: i32| json!({"name": name, "type": "string", "priority": priority});
    let row = |name: &str, ready: &str, status: &str, node: &str| {
        json!({
            "cells": [name, ready, status, node],
            "object": {"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")}},
        })
    };
    json!({
        "kind": "Table", "metadata": {"resourceVersion": "7", "continue": "next"},
        "columnDefinitions": [column("Name", 0), column("Ready", 0), column("Status", 0), column("Node", 1)],
        "rows": [row("b", "1/1", "Running", "n"), row("a<b>", "0/1", "CrashLoopBackOff", "n")],
    })
}

const LIST: &str = "/api/v1/namespaces/shop/pods?limit=500";

/// What stands in an element, by the text that begins it.
fn part<'t>(text: &'t str, begins: &str, ends: &str) -> &'t str {
    let from = text.find(begins).unwrap_or_else(|| panic!("no {begins} in {text}"));
    &text[from..from + text[from..].find(ends).unwrap() + ends.len()]
}

#[tokio::test]
async fn a_table_is_the_apis_own() {
    let api = Scripted::new(&[(LIST, pods())]);
    let (code, text) = api.page("/ui/table?r=pods&in=shop", "").await;
    assert_eq!(code, 200);
    let expected = "<tbody><tr data-key=\"uid-b\">\
        <td><a class=\"name\" href=\"object?r=pods&amp;in=shop&amp;n=b\">b</a></td>\
        <td class=\"num\"><span class=\"state plain\">1/1</span></td>\
        <td><span class=\"state good\">Running</span></td></tr>\
        <tr data-key=\"uid-a&lt;b&gt;\">\
        <td><a class=\"name\" href=\"object?r=pods&amp;in=shop&amp;n=a%3Cb%3E\">a&lt;b&gt;</a></td>\
        <td class=\"num\"><span class=\"state bad\">0/1</span></td>\
        <td><span class=\"state bad\">CrashLoopBackOff</span></td></tr></tbody>";
    assert_eq!(part(&text, "<tbody>", "</tbody>"), expected);
    assert!(text.contains("href=\"table?r=pods&amp;in=shop&amp;continue=next\""), "{text}");
    // It is followed from the revision that it is of.
    assert!(text.contains("data-live=\"live?at=7&amp;w=r%3Dpods%26in%3Dshop\""), "{text}");
    assert!(text.contains(">jane<"), "{text}");
}

#[tokio::test]
async fn a_table_is_sorted_and_widened_by_links_alone() {
    let api = Scripted::new(&[(LIST, pods())]);
    let (_, text) = api.page("/ui/table?r=pods&in=shop&s=0&wide=1", "").await;
    let body = part(&text, "<tbody>", "</tbody>");
    assert!(body.find("uid-a").unwrap() < body.find("uid-b").unwrap(), "{body}");
    assert!(part(&text, "<thead>", "</thead>").contains("Node"), "{text}");
    let (_, text) = api.page("/ui/table?r=pods&in=shop&s=0&d=1", "").await;
    let body = part(&text, "<tbody>", "</tbody>");
    assert!(body.find("uid-b").unwrap() < body.find("uid-a").unwrap(), "{body}");
    for odd in ["s=99", "s=-1", "s=x", "wide=&d="] {
        assert_eq!(api.page(&format!("/ui/table?r=pods&in=shop&{odd}"), "").await.0, 200, "{odd}");
    }
}

#[tokio::test]
async fn all_that_is_asked_is_asked_as_who_looks() {
    let api = Scripted::new(&[(LIST, pods())]);
    for page in
        ["", "topology", "table?r=pods&in=shop", "object?r=pods&in=shop&n=b", "kinds", "live?at=1&w=r%3Dpods"]
    {
        api.page(&format!("/ui/{page}"), "orchestra-token=t").await;
    }
    let asked = api.asked.lock().unwrap();
    assert!(asked.len() > 20);
    for (method, path, who) in &*asked {
        assert_eq!(who, "Bearer t", "{path}");
        // Pages only read; who looks is asked for by a review, which is a POST.
        assert!(*method == Method::GET || path.ends_with("/selfsubjectreviews"), "{method} {path}");
        assert!(["/api", "/apis", "/orchestra"].iter().any(|root| path.starts_with(root)), "{path}");
    }
}

#[tokio::test]
async fn names_in_urls_lead_to_no_other_path() {
    let api = Scripted::new(&[]);
    for page in [
        "object?r=pods&in=shop&n=..%2F..%2Fsecrets",
        "object?r=pods&in=..&n=x",
        "log?r=..&in=shop&n=x",
        "live?at=1&w=r%3D..",
    ] {
        api.page(&format!("/ui/{page}"), "").await;
    }
    for (_, path, _) in &*api.asked.lock().unwrap() {
        assert!(!path.split(['/', '?']).any(|step| step == ".."), "{path}");
    }
}

#[tokio::test]
async fn the_secret_of_forms_is_set_once() {
    let api = Scripted::new(&[(LIST, pods())]);
    let request = |cookie: &str| {
        Request::builder().uri("/ui/table?r=pods&in=shop").header(COOKIE, cookie).body(Bytes::new()).unwrap()
    };
    let dashboard = Dashboard::default();
    let first = dashboard.answer(request(""), &api).await;
    let cookie = first.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(
        cookie.starts_with("orchestra-form=") && cookie.ends_with("; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let again = dashboard.answer(request(cookie.split(';').next().unwrap()), &api).await;
    assert!(again.headers().get(SET_COOKIE).is_none());
}
