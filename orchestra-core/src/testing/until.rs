use std::fmt;
use std::time::Duration;

/// Asks again and again, until there is an answer, and returns it.
///
/// It goes by tokio's time: in a test with paused time a wait of an hour is over at once. Where one object is waited
/// for, [`Api::until`](crate::api::Api::until) needs no asking.
///
/// # Panics
/// When there is no answer within `patience`; `what` says of what there was none.
pub async fn until<T>(
    what: impl fmt::Display,
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(patience, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("not within {patience:?}: {what}"),
    }
}
