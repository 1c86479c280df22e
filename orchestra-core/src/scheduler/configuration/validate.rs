//! What is wrong with the values of the file, in Kubernetes' words.

use std::time::Duration;

use super::API_VERSION;
use super::file::{File, LeaderElection, PluginSet, Plugins, ProfileFile};
use super::plugins::Point;
use super::validate_args;
use crate::api::field::{Errors, Path, Problem, Shown};
use crate::clock::parse_duration;

/// Plugins that were in an earlier version, and are in none since.
const REMOVED: [&str; 4] = ["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"];

pub(super) fn validate(file: &File) -> Errors {
    let mut errors = Errors::new();
    if file.client_connection.burst < 0 {
        let burst = file.client_connection.burst;
        errors.invalid(&Path::new("clientConnection.burst"), burst, "must be non-negative");
    }
    leader_election(&file.leader_election, &mut errors);
    if file.parallelism <= 0 {
        let why = "should be an integer value greater than zero";
        errors.invalid(&Path::new("parallelism"), file.parallelism, why);
    }
    let path = Path::new("profiles");
    for (at, profile) in file.profiles.iter().enumerate() {
        self::profile(profile, &path.index(at), &mut errors);
        if file.profiles[..at].iter().any(|other| other.name() == profile.name()) {
            // Kubernetes shows a path there, of which nothing is visible.
            let shown = Shown::object([]);
            errors.push(&path.index(at).child("schedulerName"), Problem::Duplicate(shown, String::new()));
        }
    }
    queue_sort(&file.profiles, &path, &mut errors);
    percentage(file.percentage_of_nodes_to_score, &Path::root(), &mut errors);
    let (first, longest) = (file.pod_initial_backoff_seconds, file.pod_max_backoff_seconds);
    if first <= 0 {
        errors.invalid(&Path::new("podInitialBackoffSeconds"), first, "must be greater than 0");
    }
    if longest < first {
        let why = "must be greater than or equal to PodInitialBackoffSeconds";
        errors.invalid(&Path::new("podMaxBackoffSeconds"), longest, why);
    }
    errors
}

fn leader_election(elect: &LeaderElection, errors: &mut Errors) {
    if elect.leader_elect == Some(false) {
        return;
    }
    let path = Path::new("leaderElection");
    // One that is negative is no length of time here.
    let length = |text: &str| parse_duration(text).ok().filter(|length| *length > Duration::ZERO);
    for (field, text) in [
        ("leaseDuration", &elect.lease_duration),
        ("renewDeadline", &elect.renew_deadline),
        ("retryPeriod", &elect.retry_period),
    ] {
        if length(text).is_none() {
            errors.invalid(&path.child(field), text.as_str(), "must be greater than zero");
        }
    }
    let (lease, renew) = (&elect.lease_duration, &elect.renew_deadline);
    if length(lease) <= length(renew) {
        errors.invalid(&path.child("leaseDuration"), renew.as_str(), "must be greater than `RenewDeadline`");
    }
    if elect.resource_lock != "leases" {
        let why = "resourceLock value must be \"leases\"";
        errors.invalid(&path.child("resourceLock"), elect.resource_lock.as_str(), why);
    }
}

fn percentage(given: i32, path: &Path, errors: &mut Errors) {
    if !(0..=100).contains(&given) {
        errors.invalid(&path.child("percentageOfNodesToScore"), given, "not in valid range [0-100]");
    }
}

fn profile(profile: &ProfileFile, path: &Path, errors: &mut Errors) {
    if profile.name().is_empty() {
        errors.required(&path.child("schedulerName"), "");
    }
    if let Some(given) = profile.percentage_of_nodes_to_score {
        percentage(given, path, errors);
    }
    for point in Point::ALL {
        let path = path.child("plugins").child(point.field()).child("enabled");
        for (at, plugin) in profile.plugins.at(point).enabled.iter().enumerate() {
            removed(&plugin.name, &path.index(at), errors);
        }
    }
    for (at, config) in profile.plugin_config.iter().enumerate() {
        let path = path.child("pluginConfig").index(at);
        if profile.plugin_config[..at].iter().any(|other| other.name == config.name) {
            errors.duplicate(&path, config.name.as_str());
        }
        removed(&config.name, &path, errors);
        validate_args::validate(&config.args, &path.child("args"), errors);
    }
}

fn removed(name: &str, path: &Path, errors: &mut Errors) {
    if REMOVED.contains(&name) {
        let why =
            format!("was invalid in version \"v1\" (KubeSchedulerConfiguration is version {API_VERSION:?})");
        errors.invalid(path, name, why);
    }
}

/// There is one queue, so all profiles must sort it alike.
fn queue_sort(profiles: &[ProfileFile], path: &Path, errors: &mut Errors) {
    let Some((first, others)) = profiles.split_first() else { return };
    let of = |plugins: &Plugins| plugins.at(Point::QueueSort).clone();
    let canon = of(&first.plugins);
    if canon.enabled.len() > 1 {
        let path = path.index(0).child("plugins.queueSort.Enabled");
        errors.invalid(&path, canon.enabled.len(), "only one queue sort plugin can be enabled");
    }
    for (at, profile) in others.iter().enumerate() {
        let own = of(&profile.plugins);
        if own != canon {
            let path = path.index(at + 1).child("plugins.queueSort");
            errors.invalid_object(&path, shown(&own), "must be the same for all profiles");
        }
    }
}

fn shown(set: &PluginSet) -> Shown {
    let list = |plugins: &[super::file::PluginFile]| {
        if plugins.is_empty() {
            return serde_json::Value::Null.into();
        }
        Shown::list(plugins.iter().map(|plugin| {
            let value = |value: serde_json::Value| Shown::from(value);
            Shown::object([
                ("Name", value(plugin.name.as_str().into())),
                ("Weight", value(plugin.weight.into())),
            ])
        }))
    };
    Shown::object([("Enabled", list(&set.enabled)), ("Disabled", list(&set.disabled))])
}
