//! What would happen if: a change is made in a [fork](crate::cluster::Fork) of a cluster, the fork lives on in virtual time
//! until it comes to rest, and what is other in it than in one without the change is told.
//!
//! Nothing of it touches the cluster. In the fork the API, the admissions, the scheduler and the controllers are the real
//! ones; the nodes are without machines: a pod that is given a node runs there after as long as the slowest of its
//! workload took before (five seconds, of a workload that has none), and goes on running. What only a machine knows (that
//! an image cannot be pulled, that a program crashes, when a Job's pod is done) is not foretold, and webhooks are not
//! called.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use orchestra_core::cluster::Cluster;
//! use orchestra_core::what_if::{self, Intervention, Question};
//!
//! let cluster = Cluster::builder().fake_nodes(2).start().await?;
//! let question = Question::new([Intervention::LoseNode("fake-1".into())]);
//! # let nodes = cluster.client().cluster::<k8s_openapi::api::core::v1::Node>();
//! # nodes.until("fake-1", |node| node.is_some()).await?;
//! let answer = what_if::ask(cluster.fork().await?, question).await?;
//! println!("{answer}");
//! # Ok(()) }
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | `intervention` | what may be changed, and how it is done in a fork |
//! | `rights` | what somebody has to be allowed to do who asks; pure |
//! | `picture` | what of a cluster is compared |
//! | `changes` | when it last changed, and how few pods were ready meanwhile |
//! | `difference` | what is other in one picture than in another; pure |
//! | `hollow` | nodes without machines |
//! | `remedy` | which small change helps, tried in forks |

mod changes;
mod difference;
mod hollow;
mod intervention;
mod picture;
mod remedy;
mod rights;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use difference::{Difference, QuotaDifference, WorkloadDifference};
pub(crate) use hollow::{Hollow, Spans};
pub use intervention::Intervention;
pub use picture::{BudgetPicture, NodePicture, Picture, PodPicture};
pub(crate) use picture::{is_ready, workload_of, workload_of_value};
pub use remedy::{Remedy, remedy, remedy_here};
pub use rights::shown;

use crate::api::Status;
use crate::clock::{SharedClock, Stuck, run_virtual};
use crate::cluster::{Cluster, Fork, StartError};
use changes::Changes;

/// How long nothing must change for the fork to be at rest; and where a node was lost, whose pods are given up minutes later.
const CALM: Duration = Duration::from_secs(45);
const CALM_AFTER_LOSS: Duration = Duration::from_secs(420);
/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What would be done, in this order.
    pub changes: Vec<Intervention>,
    /// How long the fork may live, in its own time, if it does not come to rest.
    pub patience: Duration,
}

impl Question {
    /// What would happen within an hour, or until all is at rest.
    pub fn new(changes: impl IntoIterator<Item = Intervention>) -> Self {
        Self { changes: changes.into_iter().collect(), patience: Duration::from_secs(3600) }
    }
}

