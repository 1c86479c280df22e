//! The command line of `kubecfg`, as it was: flags as Go reads them, and what is to be done.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use orchestra_core::clock::parse_duration;
use orchestra_core::legacy;

/// What `kubecfg` worked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Minions,
    Pods,
    Services,
    ReplicationControllers,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] =
        [Self::Minions, Self::Pods, Self::Services, Self::ReplicationControllers];

    /// As it stood in paths.
    fn word(self) -> &'static str {
        match self {
            Self::Minions => "minions",
            Self::Pods => "pods",
            Self::Services => "services",
            Self::ReplicationControllers => "replicationControllers",
        }
    }

    /// The kind of today.
    pub(crate) fn today(self) -> &'static str {
        match self {
            Self::Minions => "Node",
            Self::Pods => "Pod",
            Self::Services => "Service",
            Self::ReplicationControllers => "ReplicationController",
        }
    }
}

/// What is to be done. Names are those of today.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    List(Kind),
    Get(Kind, String),
    Delete(Kind, String),
    Create(Kind),
    Update(Kind, String),
    Print(Kind),
    Resize { name: String, replicas: i32 },
    Stop(String),
    Remove(String),
    Run { image: String, replicas: i32, name: String },
    RollingUpdate(String),
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    #[default]
    Table,
    Json,
    Yaml,
}

/// The flags.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flags {
    pub(crate) config: Option<PathBuf>,
    pub(crate) selector: Option<String>,
    pub(crate) period: Duration,
    pub(crate) ports: Vec<Port>,
    /// Above zero: a service on this port.
    pub(crate) service_port: Option<u16>,
    pub(crate) form: Form,
    pub(crate) host: Option<String>,
    pub(crate) namespace: String,
    pub(crate) image: Option<String>,
    pub(crate) authority: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// Not kubecfg's: where the cluster's kubeconfig is.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Not kubecfg's: where the cluster is.
    pub(crate) data_dir: Option<PathBuf>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            config: None,
            selector: None,
            period: Duration::from_secs(60),
            ports: Vec::new(),
            service_port: None,
            form: Form::Table,
            host: None,
            namespace: "default".to_owned(),
            image: None,
            authority: None,
            certificate: None,
            key: None,
            kubeconfig: None,
            data_dir: None,
        }
    }
}

/// A port of a container, and of the machine it runs on if that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) host: u16,
    pub(crate) container: u16,
}

/// How it was to be used.
pub(crate) const USAGE: &str = "\
Usage: kubecfg [OPTIONS] get|delete|update <minions|pods|replicationControllers|services>/<id>
       kubecfg [OPTIONS] list <minions|pods|replicationControllers|services>
       kubecfg [OPTIONS] -c <file|-> create|print <minions|pods|replicationControllers|services>
       kubecfg [OPTIONS] stop|rm <controller>
       kubecfg [OPTIONS] [-u <time>] [-image <image>] rollingupdate <controller>
       kubecfg [OPTIONS] resize <controller> <replicas>
       kubecfg [OPTIONS] [-p <port spec>] [-s <port>] run <image> <replicas> <controller>

  -h HOST      the server; else $KUBERNETES_MASTER, else the one of the kubeconfig
  -c FILE      the manifest, of any version from v1beta1 on; - is the standard input
  -l SELECTOR  of a list, only what has these labels
  -p PORTS     ports of what is run: <host>:<container>, several with commas
  -s PORT      with run: make a service on this port too
  -u TIME      of a rolling update, how long to wait after each pod [60s]
  -image IMAGE of a rolling update, the image of the first container
  -ns NAME     the namespace [default]
  -json, -yaml print what the server answers, as it is today
  -certificate_authority FILE, -client_certificate FILE, -client_key FILE
  -kubeconfig FILE, -data-dir DIR
               as of orchestra's other commands
";

