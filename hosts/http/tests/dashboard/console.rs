//! The dashboard of this machine answers who was given its address, and nobody else.

use http::header::{COOKIE, HOST};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::shop;

/// Asks a server of this machine, and returns the code, the headers and the text of its answer.
async fn ask(address: &str, path: &str, headers: &[(http::HeaderName, &str)]) -> (u16, HeaderMap, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (head.status.as_u16(), head.headers, text)
}

#[tokio::test]
async fn the_key_of_the_address_is_good_once() {
    let shop = shop::empty().await;
    let url = shop.console().await;
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let path = format!("/{path}");
    let host = (HOST, address);
    let own = [host.clone()];
    let (code, ..) = ask(address, "/ui/", &own).await;
    assert_eq!(code, 403, "without the key");
    let (code, ..) = ask(address, "/ui/?key=0123456789abcdef0123456789abcdef", &own).await;
    assert_eq!(code, 403, "with another key");
    // A name that was made to lead here is another site's.
    let (code, ..) = ask(address, &path, &[(HOST, "evil.example")]).await;
    assert_eq!(code, 403, "by another name");
    let (code, headers, _) = ask(address, &path, &own).await;
    assert_eq!(code, 303);
    let cookie = headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let (code, _, text) = ask(address, "/ui/table?r=namespaces", &[host.clone(), (COOKIE, cookie)]).await;
    assert!(code == 200 && text.contains("kube-system"), "{code}: {text}");
    // It asks as the kubeconfig says, whoever else the browser says it is.
    let (_, _, text) =
        ask(address, "/ui/", &[host.clone(), (COOKIE, &format!("{cookie}; orchestra-token=of-someone"))])
            .await;
    assert!(text.contains("tester"), "{text}");
    let (code, ..) = ask(address, &path, &own).await;
    assert_eq!(code, 403, "a second time");
    let (code, ..) = ask(address, "/api/v1/pods", &[host, (COOKIE, cookie)]).await;
    assert_eq!(code, 404, "it serves pages, and not the API");
}
