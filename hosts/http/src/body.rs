//! The body of a request, read into one buffer of bounded size within a bounded time.
//!
//! Frames are copied and dropped at once: a body of many tiny frames costs what its bytes cost, however it is cut.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderValue, Response, Version};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use orchestra_core::api::{Reason, Status};

/// How much a request may carry, and how long it may take over it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

impl Bounds {
    /// Of requests to the API: the size that Kubernetes allows, in the time that it gives to a request.
    pub(crate) const API: Self = Self { bytes: 3 * 1024 * 1024, time: Duration::from_secs(60) };
    /// Of requests by those who are not known yet.
    pub(crate) const STRANGER: Self = Self { bytes: 8 * 1024, time: Duration::from_secs(10) };
    /// Of what nobody wants to read: as much as servers written in Go take of it before they close the connection.
    const UNREAD: Self = Self { bytes: 256 * 1024, time: Duration::from_secs(1) };

    /// The whole body.
    ///
    /// # Errors
    /// 413 when it is too large, 504 when it comes too slowly, 400 when it breaks off.
    pub(crate) async fn read<B>(self, body: B) -> Result<Bytes, Status>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // A length that is announced is refused before the first byte.
        if body.size_hint().lower() > self.bytes as u64 {
            return Err(self.too_large());
        }
        match tokio::time::timeout(self.time, self.collect(body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Status::new(
                Reason::Timeout,
                format!("the body of the request did not arrive within {} s", self.time.as_secs()),
            )),
        }
    }

    async fn collect<B>(self, body: B) -> Result<Bytes, Status>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
        let mut body = std::pin::pin!(body);
        // What is announced need not come: it is only trusted as far as most bodies go.
        let mut whole = BytesMut::with_capacity(expected.min(64 * 1024));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let error: Box<dyn std::error::Error + Send + Sync> = error.into();
                Status::bad_request(format!("the body of the request cannot be read: {error}"))
            })?;
            // Trailers carry nothing that is used.
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > self.bytes {
                return Err(self.too_large());
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    fn too_large(self) -> Status {
        let message = format!("Request entity too large: limit is {}", self.bytes);
        Status::new(Reason::RequestEntityTooLarge, message)
    }
}

/// The body of a request that may be read once, or never.
pub(crate) struct Payload<B> {
    body: Option<B>,
    whole: bool,
}

