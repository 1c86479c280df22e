//! A driver that shows folders, and what a node asks of it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use orchestra_core::node::{Confidential, CsiDriver, CsiSecrets, VolumeHost};
use orchestra_core::runtime::PodRef;
use prost::Message as _;
use tokio::net::UnixListener;

use super::proto::{
    CapabilitiesResponse, Capability, Empty, NodeInfo, PluginInfo, RegistrationStatus, Topology,
};
use super::*;
use crate::host::Volumes;

/// What the driver was asked, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// Answers at a socket, as one driver that is its own registrar.
fn serve(socket: &Path, asked: &Asked) {
    let listener = UnixListener::bind(socket).unwrap();
    let asked = Arc::clone(asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let asked = Arc::clone(&asked);
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    Ok::<_, Infallible>(reply(&answer(&path, &body[5..], &asked)))
                }
            });
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
}

fn answer(path: &str, message: &[u8], asked: &Asked) -> Vec<u8> {
    let call = path.rsplit('/').next().unwrap();
    let note = |text: String| asked.lock().unwrap().push(text);
    match call {
        "GetInfo" => {
            PluginInfo { r#type: "CSIPlugin".into(), name: "folders.test".into(), ..PluginInfo::default() }
                .encode_to_vec()
        }
        "NodeGetInfo" => {
            note("who".into());
            let segments = [("folders.test/rack".to_owned(), "r1".to_owned())].into();
            let accessible_topology = Some(Topology { segments });
            NodeInfo { node_id: "machine-1".into(), max_volumes_per_node: 8, accessible_topology }
                .encode_to_vec()
        }
        "NotifyRegistrationStatus" => {
            note(format!("registered {}", RegistrationStatus::decode(message).unwrap().plugin_registered));
            Empty {}.encode_to_vec()
        }
        "NodeGetCapabilities" => {
            let all = [Rpc::STAGES, Rpc::EXPANDS, Rpc::COUNTS_WRITERS];
            let capabilities = all.map(|r#type| Capability { rpc: Some(Rpc { r#type }) }).into();
            CapabilitiesResponse { capabilities }.encode_to_vec()
        }
        "NodeStageVolume" => {
            let request = StageRequest::decode(message).unwrap();
            fs::write(Path::new(&request.staging_target_path).join("data"), &request.volume_id).unwrap();
            let (size, device) = (request.volume_context.get("size"), request.publish_context.get("device"));
            let (secrets, id) = (request.secrets.into_values().collect::<String>(), &request.volume_id);
            note(format!("stage {id} {size:?} {device:?}{secrets}"));
            Empty {}.encode_to_vec()
        }
        "NodePublishVolume" => {
            let request = PublishRequest::decode(message).unwrap();
            let staged = fs::read(Path::new(&request.staging_target_path).join("data")).unwrap();
            let capability = request.volume_capability.unwrap();
            let target = Path::new(&request.target_path);
            match capability.mount {
                Some(_) if target.exists() => {}
                Some(_) => {
                    fs::create_dir(target).unwrap();
                    fs::write(target.join("data"), staged).unwrap();
                }
                None => fs::write(target, staged).unwrap(),
            }
            let (mode, id) = (capability.access_mode.unwrap().mode, request.volume_id);
            let secrets = request.secrets.into_values().collect::<String>();
            note(format!("publish {id} {mode} {}{secrets}", request.readonly));
            Empty {}.encode_to_vec()
        }
        "NodeExpandVolume" => {
            let request = ExpandRequest::decode(message).unwrap();
            assert!(Path::new(&request.volume_path).exists());
            let bytes = request.capacity_range.unwrap().required_bytes;
            note(format!("expand {} {bytes}", request.volume_id));
            Empty {}.encode_to_vec()
        }
        "NodeUnpublishVolume" => {
            let request = UnpublishRequest::decode(message).unwrap();
            let _ = fs::remove_dir_all(&request.target_path);
            let _ = fs::remove_file(&request.target_path);
            note(format!("unpublish {}", request.volume_id));
            Empty {}.encode_to_vec()
        }
        "NodeUnstageVolume" => {
            let request = UnstageRequest::decode(message).unwrap();
            fs::remove_file(Path::new(&request.staging_target_path).join("data")).unwrap();
            note(format!("unstage {}", request.volume_id));
            Empty {}.encode_to_vec()
        }
        other => panic!("{other}"),
    }
}

type Body = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn reply(message: &[u8]) -> Response<Body> {
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = vec![Ok(Frame::data(framed.into())), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response
}

#[tokio::test]
async fn a_driver_shows_a_volume_and_takes_it_back() {
    let place = tempfile::tempdir().unwrap();
    let (kubelet, registry, asked) = places(&place);
    fs::create_dir_all(&registry).unwrap();
    let volumes = Volumes::new(place.path().join("pods")).kubelet_folder(&kubelet);
    let pod = |name: &str| PodRef { namespace: "n".into(), name: name.into(), uid: format!("u-{name}") };
    let csi = Csi {
        driver: "folders.test".into(),
        handle: "vol/1".into(),
        access_mode: "ReadWriteMany".into(),
        attributes: [("size".to_owned(), "1Gi".to_owned())].into(),
        attached: Some([("device".to_owned(), "/dev/x".to_owned())].into()),
        ..Csi::default()
    };
    let missing = volumes.csi(&pod("a"), "v", &csi).await.unwrap_err().to_string();
    assert!(missing.contains("folders.test not found in the list of registered CSI drivers"), "{missing}");
    // One that does not answer is passed over.
    drop(UnixListener::bind(registry.join("dead.sock")).unwrap());
    serve(&registry.join("folders.sock"), &asked);
    let path = volumes.csi(&pod("a"), "v", &csi).await.unwrap();
    // Where the manifests of drivers have what they mount be seen.
    assert_eq!(path, kubelet.join("pods/u-a/volumes/kubernetes.io~csi/v/mount"));
    assert_eq!(fs::read_to_string(path.join("data")).unwrap(), "vol/1");
    volumes.csi(&pod("b"), "v", &csi).await.unwrap();
    let taken = || std::mem::take(&mut *asked.lock().unwrap());
    let once = ["stage vol/1 Some(\"1Gi\") Some(\"/dev/x\")", "publish vol/1 5 false"];
    assert_eq!(taken(), [once, once].concat());
    volumes.remove_pod("u-a").await.unwrap();
    assert_eq!(taken(), ["unpublish vol/1"], "another pod has it too");
    // Whoever is started again finds what there is to take back.
    let again = Volumes::new(place.path().join("pods")).kubelet_folder(&kubelet);
    let shown = again.csi_shown().await.unwrap();
    let shown: Vec<_> = shown.iter().map(|it| (&*it.pod, &*it.driver, &*it.handle, it.attached)).collect();
    assert_eq!(shown, [("u-b", "folders.test", "vol/1", true)]);
    again.take_back("u-b").await.unwrap();
    assert!(again.csi_shown().await.unwrap().is_empty());
    again.remove_pod("u-b").await.unwrap();
    assert_eq!(taken(), ["unpublish vol/1", "unstage vol/1"]);
    assert_eq!(again.pods().await.unwrap(), [""; 0]);
    assert_eq!(fs::read_dir(kubelet.join("pods")).unwrap().count(), 0, "nothing is left there");
}

#[tokio::test]
async fn a_volume_is_a_device_and_grows_and_its_driver_is_told_in_confidence() {
    let place = tempfile::tempdir().unwrap();
    let (kubelet, registry, asked) = places(&place);
    fs::create_dir_all(&registry).unwrap();
    serve(&registry.join("folders.sock"), &asked);
    let volumes = Volumes::new(place.path().join("pods")).kubelet_folder(&kubelet);
    let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
    let told = |word: &str| Confidential([("key".to_owned(), format!(" {word}"))].into());
    let csi = Csi {
        driver: "folders.test".into(),
        handle: "1".into(),
        block: true,
        access_mode: "ReadWriteOncePod".into(),
        secrets: CsiSecrets { stage: told("psst"), publish: told("hush"), expand: Confidential::default() },
        ..Csi::default()
    };
    let path = volumes.csi(&pod, "v", &csi).await.unwrap();
    assert_eq!(path, kubelet.join("pods/u/volumeDevices/kubernetes.io~csi/v"));
    assert!(path.is_file());
    assert!(volumes.grow(&pod, "v", &csi, 4096).await.unwrap());
    volumes.remove_pod("u").await.unwrap();
    let expected =
        ["stage 1 None None psst", "publish 1 6 false hush", "expand 1 4096", "unpublish 1", "unstage 1"];
    assert_eq!(*asked.lock().unwrap(), expected);
}

/// What an agent before had shown in its own folder it is shown there still, and taken back from there.
#[tokio::test]
async fn what_is_shown_elsewhere_stays_there() {
    let place = tempfile::tempdir().unwrap();
    let (kubelet, registry, asked) = places(&place);
    fs::create_dir_all(&registry).unwrap();
    serve(&registry.join("folders.sock"), &asked);
    let (root, target) = (place.path().join("pods"), place.path().join("pods/u/volumes/v"));
    let stage = place.path().join("csi/stage");
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::create_dir_all(root.join("u").join(FOLDER)).unwrap();
    let note = serde_json::json!({"driver": "folders.test", "handle": "1", "stage": stage, "target": target});
    fs::write(root.join("u").join(FOLDER).join("v.json"), note.to_string()).unwrap();
    let volumes = Volumes::new(&root).kubelet_folder(&kubelet);
    let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
    let csi = Csi { driver: "folders.test".into(), handle: "1".into(), ..Csi::default() };
    assert_eq!(volumes.csi(&pod, "v", &csi).await.unwrap(), target);
    volumes.remove_pod("u").await.unwrap();
    assert!(!target.exists() && !stage.exists());
}

fn places(place: &tempfile::TempDir) -> (PathBuf, PathBuf, Asked) {
    let kubelet = place.path().join("kubelet");
    let registry = kubelet.join(REGISTRY);
    (kubelet, registry, Asked::default())
}

#[tokio::test]
async fn what_a_driver_still_shows_is_kept_until_it_takes_it_back() {
    let place = tempfile::tempdir().unwrap();
    let (kubelet, _, _) = places(&place);
    let volumes = Volumes::new(place.path().join("pods")).kubelet_folder(&kubelet);
    let csi = Csi { driver: "away.test".into(), handle: "1".into(), ..Csi::default() };
    let pod = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
    volumes.csi(&pod, "v", &csi).await.unwrap_err();
    let own = place.path().join("pods/u");
    let shown = Shown::of(&csi, &kubelet, &place.path().join("pods"), "u", "v");
    shown.note(&own.join(FOLDER), "v").unwrap();
    // What somebody left who was killed while it noted something is no note.
    fs::write(own.join(FOLDER).join("w.new"), "{\"driver\"").unwrap();
    assert_eq!(volumes.csi_shown().await.unwrap().len(), 1);
    assert!(volumes.remove_pod("u").await.is_err(), "its driver is away");
    assert_eq!(volumes.pods().await.unwrap(), ["u"]);
}

#[tokio::test]
async fn a_driver_is_asked_once_what_it_calls_the_machine_and_told_that_it_is_registered() {
    let place = tempfile::tempdir().unwrap();
    let (kubelet, registry, asked) = places(&place);
    let volumes = Volumes::new(place.path().join("pods")).kubelet_folder(&kubelet);
    assert!(volumes.csi_drivers().await.unwrap().is_empty(), "there is no such folder");
    fs::create_dir_all(&registry).unwrap();
    drop(UnixListener::bind(registry.join("dead.sock")).unwrap());
    serve(&registry.join("folders.sock"), &asked);
    let driver = CsiDriver {
        name: "folders.test".into(),
        node_id: "machine-1".into(),
        topology: [("folders.test/rack".to_owned(), "r1".to_owned())].into(),
        most_volumes: Some(8),
    };
    for _ in 0..3 {
        assert_eq!(volumes.csi_drivers().await.unwrap(), std::slice::from_ref(&driver));
    }
    assert_eq!(*asked.lock().unwrap(), ["who", "registered true"]);
    // It comes back, as another.
    fs::remove_file(registry.join("folders.sock")).unwrap();
    assert!(volumes.csi_drivers().await.unwrap().is_empty());
    serve(&registry.join("folders.sock"), &asked);
    assert_eq!(volumes.csi_drivers().await.unwrap(), [driver]);
    assert_eq!(asked.lock().unwrap().len(), 4);
}
