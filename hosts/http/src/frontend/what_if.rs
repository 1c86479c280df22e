//! What would happen if somebody did something: a fork of the cluster lives on, in a thread of its own.
//!
//! ```text
//! POST /orchestra/v1/what-if   {"changes": [{"loseNode": "n1"}, {"scale": {"kind": "deploy", …}}]}
//! ```
//!
//! Whoever asks must be allowed to do what is asked about, and to read in all namespaces what an answer tells of: the fork
//! itself knows no rights.

use bytes::Bytes;
use http::{Method, Response};
use orchestra_core::api::access::AccessRequest;
use orchestra_core::api::{Reason, Status, User};
use orchestra_core::cluster::Fork;
use orchestra_core::what_if::{AskError, Intervention, Question, ask_here, shown};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::Frontend;
use crate::body::{Bounds, Payload};
use crate::call::Call;
use crate::reply::Body;

/// How many forks live at a time: each takes a core for as long as it lives.
pub(super) const FORKS: usize = 2;
/// How many changes a question may have.
const MOST: usize = 200;

#[derive(Deserialize)]
struct Asked {
    changes: Vec<Intervention>,
}

impl Frontend {
    /// Tells what would happen.
    ///
    /// # Errors
    /// 403 when who asks may not know or not do it, 422 when it cannot be done, 429 when others are asking.
    pub(super) async fn what_if<B>(
        &self,
        user: &User,
        call: &Call<'_>,
        payload: &mut Payload<B>,
    ) -> Result<Response<Body>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if *call.method != Method::POST {
            return Err(Status::method_not_allowed());
        }
        let body = payload.read(Bounds::API).await?;
        let changes = read(&body)?;
        let kinds = self.server.kinds();
        let mut rights = shown().to_vec();
        for change in &changes {
            rights.extend(change.rights(&kinds)?);
        }
        for (verb, target) in &rights {
            self.server.authorize(user, AccessRequest::resource(verb.as_str(), target)).await?;
        }
        let turn = self.turn()?;
        let fork = self.fork().await?;
        let question = Question::new(changes);
        // It goes on to its end when nobody waits for it any more, and has its turn until then.
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            ask_here(&fork, &question)
        });
        let answer = asked.await.map_err(Status::internal)?.map_err(refused)?;
        let mut answer = serde_json::to_value(answer).map_err(Status::internal)?;
        if let Value::Object(fields) = &mut answer {
            fields.insert("kind".to_owned(), json!("Forecast"));
            fields.insert("apiVersion".to_owned(), json!("orchestra/v1"));
        }
        call.wanted().json(200, answer.to_string()).await
    }

    /// What the cluster holds now, with its scheduler.
    pub(super) async fn fork(&self) -> Result<Fork, Status> {
        let fork = Fork::of_server(&self.server).await?;
        Ok(self.scheduler.iter().cloned().fold(fork, Fork::scheduler))
    }

    /// Leave to have a fork live.
    ///
    /// # Errors
    /// 429 while as many live as may.
    pub(super) fn turn(&self) -> Result<OwnedSemaphorePermit, Status> {
        let busy =
            |_| Status::new(Reason::TooManyRequests, "others are asking what would happen; ask again later");
        self.forks.clone().try_acquire_owned().map_err(busy)
    }
}

fn read(body: &[u8]) -> Result<Vec<Intervention>, Status> {
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("the question cannot be read: {error}")))?;
    match asked.changes.len() {
        0 => Err(Status::bad_request("the question names no change")),
        1..=MOST => Ok(asked.changes),
        count => Err(Status::bad_request(format!("the question has {count} changes; {MOST} are the most"))),
    }
}

pub(super) fn refused(error: AskError) -> Status {
    match error {
        AskError::Refused { .. } => Status::new(Reason::Invalid, error.to_string()),
        other => Status::internal(other),
    }
}
