//! What is wrong with the arguments of plugins, in Kubernetes' words.

use k8s_openapi::api::core::v1::{NodeAffinity, NodeSelectorTerm, TopologySpreadConstraint};

use super::args::{
    Args, BalancedArgs, DefaultPreemptionArgs, DynamicResourcesArgs, FitArgs, ResourceSpec, ScoringStrategy,
    ShapePoint, SpreadArgs, VolumeBindingArgs,
};
use crate::api::check::say;
use crate::api::field::{Errors, Path, Shown};
use crate::api::names::qualified;
use crate::clock::parse_duration;

/// Of all but `NodeResourcesFit`, which Kubernetes looks at when it makes the plugin.
pub(super) fn validate(args: &Args, path: &Path, errors: &mut Errors) {
    match args {
        Args::DefaultPreemption(args) => preemption(args, path, errors),
        Args::InterPodAffinity(args) => {
            let weight = args.hard_pod_affinity_weight;
            if !(0..=100).contains(&weight) {
                errors.invalid(&path.child("hardPodAffinityWeight"), weight, "not in valid range [0, 100]");
            }
        }
        Args::NodeAffinity(args) => {
            if let Some(affinity) = &args.added_affinity {
                added_affinity(affinity, &path.child("addedAffinity"), errors);
            }
        }
        Args::Balanced(args) => balanced(args, &path.child("resources"), errors),
        Args::Spread(args) => spread(args, path, errors),
        Args::VolumeBinding(args) => volume_binding(args, path, errors),
        Args::DynamicResources(args) => dynamic_resources(args, path, errors),
        Args::Fit(_) | Args::Unknown(_) => {}
    }
}

fn preemption(args: &DefaultPreemptionArgs, path: &Path, errors: &mut Errors) {
    let (percentage, absolute) = (args.min_candidate_nodes_percentage, args.min_candidate_nodes_absolute);
    let at = [path.child("minCandidateNodesPercentage"), path.child("minCandidateNodesAbsolute")];
    if !(0..=100).contains(&percentage) {
        errors.invalid(&at[0], percentage, "not in valid range [0, 100]");
    }
    if absolute < 0 {
        errors.invalid(&at[1], absolute, "not in valid range [0, inf)");
    }
    if percentage == 0 && absolute == 0 {
        for (at, other) in at.iter().zip(["minCandidateNodesAbsolute", "minCandidateNodesPercentage"]) {
            errors.invalid(at, 0, format!("cannot be zero at the same time as {other}"));
        }
    }
}

fn balanced(args: &BalancedArgs, path: &Path, errors: &mut Errors) {
    for (at, ResourceSpec { name, weight }) in args.resources.iter().enumerate() {
        if args.resources[..at].iter().any(|other| other.name == *name) {
            errors.duplicate(&path.index(at).child("name"), name.as_str());
        }
        if *weight != 1 {
            errors.invalid(&path.index(at).child("weight"), *weight, "must be 1");
        }
    }
}

fn spread(args: &SpreadArgs, path: &Path, errors: &mut Errors) {
    let given = args.defaulting_type.as_str();
    match given {
        "System" if !args.default_constraints.is_empty() => {
            errors.invalid(&path.child("defaultingType"), given, "when .defaultConstraints are not empty");
        }
        "System" | "List" => {}
        other => errors.not_supported(&path.child("defaultingType"), other, &["System", "List"]),
    }
    let path = path.child("defaultConstraints");
    for (at, constraint) in args.default_constraints.iter().enumerate() {
        default_constraint(constraint, &path.index(at), errors);
        let TopologySpreadConstraint { topology_key, when_unsatisfiable, .. } = constraint;
        let same = |other: &&TopologySpreadConstraint| {
            other.topology_key == *topology_key && other.when_unsatisfiable == *when_unsatisfiable
        };
        if args.default_constraints[..at].iter().any(|other| same(&other)) {
            errors.duplicate(&path.index(at), format!("{{{topology_key}, {when_unsatisfiable}}}"));
        }
    }
}

fn default_constraint(constraint: &TopologySpreadConstraint, path: &Path, errors: &mut Errors) {
    if constraint.max_skew <= 0 {
        errors.invalid(&path.child("maxSkew"), constraint.max_skew, "not in valid range (0, inf)");
    }
    match constraint.topology_key.as_str() {
        "" => errors.required(&path.child("topologyKey"), "can not be empty"),
        key => say(errors, &path.child("topologyKey"), key, qualified(key)),
    }
    match constraint.when_unsatisfiable.as_str() {
        "" => errors.required(&path.child("whenUnsatisfiable"), "can not be empty"),
        "DoNotSchedule" | "ScheduleAnyway" => {}
        other => {
            let supported = &["DoNotSchedule", "ScheduleAnyway"];
            errors.not_supported(&path.child("whenUnsatisfiable"), other, supported);
        }
    }
    if constraint.label_selector.is_some() {
        let why = "constraint must not define a selector, as they deduced for each pod";
        errors.forbidden(&path.child("labelSelector"), why);
    }
}

