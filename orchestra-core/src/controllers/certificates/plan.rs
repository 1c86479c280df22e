//! What becomes of requests for certificates: which are approved unasked, which are signed, which are forgotten.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};

use super::request::Request;

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// How long a certificate is good for if nothing shorter is asked for, and at least.
const LONGEST: SignedDuration = SignedDuration::from_hours(365 * 24);
const SHORTEST: SignedDuration = SignedDuration::from_mins(10);
/// How far in the past a certificate begins, for clocks that are behind.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// A certificate of a shorter time is good for all of it, whatever it is backdated.
const SHORT: SignedDuration = SignedDuration::from_hours(8);
/// How long requests are kept that are done with, and that are not.
const DONE: SignedDuration = SignedDuration::from_hours(1);
const OPEN: SignedDuration = SignedDuration::from_hours(24);

fn condition<'c>(
    request: &'c CertificateSigningRequest,
    kind: &str,
) -> Option<&'c CertificateSigningRequestCondition> {
    let conditions = request.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}

/// Something that is approved if whoever asks may do it: a part of requests that may be created.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Recognized {
    pub(super) part: &'static str,
    pub(super) message: &'static str,
}

const OWN: Recognized = Recognized {
    part: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
const ANY_NODE: Recognized = Recognized {
    part: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

/// Whether nothing was decided of a request yet.
pub(super) fn is_open(request: &CertificateSigningRequest) -> bool {
    !is_issued(request) && condition(request, "Approved").is_none() && condition(request, "Denied").is_none()
}

/// As what a request may be approved unasked, in the order in which it is tried.
pub(super) fn recognized(spec: &CertificateSigningRequestSpec, asked: &Request) -> Vec<Recognized> {
    if spec.signer_name != KUBELET_CLIENT || fault_of_kubelet_client(spec, asked).is_some() {
        return Vec::new();
    }
    let own = spec.username.as_deref() == Some(&asked.common_name);
    own.then_some(OWN).into_iter().chain([ANY_NODE]).collect()
}

/// What a signer does with a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Signing {
    /// Nothing: it is not approved, done, or for others to sign.
    None,
    /// Signs it.
    Sign(Validity),
    /// Refuses, and says why.
    Fail(String),
}

/// From when to when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// Whether a request is to be signed, for one of Kubernetes' own signers.
pub(super) fn signing(
    request: &CertificateSigningRequest,
    asked: &Result<Request, String>,
    now: Timestamp,
) -> Signing {
    let spec = &request.spec;
    let holds = |kind: &str| condition(request, kind).is_some_and(|condition| condition.status == "True");
    let approved = condition(request, "Approved").is_some() && condition(request, "Denied").is_none();
    if !approved || holds("Failed") || is_issued(request) {
        return Signing::None;
    }
    let check: fn(&CertificateSigningRequestSpec, &Request) -> Option<String> =
        match spec.signer_name.as_str() {
            KUBELET_CLIENT => fault_of_kubelet_client,
            KUBELET_SERVING => fault_of_kubelet_serving,
            CLIENT => |spec, _| fault_of_client(spec),
            LEGACY => |_, _| None,
            _ => return Signing::None,
        };
    let fault = match asked {
        Ok(asked) => check(spec, asked),
        Err(why) => Some(why.clone()),
    };
    match fault {
        Some(fault) => Signing::Fail(fault),
        None => Signing::Sign(validity(spec.expiration_seconds, now)),
    }
}

fn validity(seconds: Option<i32>, now: Timestamp) -> Validity {
    let asked = seconds.map_or(LONGEST, |seconds| SignedDuration::from_secs(i64::from(seconds)));
    let time = asked.clamp(SHORTEST, LONGEST);
    let good = if time < SHORT { time } else { time - BACKDATE };
    // Far from the ends of time.
    Validity { from: now.checked_sub(BACKDATE).unwrap_or(now), to: now.checked_add(good).unwrap_or(now) }
}

fn usages(spec: &CertificateSigningRequestSpec) -> BTreeSet<&str> {
    spec.usages.iter().flatten().map(String::as_str).collect()
}

/// Whether usages are those of a kubelet, for `purpose`; keys of other kinds than RSA encipher no keys.
fn fault_of_usages(spec: &CertificateSigningRequestSpec, purpose: &str) -> Option<String> {
    let mut wanted = BTreeSet::from([purpose, "digital signature", "key encipherment"]);
    let (has, all) = (usages(spec), wanted.iter().copied().collect::<Vec<_>>().join(" "));
    if has == wanted {
        return None;
    }
    wanted.remove("key encipherment");
    (has != wanted).then(|| format!("usages did not match [{all}]"))
}

fn fault_of_node(asked: &Request) -> Option<String> {
    (!asked.common_name.starts_with("system:node:"))
        .then(|| "subject common name does not begin with system:node:".to_owned())
}

fn fault_of_kubelet_client(spec: &CertificateSigningRequestSpec, asked: &Request) -> Option<String> {
    let names = &asked.names;
    let fault = if asked.organizations != ["system:nodes"] {
        "subject organization is not system:nodes"
    } else if !names.dns.is_empty() {
        "DNS subjectAltNames are not allowed"
    } else if !names.emails.is_empty() {
        "Email subjectAltNames are not allowed"
    } else if !names.addresses.is_empty() {
        "IP subjectAltNames are not allowed"
    } else if !names.uris.is_empty() {
        "URI subjectAltNames are not allowed"
    } else {
        return fault_of_node(asked).or_else(|| fault_of_usages(spec, "client auth"));
    };
    Some(fault.to_owned())
}

fn fault_of_kubelet_serving(spec: &CertificateSigningRequestSpec, asked: &Request) -> Option<String> {
    let names = &asked.names;
    let fault = if asked.organizations != ["system:nodes"] {
        "subject organization is not system:nodes"
    } else if names.dns.is_empty() && names.addresses.is_empty() {
        "DNS or IP subjectAltName is required"
    } else if !names.emails.is_empty() {
        "Email subjectAltNames are not allowed"
    } else if !names.uris.is_empty() {
        "URI subjectAltNames are not allowed"
    } else {
        return fault_of_usages(spec, "server auth").or_else(|| fault_of_node(asked));
    };
    Some(fault.to_owned())
}

fn fault_of_client(spec: &CertificateSigningRequestSpec) -> Option<String> {
    let has = usages(spec);
    let other =
        spec.usages.iter().flatten().find(|usage| {
            !matches!(usage.as_str(), "digital signature" | "key encipherment" | "client auth")
        });
    match other {
        Some(usage) => Some(format!("invalid usage for client certificate: {usage}")),
        None if !has.contains("client auth") => {
            Some("missing required usage for client certificate: client auth".to_owned())
        }
        None => None,
    }
}

/// When a request is to be removed, if ever: some time after it was decided, or long after it was not. `expires` is when
/// its certificate does.
pub(super) fn removal(request: &CertificateSigningRequest, expires: Option<Timestamp>) -> Option<Timestamp> {
    let updated = |kind: &str, keep: SignedDuration| {
        let time = condition(request, kind)?.last_update_time.as_ref()?.0;
        time.checked_add(keep).ok()
    };
    let undecided = request.status.as_ref().is_none_or(|it| it.conditions.as_ref().is_none_or(Vec::is_empty));
    let pending = || request.metadata.creation_timestamp.as_ref()?.0.checked_add(OPEN).ok();
    [
        updated("Denied", DONE),
        updated("Failed", DONE),
        updated("Approved", if is_issued(request) { DONE } else { OPEN }),
        expires.filter(|_| condition(request, "Approved").is_some()),
        if undecided { pending() } else { None },
    ]
    .into_iter()
    .flatten()
    .min()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::certificates::request::Names;
    use crate::controllers::testing::{at, text};

    fn object(signer: &str, usages: &[&str], status: Value) -> CertificateSigningRequest {
        serde_json::from_value(json!({
            "metadata": {"name": "r", "creationTimestamp": text(0)},
            "spec": {"request": "", "signerName": signer, "usages": usages, "username": "system:node:a"},
            "status": status,
        }))
        .unwrap()
    }

    fn node(name: &str) -> Request {
        let organizations = vec!["system:nodes".to_owned()];
        Request { common_name: format!("system:node:{name}"), organizations, ..Request::default() }
    }

    const CLIENT_USAGES: [&str; 3] = ["digital signature", "key encipherment", "client auth"];

    #[test]
    fn kubelets_are_recognized_and_nobody_else() {
        let parts = |signer: &str, usages: &[&str], asked: &Request| {
            let found = recognized(&object(signer, usages, json!({})).spec, asked);
            found.into_iter().map(|it| it.part).collect::<Vec<_>>()
        };
        assert_eq!(parts(KUBELET_CLIENT, &CLIENT_USAGES, &node("a")), ["selfnodeclient", "nodeclient"]);
        assert_eq!(parts(KUBELET_CLIENT, &CLIENT_USAGES, &node("b")), ["nodeclient"]);
        assert_eq!(parts(KUBELET_CLIENT, &["digital signature", "client auth"], &node("b")), ["nodeclient"]);
        let none: [&str; 0] = [];
        assert_eq!(parts(CLIENT, &CLIENT_USAGES, &node("a")), none);
        assert_eq!(parts(KUBELET_CLIENT, &["client auth"], &node("a")), none);
        let named = Request { names: Names { dns: vec!["x".into()], ..Names::default() }, ..node("a") };
        assert_eq!(parts(KUBELET_CLIENT, &CLIENT_USAGES, &named), none);
        let masters = Request { organizations: vec!["system:masters".into()], ..node("a") };
        assert_eq!(parts(KUBELET_CLIENT, &CLIENT_USAGES, &masters), none);
    }

    #[test]
    fn only_what_is_approved_is_signed_and_each_signer_has_its_rules() {
        let approved = json!({"conditions": [{"type": "Approved", "status": "True"}]});
        let sign = |signer: &str, usages: &[&str], status: &Value, asked: &Request| match signing(
            &object(signer, usages, status.clone()),
            &Ok(asked.clone()),
            at(0),
        ) {
            Signing::None => "nothing".to_owned(),
            Signing::Sign(_) => "sign".to_owned(),
            Signing::Fail(why) => why,
        };
        let with = |names: Names| Request { names, ..node("a") };
        let dns = with(Names { dns: vec!["a".into()], ..Names::default() });
        let serving = ["digital signature", "key encipherment", "server auth"];
        for (signer, usages, asked, expected) in [
            (KUBELET_CLIENT, &CLIENT_USAGES[..], node("a"), "sign"),
            (
                KUBELET_CLIENT,
                &serving[..],
                node("a"),
                "usages did not match [client auth digital signature key encipherment]",
            ),
            (KUBELET_CLIENT, &CLIENT_USAGES[..], dns.clone(), "DNS subjectAltNames are not allowed"),
            (
                KUBELET_CLIENT,
                &CLIENT_USAGES[..],
                Request::default(),
                "subject organization is not system:nodes",
            ),
            (KUBELET_SERVING, &serving[..], dns.clone(), "sign"),
            (KUBELET_SERVING, &serving[..], node("a"), "DNS or IP subjectAltName is required"),
            (CLIENT, &CLIENT_USAGES[..], Request::default(), "sign"),
            (
                CLIENT,
                &["client auth", "server auth"][..],
                node("a"),
                "invalid usage for client certificate: server auth",
            ),
            (
                CLIENT,
                &["digital signature"][..],
                node("a"),
                "missing required usage for client certificate: client auth",
            ),
            (LEGACY, &["any"][..], Request::default(), "sign"),
            ("example.com/own", &["any"][..], node("a"), "nothing"),
        ] {
            assert_eq!(sign(signer, usages, &approved, &asked), expected, "{signer} {usages:?}");
        }
        for status in [
            json!({}),
            json!({"conditions": [{"type": "Denied", "status": "True"}]}),
            json!({"conditions": [{"type": "Approved", "status": "True"}, {"type": "Failed", "status": "True"}]}),
            json!({"conditions": [{"type": "Approved", "status": "True"}], "certificate": "eA=="}),
        ] {
            assert_eq!(sign(CLIENT, &CLIENT_USAGES, &status, &node("a")), "nothing", "{status}");
        }
    }

    #[test]
    fn certificates_are_good_for_as_long_as_asked_within_bounds() {
        let hours = |validity: Validity| (validity.to.duration_since(validity.from)).as_secs();
        for (asked, seconds) in
            [(None, 365 * 86_400), (Some(3600), 3900), (Some(1), 900), (Some(i32::MAX), 365 * 86_400)]
        {
            assert_eq!(hours(validity(asked, at(0))), seconds, "{asked:?}");
        }
        assert_eq!(validity(None, at(300)).from, at(0));
    }

    #[test]
    fn requests_are_forgotten() {
        let at_time = |kind: &str| json!({"type": kind, "status": "True", "lastUpdateTime": text(100)});
        for (status, expires, expected) in [
            (json!({}), None, Some(86_400)),
            (json!({"conditions": [at_time("Denied")]}), None, Some(3700)),
            (json!({"conditions": [at_time("Approved")]}), None, Some(86_500)),
            (json!({"conditions": [at_time("Approved")], "certificate": "eA=="}), Some(9000), Some(3700)),
            (json!({"conditions": [at_time("Approved")], "certificate": "eA=="}), Some(900), Some(900)),
            (json!({"conditions": [at_time("Approved"), at_time("Failed")]}), None, Some(3700)),
            (json!({"conditions": [{"type": "Approved", "status": "True"}]}), None, None),
        ] {
            let request = object(CLIENT, &[], status.clone());
            assert_eq!(removal(&request, expires.map(at)), expected.map(at), "{status}");
        }
    }
}
