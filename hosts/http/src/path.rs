//! The paths of the Kubernetes API: one grammar, read into what is asked of which resource.
//!
//! ```text
//! /api/v1/…            the core group
//! /apis/GROUP/VERSION/…
//!     RESOURCE                                   a collection of the whole cluster
//!     RESOURCE/NAME[/SUBRESOURCE]                one object
//!     namespaces/NAMESPACE/RESOURCE[/NAME[/SUBRESOURCE]]
//!     watch/…                                    the old way to ask for a watch
//! ```

use std::sync::Arc;

use orchestra_core::api::{Action, Kinds, Stream, Target};
use percent_encoding::percent_decode_str;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/`: the list of paths.
    Root,
    /// `/healthz`, `/livez` or `/readyz`, and which of its checks, if one is meant.
    Health(String, Option<String>),
    /// `/version`.
    Version,
    /// `/metrics`.
    Metrics,
    /// `/metrics/slis`: the checks of health as figures.
    Slis,
    /// `/api`: the versions of the core group.
    CoreVersions,
    /// `/apis`: the other groups.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`: the resources of a version.
    Resources {
        /// The group; empty for the core group.
        group: String,
        /// The version.
        version: String,
    },
    /// `/orchestra/v1/backup`: all that the store holds, which is orchestra's own.
    Backup,
    /// `/orchestra/v1/explain`: what is wrong, and why, which is orchestra's own.
    Explain,
    /// `/orchestra/v1/what-if`: what would happen, which is orchestra's own.
    WhatIf,
    /// `/orchestra/v1/node-connection`: nodes hold connections to be asked by, which is orchestra's own.
    NodeConnection,
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApiIndex,
    /// `/openapi/v3/…`: the rest of the path.
    OpenApiV3(String),
    /// `/.well-known/openid-configuration`: who issues tokens.
    Issuer,
    /// `/openid/v1/jwks`: the keys by which tokens are known.
    IssuerKeys,
    /// A resource.
    Resource {
        /// Which.
        target: Target,
        /// What follows the subresource, as for `proxy`.
        rest: String,
        /// Whether the path itself asks for a watch.
        watch: bool,
    },
    /// Nothing that is served.
    Unknown,
}

impl Route {
    /// Where a path leads, and the path itself as authorization has it: decoded, and without a slash at the end if it leads
    /// somewhere.
    pub(crate) fn parse(path: &str, kinds: &Kinds) -> (Self, String) {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let decode = |step: &str| percent_decode_str(step).decode_utf8().ok().map(String::from);
        let steps = match inner {
            "" => Some(Vec::new()),
            inner => inner.split('/').map(decode).collect(),
        };
        let Some(steps) = steps else { return (Self::Unknown, path.to_owned()) };
        match Self::of(&steps, kinds) {
            // What leads nowhere is authorized as it stands.
            Self::Unknown => (Self::Unknown, percent_decode_str(path).decode_utf8_lossy().into_owned()),
            route => (route, format!("/{}", steps.join("/"))),
        }
    }

    fn of(steps: &[String], kinds: &Kinds) -> Self {
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        match steps.as_slice() {
            ["api", version, rest @ ..] if is_passed_on("", version, rest, kinds) => {
                Self::below("", version, rest, kinds)
            }
            steps if steps.contains(&"") => Self::Unknown,
            [] => Self::Root,
            [endpoint @ ("healthz" | "livez" | "readyz"), check @ ..] => {
                let check = Some(check.join("/")).filter(|check| !check.is_empty());
                Self::Health((*endpoint).to_owned(), check)
            }
            ["version"] => Self::Version,
            ["metrics"] => Self::Metrics,
            ["metrics", "slis"] => Self::Slis,
            ["orchestra", "v1", "backup"] => Self::Backup,
            ["orchestra", "v1", "explain"] => Self::Explain,
            ["orchestra", "v1", "what-if"] => Self::WhatIf,
            ["orchestra", "v1", "node-connection"] => Self::NodeConnection,
            ["openapi", "v2"] => Self::OpenApiV2,
            ["openapi", "v3"] => Self::OpenApiIndex,
            ["openapi", "v3", rest @ ..] => Self::OpenApiV3(rest.join("/")),
            [".well-known", "openid-configuration"] => Self::Issuer,
            ["openid", "v1", "jwks"] => Self::IssuerKeys,
            ["api"] => Self::CoreVersions,
            ["apis"] => Self::Groups,
            ["apis", group] => Self::Group((*group).to_owned()),
            ["api", version, rest @ ..] => Self::below("", version, rest, kinds),
            ["apis", group, version, rest @ ..] => Self::below(group, version, rest, kinds),
            _ => Self::Unknown,
        }
    }

