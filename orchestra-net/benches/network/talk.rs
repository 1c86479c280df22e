//! Who answers in a place, and who asks: threads that have gone into it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where it is answered, everywhere.
pub(crate) const PORT: u16 = 7000;
/// How long each thing is done.
const LONG: Duration = Duration::from_secs(1);
/// How many ask at once for connections.
const ASKERS: usize = 4;
const REQUESTS: usize = 10_000;
/// What a connection is for, as its first byte says.
const TAKE: u8 = b't';
const ECHO: u8 = b'e';
const ONCE: u8 = b'o';

/// Does something in a network namespace.
pub(crate) fn within<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(namespace).expect("a network namespace");
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root");
            work()
        });
        there.join().expect("it does not panic")
    })
}

/// Answers in a place, one connection after the other, until the program ends.
pub(crate) fn answer(namespace: &Path) {
    let listener = within(namespace, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)));
    let listener = listener.expect("a free port");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while let Ok((stream, _)) = listener.accept() {
            // How it ended is the client's affair.
            let _ = serve(stream, &mut buffer);
        }
    });
}

fn serve(mut stream: TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut what = [0];
    stream.read_exact(&mut what)?;
    match what {
        [ONCE] => stream.write_all(&what),
        [ECHO] => {
            stream.set_nodelay(true)?;
            while let size @ 1.. = stream.read(buffer)? {
                stream.write_all(&buffer[..size])?;
            }
            Ok(())
        }
        _ => {
            let mut taken = 0_u64;
            while let size @ 1.. = stream.read(buffer)? {
                taken += size as u64;
            }
            stream.write_all(&taken.to_be_bytes())
        }
    }
}

fn open(address: SocketAddr, what: u8) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("a connection");
    stream.write_all(&[what]).expect("a connection that takes a byte");
    stream
}

/// Bits a second that arrive over one connection.
pub(crate) fn throughput(address: SocketAddr) -> f64 {
    let (mut stream, bytes) = (open(address, TAKE), vec![7; 256 << 10]);
    let began = Instant::now();
    while began.elapsed() < LONG {
        stream.write_all(&bytes).expect("it takes all");
    }
    stream.shutdown(Shutdown::Write).expect("an end");
    let mut taken = [0; 8];
    stream.read_exact(&mut taken).expect("how much that was");
    u64::from_be_bytes(taken) as f64 * 8.0 / began.elapsed().as_secs_f64()
}

/// New connections a second, each with one byte there and back, by some who ask at once.
pub(crate) fn connections(address: SocketAddr) -> f64 {
    let began = Instant::now();
    let ask = || {
        let mut made = 0_u32;
        while began.elapsed() < LONG {
            let mut stream = open(address, ONCE);
            stream.read_exact(&mut [0]).expect("an answer");
            // Nothing stays of it, or there would soon be no port left.
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("an end at once");
            made += 1;
        }
        made
    };
    // Threads are where the one is that begins them.
    let made: u32 = std::thread::scope(|scope| {
        let all: Vec<_> = (0..ASKERS).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|asker| asker.join().expect("it does not panic")).sum()
    });
    f64::from(made) / began.elapsed().as_secs_f64()
}

/// How long a small request takes on a connection that is there.
pub(crate) fn requests(address: SocketAddr) -> Vec<Duration> {
    let mut stream = open(address, ECHO);
    stream.set_nodelay(true).expect("a connection");
    let mut bytes = [0; 64];
    let ask = |_| {
        let began = Instant::now();
        stream.write_all(&bytes).expect("a request");
        stream.read_exact(&mut bytes).expect("an answer");
        began.elapsed()
    };
    (0..REQUESTS).map(ask).collect()
}
