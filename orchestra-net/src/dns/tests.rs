//! Names of a small cluster, as answers; and the sockets that they come by.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, RwLock};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::answer::{self, Reply};
use super::index::{ServiceView, SliceView};
use super::serve::{Names, Sockets};
use super::upstream::{Servers, Upstream};
use super::zone::Zone;

fn service(name: &str, spec: Value) -> ServiceView {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})).unwrap()
}

fn slice(name: &str, service: &str, endpoints: Value) -> SliceView {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service},
        },
        "endpoints": endpoints,
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
    }))
    .unwrap()
}

fn zone() -> Zone {
    let mut zone = Zone::new(Name::from_ascii("cluster.local.").unwrap());
    zone.servers = vec![IpAddr::from([10, 96, 0, 10])];
    let ports = json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    let index = &mut zone.index;
    index.put_service(&service(
        "web",
        json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": ports}),
    ));
    index.put_service(&service("dual", json!({"clusterIPs": ["10.96.0.8", "fd00::8"], "ports": ports})));
    index.put_service(&service("db", json!({"clusterIP": "None", "clusterIPs": ["None"]})));
    index.put_service(&service("idle", json!({"clusterIP": "None"})));
    index.put_service(&service("out", json!({"type": "ExternalName", "externalName": "www.example.org"})));
    index.put_service(&service(
        "in",
        json!({"type": "ExternalName", "externalName": "web.shop.svc.cluster.local."}),
    ));
    index.put_service(&service(
        "loop",
        json!({"type": "ExternalName", "externalName": "loop.shop.svc.cluster.local"}),
    ));
    let endpoints = json!([
        {"addresses": ["10.1.0.5"], "hostname": "db-0", "conditions": {"ready": true}},
        {"addresses": ["10.1.0.6"]},
        {"addresses": ["10.1.0.7"], "hostname": "db-2", "conditions": {"ready": false}},
    ]);
    index.put_slice(&slice("db-x", "db", endpoints));
    index.put_slice(&slice("web-x", "web", json!([{"addresses": ["10.1.0.9"]}])));
    zone
}

fn asked(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    message
}

fn shown(message: &Message) -> String {
    let mut text = message.metadata.response_code.to_string();
    for record in &message.answers {
        text.push_str(&format!(", {} {}", record.record_type(), record.data));
    }
    for record in &message.additionals {
        text.push_str(&format!(", + {} {}", record.name, record.data));
    }
    let soa = message.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
    text + if soa { ", SOA" } else { "" }
}

fn looked_up(zone: &Zone, name: &str, kind: RecordType) -> String {
    match answer::answer(zone, &asked(name, kind)) {
        Reply::Done(message) => shown(&message),
        Reply::Forward => "elsewhere".into(),
        Reply::Follow(message, name, kind) => format!("{}, then {name} {kind}", shown(&message)),
    }
}

