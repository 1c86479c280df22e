//! Parts of a running cluster are stopped and started through a socket in its data directory: it works when the API
//! server is the part that is stopped, and only for whoever may enter the directory.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use orchestra_core::cluster::{Cluster, Component};
use orchestra_http::ApiHost;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tracing::warn;

use crate::cli::{DataDir, Part};

const SOCKET: &str = "control.sock";
/// How soon it is tried again to accept a connection.
const PAUSE: Duration = Duration::from_millis(50);
const API_SERVER: &str = "kube-apiserver";

/// How many bytes the path of a socket may have.
const LONGEST: usize = 107;

/// The socket of a data directory, to be listened on or connected to.
struct Socket {
    path: PathBuf,
    /// The directory, held open while the path leads through it.
    _directory: Option<File>,
}

impl Socket {
    fn of(directory: &Path) -> io::Result<Self> {
        let path = directory.join(SOCKET);
        if path.as_os_str().len() <= LONGEST {
            return Ok(Self { path, _directory: None });
        }
        // The kernel takes no longer path than that, but one that leads through the open directory is short.
        let directory = File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()));
        Ok(Self { path, _directory: Some(directory) })
    }
}

/// Listens on the socket of a data directory, for its owner alone.
pub(crate) fn listen(directory: &Path) -> anyhow::Result<UnixListener> {
    let bind = || {
        let socket = Socket::of(directory)?;
        // The store's lock is held, so a socket that is there is one that a killed process left.
        let _ = std::fs::remove_file(&socket.path);
        let listener = UnixListener::bind(&socket.path)?;
        std::fs::set_permissions(&socket.path, Permissions::from_mode(0o600))?;
        io::Result::Ok(listener)
    };
    bind().with_context(|| format!("cannot listen on {}", directory.join(SOCKET).display()))
}

/// Answers on the socket of a data directory, for as long as the future is polled.
pub(crate) async fn serve(listener: UnixListener, cluster: Arc<Cluster>, api: Arc<ApiHost>) {
    let mut requests = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = requests.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: it passes.
                warn!(%error, "a connection to the control socket cannot be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (cluster, api) = (Arc::clone(&cluster), Arc::clone(&api));
        requests.spawn(async move {
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
    send_command(&options.data, &format!("{verb} {}\n", options.part)).await
}

/// Prints which parts of the cluster of a data directory are running.
pub(crate) async fn status(options: &DataDir) -> anyhow::Result<()> {
    send_command(options, "status\n").await
}

async fn send_command(data: &DataDir, request: &str) -> anyhow::Result<()> {
    let connect = async { UnixStream::connect(&Socket::of(&data.data_dir)?.path).await };
    let mut stream = connect.await.with_context(|| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_its_owners_however_long_the_path() {
        let root = tempfile::tempdir().unwrap();
        for directory in [root.path().to_owned(), root.path().join("a".repeat(120))] {
            std::fs::create_dir_all(&directory).unwrap();
            let listener = listen(&directory).unwrap();
            let mode = std::fs::metadata(directory.join(SOCKET)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let socket = Socket::of(&directory).unwrap();
            let (connected, accepted) = tokio::join!(UnixStream::connect(&socket.path), listener.accept());
            connected.unwrap();
            accepted.unwrap();
        }
    }
}
