//! From a file that is right to the profiles of a scheduler, or to what this scheduler cannot do of it.

use std::sync::Arc;
use std::time::Duration;

use super::args::{Args, DynamicResourcesArgs, FitArgs, ScoringStrategy, SpreadArgs};
use super::expand::{Expanded, Registry, expand};
use super::file::{ClientConnection, File, LeaderElection, PluginFile, ProfileFile};
use super::plugins::{Point, ROWS};
use super::{Configuration, ConfigurationError, Listed, validate_args};
use crate::api::field::{Errors, Path};
use crate::scheduler::plugin::{Filter, Plugin, Score};
use crate::scheduler::profile::{Candidates, Fit, IgnoredResources, Packing, Profile, Spreading};
use crate::scheduler::rules::AddedAffinity;
use crate::supervise::Backoff;

pub(super) fn compile(file: &File, own: &[Arc<dyn Plugin>]) -> Result<Configuration, ConfigurationError> {
    let registry = Registry { own: own.iter().map(|plugin| plugin.name()).collect() };
    let mut unsupported = Errors::new();
    elsewhere(file, &mut unsupported);
    let mut profiles = Vec::new();
    for (at, given) in file.profiles.iter().enumerate() {
        let wrong = |why: String| ConfigurationError::Profile { profile: given.name().to_owned(), why };
        let expanded = expand(&given.plugins, &registry).map_err(wrong)?;
        complete(given, &expanded).map_err(wrong)?;
        let path = Path::new("profiles").index(at);
        let mut compiling = Compiling { given, expanded: &expanded, path, unsupported: &mut unsupported };
        profiles.push(compiling.profile(file, own).map_err(wrong)?);
    }
    if !unsupported.is_empty() {
        return Err(ConfigurationError::Unsupported(unsupported));
    }
    let seconds = |seconds: i64| Duration::from_secs(seconds.max(0).unsigned_abs());
    Ok(Configuration {
        profiles,
        backoff: Backoff::new(
            seconds(file.pod_initial_backoff_seconds),
            seconds(file.pod_max_backoff_seconds),
        ),
        without_effect: without_effect(file),
    })
}

/// What the program that the scheduler is a part of says in another way, or cannot do.
fn elsewhere(file: &File, unsupported: &mut Errors) {
    if !file.extenders.is_empty() {
        let why = "extenders are not called by this scheduler: a rule of one's own is a Plugin in Rust";
        unsupported.forbidden(&Path::new("extenders"), why);
    }
    if file.client_connection != ClientConnection::default() {
        let why = "how the API is reached is said by the options of the program; leave it out";
        unsupported.forbidden(&Path::new("clientConnection"), why);
    }
    if (LeaderElection { leader_elect: None, ..file.leader_election.clone() }) != LeaderElection::default() {
        let why = "by which Lease masters elect is fixed, and how long it holds is said by --leader-term";
        unsupported.forbidden(&Path::new("leaderElection"), why);
    }
}

fn without_effect(file: &File) -> Vec<String> {
    let mut told = Vec::new();
    if file.parallelism != 16 {
        told.push("parallelism has no effect: one thread places pods, one after the other".to_owned());
    }
    if file.leader_election.leader_elect.is_some() {
        told.push(
            "leaderElection.leaderElect has no effect: masters elect where there may be several".to_owned(),
        );
    }
    if file.delay_cache_until_active {
        told.push("delayCacheUntilActive has no effect: it is always so".to_owned());
    }
    if !file.enable_profiling || file.enable_contention_profiling.is_some() {
        told.push("profiling has no effect: there are no profiles of Go to be had".to_owned());
    }
    told
}

/// What no scheduler can be without.
fn complete(given: &ProfileFile, expanded: &Expanded) -> Result<(), String> {
    let name = given.name();
    let queue_sorts = at(expanded, Point::QueueSort).len();
    if queue_sorts != 1 {
        let wanted = "only one queue sort plugin required for profile with scheduler name";
        return Err(format!("{wanted} {name:?}, but got {queue_sorts}"));
    }
    if at(expanded, Point::Bind).is_empty() {
        return Err(format!("at least one bind plugin is needed for profile with scheduler name {name:?}"));
    }
    let mut room = i64::MAX;
    for plugin in at(expanded, Point::Score) {
        let points = 100 * weight(plugin);
        if points > room || points < 0 {
            return Err("score plugins: total score of Score plugins could overflow".to_owned());
        }
        room -= points;
    }
    Ok(())
}

fn at(expanded: &Expanded, point: Point) -> &[PluginFile] {
    expanded.iter().find(|(at, _)| *at == point).map_or(&[], |(_, plugins)| plugins)
}