#[test]
fn names_of_a_cluster() {
    use RecordType::{A, AAAA, ANY, CNAME, PTR, SOA, SRV, TXT};
    let zone = zone();
    for (name, kind, expected) in [
        ("web.shop.svc.cluster.local", A, "No Error, A 10.96.0.7"),
        ("WEB.Shop.svc.Cluster.local", A, "No Error, A 10.96.0.7"),
        ("web.shop.svc.cluster.local", AAAA, "No Error, SOA"),
        ("dual.shop.svc.cluster.local", AAAA, "No Error, AAAA fd00::8"),
        ("dual.shop.svc.cluster.local", ANY, "No Error, A 10.96.0.8, AAAA fd00::8"),
        ("none.shop.svc.cluster.local", A, "Non-Existent Domain, SOA"),
        ("web.none.svc.cluster.local", A, "Non-Existent Domain, SOA"),
        ("none.svc.cluster.local", A, "Non-Existent Domain, SOA"),
        ("shop.svc.cluster.local", A, "No Error, SOA"),
        ("svc.cluster.local", A, "No Error, SOA"),
        ("www.example.org.shop.svc.cluster.local", A, "Non-Existent Domain, SOA"),
        ("db.shop.svc.cluster.local", A, "No Error, A 10.1.0.5, A 10.1.0.6"),
        ("db-0.db.shop.svc.cluster.local", A, "No Error, A 10.1.0.5"),
        ("10-1-0-6.db.shop.svc.cluster.local", A, "No Error, A 10.1.0.6"),
        ("db-2.db.shop.svc.cluster.local", A, "Non-Existent Domain, SOA"),
        ("idle.shop.svc.cluster.local", A, "No Error, SOA"),
        (
            "_http._tcp.web.shop.svc.cluster.local",
            SRV,
            "No Error, SRV 0 100 80 web.shop.svc.cluster.local., + web.shop.svc.cluster.local. 10.96.0.7",
        ),
        (
            "_sql._tcp.db.shop.svc.cluster.local",
            SRV,
            "No Error, SRV 0 50 5432 10-1-0-6.db.shop.svc.cluster.local., \
             SRV 0 50 5432 db-0.db.shop.svc.cluster.local., \
             + 10-1-0-6.db.shop.svc.cluster.local. 10.1.0.6, + db-0.db.shop.svc.cluster.local. 10.1.0.5",
        ),
        ("_http._udp.web.shop.svc.cluster.local", SRV, "Non-Existent Domain, SOA"),
        ("_http._tcp.web.shop.svc.cluster.local", A, "No Error, SOA"),
        ("_tcp.web.shop.svc.cluster.local", A, "No Error, SOA"),
        ("_sctp.web.shop.svc.cluster.local", A, "Non-Existent Domain, SOA"),
        ("10-1-0-5.shop.pod.cluster.local", A, "No Error, A 10.1.0.5"),
        ("fd00--5.shop.pod.cluster.local", AAAA, "No Error, AAAA fd00::5"),
        ("10-1-0.shop.pod.cluster.local", A, "Non-Existent Domain, SOA"),
        ("7.0.96.10.in-addr.arpa", PTR, "No Error, PTR web.shop.svc.cluster.local."),
        ("5.0.1.10.in-addr.arpa", PTR, "No Error, PTR db-0.db.shop.svc.cluster.local."),
        ("9.0.1.10.in-addr.arpa", PTR, "elsewhere"),
        ("0.1.10.in-addr.arpa", PTR, "elsewhere"),
        ("out.shop.svc.cluster.local", A, "No Error, CNAME www.example.org., then www.example.org. A"),
        ("out.shop.svc.cluster.local", CNAME, "No Error, CNAME www.example.org."),
        ("in.shop.svc.cluster.local", A, "No Error, CNAME web.shop.svc.cluster.local., A 10.96.0.7"),
        ("dns-version.cluster.local", TXT, "No Error, TXT 1.1.0"),
        ("ns.dns.cluster.local", A, "No Error, A 10.96.0.10"),
        (
            "cluster.local",
            SOA,
            "No Error, SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5",
        ),
        ("www.example.org", A, "elsewhere"),
        ("local", A, "elsewhere"),
    ] {
        assert_eq!(looked_up(&zone, name, kind), expected, "{name} {kind}");
    }
    assert!(looked_up(&zone, "loop.shop.svc.cluster.local", A).starts_with("Server Failure"));
}

