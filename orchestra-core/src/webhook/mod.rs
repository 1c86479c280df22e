//! How this crate asks webhooks: programs elsewhere that take JSON over HTTPS and answer JSON.
//!
//! The core speaks no HTTP. It says what to send where ([`Call`]), and a host's [`Caller`] sends it. [`Webhooks`] is what
//! the rest of the core uses: it finds the addresses of the service that a [`ClientConfig`] names, asks, and holds the
//! deadline and the bound of the answer itself, so that no webhook and no `Caller` can delay or fill more than the
//! request that asks.
//!
//! ```text
//! ClientConfig ─► Services::find ─► Call ─► Caller (a host) ─► answer
//! ```

mod call;
mod services;
#[cfg(all(test, feature = "testing"))]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::call::{Call, CallError, Caller, Connect, Credentials};
pub use self::services::{ClientConfig, ServiceReference, Services, Unlocated};
use crate::api::Caches;
use crate::clock::SharedClock;

/// The most bytes that a webhook may answer, as in Kubernetes.
pub const MAX_ANSWER: usize = 3 * 1024 * 1024;

/// Asks webhooks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks {
    caller: Option<Arc<dyn Caller>>,
    services: Services,
    clock: SharedClock,
}

impl Webhooks {
    /// By this caller, with the services of these caches. Without a caller, every call says that there is none.
    pub fn new(caller: Option<Arc<dyn Caller>>, caches: &Caches, clock: &SharedClock) -> Self {
        Self { caller, services: Services::new(caches), clock: Arc::clone(clock) }
    }

    /// Sends JSON to a webhook and answers what it says: the bytes of a response with the status 200.
    ///
    /// # Errors
    /// Why there is no such answer. Its text is what Kubernetes says, without the word `failed`.
    pub async fn call(
        &self,
        config: &ClientConfig,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let call = self.services.find(config, timeout)?.body(body);
        self.send(&call).await
    }

    /// Sends a call that was made by hand, such as one to an address from a configuration file.
    ///
    /// # Errors
    /// As [`Webhooks::call`].
    pub async fn send(&self, call: &Call) -> Result<Bytes, CallError> {
        let Some(caller) = &self.caller else { return Err(CallError::NoCaller) };
        let answer = tokio::select! {
            biased;
            answer = caller.call(call) => answer,
            () = self.clock.sleep(call.timeout) => Err(CallError::Timeout),
        };
        match answer {
            Ok(answer) if answer.len() > call.max_answer => Err(CallError::TooLarge(call.max_answer)),
            Err(CallError::Status { code, text }) => Err(CallError::Status { code, text: shortened(text) }),
            answer => answer,
        }
        .map_err(|error| error.at(&call.url))
    }
}

/// What a webhook says instead of an answer, as much of it as fits a message.
fn shortened(mut text: String) -> String {
    const MOST: usize = 1024;
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
