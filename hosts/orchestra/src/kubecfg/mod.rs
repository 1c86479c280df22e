//! `orchestra kubecfg`: the command line of before `kubectl`, on a cluster of today.
//!
//! `words` reads the line, `table` prints the answer; what stands between is a client of the API. Manifests may be of any
//! version that [`legacy`] knows, and names may be what names were then.

mod table;
mod words;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use orchestra_core::api::{DeleteOptions, ListOptions, Objects, Patch, Propagation, WriteOptions, yaml};
use orchestra_core::legacy;
use orchestra_core::objects;
use orchestra_core::selector::Selector;
use orchestra_core::watch::Entry;
use orchestra_http::{Credential, Issued, Kubeconfig, Remote};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::table::{success, table};
use self::words::{Asked, Flags, Form, Kind, USAGE};
use crate::cli;
use crate::convert::documents;

/// How long a rolling update waits in the end until there are as many pods as there were.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) async fn run(options: &cli::Kubecfg) -> anyhow::Result<()> {
    let Some((flags, asked)) = words::read(&options.words)? else {
        print!("{USAGE}");
        return Ok(());
    };
    if let Asked::Print(kind) = asked {
        let objects = manifests(&flags, kind)?;
        return print_all(&flags, kind, &objects);
    }
    let remote = connect(&flags)?;
    let there = |kind: Kind| objects_of(&remote, &flags, kind);
    match asked {
        Asked::List(kind) => {
            let labels = flags.selector.as_deref().map(Selector::parse).transpose()?;
            let list = there(kind)?.list(ListOptions { labels, ..Default::default() }).await?;
            let list: anyhow::Result<Vec<Value>> = list.objects.iter().map(|entry| value(entry)).collect();
            print_all(&flags, kind, &list?)
        }
        Asked::Get(kind, name) => print_all(&flags, kind, &[value(&*there(kind)?.get(&name).await?)?]),
        Asked::Create(kind) => create(&remote, &flags, kind).await,
        Asked::Update(kind, name) => update(&there(kind)?, &flags, kind, &name).await,
        Asked::Delete(kind, name) => delete(&there(kind)?, &name).await,
        Asked::Remove(name) => delete(&there(Kind::ReplicationControllers)?, &name).await,
        Asked::Resize { name, replicas } => {
            resize(&there(Kind::ReplicationControllers)?, &flags, &name, replicas).await
        }
        Asked::Stop(name) => resize(&there(Kind::ReplicationControllers)?, &flags, &name, 0).await,
        Asked::Run { image, replicas, name } => {
            let controller = controller(&image, replicas, &name, &flags);
            let kind = Kind::ReplicationControllers;
            let made = there(kind)?.create(controller, WriteOptions::default()).await?;
            print_all(&flags, kind, &[value(&made)?])?;
            if let Some(port) = flags.service_port {
                let made =
                    there(Kind::Services)?.create(service(&name, port), WriteOptions::default()).await?;
                print_all(&flags, Kind::Services, &[value(&made)?])?;
            }
            Ok(())
        }
        Asked::RollingUpdate(name) => {
            rolling_update(&there(Kind::ReplicationControllers)?, &there(Kind::Pods)?, &flags, &name).await
        }
        Asked::Print(_) => Ok(()),
    }
}

/// The cluster: the server that is named, or that the environment names, or the kubeconfig's. Who asks, and whom the
/// server's certificate must come from, says the kubeconfig unless flags do.
fn connect(flags: &Flags) -> anyhow::Result<Arc<Remote>> {
    let directory = flags.data_dir.clone().unwrap_or_else(cli::default_data_dir);
    let path = flags.kubeconfig.clone().unwrap_or_else(|| directory.join("kubeconfig"));
    let mut config = Kubeconfig::read(&path).with_context(|| {
        format!("no cluster is known by {}; name another with -data-dir or -kubeconfig", path.display())
    })?;
    let environment = std::env::var("KUBERNETES_MASTER").ok().filter(|host| !host.is_empty());
    if let Some(host) = flags.host.clone().or(environment) {
        config.url = url(&host)?;
    }
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
    };
    if let Some(authority) = &flags.authority {
        config.authority = read(authority)?;
    }
    match (&flags.certificate, &flags.key) {
        (Some(certificate), Some(key)) => {
            config.credential =
                Credential::Certificate(Issued { certificate: read(certificate)?, key: read(key)? });
        }
        (None, None) => {}
        _ => bail!("-client_certificate and -client_key go together"),
    }
    Ok(Remote::connect(config)?)
}

