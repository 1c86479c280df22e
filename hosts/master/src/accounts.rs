//! Controllers as the service accounts that Kubernetes has for them, at an API server elsewhere.
//!
//! Each call that names an account of `kube-system` is made with a token of that account. The user of the kubeconfig asks for
//! the token when it is first wanted, and for another when a fifth of its time is left; an account that is not there is made. So
//! that user only has to be allowed to read everything, to hold its Lease, to make accounts and to ask for their tokens, which
//! Kubernetes' own `system:kube-controller-manager` may. Caches are shared by all controllers and filled as that user.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::api::{
    Body, Client, Connect, Connection, Kind, Operation, Reason, Reply, Response, Service, Status, Target,
    User, WatchOptions, WatchStream, WriteOptions,
};
use orchestra_core::clock::SharedClock;
use orchestra_core::k8s_openapi::api::core::v1::ServiceAccount;
use orchestra_core::watch::Cache;
use orchestra_http::{Credential, Remote, RemoteConfig};
use serde_json::{Value, json};

const NAMESPACE: &str = "kube-system";
/// For how many seconds a token is asked for. The server may give it for another time.
const ASKED: i64 = 3600;

/// An API server elsewhere, at which each call is made as the account that it names.
pub(crate) struct Accounts {
    own: Arc<Remote>,
    config: RemoteConfig,
    held: Mutex<HashMap<String, Arc<Held>>>,
}

/// A connection with the token of one account, and when another token is to be asked for. The lock is held while it is, so
/// that many calls at once ask for one token.
type Held = tokio::sync::Mutex<Option<(Arc<Remote>, Duration)>>;

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by tokens of accounts", self.own)
    }
}

impl Accounts {
    /// A client of the server at `config`, which is reached by `own` for all that names no account.
    pub(crate) fn client(own: Arc<Remote>, config: RemoteConfig) -> Client {
        Client::new(Arc::new(Self { own, config, held: Mutex::default() }), User::default())
    }

    fn held(&self, account: &str) -> Arc<Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.entry(account.to_owned()).or_default())
    }

    /// The server as an account reaches it.
    async fn as_account(&self, held: &Held, account: &str) -> Result<Arc<Remote>, Status> {
        let mut held = held.lock().await;
        let now = self.own.clock().elapsed();
        if let Some((remote, _)) = held.as_ref().filter(|(_, renew)| now < *renew) {
            return Ok(Arc::clone(remote));
        }
        let (token, seconds) = self.token(account).await?;
        let config = RemoteConfig { credential: Credential::Token(token), ..self.config.clone() };
        let remote = Remote::connect(config).map_err(Status::internal)?;
        *held = Some((Arc::clone(&remote), now + Duration::from_secs(seconds / 5 * 4)));
        Ok(remote)
    }

    /// A token of an account, and how long it counts, in seconds.
    async fn token(&self, account: &str) -> Result<(String, u64), Status> {
        let status = match self.ask(account).await {
            Err(status) if status.is_not_found() => {
                self.make(account).await?;
                self.ask(account).await?
            }
            asked => asked?,
        };
        let token = status["status"]["token"].as_str().filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Status::internal("a request for a token was answered with none"))?;
        let seconds = status["spec"]["expirationSeconds"].as_i64().unwrap_or(ASKED);
        Ok((token.to_owned(), seconds.max(0).unsigned_abs()))
    }

    async fn ask(&self, account: &str) -> Result<Value, Status> {
        let target = Target::of::<ServiceAccount>(Some(NAMESPACE)).named(account).sub("token");
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": ASKED},
        });
        match self.own.call(&User::default(), target, create(body)).await?.reply {
            Reply::Value(value) => Ok(value),
            Reply::Object(_) | Reply::List(_) => {
                Err(Status::internal("a request for a token was answered with something else"))
            }
        }
    }

    async fn make(&self, account: &str) -> Result<(), Status> {
        let target = Target::of::<ServiceAccount>(Some(NAMESPACE));
        let body = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": account, "namespace": NAMESPACE},
        });
        match self.own.call(&User::default(), target, create(body)).await {
            Err(status) if !status.is_already_exists() => Err(status),
            _ => Ok(()),
        }
    }
}

fn create(body: Value) -> Operation {
    Operation::Create { body: Body::Value(body), options: WriteOptions::default() }
}

/// The account of `kube-system` that a user is.
fn account_of(user: &User) -> Option<&str> {
    let (namespace, account) = user.name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (namespace == NAMESPACE).then_some(account)
}

#[async_trait]
impl Service for Accounts {
    async fn call(&self, user: &User, target: Target, operation: Operation) -> Result<Response, Status> {
        let Some(account) = account_of(user) else { return self.own.call(user, target, operation).await };
        let held = self.held(account);
        let remote = self.as_account(&held, account).await?;
        let outcome = remote.call(user, target, operation).await;
        if outcome.as_ref().is_err_and(|status| status.reason() == Reason::Unauthorized) {
            // The account was deleted, and its tokens with it. The next call asks for a token of the one that took its place.
            *held.lock().await = None;
        }
        outcome
    }

    async fn watch(&self, user: &User, target: Target, options: WatchOptions) -> Result<WatchStream, Status> {
        self.own.watch(user, target, options).await
    }

    async fn connect(&self, user: &User, target: Target, connect: Connect) -> Result<Connection, Status> {
        self.own.connect(user, target, connect).await
    }

    async fn cache(&self, target: &Target) -> Result<Cache, Status> {
        self.own.cache(target).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, Status> {
        self.own.kinds().await
    }

    fn clock(&self) -> &SharedClock {
        self.own.clock()
    }
}