/// Reads a command line. Nothing asked for is a question for how to use it, which `None` is.
pub(crate) fn read(words: &[String]) -> anyhow::Result<Option<(Flags, Asked)>> {
    let mut flags = Flags::default();
    let mut words = words.iter();
    let mut arguments = Vec::new();
    // As Go reads them: the first word that is no flag ends the flags.
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
            arguments.push(word.clone());
            break;
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        if flag.is_empty() {
            break;
        }
        let (name, given) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if name == "help" {
            return Ok(None);
        }
        if !set_switch(&mut flags, name, given.as_deref())? {
            let value = given.or_else(|| words.next().cloned());
            let value = value.with_context(|| format!("flag needs an argument: -{name}"))?;
            set(&mut flags, name, value)?;
        }
    }
    arguments.extend(words.cloned());
    if arguments.is_empty() {
        return Ok(None);
    }
    Ok(Some((flags, asked(&arguments)?)))
}

/// Sets a flag that takes no value; whether it is one.
fn set_switch(flags: &mut Flags, name: &str, value: Option<&str>) -> anyhow::Result<bool> {
    let form = match name {
        "json" => Form::Json,
        "yaml" => Form::Yaml,
        "verbose" => Form::Table,
        "proxy" => bail!("kubecfg here is no proxy; kubectl proxy is one"),
        "insecure_skip_tls_verify" => bail!("the server's certificate is always checked"),
        _ => return Ok(false),
    };
    match value.unwrap_or("true") {
        "true" | "1" | "t" if form != Form::Table => flags.form = form,
        "true" | "1" | "t" | "false" | "0" | "f" => {}
        other => bail!("invalid boolean value {other:?} for -{name}"),
    }
    Ok(true)
}

fn set(flags: &mut Flags, name: &str, value: String) -> anyhow::Result<()> {
    match name {
        "c" => flags.config = Some(value.into()),
        "l" => flags.selector = Some(value),
        "u" => {
            flags.period = parse_duration(&value).map_err(|error| anyhow::anyhow!("-u {value}: {error}"))?;
        }
        "p" => flags.ports = ports(&value)?,
        "s" => {
            let port: i64 = value.parse().with_context(|| format!("-s {value} is no port"))?;
            let port = u16::try_from(port.max(0)).with_context(|| format!("-s {port} is no port"))?;
            flags.service_port = Some(port).filter(|port| *port > 0);
        }
        "h" => flags.host = Some(value),
        "ns" | "namespace" => flags.namespace = value,
        "image" => flags.image = Some(value),
        "certificate_authority" => flags.authority = Some(value.into()),
        "client_certificate" => flags.certificate = Some(value.into()),
        "client_key" => flags.key = Some(value.into()),
        "kubeconfig" => flags.kubeconfig = Some(value.into()),
        "data-dir" => flags.data_dir = Some(value.into()),
        "v" | "api_version" => {}
        "auth" => bail!("-auth: passwords are none of this server's; who asks is said by the kubeconfig"),
        "template" | "template_file" => bail!("-{name}: kubectl get -o go-template does it"),
        "www" => bail!("-www: kubectl proxy --www does it"),
        _ => bail!("flag provided but not defined: -{name}"),
    }
    Ok(())
}

/// `<host>:<container>` or `<container>`, several with commas.
fn ports(spec: &str) -> anyhow::Result<Vec<Port>> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    spec.split(',')
        .map(|part| {
            let (host, container) = match part.split_once(':') {
                Some((host, container)) => (port(host), port(container)),
                None => (Some(0), port(part)),
            };
            let both = host.zip(container).map(|(host, container)| Port { host, container });
            both.with_context(|| format!("bad port spec: {part}"))
        })
        .collect()
}

