//! The members of the cluster, and which of them is asked.
//!
//! All calls go to one member until it fails: it refuses, its connection breaks, or it lets a call wait for longer than
//! [`PATIENCE`]. Then all go to another, watches too, and the one that failed is asked again last. Spreading calls over
//! all members, as gRPC's balancers do, would gain nothing (etcd's leader does the work in any case), and a member that
//! is frozen accepts connections for as long as its kernel has room: each call that is sent there waits in vain.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::translate;

/// How long a member may take for an answer before another is asked. A healthy one takes milliseconds, or as long as
/// the members need to elect a leader.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause before a call is made again.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

struct Member {
    url: String,
    /// Connected when it is first needed: with a user, connecting asks for a token, and waits for it.
    client: OnceCell<Client>,
    failed: Mutex<Option<Instant>>,
}

/// The members of one cluster. A clone is the same.
#[derive(Clone)]
pub(super) struct Members {
    members: Arc<[Member]>,
    options: ConnectOptions,
    /// The number of the member that is asked.
    current: Arc<watch::Sender<usize>>,
    timeout: Duration,
}

impl Members {
    /// Begins with any of them, so that several masters do not all ask the same.
    pub(super) fn new(urls: &[String], options: ConnectOptions, timeout: Duration) -> Self {
        let member =
            |url: &String| Member { url: url.clone(), client: OnceCell::new(), failed: Mutex::default() };
        let chance = RandomState::new().hash_one(urls);
        let first = usize::try_from(chance % urls.len().max(1) as u64).unwrap_or(0);
        Self {
            members: urls.iter().map(member).collect(),
            options,
            current: Arc::new(watch::Sender::new(first)),
            timeout,
        }
    }

    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.url.as_str())
    }

    /// The attempts of a call that begins now.
    pub(super) fn attempts(&self) -> Attempts {
        Attempts { deadline: Instant::now() + self.timeout, patience: self.patience(), pause: FIRST_PAUSE }
    }

    /// Asks one member once. If it fails, others are asked from then on; whether it did what it was asked is not known.
    pub(super) async fn call_once<T, F>(
        &self,
        attempts: &Attempts,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let number = *self.current.borrow();
        let asked = async { call(self.client(number).await?).await };
        self.in_time(number, attempts.deadline.min(Instant::now() + attempts.patience), asked).await
    }

    /// Makes a call that may be made more than once, until a member answers or the time is over.
    pub(super) async fn insist<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut attempts = self.attempts();
        loop {
            match self.call_once(&attempts, &call).await {
                Err(error) if translate::may_pass(&error) => attempts.pause(error).await?,
                done => return done,
            }
        }
    }

    /// The member that is asked now, and what tells when it is another.
    pub(super) async fn connected(&self) -> Result<(Client, watch::Receiver<usize>), Error> {
        let mut current = self.current.subscribe();
        let number = *current.borrow_and_update();
        Ok((self.in_time(number, self.soon(), self.client(number)).await?, current))
    }

    /// Waits for what one member is asked for; if it fails, others are asked from then on.
    pub(super) async fn in_time<T>(
        &self,
        number: usize,
        deadline: Instant,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let done = timeout_at(deadline, asked).await;
        let done = done.unwrap_or_else(|_| Err(Error::EndpointError("no answer in time".into())));
        if let Err(error) = &done
            && translate::may_pass(error)
        {
            self.leave(number, error);
        }
        done
    }

    /// By when a member must have answered that is asked now.
    pub(super) fn soon(&self) -> Instant {
        Instant::now() + self.patience()
    }

    /// Less than a call may take, so that there is time to ask another.
    fn patience(&self) -> Duration {
        PATIENCE.min(self.timeout / 2)
    }

    async fn client(&self, number: usize) -> Result<Client, Error> {
        let member = self.members.get(number);
        let member = member.ok_or_else(|| Error::InvalidArgs("there is no endpoint of etcd".into()))?;
        let connect = || Client::connect([member.url.clone()], Some(self.options.clone()));
        member.client.get_or_try_init(connect).await.cloned()
    }

    /// Goes on to the member that has not failed for the longest time, unless somebody did so already.
    pub(super) fn leave(&self, number: usize, error: &Error) {
        let failed = |member: &Member| *member.failed.lock().unwrap_or_else(PoisonError::into_inner);
        self.current.send_if_modified(|current| {
            if *current != number || self.members.len() < 2 {
                return false;
            }
            *self.members[number].failed.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Instant::now());
            let others = self.members.iter().enumerate().filter(|(other, _)| *other != number);
            let Some((next, member)) = others.min_by_key(|(_, member)| failed(member)) else { return false };
            tracing::info!(%error, left = self.members[number].url, now = member.url, "a member of etcd failed");
            *current = next;
            true
        });
    }
}

/// The attempts of one call: until when, for how long each, and after what pause.
pub(super) struct Attempts {
    deadline: Instant,
    patience: Duration,
    pause: Duration,
}

impl Attempts {
    /// Waits before the next attempt, which may take twice as long: the answer may be a large one.
    ///
    /// # Errors
    /// That of the last attempt, when there is no time for another.
    pub(super) async fn pause(&mut self, error: Error) -> Result<(), Error> {
        if Instant::now() + self.pause >= self.deadline {
            return Err(error);
        }
        sleep(self.pause).await;
        self.patience *= 2;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
