//! The store of several masters: an etcd cluster, 3.4 or later.
//!
//! Revisions are etcd's. A guard is a comparison with `mod_revision`, a transaction is one of etcd's, so it has at
//! most one write fewer than etcd allows operations (`--max-txn-ops`, 128 unless set) and a value at most 1.5 MiB. A volatile write
//! is an ordinary one: other masters must see it.
//!
//! Reads are linearizable: they see every write that was acknowledged to anyone, by any master. A call that finds its
//! member gone is made again of another ([`members`]). So is a commit: what became of the one whose answer was lost is
//! found out first ([`slots`]), so that it is done once. What cannot be found out is
//! [`Unavailable`](super::StoreError::Unavailable): a commit when no member answers for as long as a call may take, and a
//! deletion that found its record gone when it was made again. A watch goes on by itself where it was.
//!
//! Revisions are also taken by others that keep other keys in the same etcd. A watch of all of ours learns of those only
//! when etcd says so, every ten minutes; when somebody was told of one and so may wait for it, the watch writes a key of
//! its own, which moves it on. It does not ask etcd for its progress: 3.4 may then say that it is further than it is.

#![cfg_attr(
    not(test),
    expect(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "an adapter: its pauses are those of a network, not of the cluster"
    )
)]

mod members;
mod slots;
mod translate;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Certificate, Compare, CompareOp, ConnectOptions, Error, GetOptions,
    GetResponse, Identity, TlsOptions, Txn as EtcdTxn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::ledger::rest_of;
use super::{Changes, Committed, Expect, Guard, Key, KeyRange, Page, Record, Store, StoreError, Txn, Write};
use crate::meta::Revision;
use members::{Attempts, Members};
use slots::{Outcome, Slot, Slots};
use translate::{Keys, unavailable};

/// How many records are asked for at once.
const PAGE: usize = 500;

/// The largest answer that is accepted, in bytes.
const LARGEST_ANSWER: usize = 1 << 30;

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
    /// How long a call may take, with all the members that it is made of; as long again for finding out what became
    /// of a write whose answer was lost.
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
            timeout: Duration::from_secs(15),
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
            // A member that is gone without a word is noticed, also by a watch that waits. More often than every five
            // seconds etcd takes for an attack, and closes the connection.
            .with_keep_alive(Duration::from_secs(6), Duration::from_secs(2))
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
    members: Members,
    keys: Keys,
    slots: Slots,
    /// The latest revision that anybody here was told: what a watch must reach sooner or later.
    told: Arc<tokio::sync::watch::Sender<Revision>>,
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("members", &self.members.urls().collect::<Vec<_>>())
            .finish_non_exhaustive()
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
        let members = Members::new(&endpoints, options.connect_options(), options.timeout);
        let told = Arc::new(tokio::sync::watch::Sender::new(Revision::ZERO));
        let keys = Keys::new(options.prefix);
        let store = Self { slots: Slots::new(&keys), members, keys, told };
        store.revision().await?;
        Ok(store)
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
        let answer = self.members.insist(|client| {
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
                oldest: watch::oldest(&self.members).await.map_err(unavailable)?,
            }
        })
    }

    /// Fails if a revision is compacted or in the future.
    async fn check_revision(&self, at: Revision) -> Result<(), StoreError> {
        self.fetch(b"\0".to_vec(), GetOptions::new().with_count_only(), Some(at)).await.map(drop)
    }

    /// Whether etcd has raised the alarm that it has no space, and refuses what would take some.
    async fn is_full(&self) -> Result<bool, Error> {
        let asked = self.members.insist(|client| async move {
            let mut maintenance = client.maintenance_client();
            maintenance.alarm(AlarmAction::Get, AlarmType::Nospace, None::<AlarmOptions>).await
        });
        Ok(asked.await?.alarms().iter().any(|alarm| alarm.alarm() == AlarmType::Nospace))
    }

    /// What etcd refused a write for: only its alarms tell a full disk from too many calls.
    async fn refused(&self, error: Error) -> StoreError {
        if translate::is_exhausted(&error) && self.is_full().await.unwrap_or(false) {
            return StoreError::OutOfSpace(Box::new(error));
        }
        unavailable(error)
    }

    /// Sends a transaction once.
    async fn send(&self, attempts: &Attempts, txn: EtcdTxn) -> Result<TxnResponse, Error> {
        let call = |client: etcd_client::Client| async move {
            client.kv_client().max_decoding_message_size(LARGEST_ANSWER).txn(txn).await
        };
        self.members.call_once(attempts, call).await
    }

    /// Commits a transaction that puts something. If the answer is lost, it is made again once it is known not to have
    /// been applied.
    async fn commit_in_slot(&self, request: &Request, slot: &mut Slot) -> Result<Committed, StoreError> {
        let mut attempts = self.members.attempts();
        loop {
            let error = match self.send(&attempts, request.in_slot(slot)).await {
                Ok(answer) if answer.succeeded() => {
                    let revision = translate::header(answer.header())?;
                    slot.applied(revision);
                    return Ok(Committed { revision });
                }
                Ok(answer) => {
                    let reads = answer.op_responses();
                    if !slot.take_up(reads.last()) {
                        return Err(request.conflict(&reads));
                    }
                    Error::Internal("the slot of a write was swept".into())
                }
                Err(error) if translate::is_refusal(&error) => return Err(self.refused(error).await),
                Err(error) => match slot.settle(&self.members).await {
                    Ok(Outcome::Applied(revision)) => return Ok(Committed { revision }),
                    Ok(Outcome::ShutOut) => error,
                    Err(unknown) => {
                        slot.lose();
                        return Err(unavailable(unknown));
                    }
                },
            };
            attempts.pause(error).await.map_err(unavailable)?;
        }
    }

    /// Commits a transaction that puts nothing, which takes a revision only if there is something to delete: it has no
    /// slot. It is made again if it cannot be done twice.
    async fn commit_without_slot(&self, request: &Request) -> Result<Committed, StoreError> {
        let mut attempts = self.members.attempts();
        let mut lost = None;
        loop {
            match (self.send(&attempts, request.alone()).await, lost.take()) {
                (Ok(answer), _) if answer.succeeded() => {
                    return Ok(Committed { revision: translate::header(answer.header())? });
                }
                // Whether it was this deletion or another's is not known.
                (Ok(_), Some(error)) if request.deletes => return Err(unavailable(error)),
                (Ok(answer), _) => return Err(request.conflict(&answer.op_responses())),
                (Err(error), _) if translate::is_refusal(&error) || !request.repeatable => {
                    return Err(self.refused(error).await);
                }
                (Err(error), _) => {
                    let told = Error::Internal(error.to_string());
                    attempts.pause(error).await.map_err(unavailable)?;
                    lost = Some(told);
                }
            }
        }
    }
}