/// None is 1.
fn weight(plugin: &PluginFile) -> i64 {
    if plugin.weight == 0 { 1 } else { i64::from(plugin.weight) }
}

struct Compiling<'c> {
    given: &'c ProfileFile,
    expanded: &'c Expanded,
    path: Path,
    unsupported: &'c mut Errors,
}

impl Compiling<'_> {
    fn profile(&mut self, file: &File, own: &[Arc<dyn Plugin>]) -> Result<Profile, String> {
        self.whole();
        self.absent();
        let share = self.given.percentage_of_nodes_to_score.unwrap_or(file.percentage_of_nodes_to_score);
        let mut profile = Profile {
            percentage_of_nodes_to_score: u8::try_from(share).ok().filter(|share| *share > 0),
            filters: at(self.expanded, Point::Filter)
                .iter()
                .filter_map(|held| filter(&held.name, own))
                .collect(),
            follows_named_nodes: self.stands("NodeAffinity", Point::PreFilter),
            scores: at(self.expanded, Point::Score)
                .iter()
                .filter_map(|held| Some((score(&held.name)?, weight(held))))
                .collect(),
            own: own.iter().filter_map(|plugin| self.own(plugin)).collect(),
            preemption: None,
            ..Profile::default().named(self.given.name())
        };
        for config in &self.given.plugin_config {
            apply(&config.args, &mut profile)?;
        }
        if !self.stands("DefaultPreemption", Point::PostFilter) {
            profile.preemption = None;
        } else if profile.preemption.is_none() {
            profile.preemption = Some(Candidates::default());
        }
        Ok(profile)
    }

    fn stands(&self, name: &str, point: Point) -> bool {
        at(self.expanded, point).iter().any(|plugin| plugin.name == name)
    }

    /// A plugin of the program's own, with what its points weigh: nothing where it does not stand at `score`.
    fn own(&self, plugin: &Arc<dyn Plugin>) -> Option<(Arc<dyn Plugin>, i64)> {
        let scoring = at(self.expanded, Point::Score).iter().find(|held| held.name == plugin.name());
        let stands = scoring.is_some() || self.stands(plugin.name(), Point::Filter);
        stands.then(|| (Arc::clone(plugin), scoring.map_or(0, weight)))
    }

    /// Plugins that here are one thing and cannot be had in part.
    fn whole(&mut self) {
        const TOGETHER: &[(&str, &[Point])] = &[
            ("VolumeBinding", &[Point::PreFilter, Point::Filter, Point::Reserve, Point::PreBind]),
            ("DynamicResources", &[Point::PreFilter, Point::Filter, Point::Reserve, Point::PreBind]),
            ("SchedulingGates", &[Point::PreEnqueue]),
        ];
        for (name, points) in TOGETHER {
            let missing: Vec<Point> =
                points.iter().filter(|point| !self.stands(name, **point)).copied().collect();
            if missing.is_empty() || (*name != "SchedulingGates" && missing.len() == points.len()) {
                continue;
            }
            let why = match *name {
                "SchedulingGates" => {
                    "pods with gates cannot be bound: SchedulingGates cannot be disabled".to_owned()
                }
                _ => format!(
                    "{name} is either enabled at preFilter, filter, reserve and preBind, or at none of them"
                ),
            };
            self.refuse(missing[0], &why);
        }
        let scoring = at(self.expanded, Point::Score).iter().find(|plugin| plugin.name == "DynamicResources");
        let usual = ROWS.iter().find(|row| row.name == "DynamicResources").and_then(|row| row.weight);
        if scoring.is_some_and(|plugin| Some(plugin.weight) != usual) {
            self.refuse(Point::Score, "DynamicResources gives no points here");
        }
        for (before, after) in [(Point::PreFilter, Point::Filter), (Point::PreScore, Point::Score)] {
            for row in ROWS.iter().filter(|row| row.here && row.points.contains(&before)) {
                if self.stands(row.name, after)
                    && !self.stands(row.name, before)
                    && !matches!(row.name, "VolumeBinding" | "DynamicResources")
                {
                    let why = format!("{} cannot be enabled at {} and not here", row.name, after.field());
                    self.refuse(before, &why);
                }
            }
        }
    }

    fn refuse(&mut self, point: Point, why: &str) {
        self.unsupported.forbidden(&self.path.child("plugins").child(point.field()), why);
    }

    /// Plugins that Kubernetes has and this scheduler has not: as far as Kubernetes enables them by default they may stand
    /// where they stand there, and nothing more may be asked of them.
    fn absent(&mut self) {
        for row in ROWS.iter().filter(|row| !row.here) {
            let why = format!("this scheduler has no {}", row.name);
            for point in Point::ALL {
                let enabled = &self.given.plugins.at(point).enabled;
                if enabled.iter().any(|plugin| plugin.name == row.name) {
                    self.refuse(point, &why);
                }
            }
            let many = self.given.plugins.multi_point.enabled.iter().find(|plugin| plugin.name == row.name);
            if many.is_some_and(|plugin| row.weight != Some(plugin.weight)) {
                self.unsupported.forbidden(&self.path.child("plugins.multiPoint"), why);
            }
        }
        for (at, config) in self.given.plugin_config.iter().enumerate() {
            let path = self.path.child("pluginConfig").index(at);
            match &config.args {
                Args::DynamicResources(args) if *args != DynamicResourcesArgs::default() => {
                    self.unsupported.forbidden(
                        &path.child("args"),
                        "how long devices are looked for is not said by time",
                    );
                }
                Args::Unknown(args) if !args.is_null() => {
                    let why = format!("{} takes no arguments here", config.name);
                    self.unsupported.forbidden(&path.child("args"), why);
                }
                _ => {}
            }
        }
    }
}

