use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::unpack::tests::{file, tarball};
use super::super::{Limits, Patience};
use super::*;

/// What a registry answers at a path.
#[derive(Clone)]
struct Answer {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    /// How much of it is sent before nothing more is.
    stalls_after: Option<usize>,
}

fn ok(body: impl Into<Vec<u8>>) -> Answer {
    Answer { status: "200 OK", headers: String::new(), body: body.into(), stalls_after: None }
}

/// A registry of this machine that knows a few paths, and wants a header if it is told so.
struct Fake {
    port: u16,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Self { port, answers: Arc::default(), asked: Arc::default() };
        let (answers, asked) = (Arc::clone(&fake.answers), Arc::clone(&fake.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answers), Arc::clone(&asked)));
            }
        });
        fake
    }

    fn set(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Answer)) {
        change(self.answers.lock().unwrap().get_mut(path).unwrap());
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes);
        self.set(&format!("/v2/a/b/blobs/{digest}"), ok(bytes));
        format!(r#""digest":"{digest}","size":{}"#, bytes.len())
    }

    /// Serves an image of two layers as `a/b:1`, and answers its manifest.
    fn image(&self, architecture: &str) -> String {
        let layers = [tarball(&[file("one", "1")]), tarball(&[file("two", "2")])];
        let diffs = layers.each_ref().map(|layer| format!("\"{}\"", Digest::of(layer))).join(",");
        let config =
            format!(r#"{{"os":"linux","architecture":"{architecture}","rootfs":{{"diff_ids":[{diffs}]}}}}"#);
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{{}}},"layers":[{{{}}},{{{}}}]}}"#,
            self.blob(config.as_bytes()),
            self.blob(&layers[0]),
            self.blob(&layers[1])
        );
        self.set("/v2/a/b/manifests/1", ok(manifest.as_bytes()));
        self.set(&format!("/v2/a/b/manifests/{}", Digest::of(manifest.as_bytes())), ok(manifest.as_bytes()));
        manifest
    }

    fn name(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/a/b{rest}", self.port)
    }

    fn asked(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|line| line.contains(what)).count()
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        request.push(byte);
    }
    let request = String::from_utf8_lossy(&request).to_lowercase();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let shown = request.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("nothing");
    asked.lock().unwrap().push(format!("{path} {shown}"));
    // Answers of an authorized request have its path and what is shown.
    let answer = {
        let answers = answers.lock().unwrap();
        answers.get(&format!("{path} {shown}")).or_else(|| answers.get(&path)).cloned()
    };
    let answer = answer.unwrap_or(Answer {
        status: "404 Not Found",
        headers: String::new(),
        body: br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#.to_vec(),
        stalls_after: None,
    });
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n",
        answer.status,
        answer.body.len(),
        answer.headers
    );
    let sent = answer.stalls_after.unwrap_or(answer.body.len());
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&answer.body[..sent]).await;
    if answer.stalls_after.is_some() {
        std::future::pending::<()>().await;
    }
    let _ = stream.shutdown().await;
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let patience = Patience { stall: Duration::from_millis(300), ..Patience::default() };
    let store = Store::open(folder.path().join("images")).unwrap().patience(patience);
    (folder, store)
}

fn own() -> String {
    Platform::own().architecture
}

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest_and_each_layer_once() {
    let (fake, (_folder, store)) = (Fake::start().await, store());
    let digest = Digest::of(fake.image(&own()).as_bytes());
    let progress = PullProgress::default();
    let pulled = store.pull_telling(&fake.name(":1"), None, &progress).await.unwrap();
    let (done, total) = progress.read().unwrap();
    assert!(done == total && total > 0, "{done} of {total}");
    assert_eq!(
        (&pulled.names, &pulled.digests),
        (&vec![fake.name(":1")], &vec![fake.name(&format!("@{digest}"))])
    );
    assert_eq!(pulled.size, 2);
    let held = store.hold(&fake.name(":1")).unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(held.layers[0].join("two")).unwrap(), "2");
    drop(held);
    let before = fake.asked("/blobs/");
    let progress = PullProgress::default();
    let again = store.pull_telling(&fake.name(&format!("@{digest}")), None, &progress).await.unwrap();
    assert_eq!(progress.read(), None, "there is nothing to come");
    assert_eq!(again, pulled, "the same image, with the names it had");
    assert_eq!(fake.asked("/blobs/"), before + 1, "of which only the configuration is asked for again");
}