impl<B> Payload<B>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(crate) fn new(body: B) -> Self {
        Self { whole: body.is_end_stream(), body: Some(body) }
    }

    /// All of it; nothing, if it was read before.
    ///
    /// # Errors
    /// As [`Bounds::read`].
    pub(crate) async fn read(&mut self, bounds: Bounds) -> Result<Bytes, Status> {
        let Some(body) = self.body.take() else { return Ok(Bytes::new()) };
        let read = bounds.read(body).await;
        self.whole = read.is_ok();
        read
    }

    /// It, to be read as it comes; `None` if it was read before. Who has read all of it says so: [`ended`](Self::ended).
    pub(crate) fn take(&mut self) -> Option<B> {
        self.body.take()
    }

    /// Nothing is left of what was taken.
    pub(crate) fn ended(&mut self) {
        self.whole = true;
    }

    /// Whether some of it was not read, so that the connection cannot carry another request of HTTP/1.
    pub(crate) fn is_left(&self) -> bool {
        !self.whole
    }

    /// Sees to what was not read, before the answer is sent. What is announced to be short is let come and forgotten: a
    /// stream of HTTP/2 that ends before the client has sent all is reset, for which some clients (curl 7.88) throw the
    /// answer away. After a long one, or one of unknown length, a connection of HTTP/1 is closed, since what follows on
    /// it would be read as the next request.
    pub(crate) async fn settle<A>(&mut self, version: Version, answer: &mut Response<A>) {
        if let Some(body) = self.body.take_if(|_| !self.whole)
            && body.size_hint().upper().is_some_and(|announced| announced <= Bounds::UNREAD.bytes as u64)
        {
            self.whole = tokio::time::timeout(Bounds::UNREAD.time, forget(body)).await.unwrap_or(false);
        }
        if !self.whole && version < Version::HTTP_2 {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Reads a body to its end and keeps nothing of it; says whether the end came.
async fn forget<B: Body>(body: B) -> bool {
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    const SMALL: Bounds = Bounds { bytes: 10, time: Duration::from_secs(60) };

    fn frames(
        frames: impl Iterator<Item = &'static [u8]> + Send,
    ) -> impl Body<Data = Bytes, Error = Infallible> + Send {
        let frames: Vec<_> = frames.map(|data| Ok(Frame::data(Bytes::from_static(data)))).collect();
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound_however_it_is_cut() {
        let read = |count: usize| SMALL.read(frames(std::iter::repeat_n(&b"a"[..], count)));
        assert_eq!(read(0).await.unwrap(), Bytes::new());
        assert_eq!(read(10).await.unwrap(), Bytes::from_static(b"aaaaaaaaaa"));
        assert_eq!(read(11).await.unwrap_err().code(), 413);
    }

    /// Bytes of which it is counted how many are held.
    struct Held(Arc<AtomicUsize>);

    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            b"a"
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn no_frame_is_held_once_it_is_read() {
        let (held, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counting, watermark) = (Arc::clone(&held), Arc::clone(&most));
        let frames = stream::iter(0..10_000).map(move |_| {
            watermark.fetch_max(counting.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(Bytes::from_owner(Held(Arc::clone(&counting)))))
        });
        let body = Bounds::API.read(StreamBody::new(frames)).await.unwrap();
        assert_eq!((body.len(), most.load(Ordering::Relaxed)), (10_000, 1));
    }

    /// What a request of `version` is told of its connection when its body, announced as it is, was not read.
    async fn unread<B>(version: Version, body: B) -> Option<String>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send,
    {
        let (mut payload, mut answer) = (Payload::new(body), Response::new(()));
        payload.settle(version, &mut answer).await;
        answer.headers().get(CONNECTION).map(|told| told.to_str().unwrap().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_short_is_let_come_and_after_the_rest_the_connection_is_closed() {
        let close = Some("close".to_owned());
        let of = |length: usize| http_body_util::Full::new(Bytes::from(vec![b'a'; length]));
        assert_eq!(unread(Version::HTTP_11, of(0)).await, None);
        assert_eq!(unread(Version::HTTP_11, of(256 * 1024)).await, None);
        assert_eq!(unread(Version::HTTP_11, of(256 * 1024 + 1)).await, close);
        assert_eq!(
            unread(Version::HTTP_11, frames(std::iter::once(&b"a"[..]))).await,
            close,
            "of unknown length"
        );
        assert_eq!(
            unread(Version::HTTP_2, frames(std::iter::once(&b"a"[..]))).await,
            None,
            "a stream is not the connection"
        );
        let late = Late(http_body_util::Full::new(Bytes::from_static(b"a")));
        let began = tokio::time::Instant::now();
        assert_eq!(unread(Version::HTTP_11, late).await, close);
        assert_eq!(began.elapsed(), Bounds::UNREAD.time);
    }

    /// A body that is announced and does not come.
    struct Late(http_body_util::Full<Bytes>);

    impl Body for Late {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            std::task::Poll::Pending
        }

        fn size_hint(&self) -> hyper::body::SizeHint {
            self.0.size_hint()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_not_waited_for() {
        let endless = stream::pending::<Result<Frame<Bytes>, Infallible>>().boxed();
        let began = tokio::time::Instant::now();
        assert_eq!(SMALL.read(StreamBody::new(endless)).await.unwrap_err().reason(), Reason::Timeout);
        assert_eq!(began.elapsed(), SMALL.time);
    }
}
