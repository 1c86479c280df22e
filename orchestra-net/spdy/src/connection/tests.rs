use super::*;

/// A client, as frames.
struct Client {
    connection: DuplexStream,
    bytes: BytesMut,
    pack: HeaderWriter,
}

impl Client {
    async fn send(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame::encode(frame, &mut bytes);
        self.connection.write_all(&bytes).await.unwrap();
    }

    async fn begin(&mut self, stream: u32, kind: &str) {
        let block = self.pack.write(&[("streamType", kind)]);
        let (fin, unidirectional) = (false, false);
        let frame = Frame::SynStream { stream, fin, unidirectional, priority: 0, associated: 0, block };
        self.send(&frame).await;
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = frame::decode(&mut self.bytes).unwrap() {
                return Some(frame);
            }
            if self.connection.read_buf(&mut self.bytes).await.unwrap() == 0 {
                return None;
            }
        }
    }
}

fn connect() -> (Client, Spdy<DuplexStream>, mpsc::Receiver<SpdyStream>, CancellationToken) {
    let (connection, server) = duplex(1 << 20);
    let finished = CancellationToken::new();
    let (spdy, streams) = Spdy::new(server, finished.clone());
    (Client { connection, bytes: BytesMut::new(), pack: HeaderWriter::new() }, spdy, streams, finished)
}

fn data(stream: u32, fin: bool, data: &'static [u8]) -> Frame {
    Frame::Data { stream, fin, data: Bytes::from_static(data) }
}

#[tokio::test]
async fn streams_go_both_ways_and_end_for_themselves() {
    let (mut client, spdy, mut streams, finished) = connect();
    let talk = async {
        client.begin(1, "error").await;
        client.begin(3, "data").await;
        client.send(&Frame::Ping(1)).await;
        client.send(&data(3, false, b"hel")).await;
        client.send(&data(3, true, b"lo")).await;
        let (error, mut stream) = (streams.recv().await.unwrap(), streams.recv().await.unwrap());
        assert_eq!((error.header("streamtype"), stream.header("streamtype")), ("error", "data"));
        let mut said = String::new();
        stream.incoming.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "hello");
        // What ended one way goes on the other.
        stream.outgoing.write_all(b"good-bye").await.unwrap();
        drop((error, stream));
        finished.cancel();
        let (mut frames, mut ended) = (Vec::new(), 0);
        while let Some(frame) = client.next().await {
            ended += usize::from(matches!(frame, Frame::Data { fin: true, .. }));
            if ended == 2 {
                // It has read all, and goes.
                client.connection.shutdown().await.unwrap();
            }
            frames.push(match frame {
                Frame::SynReply { stream, .. } => format!("reply {stream}"),
                Frame::Data { stream, fin, data } => {
                    format!("{stream} {}{}", String::from_utf8_lossy(&data), if fin { "." } else { "" })
                }
                Frame::Ping(number) => format!("ping {number}"),
                Frame::GoAway { status, .. } => format!("away {status}"),
                other => format!("{other:?}"),
            });
        }
        frames
    };
    let (frames, ended) = tokio::join!(talk, spdy.run());
    ended.unwrap();
    let of = |what: &str| {
        let found = frames.iter().map(String::as_str).filter(|frame| frame.starts_with(what));
        found.collect::<Vec<_>>()
    };
    assert_eq!((of("reply 1").len(), of("reply 3").len(), of("ping 1").len()), (1, 1, 1), "{frames:?}");
    assert_eq!((of("1 "), of("3 ")), (vec!["1 ."], vec!["3 good-bye", "3 ."]), "{frames:?}");
    assert_eq!(frames.last().unwrap(), "away 0");
}

