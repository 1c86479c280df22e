//! Who may ask now: of the requests that are allowed, how many are looked at at a time, and in which order the others
//! wait. This is Kubernetes' *API priority and fairness*.
//!
//! A FlowSchema says to which level of priority a request belongs and what tells its flow apart from others; a
//! PriorityLevelConfiguration says how many seats a level has and how its requests wait. One flow at full speed fills its
//! own queues and leaves others theirs; one level leaves others their seats.
//!
//! | file | what |
//! | --- | --- |
//! | `configuration` | what objects say of schemas and levels |
//! | `rules` | which flow a request belongs to; pure |
//! | `queues` | who runs and who waits at a level; pure, in virtual time |
//! | `shares` | how many seats each level has, borrowed ones too; pure |
//! | `level` | a level as it runs |

mod configuration;
mod level;
mod queues;
mod rules;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};

use self::configuration::{queuing, read_levels, read_schemas, shares_of};
use self::level::Level;
pub use self::level::{Pass, Rejection};
use self::rules::Rules;
use self::shares::Shares;
use crate::api::access::AccessRequest;
use crate::api::{Caches, User};
use crate::clock::SharedClock;
use crate::meta::{GroupResource, Revision};
use crate::watch::{Entry, Query};

/// How many seats a server has: what Kubernetes allows of reading and of changing requests together.
pub const SEATS: u32 = 600;
/// How often seats are divided anew, as in Kubernetes.
const PERIOD: Duration = Duration::from_secs(10);
/// How long a request waits: a quarter of the time that it has.
const PATIENCE: Duration = Duration::from_secs(15);
/// Lets requests in as the FlowSchemas and PriorityLevelConfigurations say. Cheap to clone.
#[derive(Clone)]
pub struct FlowControl(Arc<Shared>);

struct Shared {
    caches: Caches,
    clock: SharedClock,
    seats: u32,
    hasher: foldhash::fast::FixedState,
    table: ArcSwap<Schemas>,
    /// The revision of the caches that the table was looked at for.
    seen: AtomicU64,
    /// When seats were last divided, in milliseconds.
    divided: AtomicU64,
    following: Mutex<Following>,
}

#[derive(Default)]
struct Following {
    changed: Option<[Revision; 2]>,
    levels: HashMap<String, Arc<Level>>,
    counts: HashMap<String, Arc<Counts>>,
}

/// The flow schemas, those that are asked first before others.
#[derive(Default)]
struct Schemas(Vec<Schema>);

struct Schema {
    name: Arc<str>,
    uid: Arc<str>,
    rules: Rules,
    level: Arc<Level>,
    level_uid: Arc<str>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    dispatched: AtomicU64,
    rejected: [AtomicU64; 3],
}

/// Where a request belongs, and whether it was let in.
#[derive(Debug)]
pub struct Admitted {
    /// The uid of its FlowSchema; empty if that is not there yet.
    pub schema: Arc<str>,
    /// The uid of its PriorityLevelConfiguration.
    pub level: Arc<str>,
    /// To be held for as long as the request runs.
    pub pass: Result<Pass, Rejection>,
}

/// How a level is, for whoever watches over it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LevelFigures {
    /// Its name.
    pub name: Arc<str>,
    /// How many requests run.
    pub running: u32,
    /// On how many seats.
    pub running_seats: u32,
    /// How many wait.
    pub waiting: u32,
    /// How many seats it has for now, borrowed ones too.
    pub limit: u32,
    /// How many seats are its own.
    pub nominal: u32,
}

/// How a flow schema has fared.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SchemaFigures {
    /// Its name.
    pub name: Arc<str>,
    /// The name of its level.
    pub level: Arc<str>,
    /// How many of its requests were let in.
    pub dispatched: u64,
    /// How many were not, and why.
    pub rejected: [(Rejection, u64); 3],
}

impl fmt::Debug for FlowControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowControl").field("seats", &self.0.seats).finish_non_exhaustive()
    }
}

impl FlowControl {
    /// By the objects of these caches, for a server of so many seats.
    pub fn new(caches: &Caches, clock: &SharedClock, seats: u32) -> Self {
        Self(Arc::new(Shared {
            caches: caches.clone(),
            clock: Arc::clone(clock),
            seats,
            // Whoever could guess it could choose names that share their queues with somebody else's.
            hasher: foldhash::fast::FixedState::with_seed(clock.random()),
            table: ArcSwap::default(),
            seen: AtomicU64::new(u64::MAX),
            divided: AtomicU64::new(millis(clock.elapsed())),
            following: Mutex::default(),
        }))
    }

    /// Lets a request in, which takes so many seats, or has it wait.
    pub async fn admit(&self, user: &User, request: &AccessRequest<'_>, seats: u32) -> Admitted {
        self.follow();
        self.divide_in_time();
        let table = self.0.table.load();
        let Some(schema) = table.0.iter().find(|schema| schema.rules.matches(user, request)) else {
            // There is always the one that takes everything.
            let pass = Err(Rejection::ConcurrencyLimit);
            return Admitted { schema: "".into(), level: "".into(), pass };
        };
        let flow = self.0.hasher.hash_one((&*schema.name, schema.rules.flow(user, request)));
        let (level, counts) = (Arc::clone(&schema.level), Arc::clone(&schema.counts));
        let (schema, uid) = (Arc::clone(&schema.uid), Arc::clone(&schema.level_uid));
        drop(table);
        let pass = level.admit(flow, seats, PATIENCE).await;
        match &pass {
            Ok(_) => counts.dispatched.fetch_add(1, Ordering::Relaxed),
            Err(rejection) => counts.rejected[*rejection as usize].fetch_add(1, Ordering::Relaxed),
        };
        Admitted { schema, level: uid, pass }
    }

