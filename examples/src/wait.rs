//! A bound on waiting.

use std::time::Duration;

use anyhow::Context;

/// How long anything in an example may take. In a test with paused time it costs nothing.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a future comes to, if it does in two minutes: `Api::until` by itself waits for as long as it takes.
///
/// # Errors
/// The future's, or that it took too long.
pub async fn patiently<T, E>(future: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    anyhow::Error: From<E>,
{
    let outcome = tokio::time::timeout(PATIENCE, future).await;
    Ok(outcome.with_context(|| format!("nothing came of it in {} s", PATIENCE.as_secs()))??)
}
