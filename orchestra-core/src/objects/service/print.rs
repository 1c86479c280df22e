//! A Service as `kubectl get services` shows it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServiceSpec, ServiceStatus};
use serde_json::Value;

use crate::api::{Column, table};
use crate::objects::print::{labels, or_none};

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Type", "How the service is reached."),
    Column::new("Cluster-IP", "Its address within the cluster."),
    Column::new("External-IP", "Its addresses outside of it."),
    Column::new("Port(s)", "Its ports, each with that of the nodes."),
    Column::AGE,
    Column::new("Selector", "Which pods answer.").wide(),
];

pub(super) fn cells(service: &Service, now: Timestamp) -> Vec<Value> {
    let spec = service.spec.clone().unwrap_or_default();
    let status = service.status.clone().unwrap_or_default();
    let ip = spec.cluster_ips.iter().flatten().next().or(spec.cluster_ip.as_ref());
    vec![
        service.metadata.name.clone().into(),
        spec.type_.clone().unwrap_or_default().into(),
        or_none(ip.map(String::as_str)).into(),
        external(&spec, &status).into(),
        ports(&spec).into(),
        table::age(&service.metadata, now).into(),
        labels(spec.selector.as_ref()).into(),
    ]
}

fn external(spec: &ServiceSpec, status: &ServiceStatus) -> String {
    let own = spec.external_ips.clone().unwrap_or_default();
    match spec.type_.as_deref().unwrap_or_default() {
        "ClusterIP" | "NodePort" => or_none(Some(&own.join(","))),
        "LoadBalancer" => {
            let balancer = status.load_balancer.as_ref().and_then(|balancer| balancer.ingress.as_ref());
            let mut all: Vec<String> = balancer
                .into_iter()
                .flatten()
                .filter_map(|way| way.ip.clone().or_else(|| way.hostname.clone()))
                .collect();
            all.extend(own);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => spec.external_name.clone().unwrap_or_default(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(spec: &ServiceSpec) -> String {
    let ports: Vec<String> = spec
        .ports
        .iter()
        .flatten()
        .map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or_default();
            match port.node_port.unwrap_or_default() {
                0 => format!("{}/{protocol}", port.port),
                node => format!("{}:{node}/{protocol}", port.port),
            }
        })
        .collect();
    or_none(Some(&ports.join(",")))
}