/// A transaction in etcd's words, to be sent as often as it takes.
struct Request {
    guards: Vec<Guard>,
    compares: Vec<Compare>,
    writes: Vec<TxnOp>,
    /// What is read when a guard fails: the key of each.
    looks: Vec<TxnOp>,
    puts: bool,
    deletes: bool,
    /// Whether doing it twice is doing it once: it changes nothing, or each record that it deletes is guarded by its
    /// revision, which no record ever has again.
    repeatable: bool,
}

impl Request {
    fn new(keys: &Keys, txn: Txn) -> Self {
        let look =
            |guard: &Guard| TxnOp::get(keys.encode(&guard.key), Some(GetOptions::new().with_keys_only()));
        let guarded = |key: &Key| {
            let at = |guard: &Guard| guard.key == *key && matches!(guard.expect, Expect::At(_));
            txn.guards.iter().any(at)
        };
        let mut request = Self {
            compares: txn.guards.iter().map(|guard| compare(keys, guard)).collect(),
            looks: txn.guards.iter().map(look).collect(),
            writes: Vec::with_capacity(txn.writes.len()),
            puts: txn.writes.iter().any(|write| matches!(write, Write::Put { .. })),
            deletes: txn.writes.iter().any(|write| matches!(write, Write::Delete { .. })),
            repeatable: txn.writes.iter().all(|write| guarded(write.key())),
            guards: Vec::new(),
        };
        request.writes.extend(txn.writes.into_iter().map(|write| match write {
            Write::Put { key, value, .. } => TxnOp::put(keys.encode(&key), value, None),
            Write::Delete { key } => TxnOp::delete(keys.encode(&key), None),
        }));
        request.guards = txn.guards;
        request
    }

    fn alone(&self) -> EtcdTxn {
        EtcdTxn::new().when(self.compares.clone()).and_then(self.writes.clone()).or_else(self.looks.clone())
    }

    fn in_slot(&self, slot: &Slot) -> EtcdTxn {
        let (compare, put, read) = slot.part();
        let with = |ops: &[TxnOp], op| ops.iter().cloned().chain([op]).collect::<Vec<_>>();
        let compares: Vec<_> = self.compares.iter().cloned().chain([compare]).collect();
        EtcdTxn::new().when(compares).and_then(with(&self.writes, put)).or_else(with(&self.looks, read))
    }

    /// The first guard that failed, from the answers to reading each guard's key.
    fn conflict(&self, answers: &[TxnOpResponse]) -> StoreError {
        let failed = self.guards.iter().zip(answers).find_map(|(guard, answer)| {
            let TxnOpResponse::Get(answer) = answer else { return None };
            let current = answer.kvs().first().map(|kv| translate::revision(kv.mod_revision()));
            let expected = match guard.expect {
                Expect::Absent => None,
                Expect::At(revision) => Some(revision),
            };
            (current != expected).then(|| StoreError::Conflict { key: guard.key.clone(), current })
        });
        failed.unwrap_or_else(|| StoreError::Damaged("etcd refused a transaction for no guard".into()))
    }
}

fn compare(keys: &Keys, guard: &Guard) -> Compare {
    let key = keys.encode(&guard.key);
    match guard.expect {
        Expect::Absent => Compare::create_revision(key, CompareOp::Equal, 0),
        Expect::At(revision) => Compare::mod_revision(key, CompareOp::Equal, translate::number(revision)),
    }
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
            let mut answer = self.fetch(self.keys.encode_start(&rest), options, at).await?;
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
        let request = Request::new(&self.keys, txn);
        if !request.puts {
            return self.commit_without_slot(&request).await;
        }
        // Of a call that is cancelled the slot is dropped: what became of its transaction nobody asks.
        let mut slot = self.slots.take();
        let done = self.commit_in_slot(&request, &mut slot).await;
        self.slots.give_back(slot);
        done
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<Changes, StoreError> {
        self.check_revision(after).await?;
        Ok(watch::follow(self.clone(), range.clone(), after))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let before = before.min(self.revision().await?);
        let done = self
            .members
            .insist(|mut client| async move { client.compact(translate::number(before), None).await });
        let done = done.await;
        match done {
            // It is compacted already.
            Err(error) if translate::is_out_of_range(&error) => Ok(()),
            done => {
                done.map_err(unavailable)?;
                slots::sweep(&self.members, &self.keys, before).await.map_err(unavailable)
            }
        }
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.revision().await?;
        match self.is_full().await.map_err(unavailable)? {
            true => Err(StoreError::OutOfSpace("etcd has raised the alarm NOSPACE".into())),
            false => Ok(()),
        }
    }
}
