use std::fs;
use std::time::Duration;

use clap::{CommandFactory as _, Parser};
use orchestra_core::api::User;
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::Cluster;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::pki::Authority;
use crate::serve::Origin;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    api: ApiOptions,
}

fn parse(options: &[&str]) -> Result<ApiOptions, String> {
    let parsed = Program::try_parse_from([&["program"], options].concat());
    parsed.map(|program| program.api).map_err(|error| error.to_string())
}

#[test]
fn options_have_the_names_and_defaults_of_kubernetes() {
    Program::command().debug_assert();
    let usual = parse(&[]).unwrap();
    assert_eq!((usual.max_requests_inflight, usual.max_mutating_requests_inflight), (400, 200));
    assert!(usual.authentication.anonymous_auth && !usual.authentication.enable_bootstrap_token_auth);
    assert!(usual.proxy().unwrap().is_none());
    let told = parse(&[
        "--anonymous-auth=false",
        "--enable-bootstrap-token-auth",
        "--oidc-issuer-url=https://a",
        "--oidc-client-id=k",
        "--oidc-username-prefix=-",
        "--oidc-required-claim=hd=acme.com",
        "--requestheader-allowed-names=a,b",
        "--authentication-token-webhook-cache-ttl=10s",
        "--audit-policy-file=p",
        "--audit-log-path=-",
        "--audit-log-maxage=3",
    ])
    .unwrap();
    assert!(!told.authentication.anonymous_auth && told.authentication.enable_bootstrap_token_auth);
    assert_eq!(told.authentication.requestheader_allowed_names, ["a", "b"]);
    assert_eq!(told.authentication.authentication_token_webhook_cache_ttl, Duration::from_secs(10));
    for wrong in [
        &["--oidc-issuer-url=https://a"][..],
        &["--audit-log-path=-"],
        &["--oidc-issuer-url=https://a", "--oidc-client-id=k", "--authentication-config=f"],
        &["--authorization-config=f", "--authorization-webhook-config-file=g"],
        &["--requestheader-username-headers=a b"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn an_api_is_as_its_options_say_or_says_why_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let policy = file("policy", "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}");
    let log = directory.path().join("audit.log").display().to_string();
    let authority = file("ca.pem", Authority::new().unwrap().certificate());
    let anonymous = "{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration, anonymous: {enabled: false}}";
    let authentication = file("authentication", anonymous);
    let cluster = Cluster::builder().start().await.unwrap();
    let frontend = || Frontend::new(&cluster);
    let options = parse(&[
        &format!("--audit-policy-file={policy}"),
        &format!("--audit-log-path={log}"),
        &format!("--requestheader-client-ca-file={authority}"),
        &format!("--authentication-config={authentication}"),
    ])
    .unwrap();
    assert_eq!(options.proxy().unwrap().unwrap().authority(), fs::read_to_string(&authority).unwrap());
    assert!(options.authorizers(&TokioClock::system()).is_ok());
    let served = std::sync::Arc::new(options.apply(frontend()).unwrap());
    let request = http::Request::get("/version").body(http_body_util::Empty::new()).unwrap();
    let answer = tower_service::Service::call(&mut served.local(User::admin()), request).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop((answer, served));
    let lines = fs::read_to_string(&log).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for (options, why) in [
        (format!("--audit-policy-file={authentication}"), "must be a Policy"),
        (format!("--audit-policy-file={log}.none"), "cannot be opened"),
        (format!("--authentication-config={policy}"), "authentication configuration"),
        (format!("--requestheader-client-ca-file={log}.none"), "cannot be opened"),
        (format!("--authentication-token-webhook-config-file={policy}"), "has no current context"),
    ] {
        let error = parse(&[&options]).unwrap().apply(frontend()).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains(why)), "{error:?} of {options}");
    }
    let strict = parse(&["--anonymous-auth=false"]).unwrap().apply(frontend()).unwrap();
    let origin = Origin { certificate: None, proxied: None, peer: None, closing: CancellationToken::new() };
    let request = http::Request::get("/version").body(http_body_util::Empty::new()).unwrap();
    assert_eq!(strict.answer(request, &origin).await.status(), 401);
}
