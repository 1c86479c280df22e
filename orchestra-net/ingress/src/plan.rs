//! From the cluster's Ingresses, Services and endpoints to a table of rules. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::table::{PathType, Rule, Table};
use crate::view::{BackendView, ClassView, IngressView, ServiceView, SliceView};

/// The controller that classes of ours name.
pub const CONTROLLER: &str = "orchestra.io/ingress";
/// The annotation that named the class before there was a field for it.
const NAMED: &str = "kubernetes.io/ingress.class";
/// The label that says which service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A namespace and a name.
pub(crate) type Name = (String, String);

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Backend {
    /// `namespace/service`, for people; empty if it names none.
    pub(crate) service: String,
    /// The endpoints that are ready.
    pub(crate) endpoints: Vec<SocketAddr>,
}

/// All that is to be served.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) table: Table<Backend>,
    /// Which Secret has the certificate of which host: a name, a wildcard as `*.example.com`, or nothing for all others.
    pub(crate) certificates: BTreeMap<String, Name>,
    /// The Ingresses that are served.
    pub(crate) ours: BTreeSet<Name>,
}

/// What the cluster has.
pub(crate) struct Cluster<'v> {
    pub(crate) ingresses: Vec<&'v IngressView>,
    pub(crate) classes: Vec<&'v ClassView>,
    pub(crate) services: Vec<&'v ServiceView>,
    pub(crate) slices: Vec<&'v SliceView>,
}

/// What is to be served of a cluster. Of what two Ingresses say the older one's counts.
pub(crate) fn plan(cluster: &Cluster<'_>) -> Plan {
    let classes: BTreeSet<&str> = cluster
        .classes
        .iter()
        .filter(|class| class.spec.controller == CONTROLLER)
        .map(|class| class.metadata.name.as_str())
        .collect();
    let is_ours = |ingress: &&&IngressView| {
        let named = ingress.metadata.annotations.get(NAMED);
        ingress
            .spec
            .ingress_class_name
            .as_ref()
            .or(named)
            .is_some_and(|class| classes.contains(class.as_str()))
    };
    let mut ours: Vec<&IngressView> = cluster.ingresses.iter().filter(is_ours).copied().collect();
    ours.sort_by_key(|ingress| {
        let meta = &ingress.metadata;
        (meta.creation_timestamp, &meta.namespace, &meta.name)
    });
    let endpoints = Endpoints::of(cluster);
    let mut plan = Plan::default();
    for ingress in &ours {
        add(&mut plan, ingress, &endpoints);
    }
    // Who has no rules is asked first: it is for everything.
    ours.sort_by_key(|ingress| !ingress.spec.rules.is_empty());
    for ingress in ours {
        if let Some(backend) = &ingress.spec.default_backend {
            plan.table.add_default(endpoints.backend(&ingress.metadata.namespace, backend));
        }
    }
    plan
}

fn add(plan: &mut Plan, ingress: &IngressView, endpoints: &Endpoints<'_>) {
    let (meta, spec) = (&ingress.metadata, &ingress.spec);
    plan.ours.insert((meta.namespace.clone(), meta.name.clone()));
    for rule in &spec.rules {
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            plan.table.add(Rule {
                host: rule.host.clone(),
                path: if path.path.is_empty() { "/".to_owned() } else { path.path.clone() },
                path_type: if path.path_type == "Exact" { PathType::Exact } else { PathType::Prefix },
                backend: endpoints.backend(&meta.namespace, &path.backend),
            });
        }
        if let Some(backend) = &spec.default_backend {
            plan.table.add_host_default(&rule.host, endpoints.backend(&meta.namespace, backend));
        }
    }
    for tls in spec.tls.iter().filter(|tls| !tls.secret_name.is_empty()) {
        let secret = (meta.namespace.clone(), tls.secret_name.clone());
        let hosts: Vec<String> = match tls.hosts.as_slice() {
            [] => vec![String::new()],
            hosts => hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        };
        for host in hosts {
            plan.certificates.entry(host).or_insert_with(|| secret.clone());
        }
    }
}

/// Services and their endpoints, by their names.
struct Endpoints<'v> {
    services: BTreeMap<(&'v str, &'v str), &'v ServiceView>,
    slices: BTreeMap<(&'v str, &'v str), Vec<&'v SliceView>>,
}