fn volume_binding(args: &VolumeBindingArgs, path: &Path, errors: &mut Errors) {
    if args.bind_timeout_seconds < 0 {
        let why = "invalid BindTimeoutSeconds, should not be a negative value";
        errors.invalid(&path.child("bindTimeoutSeconds"), args.bind_timeout_seconds, why);
    }
    if let Some(shape) = &args.shape {
        let point = |point: &ShapePoint| {
            let number = |number: i32| Shown::from(serde_json::Value::from(number));
            Shown::object([("Utilization", number(point.utilization)), ("Score", number(point.score))])
        };
        let why = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
        errors.invalid_object(&path.child("shape"), Shown::list(shape.iter().map(point)), why);
    }
}

fn dynamic_resources(args: &DynamicResourcesArgs, path: &Path, errors: &mut Errors) {
    if args.filter_timeout.starts_with('-') {
        let at = path.child("filterTimeout");
        errors.invalid(&at, args.filter_timeout.as_str(), "must be zero or positive");
    }
    if parse_duration(&args.binding_timeout).ok().is_none_or(|length| length.as_secs() < 1) {
        let at = path.child("bindingTimeout");
        errors.invalid(&at, args.binding_timeout.as_str(), "must be at least 1 second");
    }
}

fn added_affinity(affinity: &NodeAffinity, path: &Path, errors: &mut Errors) {
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        let path = path.child("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        for (at, term) in required.node_selector_terms.iter().enumerate() {
            node_term(term, &path.index(at), errors);
        }
    }
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.as_deref();
    let path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
    for (at, term) in preferred.unwrap_or_default().iter().enumerate().filter(|(_, term)| term.weight != 0) {
        node_term(&term.preference, &path.index(at).child("preference"), errors);
    }
}

fn node_term(term: &NodeSelectorTerm, path: &Path, errors: &mut Errors) {
    const OPERATORS: &[&str] = &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
    for (at, requirement) in term.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(at);
        if !OPERATORS.contains(&requirement.operator.as_str()) {
            errors.not_supported(&path.child("operator"), requirement.operator.as_str(), OPERATORS);
        }
        say(errors, &path.child("key"), &requirement.key, qualified(&requirement.key));
    }
    for (at, requirement) in term.match_fields.iter().flatten().enumerate() {
        let path = path.child("matchFields").index(at);
        let values = requirement.values.as_deref().unwrap_or_default();
        match requirement.operator.as_str() {
            "In" | "NotIn" if values.len() != 1 => {
                let shown =
                    Shown::list(values.iter().map(|value| serde_json::Value::from(value.as_str()).into()));
                errors.invalid_object(&path.child("values"), shown, "must have one element");
            }
            "In" | "NotIn" => {}
            other => errors.not_supported(&path.child("operator"), other, &["In", "NotIn"]),
        }
    }
}

/// What is wrong with those of `NodeResourcesFit`, from its own root.
pub(super) fn fit(args: &FitArgs) -> Errors {
    let (mut errors, root) = (Errors::new(), Path::root());
    for (at, name) in args.ignored_resources.iter().enumerate() {
        say(&mut errors, &root.child("ignoredResources").index(at), name, qualified(name));
    }
    for (at, group) in args.ignored_resource_groups.iter().enumerate() {
        let path = root.child("ignoredResourceGroups").index(at);
        if group.contains('/') {
            errors.invalid(&path, group.as_str(), "resource group name can't contain '/'");
        }
        say(&mut errors, &path, group, qualified(group));
    }
    if let Some(strategy) = &args.scoring_strategy {
        scoring_strategy(strategy, &root.child("scoringStrategy"), &mut errors);
    }
    errors
}

fn scoring_strategy(strategy: &ScoringStrategy, path: &Path, errors: &mut Errors) {
    const TYPES: &[&str] = &["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];
    let by_ratio = strategy.r#type == "RequestedToCapacityRatio";
    if !TYPES.contains(&strategy.r#type.as_str()) {
        errors.not_supported(&path.child("type"), strategy.r#type.as_str(), TYPES);
    }
    for (at, ResourceSpec { name, weight }) in strategy.resources.iter().enumerate() {
        if !(1..=100).contains(weight) {
            let why = format!("resource weight of {name} not in valid range (0, 100]");
            errors.invalid(&path.child("resources").index(at).child("weight"), *weight, why);
        }
    }
    let path = path.child("requestedToCapacityRatio");
    match (&strategy.requested_to_capacity_ratio, by_ratio) {
        (None, true) => errors.required(&path, "must be specified when type is RequestedToCapacityRatio"),
        (Some(ratio), true) => shape(&ratio.shape, &path.child("shape"), errors),
        (Some(_), false) => {
            errors.forbidden(&path, "must be nil when type is not RequestedToCapacityRatio");
        }
        (None, false) => {}
    }
}

fn shape(shape: &[ShapePoint], path: &Path, errors: &mut Errors) {
    if shape.is_empty() {
        errors.required(path, "at least one point must be specified");
    }
    if let Some(at) = (1..shape.len()).find(|at| shape[at - 1].utilization >= shape[*at].utilization) {
        let path = path.index(at).child("utilization");
        errors.invalid(&path, shape[at].utilization, "values must be sorted in increasing order");
    }
    for (at, point) in shape.iter().enumerate() {
        for (field, value, most) in [("utilization", point.utilization, 100), ("score", point.score, 10)] {
            if !(0..=most).contains(&value) {
                let why = format!("not in valid range [0, {most}]");
                errors.invalid(&path.index(at).child(field), value, why);
            }
        }
    }
}