/// What would happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What would be done.
    pub changes: Vec<String>,
    /// What of it could not be done to its end, and why.
    pub undone: Vec<String>,
    /// What would be other in the end than without it.
    pub difference: Difference,
    /// How few pods of a workload would be ready at the worst, where these are fewer than before and than in the end.
    pub fewest_ready: BTreeMap<String, usize>,
    /// How many seconds it would take until all is at rest.
    pub seconds: u64,
    /// Whether it would be at rest then, or still go on.
    pub at_rest: bool,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The change is not possible.
    #[error("it would not be possible to {change}: {status}")]
    Refused {
        /// The change.
        change: String,
        /// What the API says.
        status: Status,
    },
    /// The fork cannot be looked at.
    #[error("the fork cannot be looked at: {0}")]
    Api(#[from] Status),
    /// The fork does not start.
    #[error("the fork does not start")]
    Start(#[from] StartError),
    /// Nothing can happen in the fork any more.
    #[error("the fork stands still")]
    Stuck(#[from] Stuck),
    /// The thread in which the fork lived ended.
    #[error("the fork ended by a bug of this program: {0}")]
    Died(String),
}

/// Answers a question about a cluster, in a thread of its own, which belongs to the async runtime of the caller. Dropped, it goes on to its end there and is forgotten.
///
/// # Errors
/// See [`AskError`].
pub async fn ask(fork: Fork, question: Question) -> Result<Answer, AskError> {
    let asked = tokio::task::spawn_blocking(move || ask_here(&fork, &question)).await;
    asked.unwrap_or_else(|error| Err(AskError::Died(error.to_string())))
}

/// Answers a question about a cluster in this thread, which must not be one of an async runtime. The same question about
/// the same fork has the same answer.
///
/// # Errors
/// See [`AskError`].
pub fn ask_here(fork: &Fork, question: &Question) -> Result<Answer, AskError> {
    let changed = live(fork, question.clone(), None)?;
    let nothing = Question { changes: Vec::new(), ..question.clone() };
    let unchanged = live(fork, nothing, Some(changed.lived))?;
    let difference = Difference::of(&unchanged.end, &changed.end);
    let ready_before = ready(&changed.start);
    let ready_after = ready(&changed.end);
    let worst = changed.fewest_ready.into_iter().filter(|(workload, fewest)| {
        let of = |counts: &BTreeMap<String, usize>| counts.get(workload).copied().unwrap_or(0);
        *fewest < of(&ready_before).min(of(&ready_after))
    });
    Ok(Answer {
        changes: question.changes.iter().map(ToString::to_string).collect(),
        undone: changed.undone,
        difference,
        fewest_ready: worst.collect(),
        seconds: changed.changed_until.as_secs(),
        at_rest: changed.at_rest,
    })
}

/// What came of a fork.
struct Life {
    start: Picture,
    end: Picture,
    undone: Vec<String>,
    fewest_ready: BTreeMap<String, usize>,
    changed_until: Duration,
    lived: Duration,
    at_rest: bool,
}

/// Lives a fork with the changes until it is at rest, or for as long as is said.
fn live(fork: &Fork, question: Question, exactly: Option<Duration>) -> Result<Life, AskError> {
    let fork = fork.clone();
    run_virtual(1, Some(fork.at()), move |clock| async move {
        let lost: Vec<String> =
            question.changes.iter().filter_map(|change| change.loses().map(str::to_owned)).collect();
        let calm = if lost.is_empty() { CALM } else { CALM_AFTER_LOSS };
        let cluster = start(&fork, &clock, lost).await?;
        let life = observe(&cluster, &question, calm, exactly).await;
        cluster.shutdown().await;
        life
    })?
}

async fn start(fork: &Fork, clock: &SharedClock, lost: Vec<String>) -> Result<Cluster, StartError> {
    let builder = fork.builder().clock(Arc::clone(clock)).part("hollow-nodes", move |client, stop| {
        let lost = lost.clone();
        async move {
            match Hollow::learn(&client, &lost).await {
                Ok(hollow) => hollow.run(client, stop).await,
                Err(status) => tracing::error!(%status, "a fork has no nodes"),
            }
        }
    });
    builder.start().await
}

async fn observe(
    cluster: &Cluster,
    question: &Question,
    calm: Duration,
    exactly: Option<Duration>,
) -> Result<Life, AskError> {
    let (client, clock) = (cluster.client(), Arc::clone(cluster.clock()));
    let began = clock.elapsed();
    let start = Picture::of(&client).await?;
    let changes = Changes::follow(cluster, began, &start).await?;
    let mut undone = Vec::new();
    for change in &question.changes {
        let refused = |status| AskError::Refused { change: change.to_string(), status };
        undone.extend(change.make(cluster).await.map_err(refused)?);
    }
    let mut lived;
    loop {
        clock.sleep(LOOK).await;
        lived = clock.elapsed().saturating_sub(began);
        let over = match exactly {
            Some(exactly) => lived >= exactly,
            None => lived.saturating_sub(changes.last()) >= calm || lived >= question.patience,
        };
        if over {
            break;
        }
    }
    let at_rest = lived.saturating_sub(changes.last()) >= calm;
    let end = Picture::of(&client).await?;
    let (fewest_ready, changed_until) = (changes.fewest_ready(), changes.last());
    Ok(Life { start, end, undone, fewest_ready, changed_until, lived, at_rest })
}

/// How many pods of each workload are ready.
fn ready(picture: &Picture) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for pod in picture.pods.values().filter(|pod| !pod.ended) {
        *counts.entry(pod.workload.clone()).or_default() += usize::from(pod.serves());
    }
    counts
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "If you {}:", self.changes.join(", then "))?;
        writeln!(f)?;
        write!(f, "{}", self.difference)?;
        for (workload, count) in &self.fewest_ready {
            writeln!(f, "Meanwhile only {count} pods of {workload} would be ready.")?;
        }
        for undone in &self.undone {
            writeln!(f, "Left undone: {undone}.")?;
        }
        match self.at_rest {
            true => writeln!(f, "It would take {} s.", self.seconds),
            false => writeln!(f, "It would still go on after {} s.", self.seconds),
        }
    }
}