#[test]
fn what_goes_is_forgotten_and_what_changes_is_found_as_it_is() {
    let mut zone = zone();
    zone.index.put_service(&service("web", json!({"clusterIPs": ["10.96.0.70"]})));
    zone.index.put_slice(&slice("db-x", "db", json!([{"addresses": ["10.1.0.50"], "hostname": "db-0"}])));
    let seen = |zone: &Zone, name| looked_up(zone, name, RecordType::ANY);
    assert_eq!(seen(&zone, "web.shop.svc.cluster.local"), "No Error, A 10.96.0.70");
    assert_eq!(seen(&zone, "7.0.96.10.in-addr.arpa"), "elsewhere");
    assert_eq!(seen(&zone, "db-0.db.shop.svc.cluster.local"), "No Error, A 10.1.0.50");
    assert_eq!(seen(&zone, "5.0.1.10.in-addr.arpa"), "elsewhere");
    zone.index.remove_slice("shop", "db-x");
    assert_eq!(seen(&zone, "db.shop.svc.cluster.local"), "No Error, SOA");
    for name in ["web", "dual", "db", "idle", "out", "in", "loop"] {
        zone.index.remove_service("shop", name);
    }
    assert_eq!(seen(&zone, "shop.svc.cluster.local"), "Non-Existent Domain, SOA");
    assert_eq!(seen(&zone, "70.0.96.10.in-addr.arpa"), "elsewhere");
    // Another service has the address before the first one is known to be gone.
    zone.index.put_service(&service("a", json!({"clusterIPs": ["10.96.0.9"]})));
    zone.index.put_service(&service("b", json!({"clusterIPs": ["10.96.0.9"]})));
    zone.index.remove_service("shop", "a");
    assert_eq!(seen(&zone, "9.0.96.10.in-addr.arpa"), "No Error, PTR b.shop.svc.cluster.local.");
}

#[test]
fn what_is_no_plain_question_is_refused() {
    let zone = zone();
    let code = |change: &dyn Fn(&mut Message)| {
        let mut request = asked("web.shop.svc.cluster.local", RecordType::A);
        change(&mut request);
        let Reply::Done(message) = answer::answer(&zone, &request) else { panic!("an answer") };
        message.metadata.response_code
    };
    assert_eq!(code(&|request| request.queries.clear()), ResponseCode::FormErr);
    assert_eq!(code(&|request| request.metadata.op_code = OpCode::Update), ResponseCode::NotImp);
    assert_eq!(code(&|request| request.queries[0].query_type = RecordType::AXFR), ResponseCode::Refused);
    assert_eq!(
        code(&|request| {
            let mut edns = Edns::new();
            edns.set_version(1);
            request.edns = Some(edns);
        }),
        ResponseCode::BADVERS
    );
}

#[test]
fn what_does_not_fit_is_left_out_and_said() {
    let mut zone = zone();
    let many: Vec<Value> = (0..200).map(|n| json!({"addresses": [format!("10.1.1.{n}")]})).collect();
    zone.index.put_slice(&slice("many", "idle", json!(many)));
    let mut request = asked("idle.shop.svc.cluster.local", RecordType::A);
    for (room, fits) in [(None, 512), (Some(1000), 1000), (Some(9000), 1232), (Some(100), 512)] {
        request.edns = room.map(|room| {
            let mut edns = Edns::new();
            edns.set_max_payload(room);
            edns
        });
        assert_eq!(answer::room(&request), fits);
        let Reply::Done(message) = answer::answer(&zone, &request) else { panic!("an answer") };
        assert_eq!(message.answers.len(), 200);
        let bytes = answer::encode(message, fits).unwrap();
        let read = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= fits && read.metadata.truncation, "{}", bytes.len());
        assert!(read.answers.len() > fits / 16 - 8, "as many as fit: {}", read.answers.len());
        assert_eq!(read.edns.is_some(), room.is_some());
    }
}

