//! The store of several masters: an etcd cluster, 3.4 or later.
//!
//! Revisions are etcd's. A guard is a comparison with `mod_revision`, a transaction is one of etcd's, so it has at
//! most as many writes as etcd allows (`--max-txn-ops`, 128 unless set) and a value at most 1.5 MiB. A volatile write
//! is an ordinary one: other masters must see it.
//!
//! Reads are linearizable: they see every write that was acknowledged to anyone, by any master. A call that finds its
//! member gone is made again of another, except a commit, of which nobody would know whether it happened; it is
//! [`Unavailable`](super::StoreError::Unavailable). A watch reconnects by itself and goes on where it was.
//!
//! Revisions are also taken by others that keep other keys in the same etcd. A watch of all of ours learns of those only
//! when etcd says so, every ten minutes; when somebody was told of one and so may wait for it, the watch writes a key of
//! its own, which moves it on. It does not ask etcd for its progress: 3.4 may then say that it is further than it is.

mod translate;
mod watch;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, GetResponse, Identity,
    TlsOptions, Txn as EtcdTxn, TxnOp, TxnOpResponse,
};

use super::ledger::rest_of;
use super::{Changes, Committed, Expect, Guard, Key, KeyRange, Page, Record, Store, StoreError, Txn, Write};
use crate::meta::Revision;
use translate::{Keys, unavailable};

/// How many records are asked for at once.
const PAGE: usize = 500;

/// The largest answer that is accepted, in bytes.
const LARGEST_ANSWER: usize = 1 << 30;

/// How often a read is tried.
const TRIES: u32 = 5;

/// How to reach an etcd cluster.
#[derive(Clone)]
pub struct EtcdOptions {
    /// A user and its password, when etcd asks for them.
    pub user: Option<(String, String)>,
    /// The certificate of the authority that signed etcd's certificates, as PEM. For endpoints that begin with
    /// `https:`.
    pub authority: Option<Vec<u8>>,
    /// A certificate and its key as PEM, when etcd asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name that etcd's certificates are for, when it is not that of the endpoint.
    pub server_name: Option<String>,
    /// What the keys begin with in etcd, so that others can use it too. `/orchestra` unless set.
    pub prefix: String,
    /// How long a call may take.
    pub timeout: Duration,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            user: None,
            authority: None,
            identity: None,
            server_name: None,
            prefix: "/orchestra".into(),
            timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for EtcdOptions {
    /// Without the password and the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field("server_name", &self.server_name)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl EtcdOptions {
    fn connect_options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_timeout(self.timeout)
            .with_connect_timeout(self.timeout)
            // A member that is gone without a word is noticed, also by a watch that waits.
            .with_keep_alive(Duration::from_secs(2), Duration::from_secs(2))
            .with_keep_alive_while_idle(true)
            // A member that is cut off from the others refuses instead of hanging.
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password);
        }
        if self.authority.is_some() || self.identity.is_some() {
            let mut tls = TlsOptions::new();
            if let Some(authority) = &self.authority {
                tls = tls.ca_certificate(Certificate::from_pem(authority));
            }
            if let Some((certificate, key)) = &self.identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            if let Some(name) = &self.server_name {
                tls = tls.domain_name(name);
            }
            options = options.with_tls(tls);
        }
        options
    }
}

/// A [`Store`] in an etcd cluster. See the [module](self). A clone shares the connections.
#[derive(Clone)]
pub struct EtcdStore {
    client: Client,
    keys: Keys,
    endpoints: Vec<String>,
    /// The latest revision that anybody here was told: what a watch must reach sooner or later.
    told: Arc<tokio::sync::watch::Sender<Revision>>,
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl EtcdStore {
    /// Connects to some members of a cluster, given as URLs such as `http://10.0.0.1:2379`, and waits for an answer
    /// of one. The others need not be there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when none answers, or none likes the user or the certificate.
    pub async fn connect(endpoints: &[impl AsRef<str>], options: EtcdOptions) -> Result<Self, StoreError> {
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| endpoint.as_ref().to_owned()).collect();
        let client =
            Client::connect(&endpoints, Some(options.connect_options())).await.map_err(unavailable)?;
        let told = Arc::new(tokio::sync::watch::Sender::new(Revision::ZERO));
        let store = Self { client, keys: Keys::new(options.prefix), endpoints, told };
        store.revision().await?;
        Ok(store)
    }

    /// Makes a call that changes nothing, again when a member fails.
    async fn read<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut pause = Duration::from_millis(20);
        for _ in 1..TRIES {
            match call(self.client.clone()).await {
                Err(error) if translate::may_pass(&error) => tokio::time::sleep(pause).await,
                done => return done,
            }
            pause *= 3;
        }
        call(self.client.clone()).await
    }

    async fn fetch(
        &self,
        start: Vec<u8>,
        options: GetOptions,
        at: Option<Revision>,
    ) -> Result<GetResponse, StoreError> {
        let options = match at {
            // Zero means the latest to etcd; its first revision, when there is nothing, is one.
            Some(at) => options.with_revision(translate::number(at.max(Revision(1)))),
            None => options,
        };
        let answer = self.read(|client| {
            let (start, options) = (start.clone(), options.clone());
            async move {
                let mut kv = client.kv_client().max_decoding_message_size(LARGEST_ANSWER);
                kv.get(start, Some(options)).await
            }
        });
        match (answer.await, at) {
            (Err(error), Some(at)) if translate::is_out_of_range(&error) => {
                Err(self.out_of_range(at).await?)
            }
            (answer, _) => answer.map_err(unavailable),
        }
    }

    /// Why a revision cannot be read: etcd says the same of one that is gone and one that is yet to come.
    async fn out_of_range(&self, requested: Revision) -> Result<StoreError, StoreError> {
        let latest = self.revision().await?;
        Ok(if requested > latest {
            StoreError::Future { requested, latest }
        } else {
            StoreError::Compacted {
                requested,
                oldest: watch::oldest(&self.client).await.map_err(unavailable)?,
            }
        })
    }

    /// Fails if a revision is compacted or in the future.
    async fn check_revision(&self, at: Revision) -> Result<(), StoreError> {
        self.fetch(b"\0".to_vec(), GetOptions::new().with_count_only(), Some(at)).await.map(drop)
    }

    /// What etcd refused a write for: only its alarms tell a full disk from too many calls.
    async fn refused(&self, error: Error) -> StoreError {
        if translate::is_exhausted(&error) && watch::is_full(&self.client).await {
            return StoreError::OutOfSpace(Box::new(error));
        }
        unavailable(error)
    }
}