#[tokio::test]
async fn of_several_platforms_this_machines_is_taken() {
    let (fake, (_folder, store)) = (Fake::start().await, store());
    let manifest = fake.image(&own());
    let index = |architecture: &str| {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}","size":{},"platform":{{"os":"linux","architecture":"{architecture}"}}}}]}}"#,
            Digest::of(manifest.as_bytes()),
            manifest.len()
        )
    };
    fake.set("/v2/a/b/manifests/2", ok(index(&own())));
    let pulled = store.pull(&fake.name(":2"), None).await.unwrap();
    let named = Digest::of(index(&own()).as_bytes());
    assert_eq!(pulled.digests, [fake.name(&format!("@{named}"))], "what the name means at the registry");
    fake.set("/v2/a/b/manifests/3", ok(index("s390x")));
    let refused = store.pull(&fake.name(":3"), None).await.unwrap_err().to_string();
    assert!(refused.starts_with("no matching manifest for linux/"), "{refused}");
    let other = Fake::start().await;
    other.image("s390x");
    let refused = store.pull(&other.name(":1"), None).await.unwrap_err().to_string();
    assert!(refused.starts_with("the image is for linux/s390x"), "{refused}");
}

#[tokio::test]
async fn who_lies_or_stalls_gives_no_image() {
    let layer = |fake: &Fake| {
        let answers = fake.answers.lock().unwrap();
        let found = answers.iter().find(|(path, answer)| path.contains("/blobs/") && answer.body.len() > 512);
        found.map(|(path, _)| path.clone()).unwrap()
    };
    type Change = Box<dyn Fn(&Fake)>;
    let cases: [(&str, &str, Change); 7] = [
        (
            "another layer",
            "sent 2048 bytes that are",
            Box::new(move |fake| {
                fake.change(&layer(fake), |answer| answer.body[600] ^= 1);
            }),
        ),
        (
            "more than was said",
            "sends more than the",
            Box::new(move |fake| {
                fake.change(&layer(fake), |answer| answer.body.push(0));
            }),
        ),
        (
            "less than was said",
            "sent 1024 bytes",
            Box::new(move |fake| {
                fake.change(&layer(fake), |answer| answer.body.truncate(1024));
            }),
        ),
        (
            "a layer that stalls",
            "it has sent nothing for 300ms",
            Box::new(move |fake| {
                fake.change(&layer(fake), |answer| answer.stalls_after = Some(100));
            }),
        ),
        (
            "no layer",
            "manifest unknown",
            Box::new(move |fake| {
                let path = layer(fake);
                fake.answers.lock().unwrap().remove(&path);
            }),
        ),
        (
            "a manifest without end",
            "sends more than",
            Box::new(|fake| {
                fake.set("/v2/a/b/manifests/1", ok(vec![b' '; 5 << 20]));
            }),
        ),
        (
            "no manifest",
            "no manifest of an image",
            Box::new(|fake| {
                fake.set("/v2/a/b/manifests/1", ok("<html>"));
            }),
        ),
    ];
    for (what, says, change) in cases {
        let (fake, (folder, store)) = (Fake::start().await, store());
        fake.image(&own());
        change(&fake);
        let refused = store.pull(&fake.name(":1"), None).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{what}: {refused}");
        assert_eq!(store.list().unwrap(), [], "{what}");
        assert_eq!(std::fs::read_dir(folder.path().join("images/tmp")).unwrap().count(), 0, "{what}");
        // Told the truth, it goes on.
        fake.image(&own());
        store.pull(&fake.name(":1"), None).await.unwrap();
    }
    let (fake, (_folder, store)) = (Fake::start().await, store());
    let digest = Digest::of(b"another");
    let manifest = fake.image(&own());
    fake.set(&format!("/v2/a/b/manifests/{digest}"), ok(manifest));
    let refused = store.pull(&fake.name(&format!("@{digest}")), None).await.unwrap_err().to_string();
    assert!(refused.starts_with("the registry sent a manifest that is"), "{refused}");
    let few = store.clone().limits(Limits { layers: 1, ..Limits::default() });
    let refused = few.pull(&fake.name(":1"), None).await.unwrap_err();
    assert!(matches!(refused, ImageError::TooLarge(_)), "{refused}");
}

#[tokio::test]
async fn a_pull_that_is_given_up_leaves_nothing() {
    let (fake, (folder, store)) = (Fake::start().await, store());
    fake.image(&own());
    let patient = store.clone().patience(Patience::default());
    let path = fake.answers.lock().unwrap().keys().find(|path| path.contains("/blobs/")).cloned().unwrap();
    fake.change(&path, |answer| answer.stalls_after = Some(1));
    let given_up =
        tokio::time::timeout(Duration::from_millis(300), patient.pull(&fake.name(":1"), None)).await;
    assert!(given_up.is_err());
    drop(patient);
    // What was fetched goes with it, or at the latest when the images are opened again.
    Store::open(folder.path().join("images")).unwrap();
    let left = |what: &str| std::fs::read_dir(folder.path().join("images").join(what)).unwrap().count();
    assert_eq!((left("tmp"), left("layers"), left("configs")), (0, 0, 0));
}

