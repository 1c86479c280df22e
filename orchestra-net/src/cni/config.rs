//! What plugins are told: a configuration of a folder, and what is asked for of one pod. Pure but for reading the folder.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use orchestra_core::network::{AttachRequest, HostPort};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::DEVICE;
use crate::bandwidth::limits::Limits;

/// As much as may go at once where a rate is given, which is no bound of its own.
const BURST: u64 = i32::MAX as u64;

/// A list of plugins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct List {
    pub(super) name: String,
    version: String,
    #[serde(default)]
    never_check: bool,
    #[serde(default)]
    never_collect: bool,
    pub(super) plugins: Vec<Plugin>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plugin {
    /// What its program is called.
    pub(super) program: String,
    /// What it can be told of a pod.
    capabilities: Vec<String>,
    config: Map<String, Value>,
}

/// What is asked for of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) sandbox: String,
    pub(super) netns: PathBuf,
    pub(super) args: String,
    /// By capability.
    pub(super) options: BTreeMap<String, Value>,
}

impl List {
    /// The first configuration of a folder, by name: a list, or one plugin alone.
    pub(super) fn first_of(folder: &Path) -> io::Result<Self> {
        let named = |what: &str| format!("{}: {what}", folder.display());
        let entries = std::fs::read_dir(folder)
            .map_err(|error| io::Error::new(error.kind(), named(&error.to_string())))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| {
            file.extension()
                .and_then(|it| it.to_str())
                .is_some_and(|it| ["conf", "conflist", "json"].contains(&it))
        });
        files.sort();
        let Some(file) = files.first() else {
            let what = named("no configuration of CNI is in it, a file that ends in .conflist");
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        };
        let text = std::fs::read_to_string(file)?;
        Self::parse(&text).map_err(|what| io::Error::other(format!("{}: {what}", file.display())))
    }

    /// Reads one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let read: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let word = |name: &str| read.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let never = |name: &str| match read.get(name) {
            Some(Value::Bool(said)) => *said,
            Some(Value::String(said)) => said == "true",
            _ => false,
        };
        let plugins = match read.get("plugins") {
            Some(Value::Array(plugins)) => plugins.iter().map(Plugin::of).collect::<Result<Vec<_>, _>>()?,
            Some(_) => return Err("its plugins are no list".into()),
            None => vec![Plugin::of(&Value::Object(read.clone()))?],
        };
        let (name, version) = (word("name"), word("cniVersion"));
        if name.is_empty() || plugins.is_empty() {
            return Err("it has no name, or no plugins".into());
        }
        let version = if version.is_empty() { "0.2.0".to_owned() } else { version };
        Ok(Self {
            name,
            version,
            never_check: never("disableCheck"),
            never_collect: never("disableGC"),
            plugins,
        })
    }

    fn is_at_least(&self, wanted: (u32, u32)) -> bool {
        let mut numbers = self.version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
    }

    /// Whether its plugins can say if a pod is connected.
    pub(super) fn can_check(&self) -> bool {
        self.is_at_least((0, 4)) && !self.never_check
    }

    /// Whether they can take away what is of no pod any more.
    pub(super) fn can_collect(&self) -> bool {
        self.is_at_least((1, 1)) && !self.never_collect
    }

    /// Whether a plugin sees to something that is asked for by pod.
    pub(super) fn has_capability(&self, name: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.capabilities.iter().any(|has| has == name))
    }

    /// What a plugin reads.
    pub(super) fn input(&self, plugin: &Plugin, asked: &Asked, answer: Option<&Value>) -> Value {
        let mut config = self.common(plugin);
        let options: Map<String, Value> = asked
            .options
            .iter()
            .filter(|(name, _)| plugin.capabilities.contains(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !options.is_empty() {
            config.insert("runtimeConfig".to_owned(), Value::Object(options));
        }
        if let Some(answer) = answer {
            config.insert("prevResult".to_owned(), answer.clone());
        }
        Value::Object(config)
    }

    /// What a plugin reads that is to take away what is of none of these.
    pub(super) fn collection<'s>(&self, plugin: &Plugin, sandboxes: impl Iterator<Item = &'s str>) -> Value {
        let valid: Vec<Value> = sandboxes.map(|id| json!({"containerID": id, "ifname": DEVICE})).collect();
        let mut config = self.common(plugin);
        config.insert("cni.dev/valid-attachments".to_owned(), Value::Array(valid));
        Value::Object(config)
    }

    fn common(&self, plugin: &Plugin) -> Map<String, Value> {
        let mut config = plugin.config.clone();
        config.insert("name".to_owned(), self.name.clone().into());
        config.insert("cniVersion".to_owned(), self.version.clone().into());
        config
    }
}

impl Plugin {
    fn of(read: &Value) -> Result<Self, String> {
        let mut config = read.as_object().cloned().ok_or("a plugin is no object")?;
        let program = config.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        // It is the name of a program of a folder and leads to no other.
        if program.is_empty() || program.contains('/') {
            return Err(format!("{program:?} is no type of plugin"));
        }
        let capabilities = match config.remove("capabilities") {
            Some(Value::Object(all)) => {
                all.into_iter().filter(|(_, has)| *has == Value::Bool(true)).map(|(name, _)| name).collect()
            }
            _ => Vec::new(),
        };
        Ok(Self { program, capabilities, config })
    }
}

impl Asked {
    /// What is asked for of the pod of a request.
    ///
    /// # Errors
    /// Which annotation cannot be meant.
    pub(super) fn of(request: &AttachRequest, netns: &Path) -> Result<Self, String> {
        let (pod, sandbox) = (&request.pod, request.sandbox.to_string());
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={sandbox};K8S_POD_UID={}",
            pod.namespace, pod.name, pod.uid
        );
        let mut options = BTreeMap::new();
        if !request.host_ports.is_empty() {
            let ports: Vec<Value> = request.host_ports.iter().map(port).collect();
            options.insert("portMappings".to_owned(), Value::Array(ports));
        }
        let limits = Limits::of(&request.annotations)?;
        if !limits.is_none() {
            options.insert("bandwidth".to_owned(), bandwidth(limits));
        }
        Ok(Self { sandbox, netns: netns.to_owned(), args, options })
    }
}

fn port(port: &HostPort) -> Value {
    let mut mapping = json!({
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": port.protocol.to_string().to_ascii_lowercase(),
    });
    if let Some(ip) = port.host_ip.filter(|ip| !ip.is_unspecified()) {
        mapping["hostIP"] = ip.to_string().into();
    }
    mapping
}

/// How much a pod may receive and send in a second.
fn bandwidth(limits: Limits) -> Value {
    let mut told = Map::new();
    for (way, bits) in [("ingress", limits.ingress), ("egress", limits.egress)] {
        if let Some(bits) = bits {
            told.insert(format!("{way}Rate"), bits.into());
            told.insert(format!("{way}Burst"), BURST.into());
        }
    }
    Value::Object(told)
}

/// The addresses of an answer.
pub(super) fn addresses(answer: Option<&Value>) -> Vec<IpAddr> {
    let ip = |text: &str| text.split_once('/').map_or(text, |(ip, _)| ip).parse().ok();
    let listed = answer.and_then(|answer| answer.get("ips")).and_then(Value::as_array).into_iter().flatten();
    let listed = listed.filter_map(|one| one.get("address").and_then(Value::as_str)).filter_map(ip);
    // As it was before version 0.3.
    let old = ["ip4", "ip6"].into_iter().filter_map(|family| answer?.get(family)?.get("ip")?.as_str());
    listed.chain(old.filter_map(ip)).collect()
}
