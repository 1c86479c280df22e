use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::webhook::{Call, CallError, Caller};

type Answer = Box<dyn Fn(Call) -> BoxFuture<'static, Result<Bytes, CallError>> + Send + Sync>;

/// Webhooks that a test plays itself: a closure answers every call, whatever its URL, and the calls are kept.
pub struct FakeWebhooks {
    answer: Answer,
    calls: Mutex<Vec<Call>>,
}

impl fmt::Debug for FakeWebhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeWebhooks").finish_non_exhaustive()
    }
}

impl FakeWebhooks {
    /// Answers each call by what `answer` makes of its URL and of what was sent.
    pub fn new(answer: impl Fn(&str, Value) -> Value + Send + Sync + 'static) -> Arc<Self> {
        Self::with(move |call| {
            let sent = serde_json::from_slice(&call.body).unwrap_or_default();
            let answer = answer(&call.url, sent);
            Box::pin(async move { Ok(Bytes::from(answer.to_string())) })
        })
    }

    /// Answers each call by any means: late, never, with nonsense.
    pub fn with(
        answer: impl Fn(Call) -> BoxFuture<'static, Result<Bytes, CallError>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { answer: Box::new(answer), calls: Mutex::default() })
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Caller for FakeWebhooks {
    async fn call(&self, call: &Call) -> Result<Bytes, CallError> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
        (self.answer)(call.clone()).await
    }
}
