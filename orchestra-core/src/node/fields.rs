//! The downward API: fields and resources of a pod as text, for its environment and its volumes.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use super::resources;
use crate::quantity::Quantity;
use crate::runtime::MachineInfo;

/// What the downward API knows beside the pod's own object.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Addresses of the node.
    pub host_ips: Vec<String>,
    /// Addresses of the pod; empty before its sandbox is connected.
    pub pod_ips: Vec<String>,
    /// What stands in for a limit that is not set.
    pub machine: MachineInfo,
}

/// A field that cannot be given. The text goes into the container's status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// There is no such field, or the downward API does not give it out.
    #[error("unsupported fieldPath: {0}")]
    Path(String),
    /// There is no such resource, or the downward API does not give it out.
    #[error("unsupported container resource : {0}")]
    Resource(String),
    /// The container that is meant is not in the pod.
    #[error("container {0} not found")]
    Container(String),
    /// The divisor is no quantity, or none to divide by.
    #[error("invalid divisor {0:?}")]
    Divisor(String),
}

/// The value of a field of a pod, such as `metadata.labels['app']`.
pub fn field(pod: &Pod, facts: &Facts, path: &str) -> Result<String, FieldError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(FieldError::Path(path.into())),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => map_lines(meta.labels.as_ref()),
        "metadata.annotations" => map_lines(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(FieldError::Path(path.into())),
    })
}

/// `path['key']` taken apart.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once('[')?;
    let inner = rest.strip_suffix(']')?;
    let quoted = |quote: char| inner.strip_prefix(quote)?.strip_suffix(quote);
    Some((map, quoted('\'').or_else(|| quoted('"'))?))
}

/// A map as lines of `key="value"` in order of keys, as a volume of the downward API shows it.
fn map_lines(map: Option<&BTreeMap<String, String>>) -> String {
    let mut lines = String::new();
    for (key, value) in map.into_iter().flatten() {
        let _ = writeln!(lines, "{key}={}", go_quote(value));
    }
    lines.truncate(lines.trim_end_matches('\n').len());
    lines
}

/// A string as Go's `strconv.Quote` writes it, for the characters that occur.
fn go_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The value of a container's limit or request, divided and rounded up. A limit that is not set is what the machine has.
pub fn resource(
    pod: &Pod,
    facts: &Facts,
    default_container: &str,
    selector: &ResourceFieldSelector,
) -> Result<String, FieldError> {
    let name =
        selector.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(default_container);
    let container = find_container(pod, name).ok_or_else(|| FieldError::Container(name.into()))?;
    let unsupported = || FieldError::Resource(selector.resource.clone());
    let (kind, what) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let amount = match kind {
        "limits" => {
            let held = pod.spec.as_ref().and_then(|spec| resources::held_by(spec, container, what));
            held.or_else(|| of_machine(&facts.machine, what))
        }
        "requests" => Some(resources::request(container, what).unwrap_or(Quantity::ZERO)),
        _ => None,
    };
    let amount = amount.ok_or_else(unsupported)?;
    let divisor = match &selector.divisor {
        Some(text) if !text.0.is_empty() => {
            Quantity::parse(&text.0).map_err(|_| FieldError::Divisor(text.0.clone()))?
        }
        _ => Quantity::ZERO,
    };
    let one = if what == "cpu" { 1000 } else { 1 };
    let count = |q: &Quantity| if what == "cpu" { q.milli_value() } else { q.value() };
    let by = if divisor.is_zero() { one } else { count(&divisor) };
    if by <= 0 {
        return Err(FieldError::Divisor(selector.divisor.as_ref().map(|d| d.0.clone()).unwrap_or_default()));
    }
    let amount = count(&amount);
    Ok((amount / by + i64::from(amount % by > 0)).to_string())
}

fn of_machine(machine: &MachineInfo, what: &str) -> Option<Quantity> {
    use crate::quantity::Format;
    let whole = |n: u64| Quantity::from_value(i64::try_from(n).unwrap_or(i64::MAX), Format::BinarySi);
    Some(match what {
        "cpu" => {
            Quantity::from_milli(i64::try_from(machine.cpu_millis).unwrap_or(i64::MAX), Format::DecimalSi)
        }
        "memory" => whole(machine.memory_bytes),
        "ephemeral-storage" => whole(machine.ephemeral_storage_bytes),
        _ => return what.starts_with("hugepages-").then_some(Quantity::ZERO),
    })
}

fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .find(|container| container.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u1",
                "labels": {"app": "web", "tier": "a\"b"}, "annotations": {"note": "two\nlines"},
            },
            "spec": {
                "nodeName": "n1", "serviceAccountName": "default",
                "containers": [{"name": "app", "resources": {
                    "limits": {"memory": "1Gi"}, "requests": {"cpu": "250m", "memory": "64Mi"},
                }}],
            },
        }))
        .unwrap()
    }

    fn facts() -> Facts {
        let ips = |ips: &[&str]| ips.iter().map(|ip| (*ip).to_owned()).collect();
        Facts { host_ips: ips(&["10.0.0.1"]), pod_ips: ips(&["10.1.0.5", "fd00::5"]), ..Facts::default() }
    }

    #[test]
    fn every_field_that_the_downward_api_gives_out() {
        for (path, value) in [
            ("metadata.name", "web"),
            ("metadata.namespace", "shop"),
            ("metadata.uid", "u1"),
            ("metadata.labels['app']", "web"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "app=\"web\"\ntier=\"a\\\"b\""),
            ("metadata.annotations['note']", "two\nlines"),
            ("metadata.annotations", "note=\"two\\nlines\""),
            ("spec.nodeName", "n1"),
            ("spec.serviceAccountName", "default"),
            ("status.hostIP", "10.0.0.1"),
            ("status.podIP", "10.1.0.5"),
            ("status.podIPs", "10.1.0.5,fd00::5"),
        ] {
            assert_eq!(field(&pod(), &facts(), path).as_deref(), Ok(value), "{path}");
        }
        for path in ["spec.containers", "", "metadata.labels[app]", "spec['x']", "status.phase"] {
            assert_eq!(field(&pod(), &facts(), path), Err(FieldError::Path(path.into())));
        }
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        for (resource_name, divisor, value) in [
            ("requests.cpu", "", "1"),
            ("requests.cpu", "1m", "250"),
            ("requests.cpu", "1", "1"),
            ("limits.memory", "1Mi", "1024"),
            ("limits.memory", "", "1073741824"),
            ("limits.cpu", "1m", "4000"),
            ("requests.memory", "50Mi", "2"),
            ("requests.ephemeral-storage", "", "0"),
        ] {
            let selector = ResourceFieldSelector {
                resource: resource_name.into(),
                divisor: Some(k8s_openapi::apimachinery::pkg::api::resource::Quantity(divisor.into())),
                container_name: None,
            };
            assert_eq!(
                resource(&pod(), &facts(), "app", &selector).as_deref(),
                Ok(value),
                "{resource_name}/{divisor}"
            );
        }
        let selector = |r: &str, c: Option<&str>| ResourceFieldSelector {
            resource: r.into(),
            divisor: None,
            container_name: c.map(Into::into),
        };
        assert!(resource(&pod(), &facts(), "app", &selector("cpu", None)).is_err());
        assert!(resource(&pod(), &facts(), "app", &selector("limits.cpu", Some("x"))).is_err());
    }
}