#[tokio::test]
async fn credentials_are_shown_to_those_who_ask() {
    let (fake, (_folder, store)) = (Fake::start().await, store());
    let manifest = fake.image(&own());
    let realm = format!("http://127.0.0.1:{}/token", fake.port);
    let challenge = |header: String| Answer {
        status: "401 Unauthorized",
        headers: format!("WWW-Authenticate: {header}\r\n"),
        ..ok("")
    };
    fake.set("/v2/a/b/manifests/1", challenge(format!("Bearer realm=\"{realm}\",service=\"s\"")));
    let who = Credentials { username: "ann".into(), password: "secret".into() };
    let refused = store.pull(&fake.name(":1"), Some(&who)).await.unwrap_err();
    assert!(matches!(refused, ImageError::NotFound(_)), "there is no token: {refused}");
    let ask = "/token?scope=repository%3aa%2fb%3apull&service=s basic yw5uonnly3jlda==";
    fake.set(ask, ok(r#"{"token":"t0ken","access_token":"t0ken"}"#));
    fake.set("/v2/a/b/manifests/1 bearer t0ken", ok(manifest.as_bytes()));
    store.pull(&fake.name(":1"), Some(&who)).await.unwrap();
    let refused = store.pull(&fake.name(":1"), None).await.unwrap_err();
    assert!(matches!(refused, ImageError::NotFound(_)), "{refused}");

    fake.set("/v2/a/b/manifests/1", challenge("Basic realm=x".into()));
    fake.set("/v2/a/b/manifests/1 basic yw5uonnly3jlda==", ok(manifest.as_bytes()));
    store.pull(&fake.name(":1"), Some(&who)).await.unwrap();
    let refused = store.pull(&fake.name(":1"), None).await.unwrap_err();
    assert!(matches!(refused, ImageError::Unauthorized(_)), "{refused}");
    fake.set("/v2/a/b/manifests/1", challenge("Bearer realm=\"http://registry.example/token\"".into()));
    let refused = store.pull(&fake.name(":1"), Some(&who)).await.unwrap_err().to_string();
    assert!(refused.contains("where nothing is encrypted"), "{refused}");
}

#[tokio::test]
async fn redirects_are_followed_and_shown_nothing() {
    let (fake, other, (_folder, store)) = (Fake::start().await, Fake::start().await, store());
    fake.image(&own());
    let blobs: Vec<(String, Answer)> = {
        let answers = fake.answers.lock().unwrap();
        answers
            .iter()
            .filter(|(path, _)| path.contains("/blobs/"))
            .map(|(p, a)| (p.clone(), a.clone()))
            .collect()
    };
    let moved = |to: String| Answer {
        status: "307 Temporary Redirect",
        headers: format!("Location: {to}\r\n"),
        ..ok("")
    };
    for (path, answer) in &blobs {
        other.set(path, answer.clone());
        fake.set(path, moved(format!("http://127.0.0.1:{}{path}", other.port)));
    }
    let basic =
        Answer { status: "401 Unauthorized", headers: "WWW-Authenticate: Basic\r\n".into(), ..ok("") };
    let manifest = fake.answers.lock().unwrap()["/v2/a/b/manifests/1"].clone();
    fake.set("/v2/a/b/manifests/1 basic yw5uonnly3jlda==", manifest);
    fake.set("/v2/a/b/manifests/1", basic);
    let who = Credentials { username: "ann".into(), password: "secret".into() };
    store.pull(&fake.name(":1"), Some(&who)).await.unwrap();
    assert_eq!(other.asked("basic"), 0, "what is for one is not shown to another");
    for (path, _) in &blobs {
        fake.set(path, moved(path.clone()));
    }
    let (_folder, empty) = self::store();
    let refused = empty.pull(&fake.name(":1"), Some(&who)).await.unwrap_err().to_string();
    assert!(refused.contains("without end"), "{refused}");
    for (path, _) in &blobs {
        fake.set(path, moved("http://registry.example/x".into()));
    }
    let refused = empty.pull(&fake.name(":1"), Some(&who)).await.unwrap_err().to_string();
    assert!(refused.contains("where nothing is encrypted"), "{refused}");
}

#[tokio::test]
async fn nobody_there_is_said() {
    let (_folder, store) = store();
    // Held, so that nobody else listens there; nobody accepts either.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let patience = Patience { answer: Duration::from_millis(200), ..Patience::default() };
    let refused =
        store.clone().patience(patience).pull(&format!("127.0.0.1:{port}/a:1"), None).await.unwrap_err();
    assert!(matches!(refused, ImageError::Unreachable(_)), "{refused}");
    for name in ["a", "127.0.0.1:1/a@md5:00", "b@d@r/a:1"] {
        assert!(store.pull(name, None).await.is_err(), "{name}");
    }
}
