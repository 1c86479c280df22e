//! The body of a request, read into one buffer of bounded size within a bounded time.
//!
//! Frames are copied and dropped at once: a body of many tiny frames costs what its bytes cost, however it is cut.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
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

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_not_waited_for() {
        let endless = stream::pending::<Result<Frame<Bytes>, Infallible>>().boxed();
        let began = tokio::time::Instant::now();
        assert_eq!(SMALL.read(StreamBody::new(endless)).await.unwrap_err().reason(), Reason::Timeout);
        assert_eq!(began.elapsed(), SMALL.time);
    }
}
