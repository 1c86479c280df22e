//! Parts of a running cluster are stopped and started through a socket in its data directory: it works when the API
//! server is the part that is stopped, and only for whoever may enter the directory.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use orchestra_core::cluster::{Cluster, Component};
use orchestra_http::ApiHost;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

use crate::cli::{DataDir, Part};

const SOCKET: &str = "control.sock";
const API_SERVER: &str = "kube-apiserver";

/// Answers on the socket of a data directory, for as long as the future is polled.
pub(crate) async fn serve(directory: &Path, cluster: Arc<Cluster>, api: Arc<ApiHost>) -> anyhow::Result<()> {
    let path = directory.join(SOCKET);
    // The store's lock is held, so a socket that is there is one that a killed process left.
    let _ = std::fs::remove_file(&path);
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (cluster, api) = (Arc::clone(&cluster), Arc::clone(&api));
        tokio::spawn(async move {
            if let Err(error) = answer(stream, &cluster, &api).await {
                warn!(%error, "a request on the control socket failed");
            }
        });
    }
}

async fn answer(stream: UnixStream, cluster: &Cluster, api: &ApiHost) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let reply = match line.trim().split_once(' ') {
        Some((verb @ ("start" | "stop"), part)) => change(cluster, api, verb, part).await,
        _ if line.trim() == "status" => Ok(report(cluster, api)),
        _ => Err(anyhow::anyhow!("not a request: {:?}", line.trim())),
    };
    let text = match reply {
        Ok(text) => format!("ok\n{text}"),
        Err(error) => format!("error\n{error:#}\n"),
    };
    stream.get_mut().write_all(text.as_bytes()).await?;
    Ok(())
}

async fn change(cluster: &Cluster, api: &ApiHost, verb: &str, part: &str) -> anyhow::Result<String> {
    if part == API_SERVER {
        if verb == "start" {
            api.start().await?
        } else {
            api.stop().await
        }
        return Ok(format!("{part} {verb}ed\n").replace("stoped", "stopped"));
    }
    let named = |component: &&Component| {
        let name = component.to_string();
        // Without a node, those of all nodes are meant.
        name == part || name.split_once('/').is_some_and(|(kind, _)| kind == part)
    };
    let components: Vec<Component> = cluster.components().filter(named).cloned().collect();
    if components.is_empty() {
        let known: Vec<String> = cluster.components().map(ToString::to_string).collect();
        bail!("there is no part {part:?}; there are {API_SERVER}, {}", known.join(", "));
    }
    let mut done = String::new();
    for component in components {
        if verb == "start" {
            cluster.start(&component);
            done.push_str(&format!("{component} started\n"));
        } else {
            cluster.stop(&component).await;
            done.push_str(&format!("{component} stopped\n"));
        }
    }
    Ok(done)
}

fn report(cluster: &Cluster, api: &ApiHost) -> String {
    let line =
        |name: &str, running: bool| format!("{name:<28} {}\n", if running { "running" } else { "stopped" });
    let parts = cluster.components().map(|part| line(&part.to_string(), cluster.is_running(part)));
    std::iter::once(line(API_SERVER, api.is_serving())).chain(parts).collect()
}

/// Asks the cluster of a data directory to start or stop a part.
pub(crate) async fn send(options: &Part, verb: &str) -> anyhow::Result<()> {
    ask(&options.data, &format!("{verb} {}\n", options.part)).await
}

/// Prints which parts of the cluster of a data directory are running.
pub(crate) async fn status(options: &DataDir) -> anyhow::Result<()> {
    ask(options, "status\n").await
}

async fn ask(data: &DataDir, request: &str) -> anyhow::Result<()> {
    let path = data.data_dir.join(SOCKET);
    let mut stream = UnixStream::connect(&path).await.with_context(|| {
        format!(
            "no cluster runs on {}; start one with `orchestra up`, or name another --data-dir",
            data.data_dir.display()
        )
    })?;
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    match reply.split_once('\n') {
        Some(("ok", text)) => {
            print!("{text}");
            Ok(())
        }
        Some((_, text)) => bail!("{}", text.trim_end()),
        None => bail!("the cluster ended the connection without an answer"),
    }
}
