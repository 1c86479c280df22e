//! The proxy in user space on this machine's loopback.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::network::*;
use orchestra_core::testing::contract::network::{Subject, check};
use orchestra_core::testing::until;
use orchestra_net::UserspaceNetwork;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Cluster addresses, a range for each test so that they can run at the same time.
fn ip(test: u8, last: u8) -> IpAddr {
    IpAddr::from([127, 97, test, last])
}

fn service(cluster_ip: IpAddr, protocol: Protocol, port: u16, endpoints: &[SocketAddr]) -> ServicePlan {
    let endpoints = endpoints.iter().map(|address| Endpoint { address: *address, local: true }).collect();
    let port = ServicePort { name: String::new(), protocol, port, node_port: None, endpoints };
    let entry = ServiceEntry {
        namespace: "default".into(),
        name: "web".into(),
        cluster_ips: vec![cluster_ip],
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        affinity: Affinity::None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        ports: vec![port],
    };
    ServicePlan { services: vec![entry] }
}

/// A server that reads to the end of what it is sent, and answers with its name and that.
async fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut said = name.as_bytes().to_vec();
                stream.read_to_end(&mut said).await.unwrap();
                stream.write_all(&said).await.unwrap();
            });
        }
    });
    address
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let work = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"!").await?;
        stream.shutdown().await?; // half: the answer comes after
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("an answer or an error in time")
}

async fn answers(address: SocketAddr, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(ask(address).await.unwrap());
    }
    all
}

/// An address that nobody listens at.
async fn dead() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn fulfils_the_contract() {
    let request = |n: u8| AttachRequest {
        sandbox: SandboxId::from(format!("s{n}")),
        pod: PodRef { namespace: "contract".into(), name: format!("p{n}"), uid: format!("u{n}") },
        netns: None,
        runtime_ips: vec![ip(0, n)],
        known_ips: vec![],
        host_ports: vec![],
        annotations: Default::default(),
    };
    let subject = Subject::new(Arc::new(UserspaceNetwork::new())).sandboxes((1..4).map(request).collect());
    check(&subject.cluster_ip(ip(0, 200))).await;
    let nowhere = AttachRequest { runtime_ips: vec![], ..request(1) };
    let error = UserspaceNetwork::new().attach(&nowhere).await.unwrap_err();
    assert!(matches!(error, NetworkError::NoAddress { .. }));
}

#[tokio::test]
async fn endpoints_take_turns_and_halves_close_alone() {
    let (network, at) = (UserspaceNetwork::new(), ip(1, 1));
    let endpoints = [echo("a").await, echo("b").await, echo("c").await];
    let applied = network.apply(&service(at, Protocol::Tcp, 8080, &endpoints)).await.unwrap();
    assert_eq!(applied, Applied::default());
    let heard = answers((at, 8080).into(), 6).await;
    assert_eq!(heard, ["a!", "b!", "c!", "a!", "b!", "c!"]);
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let (network, at) = (UserspaceNetwork::new(), ip(2, 1));
    let endpoints = [dead().await, echo("b").await, dead().await];
    network.apply(&service(at, Protocol::Tcp, 8080, &endpoints)).await.unwrap();
    assert_eq!(answers((at, 8080).into(), 3).await, ["b!"; 3]);
    network.apply(&service(at, Protocol::Tcp, 8080, &[dead().await])).await.unwrap();
    assert!(ask((at, 8080).into()).await.is_err(), "with none alive the connection breaks");
}

#[tokio::test]
async fn what_breaks_off_at_one_end_breaks_off_at_the_other() {
    let (network, at) = (UserspaceNetwork::new(), ip(11, 1));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let endpoint = listener.local_addr().unwrap();
    network.apply(&service(at, Protocol::Tcp, 8080, &[endpoint])).await.unwrap();
    let pair = async || {
        let mut client = TcpStream::connect((at, 8080)).await.unwrap();
        client.write_all(b"half").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        (client, server)
    };
    let (mut client, mut server) = pair().await;
    server.write_all(b"half").await.unwrap();
    client.read_exact(&mut [0; 4]).await.unwrap();
    reset(server);
    let seen = client.read(&mut [0]).await.unwrap_err();
    assert_eq!(seen.kind(), std::io::ErrorKind::ConnectionReset, "by the client");
    let (client, mut server) = pair().await;
    reset(client);
    let seen = server.read(&mut [0]).await.unwrap_err();
    assert_eq!(seen.kind(), std::io::ErrorKind::ConnectionReset, "by the endpoint");
}