/// What a host was said to be. The API is not served in the clear.
fn url(host: &str) -> anyhow::Result<String> {
    let host = host.trim_end_matches('/');
    match host.split_once("://") {
        Some(("https", _)) => Ok(host.to_owned()),
        Some((scheme, rest)) => {
            bail!("the API is served by https alone, not by {scheme}; write https://{rest}")
        }
        None if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
            Ok(format!("https://{host}"))
        }
        None => Ok(format!("https://{host}:6443")),
    }
}

fn objects_of(remote: &Arc<Remote>, flags: &Flags, kind: Kind) -> anyhow::Result<Objects> {
    let kinds = objects::builtin();
    let row = kinds.by_kind("v1", kind.today()).context("a cluster has no such kind")?;
    let namespace = row.is_namespaced().then_some(flags.namespace.as_str());
    Ok(remote.client().objects(&row.info(), namespace))
}

fn value(entry: &Entry) -> anyhow::Result<Value> {
    Ok(entry.to_value()?)
}

fn print_all(flags: &Flags, kind: Kind, objects: &[Value]) -> anyhow::Result<()> {
    match (flags.form, objects) {
        (Form::Table, objects) => print!("{}", table(kind, objects)),
        (Form::Json, [one]) => println!("{one:#}"),
        (Form::Yaml, [one]) => print!("{}", yaml::write(one)?),
        (form, several) => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": several});
            match form {
                Form::Json => println!("{list:#}"),
                _ => print!("{}", yaml::write(&list)?),
            }
        }
    }
    Ok(())
}

/// The objects of the file, as they are today. All of them must be of the kind.
fn manifests(flags: &Flags, kind: Kind) -> anyhow::Result<Vec<Value>> {
    let file = flags.config.as_deref().context("need config file (-c)")?;
    if file.to_str().is_some_and(|file| file.starts_with("http://") || file.starts_with("https://")) {
        bail!("{} is not on this machine; fetch it, and pipe it to -c -", file.display());
    }
    let mut objects = Vec::new();
    for document in documents(file)? {
        let converted =
            legacy::convert(document).with_context(|| format!("{} cannot be read", file.display()))?;
        converted.notes.iter().for_each(|note| eprintln!("warning: {}: {note}", file.display()));
        match converted.object.get("items").and_then(Value::as_array) {
            Some(items) => objects.extend(items.iter().cloned()),
            None => objects.push(converted.object),
        }
    }
    if let Some(other) = objects.iter().find(|object| object["kind"] != kind.today()) {
        let other = other["kind"].as_str().unwrap_or_default();
        bail!("{} has a {other}, where a {} was to be", file.display(), kind.today());
    }
    Ok(objects)
}

async fn create(remote: &Arc<Remote>, flags: &Flags, kind: Kind) -> anyhow::Result<()> {
    let mut made = Vec::new();
    for object in manifests(flags, kind)? {
        let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
        let there =
            Flags { namespace: namespace.unwrap_or_else(|| flags.namespace.clone()), ..flags.clone() };
        let entry = objects_of(remote, &there, kind)?.create(object, WriteOptions::default()).await?;
        made.push(value(&entry)?);
    }
    print_all(flags, kind, &made)
}

async fn update(objects: &Objects, flags: &Flags, kind: Kind, name: &str) -> anyhow::Result<()> {
    let mut manifests = manifests(flags, kind)?;
    let (Some(mut object), true) = (manifests.pop(), manifests.is_empty()) else {
        bail!("an update is of one object, and the file has {}", manifests.len());
    };
    // It replaces what there is now, whatever that is.
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    let updated = objects.update(name, object, WriteOptions::default()).await?;
    print_all(flags, kind, &[value(&updated)?])
}