impl<'v> Endpoints<'v> {
    fn of(cluster: &Cluster<'v>) -> Self {
        let named = |service: &&'v ServiceView| {
            ((service.metadata.namespace.as_str(), service.metadata.name.as_str()), *service)
        };
        let mut slices: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for slice in &cluster.slices {
            if let Some(service) = slice.metadata.labels.get(SERVICE_NAME) {
                let key = (slice.metadata.namespace.as_str(), service.as_str());
                slices.entry(key).or_default().push(*slice);
            }
        }
        Self { services: cluster.services.iter().map(named).collect(), slices }
    }

    /// A backend with its endpoints; with none if there is no such service, or it has no such port.
    fn backend(&self, namespace: &str, backend: &BackendView) -> Backend {
        let Some(wanted) = &backend.service else { return Backend::default() };
        let service = format!("{namespace}/{}", wanted.name);
        let key = (namespace, wanted.name.as_str());
        let ports = self.services.get(&key).into_iter().flat_map(|service| &service.spec.ports);
        let port = match wanted.port.name.as_str() {
            "" => ports.into_iter().find(|port| port.port == wanted.port.number),
            name => ports.into_iter().find(|port| port.name == name),
        };
        let Some(port) = port else { return Backend { service, endpoints: Vec::new() } };
        let slices = self.slices.get(&key).into_iter().flatten();
        let mut endpoints: Vec<SocketAddr> = slices.flat_map(|slice| ready(slice, &port.name)).collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        Backend { service, endpoints }
    }
}

