//! Two connections whose sides speak what they have agreed on, which is not looked at.

use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::PIECE;

/// How long a service may say nothing to a client that has ended its side. Most of those are gone, which does not show as
/// long as they are sent nothing.
const SILENCE: Duration = Duration::from_secs(30);

/// Passes on what both sides say. When the service has ended its side all is over, as in Kubernetes; what it answers to a
/// client that has said all is passed on for as long as it answers.
///
/// # Errors
/// When either breaks off.
pub(crate) async fn relay(
    client: impl AsyncRead + AsyncWrite,
    service: impl AsyncRead + AsyncWrite,
) -> io::Result<()> {
    let ((mut asks, mut hears), (mut answers, mut told)) =
        (tokio::io::split(client), tokio::io::split(service));
    let has_asked = CancellationToken::new();
    let asking = async {
        tokio::io::copy(&mut asks, &mut told).await?;
        told.shutdown().await?;
        has_asked.cancel();
        pending::<io::Result<()>>().await
    };
    let answering = async {
        let mut piece = BytesMut::with_capacity(PIECE);
        loop {
            piece.clear();
            piece.reserve(PIECE);
            let silence = async {
                has_asked.cancelled().await;
                sleep(SILENCE).await;
            };
            let read = tokio::select! {
                biased;
                read = answers.read_buf(&mut piece) => read?,
                () = silence => 0,
            };
            if read == 0 {
                return hears.shutdown().await;
            }
            hears.write_all(&piece).await?;
            hears.flush().await?;
        }
    };
    tokio::select! {
        failed = asking => failed,
        answered = answering => answered,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_ended_is_answered_until_there_is_silence() {
        let ((mut client, ours), (theirs, mut service)) = (duplex(64), duplex(64));
        let relaying = tokio::spawn(relay(ours, theirs));
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        service.read_to_string(&mut asked).await.unwrap();
        assert_eq!(asked, "question");
        let mut answer = [0; 6];
        for _ in 0..3 {
            sleep(SILENCE - Duration::from_secs(1)).await;
            service.write_all(b"answer").await.unwrap();
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"answer");
        }
        let began = Instant::now();
        relaying.await.unwrap().unwrap();
        assert_eq!(began.elapsed(), SILENCE);
        assert!(service.write_all(b"anybody?").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_ends_ends_it_and_one_that_is_silent_does_not() {
        let ((mut client, ours), (theirs, mut service)) = (duplex(64), duplex(64));
        let relaying = tokio::spawn(relay(ours, theirs));
        sleep(10 * SILENCE).await;
        service.write_all(b"late").await.unwrap();
        drop(service);
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "late");
        relaying.await.unwrap().unwrap();
    }
}