/// Breaks a connection off.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn a_change_leads_new_connections_elsewhere_and_leaves_old_ones() {
    let (network, at) = (UserspaceNetwork::new(), ip(3, 1));
    let (a, b) = (echo("a").await, echo("b").await);
    network.apply(&service(at, Protocol::Tcp, 8080, &[a])).await.unwrap();
    let mut held = TcpStream::connect((at, 8080)).await.unwrap();
    held.write_all(b"1").await.unwrap();
    assert_eq!(answers((at, 8080).into(), 1).await, ["a!"]);
    network.apply(&service(at, Protocol::Tcp, 8080, &[b])).await.unwrap();
    assert_eq!(answers((at, 8080).into(), 2).await, ["b!"; 2]);
    network.apply(&service(at, Protocol::Tcp, 8080, &[])).await.unwrap();
    let refused = ask((at, 8080).into()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "no endpoints refuse");
    held.write_all(b"2").await.unwrap();
    held.shutdown().await.unwrap();
    let mut answer = String::new();
    held.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "a12");
}

#[tokio::test]
async fn a_client_stays_with_its_endpoint() {
    let (network, at) = (UserspaceNetwork::new(), ip(4, 1));
    let mut plan = service(at, Protocol::Tcp, 8080, &[echo("a").await, echo("b").await]);
    plan.services[0].affinity = Affinity::ClientIp(Duration::from_secs(600));
    network.apply(&plan).await.unwrap();
    let heard: BTreeSet<String> = answers((at, 8080).into(), 6).await.into_iter().collect();
    assert_eq!(heard.len(), 1);
}

#[tokio::test]
async fn a_port_in_use_is_told_and_tried_again() {
    let (network, at) = (UserspaceNetwork::new(), ip(5, 1));
    let taken = TcpListener::bind((at, 8080)).await.unwrap();
    let mut plan = service(at, Protocol::Tcp, 8080, &[echo("a").await]);
    plan.services[0].cluster_ips.push(ip(5, 2));
    let applied = network.apply(&plan).await.unwrap();
    assert_eq!(applied.failures.len(), 1, "{applied:?}");
    let failure = &applied.failures[0];
    assert_eq!((failure.service.as_str(), failure.address, failure.port), ("default/web", at, 8080));
    assert!(failure.message.contains("in use"), "{failure:?}");
    assert_eq!(answers((ip(5, 2), 8080).into(), 1).await, ["a!"], "the other address works");
    drop(taken);
    assert_eq!(network.apply(&plan).await.unwrap(), Applied::default());
    assert_eq!(answers((at, 8080).into(), 1).await, ["a!"]);
}

#[tokio::test]
async fn node_ports_at_chosen_addresses() {
    let network = UserspaceNetwork::new().node_addresses([ip(6, 10), ip(6, 11)]);
    let mut plan = service(ip(6, 1), Protocol::Tcp, 8080, &[echo("a").await]);
    plan.services[0].ports[0].node_port = Some(30999);
    assert_eq!(network.apply(&plan).await.unwrap(), Applied::default());
    for last in [10, 11] {
        assert_eq!(answers((ip(6, last), 30999).into(), 1).await, ["a!"]);
    }
    assert!(ask((ip(6, 12), 30999).into()).await.is_err());
}

async fn udp_echo(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut datagram = [0; 64];
        while let Ok((size, client)) = socket.recv_from(&mut datagram).await {
            let answer = [name.as_bytes(), &datagram[..size]].concat();
            socket.send_to(&answer, client).await.unwrap();
        }
    });
    address
}