fn asked(arguments: &[String]) -> anyhow::Result<Asked> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| {
        let number = text.parse::<i32>().ok().filter(|number| *number >= 0);
        number.with_context(|| format!("error parsing replicas: {text:?}"))
    };
    Ok(match words[..] {
        ["list", path] => match place(path)? {
            (kind, None) => Asked::List(kind),
            _ => bail!("usage: kubecfg [OPTIONS] list <{}>", known()),
        },
        ["create", path] => match place(path)? {
            (kind, None) => Asked::Create(kind),
            _ => bail!("usage: kubecfg [OPTIONS] create <{}>", known()),
        },
        ["print", path] => Asked::Print(place(path)?.0),
        [verb @ ("get" | "delete" | "update"), path] => match (verb, place(path)?) {
            ("get", (kind, Some(name))) => Asked::Get(kind, name),
            ("delete", (kind, Some(name))) => Asked::Delete(kind, name),
            ("update", (kind, Some(name))) => Asked::Update(kind, name),
            _ => bail!("usage: kubecfg [OPTIONS] {verb} <{}>/<id>", known()),
        },
        ["resize", name, replicas] => Asked::Resize { name: legacy::name(name), replicas: number(replicas)? },
        ["stop", name] => Asked::Stop(legacy::name(name)),
        ["rm", name] => Asked::Remove(legacy::name(name)),
        ["rollingupdate", name] => Asked::RollingUpdate(legacy::name(name)),
        ["run", image, replicas, name] => {
            Asked::Run { image: image.to_owned(), replicas: number(replicas)?, name: name.to_owned() }
        }
        _ => bail!("unknown command {:?}\n{USAGE}", words.join(" ")),
    })
}

fn known() -> String {
    Kind::ALL.map(Kind::word).join("|")
}

/// A path such as `/pods` or `services/web`.
fn place(path: &str) -> anyhow::Result<(Kind, Option<String>)> {
    let path = path.trim_matches('/');
    let (word, name) = path.split_once('/').unwrap_or((path, ""));
    // Nodes, because that is what they are called by who types today.
    let kind = if word.eq_ignore_ascii_case("nodes") {
        Some(Kind::Minions)
    } else {
        Kind::ALL.into_iter().find(|kind| kind.word().eq_ignore_ascii_case(word))
    };
    let kind = kind.with_context(|| format!("{word:?} is none of {}", known()))?;
    Ok((kind, Some(legacy::name(name)).filter(|name| !name.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> anyhow::Result<Option<(Flags, Asked)>> {
        read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn lines_say_what_they_said() {
        for (line, expected) in [
            ("list minions", Asked::List(Kind::Minions)),
            ("list /pods", Asked::List(Kind::Pods)),
            ("list /replicationControllers", Asked::List(Kind::ReplicationControllers)),
            ("delete services/WordPress", Asked::Delete(Kind::Services, "wordpress".to_owned())),
            ("get pods/a", Asked::Get(Kind::Pods, "a".to_owned())),
            ("-c f.json create replicationControllers", Asked::Create(Kind::ReplicationControllers)),
            ("resize slaveController 10", Asked::Resize { name: "slavecontroller".to_owned(), replicas: 10 }),
            ("rm slaveController", Asked::Remove("slavecontroller".to_owned())),
            ("stop a", Asked::Stop("a".to_owned())),
            ("-u 1m -image a:2 rollingupdate a", Asked::RollingUpdate("a".to_owned())),
        ] {
            assert_eq!(words(line).unwrap().unwrap().1, expected, "{line}");
        }
        let (flags, asked) = words("-p 8080:80,53 --s=-1 run dockerfile/nginx 1 myNginx").unwrap().unwrap();
        let name = "myNginx".to_owned();
        assert_eq!(asked, Asked::Run { image: "dockerfile/nginx".to_owned(), replicas: 1, name });
        assert_eq!(flags.ports, [Port { host: 8080, container: 80 }, Port { host: 0, container: 53 }]);
        assert_eq!(flags.service_port, None);
        let (flags, _) = words("-h 10.0.0.1 -json -ns=kube-system -l a=b list pods").unwrap().unwrap();
        assert_eq!((flags.host.as_deref(), flags.form), (Some("10.0.0.1"), Form::Json));
        assert_eq!((&*flags.namespace, flags.selector.as_deref()), ("kube-system", Some("a=b")));
        assert_eq!(words("-help").unwrap(), None);
        assert_eq!(words("").unwrap(), None);
    }

    #[test]
    fn lines_that_say_nothing_are_refused() {
        for line in [
            "list",
            "list pods/a",
            "list elephants",
            "delete pods",
            "resize a many",
            "resize a -1",
            "run a 1",
            "-p 80:http run a 1 b",
            "-p 0 run a 1 b",
            "-s 70000 run a 1 b",
            "-proxy",
            "-unheard-of list pods",
            "-c",
            "-json=maybe list pods",
            "dance",
        ] {
            assert!(words(line).is_err(), "{line}");
        }
    }
}
