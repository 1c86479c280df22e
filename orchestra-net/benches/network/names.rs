//! Names of the cluster, asked for by datagrams.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::Service;
use orchestra_core::cluster::Cluster;
use orchestra_core::controllers;
use orchestra_net::Dns;
use serde_json::json;
use tokio::sync::oneshot;

use crate::lab::Lab;
use crate::talk::within;
use crate::{millis, spread};

/// Where names are answered.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const ECHO: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7000);
const SERVICES: usize = 1000;
const NEW: usize = 500;
/// How many questions are under way.
const WINDOW: usize = 64;
const LONG: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

pub(crate) fn measure() {
    let Some(mut lab) = Lab::empty("n") else {
        return println!("it takes root and ORCHESTRA_TEST_DAEMONS=1");
    };
    lab.namespace("names");
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let threads = threads.expect("a runtime");
    let config = controllers::Config { dns_service: Some(SERVER.into()), ..controllers::Config::default() };
    let cluster = threads.block_on(Cluster::builder().controllers(config).start()).expect("it starts");
    let services = cluster.client().api::<Service>("default");
    let make = |name: &str| {
        let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        let service = serde_json::from_value(service).expect("a service");
        threads.block_on(services.create(&service)).expect("a service");
    };
    let names: Vec<String> = (0..SERVICES).map(|n| format!("s{n}")).collect();
    names.iter().for_each(|name| make(name));

    let (stop, stopped) = oneshot::channel::<()>();
    let client = cluster.client();
    let of_names = server(&lab, async move {
        let stopped = async { drop(stopped.await) };
        Dns::new().servers([]).run(client, stopped).await.expect("services");
    });
    let (stop_echo, echo_stopped) = oneshot::channel::<()>();
    let of_echo = server(&lab, async move {
        let socket = tokio::net::UdpSocket::bind(ECHO).await.expect("a free port");
        let echo = async {
            let mut buffer = [0; 4096];
            loop {
                if let Ok((size, client)) = socket.recv_from(&mut buffer).await {
                    let _ = socket.send_to(&buffer[..size], client).await;
                }
            }
        };
        tokio::select! { () = echo => {}, _ = echo_stopped => {} }
    });
    within(&lab.path("names"), || {
        let began = Instant::now();
        while ask(&question(&names[0])) != Some(ResponseCode::NoError) {
            assert!(began.elapsed() < Duration::from_secs(20), "nobody answers");
            std::thread::sleep(Duration::from_millis(5));
        }
        found(make);
        let questions: Vec<Vec<u8>> = names.iter().map(|name| question(name)).collect();
        println!("{:<18} {:>10} {:>28}", "", "answers/s", "a second of its processor");
        for _ in 0..ROUNDS {
            for (what, server, thread) in
                [("names", (SERVER, 53).into(), &of_names), ("echo of the bytes", ECHO, &of_echo)]
            {
                let [wall, own] = flood(server, &questions, thread);
                println!("{what:<18} {wall:>10.0} {own:>28.0}");
            }
        }
    });
    drop((stop, stop_echo));
    threads.block_on(cluster.shutdown());
}

/// How soon a service that was made is found.
fn found(make: impl Fn(&str)) {
    let (mut after, mut whole) = (Vec::new(), Vec::new());
    for n in 0..NEW {
        let (name, began) = (format!("new-{n}"), Instant::now());
        make(&name);
        let (made, question) = (Instant::now(), question(&name));
        while ask(&question) != Some(ResponseCode::NoError) {
            assert!(made.elapsed() < Duration::from_secs(5), "{name} is not found");
        }
        after.push(made.elapsed());
        whole.push(began.elapsed());
    }
    for (what, times) in [("found after the answer to who made it", after), ("since it was asked for", whole)]
    {
        let [_, half, most, slowest] = spread(times).map(millis);
        println!("{what}: p50 {half:.2} ms, p99 {most:.2} ms, slowest {slowest:.2} ms, of {NEW} services");
    }
}

/// Runs something on a thread of its own in the place, and says by which file the kernel tells of it.
fn server(lab: &Lab, work: impl Future<Output = ()> + Send + 'static) -> String {
    let (tell, told) = mpsc::channel();
    let place = lab.path("names");
    std::thread::spawn(move || {
        within(&place, || {
            let id = rustix::thread::gettid().as_raw_nonzero();
            tell.send(format!("/proc/self/task/{id}/schedstat")).expect("it is waited for");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work);
        });
    });
    told.recv().expect("a thread")
}

/// What a thread has had of the processor.
fn processor(file: &str) -> Duration {
    let text = fs::read_to_string(file).expect("a kernel that tells of threads");
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
}

fn question(name: &str) -> Vec<u8> {
    let name = Name::from_ascii(format!("{name}.default.svc.cluster.local.")).expect("a name");
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(name, RecordType::A));
    message.to_vec().expect("bytes")
}

fn socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

/// What is said of a question, if anything is.
fn ask(question: &[u8]) -> Option<ResponseCode> {
    let (socket, mut buffer) = (socket((SERVER, 53).into()).ok()?, [0; 4096]);
    socket.send(question).ok()?;
    let size = socket.recv(&mut buffer).ok()?;
    Some(Message::from_vec(&buffer[..size]).ok()?.metadata.response_code)
}

/// Answers a second while some questions are always under way, and answers in a second of what the server's thread has.
fn flood(server: SocketAddr, questions: &[Vec<u8>], thread: &str) -> [f64; 2] {
    let (socket, mut buffer, mut answers) = (socket(server).expect("a way there"), [0; 4096], 0_u32);
    let mut questions = questions.iter().cycle();
    let mut send = |count: usize| {
        for question in questions.by_ref().take(count) {
            socket.send(question).expect("somebody listens");
        }
    };
    let (began, had) = (Instant::now(), processor(thread));
    send(WINDOW);
    while began.elapsed() < LONG {
        match socket.recv(&mut buffer) {
            Ok(_) => {
                answers += 1;
                send(1);
            }
            Err(_) => send(WINDOW),
        }
    }
    [began.elapsed(), processor(thread) - had].map(|time| f64::from(answers) / time.as_secs_f64())
}