async fn udp_ask(socket: &UdpSocket) -> String {
    let mut datagram = [0; 64];
    let work = async {
        // Datagrams may be lost while a plan changes; a client asks again.
        loop {
            socket.send(b"?").await.unwrap();
            let answer = tokio::time::timeout(Duration::from_millis(500), socket.recv(&mut datagram)).await;
            if let Ok(Ok(size)) = answer {
                return String::from_utf8_lossy(&datagram[..size]).into_owned();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("an answer")
}

#[tokio::test]
async fn udp_clients_have_sessions() {
    let (network, at) = (UserspaceNetwork::new(), ip(7, 1));
    let (a, b) = (udp_echo("a").await, udp_echo("b").await);
    network.apply(&service(at, Protocol::Udp, 5353, &[a, b])).await.unwrap();
    let client = || async {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect((at, 5353)).await.unwrap();
        socket
    };
    let (one, two) = (client().await, client().await);
    assert_eq!((udp_ask(&one).await, udp_ask(&two).await), ("a?".into(), "b?".into()));
    assert_eq!(udp_ask(&one).await, "a?", "a session stays with its endpoint");
    network.apply(&service(at, Protocol::Udp, 5353, &[b])).await.unwrap();
    assert_eq!(udp_ask(&one).await, "b?", "unless that is gone");
}

#[tokio::test]
async fn udp_sessions_end_when_silent() {
    let network = UserspaceNetwork::new().udp_idle(Duration::from_millis(50));
    let (a, b) = (udp_echo("a").await, udp_echo("b").await);
    network.apply(&service(ip(8, 1), Protocol::Udp, 5353, &[a, b])).await.unwrap();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect((ip(8, 1), 5353)).await.unwrap();
    let first = udp_ask(&socket).await;
    // Each question keeps a session alive for the while that is between two.
    let pause = Duration::from_millis(100);
    let another = async || {
        tokio::time::sleep(pause).await;
        (udp_ask(&socket).await != first).then_some(())
    };
    until("a new session takes the next endpoint", Duration::from_secs(20), another).await;
}

#[tokio::test]
async fn several_nodes_of_one_machine_share_addresses() {
    let (one, two) = (UserspaceNetwork::new().shared(true), UserspaceNetwork::new().shared(true));
    let plan = service(ip(9, 1), Protocol::Tcp, 8080, &[echo("a").await]);
    for network in [&one, &two] {
        assert_eq!(network.apply(&plan).await.unwrap(), Applied::default());
    }
    one.apply(&ServicePlan::default()).await.unwrap();
    assert_eq!(answers((ip(9, 1), 8080).into(), 3).await, ["a!"; 3]);
}

#[tokio::test]
async fn host_ports_lead_to_pods() {
    let network = UserspaceNetwork::new().host_ports(true);
    let pod = echo("pod").await;
    let port = HostPort {
        protocol: Protocol::Tcp,
        host_port: 8088,
        container_port: pod.port(),
        host_ip: Some(ip(10, 1)),
    };
    let request = AttachRequest {
        sandbox: SandboxId::from("s"),
        pod: PodRef { namespace: "default".into(), name: "web".into(), uid: "u".into() },
        netns: None,
        runtime_ips: vec![pod.ip()],
        known_ips: vec![],
        host_ports: vec![port],
        annotations: Default::default(),
    };
    for _ in 0..2 {
        network.attach(&request).await.unwrap();
    }
    assert_eq!(answers((ip(10, 1), 8088).into(), 1).await, ["pod!"]);
    network.detach(&request.sandbox, &request.pod).await.unwrap();
    assert!(ask((ip(10, 1), 8088).into()).await.is_err());
    let _taken = TcpListener::bind((ip(10, 1), 8088)).await.unwrap();
    let error = network.attach(&request).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
}

fn on_loopback(address: &str) -> bool {
    let listed = std::process::Command::new("ip").args(["-o", "addr", "show", "dev", "lo"]).output();
    String::from_utf8_lossy(&listed.expect("ip of iproute2").stdout).contains(&format!(" {address}/32 "))
}

#[tokio::test]
async fn cluster_addresses_come_and_go() {
    let at: IpAddr = "10.199.7.1".parse().unwrap();
    let plan = service(at, Protocol::Tcp, 8080, &[echo("a").await]);
    let network = UserspaceNetwork::new().owner("test/addresses");
    let applied = network.apply(&plan).await.unwrap();
    if !rustix::process::geteuid().is_root() {
        assert!(applied.failures[0].message.contains("127.0.0.0/8"), "{applied:?}");
        return;
    }
    assert_eq!(applied, Applied::default());
    assert_eq!(answers((at, 8080).into(), 1).await, ["a!"]);
    // It dies, and comes back to another plan.
    drop(network);
    assert!(on_loopback("10.199.7.1"));
    let others = UserspaceNetwork::new().owner("test/other");
    others.apply(&ServicePlan::default()).await.unwrap();
    assert!(on_loopback("10.199.7.1"), "another's addresses are left alone");
    let network = UserspaceNetwork::new().owner("test/addresses");
    let other = service("10.199.7.2".parse().unwrap(), Protocol::Tcp, 8080, &[echo("b").await]);
    assert_eq!(network.apply(&other).await.unwrap(), Applied::default());
    assert!(!on_loopback("10.199.7.1") && on_loopback("10.199.7.2"));
    network.apply(&ServicePlan::default()).await.unwrap();
    assert!(!on_loopback("10.199.7.2"));
}