fn compare(keys: &Keys, guard: &Guard) -> Compare {
    let key = keys.encode(&guard.key);
    match guard.expect {
        Expect::Absent => Compare::create_revision(key, CompareOp::Equal, 0),
        Expect::At(revision) => Compare::mod_revision(key, CompareOp::Equal, translate::number(revision)),
    }
}

/// The first guard that failed, from the answers to reading each guard's key.
fn conflict(guards: &[Guard], answers: &[TxnOpResponse]) -> Option<StoreError> {
    guards.iter().zip(answers).find_map(|(guard, answer)| {
        let TxnOpResponse::Get(answer) = answer else { return None };
        let current = answer.kvs().first().map(|kv| translate::revision(kv.mod_revision()));
        let expected = match guard.expect {
            Expect::Absent => None,
            Expect::At(revision) => Some(revision),
        };
        (current != expected).then(|| StoreError::Conflict { key: guard.key.clone(), current })
    })
}

#[async_trait]
impl Store for EtcdStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        let answer = self.fetch(b"\0".to_vec(), GetOptions::new().with_count_only(), None).await?;
        let revision = translate::header(answer.header())?;
        self.told.send_if_modified(|told| {
            let news = revision > *told;
            *told = revision.max(*told);
            news
        });
        Ok(revision)
    }

    async fn get(&self, key: &Key, at: Option<Revision>) -> Result<Option<Record>, StoreError> {
        let mut answer = self.fetch(self.keys.encode(key), GetOptions::new(), at).await?;
        answer.take_kvs().into_iter().next().map(|kv| self.keys.record(kv)).transpose()
    }

    async fn list(
        &self,
        range: &KeyRange,
        at: Option<Revision>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let mut page = Page { records: Vec::new(), revision: Revision::ZERO, remaining: 0 };
        let (mut at, mut rest) = (at, rest_of(range, after));
        loop {
            let wanted = if limit == 0 { PAGE } else { PAGE.min(limit - page.records.len()) };
            if rest.end.as_ref().is_some_and(|end| *end <= rest.start) {
                let at = at.unwrap_or(self.revision().await?);
                self.check_revision(at).await?;
                page.revision = at;
                return Ok(page);
            }
            let options = GetOptions::new().with_range(self.keys.encode_end(&rest)).with_limit(wanted as i64);
            let mut answer = self.fetch(self.keys.encode(&rest.start), options, at).await?;
            let now = translate::header(answer.header())?;
            page.revision = *at.get_or_insert(now);
            let records = answer.take_kvs().into_iter().map(|kv| self.keys.record(kv));
            let before = page.records.len();
            page.records.extend(records.collect::<Result<Vec<_>, _>>()?);
            let found = page.records.len() - before;
            page.remaining = u64::try_from(answer.count()).unwrap_or(0).saturating_sub(found as u64);
            if page.remaining == 0 || found == 0 || page.records.len() == limit {
                return Ok(page);
            }
            rest = rest_of(&rest, page.records.last().map(|record| &record.key));
        }
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, StoreError> {
        let guards: Vec<_> = txn.guards.iter().map(|guard| compare(&self.keys, guard)).collect();
        let look = |guard: &Guard| {
            TxnOp::get(self.keys.encode(&guard.key), Some(GetOptions::new().with_keys_only()))
        };
        let looks: Vec<_> = txn.guards.iter().map(look).collect();
        let writes = txn.writes.into_iter().map(|write| match write {
            Write::Put { key, value, .. } => TxnOp::put(self.keys.encode(&key), value, None),
            Write::Delete { key } => TxnOp::delete(self.keys.encode(&key), None),
        });
        let request = EtcdTxn::new().when(guards).and_then(writes.collect::<Vec<_>>()).or_else(looks);
        let mut kv = self.client.kv_client().max_decoding_message_size(LARGEST_ANSWER);
        let answer = match kv.txn(request).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.refused(error).await),
        };
        if answer.succeeded() {
            return Ok(Committed { revision: translate::header(answer.header())? });
        }
        let failed = conflict(&txn.guards, &answer.op_responses());
        Err(failed.unwrap_or_else(|| StoreError::Damaged("etcd refused a transaction for no guard".into())))
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<Changes, StoreError> {
        self.check_revision(after).await?;
        Ok(watch::follow(self.clone(), range.clone(), after))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let before = before.min(self.revision().await?);
        let done = self
            .read(|mut client| async move { client.compact(translate::number(before), None).await })
            .await;
        match done {
            // It is compacted already.
            Err(error) if translate::is_out_of_range(&error) => Ok(()),
            done => done.map(drop).map_err(unavailable),
        }
    }
}
