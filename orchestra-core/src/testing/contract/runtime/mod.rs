//! What every [`Runtime`] must do.
//!
//! ```no_run
//! # async fn test(runtime: std::sync::Arc<dyn orchestra_core::runtime::Runtime>) {
//! use orchestra_core::testing::contract::runtime::{Subject, check};
//! check(&Subject::new(runtime).image("busybox")).await;
//! # }
//! ```
//!
//! What the suite asks beyond the methods that every runtime has follows from [`Runtime::capabilities`]. What runs in a
//! container is the subject's business: see [`Workload`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::runtime::{Filter, Runtime};

mod commands;
mod lives;
mod steps;
mod streams;

/// What the suite needs a container, or a command executed in one, to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Workload {
    /// Prints `ready`, runs, and ends with code 0 when it is asked to.
    Polite,
    /// Prints `ready`, and goes on when it is asked to end: it has to be killed.
    Stubborn,
    /// Ends at once with this code.
    Exits(i32),
    /// Prints these lines and ends with code 0.
    Prints(Vec<String>),
    /// Prints `got` and the line for each line it reads, and ends with code 4 when there are no more.
    Answers,
    /// Prints, for each line that it reads, how many rows and columns its terminal has, with a blank between, and ends with code
    /// 0 when there are no more.
    Measures,
    /// Cannot be started, as there is no such program.
    Unstartable,
}

impl Workload {
    /// The command for it in a container that has a Unix shell.
    pub fn shell(&self) -> Vec<String> {
        let (script, more): (String, &[String]) = match self {
            Self::Polite => {
                ("trap 'exit 0' TERM; echo ready; while :; do sleep 1 & wait $!; done".into(), &[])
            }
            Self::Stubborn => ("trap '' TERM; echo ready; while :; do sleep 1; done".into(), &[]),
            Self::Exits(code) => (format!("exit {code}"), &[]),
            Self::Prints(lines) => ("for line in \"$@\"; do echo \"$line\"; done".into(), lines),
            Self::Answers => ("while read line; do echo \"got $line\"; done; exit 4".into(), &[]),
            Self::Measures => ("while read line; do stty size; done".into(), &[]),
            Self::Unstartable => return vec!["/there/is/no/such/command".into()],
        };
        ["sh".to_owned(), "-c".into(), script, "sh".into()].into_iter().chain(more.iter().cloned()).collect()
    }
}

type Reopen = dyn Fn() -> BoxFuture<'static, Arc<dyn Runtime>> + Send + Sync;
type Commands = dyn Fn(&Workload) -> Vec<String> + Send + Sync;

/// A runtime to check, and what it needs to be checked.
pub struct Subject {
    runtime: Arc<dyn Runtime>,
    reopen: Box<Reopen>,
    commands: Box<Commands>,
    image: String,
    absent_image: String,
    owner: String,
    deadline: Duration,
    log_root: PathBuf,
}

impl Subject {
    /// A runtime whose containers find a shell; say otherwise by [`workloads`](Self::workloads).
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        let same = runtime.clone();
        Self {
            runtime,
            reopen: Box::new(move || {
                let same = same.clone();
                Box::pin(async move { same })
            }),
            commands: Box::new(Workload::shell),
            image: "busybox".into(),
            absent_image: "orchestra.invalid/contract/no-such-image:v0".into(),
            owner: "contract/suite".into(),
            deadline: Duration::from_secs(30),
            log_root: "/var/log/pods".into(),
        }
    }

    /// What to run in a container for a workload. It gets `PATH` and no other variable.
    pub fn workloads(mut self, commands: impl Fn(&Workload) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.commands = Box::new(commands);
        self
    }

    /// Opens the runtime anew, as a program does that was killed: adoption must find everything. Without it the same
    /// object is asked again, which a runtime that keeps everything in its memory passes too.
    pub fn reopen<F>(mut self, open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Arc<dyn Runtime>> + Send + 'static,
    {
        self.reopen = Box::new(move || Box::pin(open()));
        self
    }

    /// An image that is present and holds the workloads; `busybox` unless said otherwise.
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.image = image.into();
        self
    }

    /// An image that is not present and cannot be pulled.
    pub fn absent_image(mut self, image: impl Into<String>) -> Self {
        self.absent_image = image.into();
        self
    }

    /// The owner of what the suite makes. It is all removed.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }

    /// Where logs go, for runtimes that write files.
    pub fn log_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.log_root = root.into();
        self
    }
}

/// Runs the whole suite. Panics with what went wrong.
pub async fn check(subject: &Subject) {
    clean(subject).await;
    lives::check(subject).await;
    streams::check(subject).await;
    commands::check(subject).await;
    clean(subject).await;
}

async fn clean(s: &Subject) {
    for sandbox in s.runtime.list(&Filter::owner(&s.owner)).await.expect("list") {
        s.runtime.remove_sandbox(&sandbox.id).await.expect("remove");
    }
}