/// Removes an object, and what it has made with it.
async fn delete(objects: &Objects, name: &str) -> anyhow::Result<()> {
    let options = DeleteOptions { propagation: Some(Propagation::Background), ..Default::default() };
    objects.delete(name, options).await?;
    print!("{}", success());
    Ok(())
}

async fn resize(controllers: &Objects, flags: &Flags, name: &str, replicas: i32) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let resized = controllers.patch(name, patch, WriteOptions::default()).await?;
    print_all(flags, Kind::ReplicationControllers, &[value(&resized)?])
}

/// What `run` made: a controller of one container. The labels are those that pods of one were listed with.
fn controller(image: &str, replicas: i32, name: &str, flags: &Flags) -> Value {
    let labels = json!({"simpleService": name, "replicationController": name});
    let port = |port: &words::Port| match port.host {
        0 => json!({"containerPort": port.container}),
        host => json!({"containerPort": port.container, "hostPort": host}),
    };
    let ports: Vec<Value> = flags.ports.iter().map(port).collect();
    let named = legacy::name(name);
    json!({
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": named},
        "spec": {
            "replicas": replicas,
            "selector": {"simpleService": name},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": named, "image": image, "ports": ports}]},
            },
        },
    })
}

fn service(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": legacy::name(name), "labels": {"simpleService": name}},
        "spec": {"selector": {"simpleService": name}, "ports": [{"port": port}]},
    })
}

/// Deletes the pods one after another, so that the controller makes them anew, of another image if one is given.
async fn rolling_update(
    controllers: &Objects,
    pods: &Objects,
    flags: &Flags,
    name: &str,
) -> anyhow::Result<()> {
    let mut controller = value(&*controllers.get(name).await?)?;
    if let Some(image) = &flags.image {
        // The image alone: the controller may write its status at the same time.
        let first = controller.pointer("/spec/template/spec/containers/0/name");
        let first = first.context("the controller's pods have no container")?;
        let containers = json!([{"name": first, "image": image}]);
        let patch = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": containers}}}}));
        controller = value(&*controllers.patch(name, patch, WriteOptions::default()).await?)?;
    }
    let selector = controller["spec"]["selector"].as_object().cloned().unwrap_or_default();
    let selector: Vec<String> =
        selector.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    let labels = Some(Selector::parse(&selector.join(","))?);
    let there = || pods.list(ListOptions { labels: labels.clone(), ..Default::default() });
    let old = there().await?.objects;
    for pod in &old {
        match pods.delete(pod.name().name(), DeleteOptions::default()).await {
            Err(status) if !status.is_not_found() => return Err(status.into()),
            _ => tokio::time::sleep(flags.period).await,
        }
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = there().await?.objects;
        let is_old = |pod: &Arc<Entry>| old.iter().any(|old| old.name() == pod.name());
        if left.len() == old.len() && !left.iter().any(is_old) {
            return print_all(flags, Kind::ReplicationControllers, &[controller]);
        }
        if Instant::now() > deadline {
            bail!("there are {} pods after {PATIENCE:?}, of {} that there were", left.len(), old.len());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_said_as_they_were() {
        for (host, expected) in [
            ("10.0.0.1", "https://10.0.0.1:6443"),
            ("10.0.0.1:8443/", "https://10.0.0.1:8443"),
            ("https://master", "https://master"),
        ] {
            assert_eq!(url(host).unwrap(), expected);
        }
        assert!(url("http://localhost:8080").is_err());
    }

    #[test]
    fn what_is_run_is_selected_by_its_service() {
        let (flags, _) = words::read(&["-p", "8080:80", "list", "pods"].map(str::to_owned)).unwrap().unwrap();
        let made = controller("dockerfile/nginx", 1, "myNginx", &flags);
        assert_eq!(made["metadata"]["name"], "mynginx");
        assert_eq!(made["spec"]["selector"], json!({"simpleService": "myNginx"}));
        let port = &made["spec"]["template"]["spec"]["containers"][0]["ports"][0];
        assert_eq!(*port, json!({"containerPort": 80, "hostPort": 8080}));
        assert_eq!(service("myNginx", 8000)["spec"]["selector"], json!({"simpleService": "myNginx"}));
    }
}