fn ready<'v>(slice: &'v SliceView, port: &'v str) -> impl Iterator<Item = SocketAddr> + 'v {
    let ports = slice.ports.iter().flatten();
    let numbers: Vec<u16> = ports
        .filter(|offered| offered.name.as_deref().unwrap_or_default() == port)
        .filter_map(|offered| offered.port)
        .collect();
    let ready = slice.endpoints.iter().flatten().filter(|endpoint| endpoint.conditions.ready.unwrap_or(true));
    ready
        .flat_map(|endpoint| &endpoint.addresses)
        .filter_map(|text| text.parse::<IpAddr>().ok())
        .flat_map(move |ip| numbers.clone().into_iter().map(move |number| SocketAddr::new(ip, number)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view<V: serde::de::DeserializeOwned>(value: Value) -> V {
        serde_json::from_value(value).unwrap()
    }

    fn ingress(name: &str, second: u8, spec: Value) -> IngressView {
        let created = format!("2026-01-01T00:00:{second:02}Z");
        let mut spec = spec;
        if spec.get("ingressClassName").is_none() {
            spec["ingressClassName"] = "ours".into();
        }
        view(
            json!({"metadata": {"name": name, "namespace": "shop", "creationTimestamp": created}, "spec": spec}),
        )
    }

    fn backend(service: &str, port: Value) -> Value {
        json!({"service": {"name": service, "port": port}})
    }

    fn rule(host: &str, paths: &[(&str, &str, Value)]) -> Value {
        let paths: Vec<Value> = paths
            .iter()
            .map(|(path, kind, backend)| json!({"path": path, "pathType": kind, "backend": backend}))
            .collect();
        json!({"host": host, "http": {"paths": paths}})
    }

    fn planned(ingresses: &[IngressView]) -> Plan {
        let classes = [("ours", CONTROLLER), ("others", "example.com/ingress")].map(|(name, controller)| {
            view(json!({"metadata": {"name": name}, "spec": {"controller": controller}}))
        });
        let services: Vec<ServiceView> = ["web", "api"]
            .map(|name| {
                view(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"ports": [
                    {"name": "http", "port": 80}, {"name": "admin", "port": 8081},
                ]}}))
            })
            .into();
        let slice: SliceView = view(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {SERVICE_NAME: "web"}},
            "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 9090}],
            "endpoints": [
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true}}, {"addresses": ["10.0.0.1"], "conditions": {}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
            ],
        }));
        plan(&Cluster {
            ingresses: ingresses.iter().collect(),
            classes: classes.iter().collect(),
            services: services.iter().collect(),
            slices: vec![&slice],
        })
    }

    /// Where a request goes: the service and its endpoints.
    fn goes(plan: &Plan, host: &str, path: &str) -> String {
        plan.table.find(host, path).map_or_else(
            || "404".to_owned(),
            |backend| {
                let endpoints: Vec<String> = backend.endpoints.iter().map(ToString::to_string).collect();
                format!("{} {}", backend.service, endpoints.join(","))
            },
        )
    }

    #[test]
    fn rules_lead_to_the_ready_endpoints_of_a_port() {
        let plan = planned(&[ingress(
            "a",
            0,
            json!({"rules": [rule("web.example.com", &[
                ("/", "Prefix", backend("web", json!({"number": 80}))),
                ("/admin", "ImplementationSpecific", backend("web", json!({"name": "admin"}))),
                ("/none", "Exact", backend("web", json!({"number": 81}))),
                ("/empty", "Exact", backend("api", json!({"number": 80}))),
                ("/gone", "Exact", backend("gone", json!({"number": 80}))),
                ("/bucket", "Exact", json!({"resource": {"kind": "Bucket", "name": "x"}})),
            ])]}),
        )]);
        for (path, wanted) in [
            ("/x", "shop/web 10.0.0.1:8080,10.0.0.2:8080"),
            ("/admin/users", "shop/web 10.0.0.1:9090,10.0.0.2:9090"),
            ("/none", "shop/web "),
            ("/empty", "shop/api "),
            ("/gone", "shop/gone "),
            ("/bucket", " "),
        ] {
            assert_eq!(goes(&plan, "web.example.com", path), wanted, "{path}");
        }
        assert_eq!(goes(&plan, "other.example.com", "/"), "404");
        assert_eq!(plan.ours, BTreeSet::from([("shop".to_owned(), "a".to_owned())]));
    }

    #[test]
    fn only_what_is_of_a_class_of_ours_counts() {
        let of = |class: Value| {
            ingress(
                "a",
                0,
                json!({"ingressClassName": class, "defaultBackend": backend("web", json!({"number": 80}))}),
            )
        };
        assert_ne!(goes(&planned(&[of(json!("ours"))]), "x", "/"), "404");
        for other in [json!("others"), json!("gone"), Value::Null] {
            assert_eq!(goes(&planned(&[of(other.clone())]), "x", "/"), "404", "{other}");
        }
        let mut annotated = of(Value::Null);
        annotated.metadata.annotations.insert(NAMED.into(), "ours".into());
        assert_ne!(goes(&planned(&[annotated]), "x", "/"), "404");
    }

    #[test]
    fn the_older_one_is_right_and_defaults_come_last() {
        let rules = |service: &str| {
            json!([rule("a.example.com", &[("/x", "Prefix", backend(service, json!({"number": 80})))])])
        };
        let plan = planned(&[
            ingress(
                "new",
                5,
                json!({"rules": rules("api"), "defaultBackend": backend("api", json!({"number": 80}))}),
            ),
            ingress("old", 3, json!({"rules": rules("web")})),
            ingress("all", 9, json!({"defaultBackend": backend("web", json!({"name": "admin"}))})),
        ]);
        assert!(goes(&plan, "a.example.com", "/x").starts_with("shop/web "));
        assert_eq!(
            goes(&plan, "a.example.com", "/y"),
            "shop/api ",
            "the default of one that has rules for the host"
        );
        assert!(
            goes(&plan, "b.example.com", "/").contains("9090"),
            "the default of one that is for everything"
        );
    }

    #[test]
    fn hosts_have_certificates() {
        let tls = |hosts: &[&str], secret: &str| json!({"hosts": hosts, "secretName": secret});
        let plan = planned(&[
            ingress("b", 2, json!({"tls": [tls(&["a.example.com"], "second"), tls(&[], "rest")]})),
            ingress(
                "a",
                1,
                json!({"tls": [tls(&["A.example.com", "*.example.com"], "first"), tls(&["x"], "")]}),
            ),
        ]);
        let shown: Vec<String> =
            plan.certificates.iter().map(|(host, (_, secret))| format!("{host}={secret}")).collect();
        assert_eq!(shown, ["=rest", "*.example.com=first", "a.example.com=first"]);
    }
}
