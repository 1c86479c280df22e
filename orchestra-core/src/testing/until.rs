use std::fmt;
use std::time::Duration;

/// Asks again and again, until there is an answer, and returns it.
///
/// It goes by tokio's time: in a test with paused time a wait of an hour is over at once. It asks each 20 ms at first, then
/// ever more seldom, so that it notices within a fiftieth of what it has waited, a second at most. Where one object is waited
/// for, [`Api::until`](crate::api::Api::until) needs no asking.
///
/// # Panics
/// When there is no answer within `patience`; `what` says of what there was none.
pub async fn until<T>(
    what: impl fmt::Display,
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = tokio::time::Instant::now();
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            let pause = (begun.elapsed() / 50).clamp(Duration::from_millis(20), Duration::from_secs(1));
            tokio::time::sleep(pause).await;
        }
    };
    match tokio::time::timeout(patience, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("not within {patience:?}: {what}"),
    }
}
