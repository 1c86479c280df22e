//! With which methods what a pod serves is asked, through the API server.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::agent::Does;
use crate::support::TOKEN;
use crate::world::{DEADLINE, POD, Where, World};

/// The first line of the answer to a request.
async fn answered(world: &World, method: &str, path: &str) -> String {
    let mut connection = world.served.connect().await;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {TOKEN}\r\ncontent-length: 0\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.flush().await.unwrap();
    let mut line = Vec::new();
    let reading = async {
        while !line.ends_with(b"\r\n") {
            line.push(connection.read_u8().await.unwrap());
        }
    };
    timeout(DEADLINE, reading).await.unwrap();
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_passed_on_has_any_method() {
    let world = World::start(Where::Here).await;
    let proxy = format!("{POD}:{}/proxy/some/path", Does::Serve.port());
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        assert_eq!(answered(&world, method, &proxy).await, "HTTP/1.1 200 OK", "{method}");
    }
    // Of an object itself nothing is known by it.
    assert_eq!(answered(&world, "OPTIONS", POD).await, "HTTP/1.1 405 Method Not Allowed");
    world.until_nothing_is_left().await;
}
