//! A container's environment: what it is told of services, of ConfigMaps and Secrets, of its pod, and by its author.
//!
//! In this order, so that each can be overridden by what comes after it: services, `envFrom`, `env`. A later entry sees
//! the earlier ones as `$(NAME)`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod, Service};

use super::expand::expand;
use super::fields::{self, Facts, FieldError};
use super::sources::Sources;

/// Why an environment cannot be made. The text becomes the message of `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// An object that is not optional is not there.
    #[error("{kind} \"{name}\" not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object is there and the key is not.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The pod's namespace.
        namespace: String,
        /// The object's name.
        name: String,
        /// The key.
        key: String,
    },
    /// A field or resource cannot be given.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// An environment, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// Names and values; a name stands once.
    pub variables: Vec<(String, String)>,
    /// Keys of `envFrom` that are no names of variables and were left out, by object.
    pub skipped: Vec<(String, Vec<String>)>,
}

impl Environment {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.variables.iter_mut().find(|(known, _)| known == name) {
            Some(variable) => variable.1 = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }
}

/// The environment of a container.
pub fn environment(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    sources: &Sources,
) -> Result<Environment, EnvError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let mut env = Environment::default();
    add_env_from(&mut env, container, sources)?;
    let of_services = service_variables(&sources.services, namespace, links);
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(from) => from_source(pod, container, facts, sources, namespace, from)?,
            None => {
                let known =
                    |name: &str| env.get(name).map(str::to_owned).or_else(|| of_services.get(name).cloned());
                Some(expand(variable.value.as_deref().unwrap_or_default(), known))
            }
        };
        if let Some(value) = value {
            env.set(&variable.name, value);
        }
    }
    for (name, value) in of_services {
        if env.get(&name).is_none() {
            env.variables.push((name, value));
        }
    }
    Ok(env)
}

fn add_env_from(env: &mut Environment, container: &Container, sources: &Sources) -> Result<(), EnvError> {
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(wanted) = &from.config_map_ref {
            let found = sources.config_maps.get(&wanted.name);
            if found.is_none() && wanted.optional != Some(true) {
                return Err(EnvError::Missing { kind: "configmap", name: wanted.name.clone() });
            }
            let data = found.and_then(|map| map.data.as_ref()).into_iter().flatten();
            add_all(env, &wanted.name, prefix, data.map(|(k, v)| (k.as_str(), v.clone())));
        }
        if let Some(wanted) = &from.secret_ref {
            let found = sources.secrets.get(&wanted.name);
            if found.is_none() && wanted.optional != Some(true) {
                return Err(EnvError::Missing { kind: "secret", name: wanted.name.clone() });
            }
            let data = found.and_then(|secret| secret.data.as_ref()).into_iter().flatten();
            add_all(env, &wanted.name, prefix, data.map(|(k, v)| (k.as_str(), text(&v.0))));
        }
    }
    Ok(())
}

fn add_all<'a>(
    env: &mut Environment,
    object: &str,
    prefix: &str,
    data: impl Iterator<Item = (&'a str, String)>,
) {
    let mut skipped = Vec::new();
    for (key, value) in data {
        let name = format!("{prefix}{key}");
        match valid_name(&name) {
            true => env.set(&name, value),
            false => skipped.push(name),
        }
    }
    if !skipped.is_empty() {
        env.skipped.push((object.to_owned(), skipped));
    }
}

/// Printable ASCII without `=`, what Kubernetes lets through since 1.34.
fn valid_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=')
}

/// The value a reference leads to; `None` when it is optional and leads nowhere.
fn from_source(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    sources: &Sources,
    namespace: &str,
    from: &EnvVarSource,
) -> Result<Option<String>, EnvError> {
    if let Some(field) = &from.field_ref {
        return Ok(Some(fields::field(pod, facts, &field.field_path)?));
    }
    if let Some(resource) = &from.resource_field_ref {
        return Ok(Some(fields::resource(pod, facts, &container.name, resource)?));
    }
    if let Some(wanted) = &from.config_map_key_ref {
        let found = sources.config_maps.get(&wanted.name);
        let value = found.map(|map| map.data.as_ref().and_then(|data| data.get(&wanted.key)).cloned());
        return keyed(
            ["configmap", "ConfigMap"],
            namespace,
            &wanted.name,
            &wanted.key,
            wanted.optional,
            value,
        );
    }
    if let Some(wanted) = &from.secret_key_ref {
        let found = sources.secrets.get(&wanted.name);
        let value = found.map(|secret| secret.data.as_ref()?.get(&wanted.key).map(|value| text(&value.0)));
        return keyed(["secret", "Secret"], namespace, &wanted.name, &wanted.key, wanted.optional, value);
    }
    Ok(Some(String::new()))
}

fn keyed(
    [lower, kind]: [&'static str; 2],
    namespace: &str,
    name: &str,
    key: &str,
    optional: Option<bool>,
    found: Option<Option<String>>,
) -> Result<Option<String>, EnvError> {
    match found {
        Some(Some(value)) => Ok(Some(value)),
        _ if optional == Some(true) => Ok(None),
        None => Err(EnvError::Missing { kind: lower, name: name.into() }),
        Some(None) => Err(EnvError::MissingKey {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            key: key.into(),
        }),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The variables that tell of services: those of the pod's namespace where it wants them, and always the API's own.
pub fn service_variables(services: &[Service], namespace: &str, links: bool) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let is_api = |service: &Service| {
        service.metadata.namespace.as_deref() == Some("default")
            && service.metadata.name.as_deref() == Some("kubernetes")
    };
    // The pod's own namespace comes last, so that a service called `kubernetes` there wins, as in Kubernetes.
    for service in services.iter().filter(|service| is_api(service)) {
        add_service(&mut variables, service);
    }
    for service in services {
        if links && service.metadata.namespace.as_deref() == Some(namespace) {
            add_service(&mut variables, service);
        }
    }
    variables
}

fn add_service(variables: &mut BTreeMap<String, String>, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let ip = match spec.cluster_ip.as_deref() {
        None | Some("" | "None") => return,
        Some(ip) => ip,
    };
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let prefix = shouted(service.metadata.name.as_deref().unwrap_or_default());
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return };
    variables.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    variables.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            variables.insert(format!("{prefix}_SERVICE_PORT_{}", shouted(name)), port.port.to_string());
        }
    }
    let url = |protocol: &str, port: i32| format!("{}://{host}:{port}", protocol.to_lowercase());
    let protocol =
        |port: &k8s_openapi::api::core::v1::ServicePort| port.protocol.clone().unwrap_or("TCP".into());
    variables.insert(format!("{prefix}_PORT"), url(&protocol(first), first.port));
    for port in ports {
        let protocol = protocol(port);
        let each = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        variables.insert(format!("{each}_PROTO"), protocol.to_lowercase());
        variables.insert(format!("{each}_PORT"), port.port.to_string());
        variables.insert(format!("{each}_ADDR"), ip.to_owned());
        variables.insert(each, url(&protocol, port.port));
    }
}

fn shouted(name: &str) -> String {
    name.to_uppercase().replace(['-', '.'], "_")
}

/// Words with their variables replaced.
pub fn expand_words(words: Option<&Vec<String>>, env: &Environment) -> Vec<String> {
    let known = |name: &str| env.get(name).map(str::to_owned);
    words.into_iter().flatten().map(|word| expand(word, known)).collect()
}

#[cfg(test)]
mod tests;