#[tokio::test]
async fn a_client_begins_streams_that_a_server_takes() {
    let (ours, theirs) = duplex(1 << 20);
    let finished = CancellationToken::new();
    let (server, mut begun) = Spdy::new(theirs, finished.clone());
    let (client, mut streams) = Spdy::begin(ours, &[&[("streamtype", "error")], &[("streamtype", "stdin")]]);
    let serving = async {
        let error = begun.recv().await.unwrap();
        let mut stdin = begun.recv().await.unwrap();
        assert_eq!((error.header("streamtype"), stdin.header("streamtype")), ("error", "stdin"));
        let mut read = Vec::new();
        stdin.incoming.read_to_end(&mut read).await.unwrap();
        stdin.outgoing.write_all(&read).await.unwrap();
        drop((error, stdin));
        finished.cancel();
    };
    let mut stdin = streams.pop().unwrap();
    let mut error = streams.pop().unwrap();
    let asking = async {
        drop(error.outgoing);
        stdin.outgoing.write_all(b"hello").await.unwrap();
        drop(stdin.outgoing);
        let (mut said, mut why) = (String::new(), String::new());
        stdin.incoming.read_to_string(&mut said).await.unwrap();
        error.incoming.read_to_string(&mut why).await.unwrap();
        assert_eq!((said.as_str(), why.as_str()), ("hello", ""));
    };
    let (served, asked, (), ()) = tokio::join!(server.run(), client.run(), serving, asking);
    served.unwrap();
    asked.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_given_up_ends_both_ways() {
    let (mut client, spdy, mut streams, _finished) = connect();
    let talk = async {
        client.begin(1, "data").await;
        let mut stream = streams.recv().await.unwrap();
        client.send(&Frame::Rst { stream: 1, status: 5 }).await;
        let mut rest = Vec::new();
        assert_eq!(stream.incoming.read_to_end(&mut rest).await.unwrap(), 0);
        assert!(stream.reset.is_cancelled());
        while stream.outgoing.write_all(&[0; PIECE]).await.is_ok() {}
        drop(client);
    };
    let ((), ended) = tokio::join!(talk, spdy.run());
    ended.unwrap();
}

/// What was ended and what only stopped with the connection are told apart.
#[tokio::test]
async fn a_stream_that_was_not_ended_is_known() {
    let (mut client, spdy, mut streams, _finished) = connect();
    let talk = async {
        client.begin(1, "error").await;
        client.begin(3, "data").await;
        client.send(&data(1, true, b"why")).await;
        client.send(&data(3, false, b"not all")).await;
        let (mut whole, mut part) = (streams.recv().await.unwrap(), streams.recv().await.unwrap());
        drop(client);
        let (mut why, mut said) = (String::new(), String::new());
        whole.incoming.read_to_string(&mut why).await.unwrap();
        part.incoming.read_to_string(&mut said).await.unwrap();
        assert_eq!((why.as_str(), whole.reset.is_cancelled()), ("why", false));
        assert_eq!((said.as_str(), part.reset.is_cancelled()), ("not all", true));
    };
    let ((), ended) = tokio::join!(talk, spdy.run());
    ended.unwrap();
}

/// Who asks again and again whether somebody is there, and does not read the answers, is heard all the same.
#[tokio::test]
async fn pings_of_who_does_not_read_hold_nothing_up() {
    let (connection, server) = duplex(256);
    let (spdy, mut streams) = Spdy::new(server, CancellationToken::new());
    let mut client = Client { connection, bytes: BytesMut::new(), pack: HeaderWriter::new() };
    let talk = async {
        client.begin(1, "data").await;
        let mut stream = streams.recv().await.unwrap();
        for number in 0..100 {
            client.send(&Frame::Ping(2 * number + 1)).await;
        }
        client.send(&data(1, true, b"hello")).await;
        let mut said = String::new();
        stream.incoming.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "hello");
        drop(client);
    };
    let ((), ended) = tokio::join!(talk, spdy.run());
    // What could not be sent to it any more.
    assert!(matches!(ended, Ok(()) | Err(SpdyError::Io(_))), "{ended:?}");
}

#[tokio::test]
async fn who_breaks_the_rules_is_cut_off() {
    let block = || HeaderWriter::new().write(&[]);
    let begin = |stream, block| Frame::SynStream {
        stream,
        fin: false,
        unidirectional: false,
        priority: 0,
        associated: 0,
        block,
    };
    for frames in [
        vec![begin(2, block())],
        vec![begin(1, Bytes::from_static(b"nonsense"))],
        vec![begin(3, block()), begin(1, Bytes::new())],
    ] {
        let (mut client, spdy, _streams, _finished) = connect();
        let talk = async {
            for frame in &frames {
                client.send(frame).await;
            }
            let mut last = None;
            while let Some(frame) = client.next().await {
                last = Some(frame);
            }
            last
        };
        let (last, ended) = tokio::join!(talk, spdy.run());
        assert!(ended.is_err(), "{frames:?}");
        assert_eq!(last, Some(Frame::GoAway { last: 0, status: status::PROTOCOL_ERROR }));
    }
}