fn filter(name: &str, own: &[Arc<dyn Plugin>]) -> Option<Filter> {
    let named = Filter::ALL.into_iter().find(|filter| filter.to_string() == name);
    let of_program =
        || own.iter().find(|plugin| plugin.name() == name).map(|plugin| Filter::Own(plugin.name()));
    named.or_else(of_program)
}

fn score(name: &str) -> Option<Score> {
    Score::ALL.into_iter().map(|(score, _)| score).find(|score| format!("{score:?}") == name)
}

fn apply(args: &Args, profile: &mut Profile) -> Result<(), String> {
    match args {
        Args::DefaultPreemption(args) => {
            profile.preemption = Some(Candidates {
                percentage: u8::try_from(args.min_candidate_nodes_percentage).unwrap_or_default(),
                least: usize::try_from(args.min_candidate_nodes_absolute).unwrap_or_default(),
            });
        }
        Args::InterPodAffinity(args) => {
            profile.required_affinity_weight = i64::from(args.hard_pod_affinity_weight);
            profile.ignores_preferences_of_others = args.ignore_preferred_terms_of_existing_pods;
        }
        Args::NodeAffinity(args) => {
            if let Some(affinity) = &args.added_affinity {
                let wrong = |error| format!("initializing plugin \"NodeAffinity\": {error}");
                profile.added_affinity = AddedAffinity::compile(affinity).map_err(wrong)?;
            }
        }
        Args::Balanced(args) => {
            profile.balanced = args.resources.iter().map(|resource| resource.name.as_str().into()).collect();
        }
        Args::Fit(args) => {
            let errors = validate_args::fit(args);
            if !errors.is_empty() {
                return Err(format!("initializing plugin \"NodeResourcesFit\": {}", Listed(&errors)));
            }
            fit(args, profile);
        }
        Args::Spread(SpreadArgs { default_constraints, defaulting_type }) if defaulting_type == "List" => {
            profile.spreading = Spreading::By(default_constraints.iter().map(Into::into).collect());
        }
        Args::VolumeBinding(args) => {
            profile.binding_patience = Duration::from_secs(args.bind_timeout_seconds.max(0).unsigned_abs());
        }
        Args::Spread(_) | Args::DynamicResources(_) | Args::Unknown(_) => {}
    }
    Ok(())
}

fn fit(args: &FitArgs, profile: &mut Profile) {
    profile.ignored = IgnoredResources {
        names: args.ignored_resources.clone(),
        groups: args.ignored_resource_groups.clone(),
    };
    let Some(ScoringStrategy { r#type, resources, requested_to_capacity_ratio }) = &args.scoring_strategy
    else {
        return;
    };
    let fit = match (r#type.as_str(), requested_to_capacity_ratio) {
        ("MostAllocated", _) => Fit::MostAllocated,
        (_, Some(ratio)) => {
            // The file's scores go to 10, points to 100.
            let point =
                |point: &super::args::ShapePoint| (i64::from(point.utilization), i64::from(point.score) * 10);
            Fit::RequestedToCapacityRatio(ratio.shape.iter().map(point).collect())
        }
        _ => Fit::LeastAllocated,
    };
    let resources =
        resources.iter().map(|resource| (resource.name.as_str().into(), resource.weight)).collect();
    profile.packing = Packing { fit, resources };
}