    fn below(group: &str, version: &str, steps: &[&str], kinds: &Kinds) -> Self {
        // What a namespace has as a subresource would otherwise be read as a collection in it.
        let namespaces = kinds.served(group, version, "namespaces");
        let of_namespaces = |sub: &str| namespaces.is_some_and(|row| row.subresource(sub).is_some());
        let (watch, steps) = match steps {
            ["watch", rest @ ..] => (true, rest),
            steps => (false, steps),
        };
        let resource = |namespace: Option<&str>, resource: &str, name: Option<&str>, rest: &[&str]| {
            let (subresource, rest) = match rest {
                [] => (None, String::new()),
                [subresource, rest @ ..] => (Some(Arc::from(*subresource)), rest.join("/")),
            };
            let target = Target {
                group: group.into(),
                version: version.into(),
                resource: resource.into(),
                namespace: namespace.map(Into::into),
                name: name.map(Into::into),
                subresource,
            };
            Self::Resource { target, rest, watch }
        };
        match steps {
            [] => Self::Resources { group: group.to_owned(), version: version.to_owned() },
            ["namespaces", name, sub] if of_namespaces(sub) => {
                resource(None, "namespaces", Some(name), &[sub])
            }
            ["namespaces", namespace, plural] => resource(Some(namespace), plural, None, &[]),
            ["namespaces", namespace, plural, name, rest @ ..] => {
                resource(Some(namespace), plural, Some(name), rest)
            }
            [plural] => resource(None, plural, None, &[]),
            [plural, name, rest @ ..] => resource(None, plural, Some(name), rest),
        }
    }
}

/// Whether a path leads to what passes all that is below on, as it is: empty steps too.
fn is_passed_on(group: &str, version: &str, steps: &[&str], kinds: &Kinds) -> bool {
    let (leading, plural, sub) = match steps {
        ["namespaces", namespace, plural, name, sub, ..] => ([*namespace, *name], plural, sub),
        [plural, name, sub, ..] => ([version, *name], plural, sub),
        _ => return false,
    };
    let sub = kinds.served(group, version, plural).and_then(|row| row.subresource(sub));
    !leading.contains(&"") && sub.is_some_and(|sub| sub.action == Action::Connect(Stream::Proxy))
}

#[cfg(test)]
mod tests {
    use orchestra_core::objects::builtin;

    use super::*;

    fn show(path: &str) -> String {
        match Route::parse(path, &builtin()).0 {
            Route::Resource { target, rest, watch } => {
                let text = |part: &Option<Arc<str>>| part.as_deref().unwrap_or("-").to_owned();
                let (namespace, name, sub) =
                    (text(&target.namespace), text(&target.name), text(&target.subresource));
                let watch = if watch { " watch" } else { "" };
                format!(
                    "{}/{} {} {namespace} {name} {sub} {rest}{watch}",
                    target.group, target.version, target.resource
                )
                .trim_end()
                .to_owned()
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_lead_where_kubernetes_says() {
        for (path, route) in [
            ("/", "Root"),
            ("/readyz", "Health(\"readyz\", None)"),
            ("/healthz/ping", "Health(\"healthz\", Some(\"ping\"))"),
            ("/api", "CoreVersions"),
            ("/apis/apps", "Group(\"apps\")"),
            ("/api/v1", "Resources { group: \"\", version: \"v1\" }"),
            ("/apis/apps/v1/", "Resources { group: \"apps\", version: \"v1\" }"),
            ("/api/v1/pods", "/v1 pods - - -"),
            ("/api/v1/nodes/a/status", "/v1 nodes - a status"),
            ("/api/v1/namespaces", "/v1 namespaces - - -"),
            ("/api/v1/namespaces/x", "/v1 namespaces - x -"),
            ("/api/v1/namespaces/x/finalize", "/v1 namespaces - x finalize"),
            ("/api/v1/namespaces/x/pods", "/v1 pods x - -"),
            ("/api/v1/namespaces/x/pods/a/log", "/v1 pods x a log"),
            ("/api/v1/namespaces/x/services/a/proxy/b/c", "/v1 services x a proxy b/c"),
            ("/api/v1/namespaces/x/services/a/proxy//b//", "/v1 services x a proxy /b/"),
            ("/api/v1/nodes/a/proxy//b", "/v1 nodes - a proxy /b"),
            ("/api/v1/namespaces/x/services//proxy/b", "Unknown"),
            ("/api/v1/namespaces/x/pods/a/log//", "Unknown"),
            ("/apis/apps/v1/watch/namespaces/x/deployments/a", "apps/v1 deployments x a -  watch"),
            ("/api/v1/namespaces/x/configmaps/a%20b", "/v1 configmaps x a b -"),
            ("/openapi/v3/apis/apps/v1", "OpenApiV3(\"apis/apps/v1\")"),
            ("/nothing", "Unknown"),
            ("/api/v1/pods/%ff", "Unknown"),
            ("//api/v1/pods", "Unknown"),
            ("/api//v1/pods", "Unknown"),
            ("/api/v1/pods//", "Unknown"),
            ("/api/v1/pods/", "/v1 pods - - -"),
        ] {
            assert_eq!(show(path), route, "{path}");
        }
    }

    #[test]
    fn a_path_is_authorized_as_what_it_leads_to() {
        for path in ["/orchestra/v1/backup", "/orchestra/v1/backup/", "/orchestra/v1/%62ackup"] {
            assert_eq!(
                Route::parse(path, &builtin()),
                (Route::Backup, "/orchestra/v1/backup".to_owned()),
                "{path}"
            );
        }
        assert_eq!(Route::parse("/a%2Fb", &builtin()), (Route::Unknown, "/a/b".to_owned()));
        assert_eq!(Route::parse("/logs/", &builtin()), (Route::Unknown, "/logs/".to_owned()));
        assert_eq!(Route::parse("/", &builtin()), (Route::Root, "/".to_owned()));
    }
}