    /// How each level is.
    pub fn levels(&self) -> Vec<LevelFigures> {
        let following = self.0.following.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = |level: &Arc<Level>| {
            let look = level.look();
            LevelFigures {
                name: Arc::clone(&level.name),
                running: look.running,
                running_seats: look.running_seats,
                waiting: look.waiting,
                limit: look.limit,
                nominal: look.bounds.nominal,
            }
        };
        following.levels.values().map(figures).collect()
    }

    /// How each flow schema has fared.
    pub fn schemas(&self) -> Vec<SchemaFigures> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let all = [Rejection::QueueFull, Rejection::ConcurrencyLimit, Rejection::TimeOut];
        let figures = |schema: &Schema| SchemaFigures {
            name: Arc::clone(&schema.name),
            level: Arc::clone(&schema.level.name),
            dispatched: count(&schema.counts.dispatched),
            rejected: all.map(|rejection| (rejection, count(&schema.counts.rejected[rejection as usize]))),
        };
        self.0.table.load().0.iter().map(figures).collect()
    }

    /// Sees to it that the table is as the caches are.
    fn follow(&self) {
        let shared = &*self.0;
        let revision = shared.caches.revision().0;
        if shared.seen.load(Ordering::Acquire) == revision {
            return;
        }
        let mut following = shared.following.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = [GroupResource::of::<FlowSchema>(), GroupResource::of::<PriorityLevelConfiguration>()];
        let caches = ids.map(|id| shared.caches.get(&id));
        let changed = caches.each_ref().map(|cache| match cache {
            Some(cache) => cache.snapshot().changed(),
            None => Revision(0),
        });
        if following.changed != Some(changed) {
            let [schemas, levels] =
                caches.map(|cache| cache.map(|cache| cache.list(&Query::all())).unwrap_or_default());
            let table = shared.compile(&mut following, &schemas, &levels);
            shared.table.store(Arc::new(table));
            following.changed = Some(changed);
        }
        shared.seen.store(revision, Ordering::Release);
    }

    /// Divides the seats anew if it is time.
    fn divide_in_time(&self) {
        let shared = &*self.0;
        let (now, last) = (shared.clock.elapsed(), shared.divided.load(Ordering::Relaxed));
        let is_due = millis(now).saturating_sub(last) >= millis(PERIOD);
        let mine = || {
            let (before, after) = (Ordering::AcqRel, Ordering::Relaxed);
            shared.divided.compare_exchange(last, millis(now), before, after).is_ok()
        };
        if is_due && mine() {
            shared.divide(now);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    fn divide(&self, now: Duration) {
        let levels: Vec<Arc<Level>> = {
            let following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
            following.levels.values().cloned().collect()
        };
        let (mut taken, mut limited) = (0, Vec::new());
        for level in &levels {
            let (bounds, demand, is_exempt) = level.measure(now);
            match is_exempt {
                true => taken += bounds.least.max(demand.highest as u32),
                false => limited.push((level, (bounds, demand))),
            }
        }
        let of: Vec<_> = limited.iter().map(|(_, of)| *of).collect();
        let total: u32 = of.iter().map(|(bounds, _)| bounds.nominal).sum();
        for ((level, _), seats) in limited.into_iter().zip(shares::divide(total, taken, &of)) {
            level.set_limit(seats);
        }
    }

    /// The schemas in their order, each with its level. A schema whose level is not there is left out.
    fn compile(&self, following: &mut Following, schemas: &[Arc<Entry>], levels: &[Arc<Entry>]) -> Schemas {
        let (levels, schemas) = (self.levels(following, levels), read_schemas(schemas));
        let mut all = Vec::new();
        for (name, uid, spec) in schemas {
            let Some((level, level_uid)) = levels.get(&spec.priority_level_configuration.name) else {
                continue;
            };
            let precedence = spec.matching_precedence.unwrap_or(1000);
            let counts = following.counts.entry(name.clone()).or_default();
            let schema = Schema {
                name: name.as_str().into(),
                uid: uid.into(),
                rules: Rules::of(&spec),
                level: Arc::clone(level),
                level_uid: Arc::clone(level_uid),
                counts: Arc::clone(counts),
            };
            all.push((precedence, name, schema));
        }
        all.sort_by(|(a, a_name, _), (b, b_name, _)| a.cmp(b).then_with(|| a_name.cmp(b_name)));
        let names: Vec<&String> = all.iter().map(|(_, name, _)| name).collect();
        following.counts.retain(|name, _| names.contains(&name));
        Schemas(all.into_iter().map(|(_, _, schema)| schema).collect())
    }

    fn levels(
        &self,
        following: &mut Following,
        held: &[Arc<Entry>],
    ) -> HashMap<String, (Arc<Level>, Arc<str>)> {
        let read = read_levels(held);
        let shares: Vec<Shares> = read.iter().map(|(_, _, spec)| shares_of(spec)).collect();
        let bounds = shares::bounds(self.seats, &shares);
        let mut levels = HashMap::new();
        for ((name, uid, spec), bounds) in read.into_iter().zip(bounds) {
            let level = following.levels.remove(&name).unwrap_or_else(|| Level::new(&name, &self.clock));
            level.configure(spec.limited.as_ref().and_then(queuing), bounds, spec.type_ == "Exempt");
            levels.insert(name, (level, Arc::from(uid)));
        }
        // What is gone is let go: those that wait there are let in as others leave.
        following.levels =
            levels.iter().map(|(name, (level, _))| (name.clone(), Arc::clone(level))).collect();
        levels
    }
}
