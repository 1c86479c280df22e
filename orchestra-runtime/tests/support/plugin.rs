//! A device plugin, as Kubernetes' API of them has it: it registers, tells of its devices, and gives them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub struct RegisterRequest {
    #[prost(string, tag = "1")]
    pub version: String,
    #[prost(string, tag = "2")]
    pub endpoint: String,
    #[prost(string, tag = "3")]
    pub resource_name: String,
    #[prost(message, optional, tag = "4")]
    pub options: Option<Options>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Options {
    #[prost(bool, tag = "1")]
    pub pre_start_required: bool,
    #[prost(bool, tag = "2")]
    pub get_preferred_allocation_available: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Listed {
    #[prost(message, repeated, tag = "1")]
    devices: Vec<Shown>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Shown {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    health: String,
}

/// A request of which the first field holds, container by container, names of devices: so `Allocate` has it.
#[derive(Clone, PartialEq, prost::Message)]
struct OfContainers {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Names>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Names {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Preference {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Wanted>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wanted {
    #[prost(string, repeated, tag = "1")]
    available: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    must: Vec<String>,
    #[prost(int32, tag = "3")]
    size: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AllGiven {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Given>,
}

/// What comes with devices.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Given {
    #[prost(map = "string, string", tag = "1")]
    pub envs: HashMap<String, String>,
    #[prost(message, repeated, tag = "2")]
    pub mounts: Vec<Mount>,
    #[prost(message, repeated, tag = "3")]
    pub devices: Vec<Node>,
    #[prost(map = "string, string", tag = "4")]
    pub annotations: HashMap<String, String>,
    #[prost(message, repeated, tag = "5")]
    pub cdi: Vec<Name>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Mount {
    #[prost(string, tag = "1")]
    pub container_path: String,
    #[prost(string, tag = "2")]
    pub host_path: String,
    #[prost(bool, tag = "3")]
    pub read_only: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    #[prost(string, tag = "1")]
    pub container_path: String,
    #[prost(string, tag = "2")]
    pub host_path: String,
    #[prost(string, tag = "3")]
    pub permissions: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Name {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// The first of an empty list of devices, and whether each is well.
type Devices = Vec<(String, bool)>;

/// A plugin that is served.
pub struct Plugin {
    folder: PathBuf,
    resource: String,
    devices: watch::Sender<Devices>,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Registers a plugin in a folder, as often as the socket there is not ready. What is answered.
pub async fn register(folder: &Path, request: RegisterRequest) -> Result<(), tonic::Status> {
    let socket = folder.join("kubelet.sock");
    let channel = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect_lazy();
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/v1beta1.Registration/Register");
    let codec = ProstCodec::<RegisterRequest, Empty>::default();
    grpc.unary(tonic::Request::new(request), path, codec).await.map(drop)
}

impl Plugin {
    /// A plugin with devices that are well, which gives `given` with them, and a variable `DEVICES` that names them. It wants
    /// to be asked everything, and prefers the last of the devices.
    pub async fn serve(folder: &Path, resource: &str, devices: &[&str], given: Given) -> Self {
        let (told, heard) = watch::channel(Devices::new());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let socket = folder.join("plugin.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let answers = Answers { heard, asked: Arc::clone(&asked), given };
        let plugin = Self {
            folder: folder.to_owned(),
            resource: resource.to_owned(),
            devices: told,
            asked,
            serving: tokio::spawn(serve(listener, answers)),
        };
        plugin.set(&devices.iter().map(|name| (*name, true)).collect::<Vec<_>>());
        plugin.register().await.unwrap();
        plugin
    }

    pub async fn register(&self) -> Result<(), tonic::Status> {
        let options = Options { pre_start_required: true, get_preferred_allocation_available: true };
        let request = RegisterRequest {
            version: "v1beta1".into(),
            endpoint: "plugin.sock".into(),
            resource_name: self.resource.clone(),
            options: Some(options),
        };
        register(&self.folder, request).await
    }

    /// Says how the devices are now.
    pub fn set(&self, devices: &[(&str, bool)]) {
        let devices = devices.iter().map(|(name, well)| ((*name).to_owned(), *well));
        self.devices.send_replace(devices.collect());
    }

    /// What it was asked since this was called before.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[derive(Clone)]
struct Answers {
    heard: watch::Receiver<Devices>,
    asked: Arc<Mutex<Vec<String>>>,
    given: Given,
}

async fn serve(listener: UnixListener, answers: Answers) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let answers = answers.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answers = answers.clone();
            async move { Ok::<_, Infallible>(answers.reply(request).await) }
        });
        let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move { drop(connection.await) });
    }
}

type Frames = futures::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>;

impl Answers {
    fn note(&self, text: String) {
        self.asked.lock().unwrap().push(text);
    }

    async fn reply(&self, request: Request<Incoming>) -> Response<StreamBody<Frames>> {
        let method = request.uri().path().strip_prefix("/v1beta1.DevicePlugin/").unwrap().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let (message, trailers) = (body.slice(5..), futures::stream::once(async { ended() }));
        let frames: Frames = match method.as_str() {
            "ListAndWatch" => {
                let lists =
                    futures::stream::unfold((self.heard.clone(), true), |(mut heard, first)| async move {
                        if !first {
                            heard.changed().await.ok()?;
                        }
                        let list = listed(&heard.borrow_and_update());
                        Some((list, (heard, false)))
                    });
                lists.chain(trailers).boxed()
            }
            method => futures::stream::iter([framed(&self.answer(method, &message))]).chain(trailers).boxed(),
        };
        let mut response = Response::new(StreamBody::new(frames));
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        response
    }

    fn answer(&self, method: &str, message: &Bytes) -> Vec<u8> {
        match method {
            "GetPreferredAllocation" => {
                let asked = Preference::decode(message.clone()).unwrap().containers.remove(0);
                self.note(format!(
                    "prefer {} of {} with {}",
                    asked.size,
                    asked.available.join(" "),
                    asked.must.join(" ")
                ));
                let names = asked.available.into_iter().rev().take(asked.size as usize).collect();
                OfContainers { containers: vec![Names { names }] }.encode_to_vec()
            }
            "Allocate" => {
                let asked = OfContainers::decode(message.clone()).unwrap().containers.remove(0);
                self.note(format!("allocate {}", asked.names.join(" ")));
                let mut given = self.given.clone();
                given.envs.insert("DEVICES".into(), asked.names.join(","));
                AllGiven { containers: vec![given] }.encode_to_vec()
            }
            "PreStartContainer" => {
                let asked = Names::decode(message.clone()).unwrap();
                self.note(format!("start {}", asked.names.join(" ")));
                Vec::new()
            }
            other => panic!("{other}"),
        }
    }
}

fn listed(devices: &Devices) -> Result<Frame<Bytes>, Infallible> {
    let shown = devices.iter().map(|(id, well)| {
        let health = if *well { "Healthy" } else { "Unhealthy" };
        Shown { id: id.clone(), health: health.into() }
    });
    framed(&Listed { devices: shown.collect() }.encode_to_vec())
}

fn framed(message: &[u8]) -> Result<Frame<Bytes>, Infallible> {
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    Ok(Frame::data(framed.into()))
}

fn ended() -> Result<Frame<Bytes>, Infallible> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    Ok(Frame::trailers(trailers))
}