/// A server that answers names below `example.org`, over both transports: `big` with a hundred addresses, `www` with
/// one, `old` with another name, others not at all.
async fn others() -> SocketAddr {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (datagrams, connections) = loop {
        let connections = tokio::net::TcpListener::bind(any).await.unwrap();
        if let Ok(datagrams) = UdpSocket::bind(connections.local_addr().unwrap()).await {
            break (datagrams, connections);
        }
    };
    let address = connections.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((size, client)) = datagrams.recv_from(&mut buffer).await {
            let mut message = said(&buffer[..size]);
            if message.answers.len() > 10 {
                message = message.truncate();
            }
            datagrams.send_to(&message.to_vec().unwrap(), client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = connections.accept().await {
            let size = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; size.into()];
            stream.read_exact(&mut bytes).await.unwrap();
            let bytes = said(&bytes).to_vec().unwrap();
            stream.write_u16(bytes.len() as u16).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    address
}

fn said(question: &[u8]) -> Message {
    let request = Message::from_vec(question).unwrap();
    let mut message = answer::response_to(&request);
    let name = request.queries[0].name.clone();
    let address = |n: u8| Record::from_rdata(name.clone(), 60, RData::A(Ipv4Addr::new(192, 0, 2, n).into()));
    match name.to_ascii().as_str() {
        "www.example.org." => message.answers.push(address(1)),
        "big.example.org." => message.answers.extend((0..100).map(address)),
        "old.example.org." => {
            let target = Name::from_ascii("www.example.org.").unwrap();
            message.answers.push(Record::from_rdata(name, 60, RData::CNAME(CNAME(target))));
        }
        _ => message.metadata.response_code = ResponseCode::NXDomain,
    }
    message
}

async fn served(servers: Vec<SocketAddr>) -> SocketAddr {
    let names = Names { zone: RwLock::new(zone()), upstream: Upstream::new(Servers::Fixed(servers)) };
    // The kernel chooses a port for the one, and somebody else may have it for the other.
    let sockets = loop {
        if let Ok(sockets) = Sockets::open((Ipv4Addr::LOCALHOST, 0).into(), false) {
            break sockets;
        }
    };
    let address = sockets.address().unwrap();
    tokio::spawn(sockets.serve(Arc::new(names)));
    address
}

async fn by_datagram(server: SocketAddr, request: &Message) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&request.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 4096];
    let size = socket.recv(&mut buffer).await.unwrap();
    Message::from_vec(&buffer[..size]).unwrap()
}

async fn by_connection(server: SocketAddr, requests: &[Message]) -> Vec<Message> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let mut answers = Vec::new();
    for request in requests {
        let bytes = request.to_vec().unwrap();
        stream.write_u16(bytes.len() as u16).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let size = stream.read_u16().await.unwrap();
        let mut bytes = vec![0; size.into()];
        stream.read_exact(&mut bytes).await.unwrap();
        answers.push(Message::from_vec(&bytes).unwrap());
    }
    answers
}

#[tokio::test]
async fn questions_come_by_datagram_and_by_connection() {
    let server = served(vec![others().await]).await;
    let mut request = asked("web.shop.svc.cluster.local", RecordType::A);
    request.metadata.id = 4711;
    let answer = by_datagram(server, &request).await;
    assert_eq!(shown(&answer), "No Error, A 10.96.0.7");
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
    assert_eq!((answer.metadata.id, &answer.queries), (4711, &request.queries));
    let both = [request, asked("www.example.org", RecordType::A)];
    let answers = by_connection(server, &both).await;
    assert_eq!(
        answers.iter().map(shown).collect::<Vec<_>>(),
        ["No Error, A 10.96.0.7", "No Error, A 192.0.2.1"]
    );
}

#[tokio::test]
async fn others_are_asked_and_what_they_say_is_kept() {
    // The first of them is not there.
    let dead = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let gone = dead.local_addr().unwrap();
    drop(dead);
    let server = served(vec![gone, others().await]).await;
    let ask = async |name: &str| by_datagram(server, &asked(name, RecordType::A)).await;
    assert_eq!(shown(&ask("www.example.org").await), "No Error, A 192.0.2.1");
    assert_eq!(shown(&ask("old.example.org").await), "No Error, CNAME www.example.org.");
    assert_eq!(shown(&ask("none.example.org").await), "Non-Existent Domain");
    assert_eq!(
        shown(&ask("out.shop.svc.cluster.local").await),
        "No Error, CNAME www.example.org., A 192.0.2.1"
    );
    let big = ask("big.example.org").await;
    assert!(big.metadata.truncation, "the datagram is too small");
    let whole = by_connection(server, &[asked("big.example.org", RecordType::A)]).await;
    assert_eq!((whole[0].answers.len(), whole[0].metadata.truncation), (100, false));
}

#[tokio::test]
async fn with_nobody_to_ask_it_says_so() {
    let server = served(vec![]).await;
    let answer = by_datagram(server, &asked("www.example.org", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}
