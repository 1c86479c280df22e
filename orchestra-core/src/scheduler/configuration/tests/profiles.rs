//! What the profiles of a file do.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{of_args, of_profile, parse};
use crate::scheduler::tests::{asking, cluster, node, pod};
use crate::scheduler::{
    Configuration, Filter, NodeInfo, Plan, Plugin, PodInfo, Profile, Score, Snapshot, plan,
};
use crate::supervise::Backoff;

fn profile(text: &str) -> Profile {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).profiles.remove(0)
}

/// Where the pod goes, or why it goes nowhere.
fn goes(snapshot: &Snapshot, pod: &PodInfo, profile: &Profile) -> String {
    match plan(snapshot, pod, profile, 7) {
        Plan::Place { node, .. } => node.to_string(),
        Plan::Unschedulable(diagnosis) => diagnosis.to_string(),
    }
}

/// Two nodes, of which `a` has 3 of its 4 processors in use.
fn half_full() -> Snapshot {
    let mut snapshot = cluster([node("a", json!({})), node("b", json!({}))]);
    snapshot.set_pod(asking("there", "3"), Some("a"));
    snapshot
}

#[test]
fn a_file_that_says_nothing_is_the_default() {
    let Configuration { profiles, backoff, without_effect } = parse("").unwrap();
    let [one] = profiles.as_slice() else { panic!("{profiles:?}") };
    assert_eq!(format!("{one:?}"), format!("{:?}", Profile::default()));
    assert_eq!(backoff, Backoff::new(Duration::from_secs(1), Duration::from_secs(10)));
    assert!(without_effect.is_empty());
}

#[test]
fn shares_and_waits_are_taken_over() {
    let text = "percentageOfNodesToScore: 40\npodInitialBackoffSeconds: 3\npodMaxBackoffSeconds: 30\nprofiles: [{schedulerName: a}, {schedulerName: b, percentageOfNodesToScore: 7}]";
    let made = parse(text).unwrap();
    let shares: Vec<_> =
        made.profiles.iter().map(|one| (&*one.name, one.percentage_of_nodes_to_score)).collect();
    assert_eq!(shares, [("a", Some(40)), ("b", Some(7))]);
    assert_eq!(made.backoff, Backoff::new(Duration::from_secs(3), Duration::from_secs(30)));
}

#[test]
fn a_disabled_plugin_filters_no_more() {
    let snapshot = cluster([node("a", json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}))]);
    let web = asking("web", "1");
    assert_eq!(
        goes(&snapshot, &web, &Profile::default()),
        "0/1 nodes are available: 1 node(s) had untolerated taint(s)."
    );
    let open = profile(&of_profile("plugins: {filter: {disabled: [{name: TaintToleration}]}}"));
    assert_eq!(goes(&snapshot, &web, &open), "a");
    assert!(
        !open.filters.contains(&Filter::TaintToleration)
            && open.scores.contains(&(Score::TaintToleration, 3))
    );
    let bare = "plugins: {multiPoint: {disabled: [{name: '*'}], enabled: [{name: PrioritySort}, {name: DefaultBinder}, {name: SchedulingGates}]}}";
    let bare = profile(&of_profile(bare));
    assert!(bare.filters.is_empty() && bare.scores.is_empty() && bare.preemption.is_none());
    assert_eq!(goes(&snapshot, &asking("huge", "100"), &bare), "a");
}

#[test]
fn the_order_of_filters_says_whose_reason_is_told() {
    let snapshot = cluster([node("a", json!({"spec": {"unschedulable": true}}))]);
    let huge = asking("huge", "100");
    assert_eq!(
        goes(&snapshot, &huge, &Profile::default()),
        "0/1 nodes are available: 1 node(s) were unschedulable."
    );
    // What is enabled at a point comes before what is enabled at many.
    let first = profile(&of_profile("plugins: {filter: {enabled: [{name: NodeResourcesFit}]}}"));
    assert_eq!(goes(&snapshot, &huge, &first), "0/1 nodes are available: 1 Insufficient cpu.");
}

#[test]
fn weights_change_the_choice() {
    let liked =
        json!([{"weight": 100, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]);
    let spec = json!({"spec": {
        "containers": [{"name": "main", "resources": {"requests": {"cpu": "500m"}}}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": liked}},
    }});
    let mut snapshot =
        cluster([node("a", json!({"metadata": {"labels": {"disk": "ssd"}}})), node("b", json!({}))]);
    snapshot.set_pod(asking("there", "3"), Some("a"));
    let web = pod("web", spec);
    assert_eq!(goes(&snapshot, &web, &Profile::default()), "a");
    let empty =
        profile(&of_profile("plugins: {multiPoint: {enabled: [{name: NodeResourcesFit, weight: 100}]}}"));
    assert_eq!(goes(&snapshot, &web, &empty), "b");
    let without = profile(&of_profile("plugins: {score: {disabled: [{name: NodeAffinity}]}}"));
    assert_eq!(goes(&snapshot, &web, &without), "b");
}

#[test]
fn nodes_are_filled_as_the_strategy_says() {
    let (snapshot, web) = (half_full(), asking("web", "500m"));
    assert_eq!(goes(&snapshot, &web, &Profile::default()), "b");
    let fit =
        |strategy: &str| profile(&of_args("NodeResourcesFit", &format!("{{scoringStrategy: {strategy}}}")));
    let heavy = |mut profile: Profile| {
        profile.scores = vec![(Score::NodeResourcesFit, 1)];
        profile
    };
    let cpu = "resources: [{name: cpu, weight: 1}]";
    assert_eq!(goes(&snapshot, &web, &heavy(fit(&format!("{{type: MostAllocated, {cpu}}}")))), "a");
    let ratio = |shape: &str| {
        let ratio = format!("requestedToCapacityRatio: {{shape: {shape}}}");
        heavy(fit(&format!("{{type: RequestedToCapacityRatio, {cpu}, {ratio}}}")))
    };
    assert_eq!(
        goes(&snapshot, &web, &ratio("[{utilization: 0, score: 0}, {utilization: 100, score: 10}]")),
        "a"
    );
    assert_eq!(
        goes(&snapshot, &web, &ratio("[{utilization: 0, score: 10}, {utilization: 100, score: 0}]")),
        "b"
    );
    // The best is a node that is half full.
    let middle = "[{utilization: 0, score: 0}, {utilization: 50, score: 10}, {utilization: 100, score: 0}]";
    let mut three = half_full();
    three.set_node(node("c", json!({})));
    three.set_pod(asking("some", "1500m"), Some("c"));
    assert_eq!(goes(&three, &web, &ratio(middle)), "c");
}

#[test]
fn resources_that_are_ignored_need_not_be_free() {
    let snapshot = cluster([node("a", json!({}))]);
    let asks = |name: &str| {
        pod("web", json!({"spec": {"containers": [{"name": "m", "resources": {"requests": {name: "1"}}}]}}))
    };
    let lenient = profile(&of_args(
        "NodeResourcesFit",
        "{ignoredResources: [example.com/gpu], ignoredResourceGroups: [example.org]}",
    ));
    for (resource, says) in [
        ("example.com/gpu", "a"),
        ("example.org/any", "a"),
        ("example.com/tpu", "0/1 nodes are available: 1 Insufficient example.com/tpu."),
    ] {
        assert_eq!(goes(&snapshot, &asks(resource), &lenient), says);
    }
}

#[test]
fn nodes_are_added_to_what_pods_ask_for() {
    let labelled = |name: &str, team: &str| node(name, json!({"metadata": {"labels": {"team": team}}}));
    let mut snapshot = cluster([labelled("a", "left"), labelled("b", "right")]);
    let matching =
        |team: &str| format!("{{matchExpressions: [{{key: team, operator: In, values: [{team}]}}]}}");
    let required = |team: &str| {
        let terms = format!("{{nodeSelectorTerms: [{}]}}", matching(team));
        profile(&of_args(
            "NodeAffinity",
            &format!("{{addedAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {terms}}}}}"),
        ))
    };
    let web = asking("web", "1");
    assert_eq!(goes(&snapshot, &web, &required("left")), "a");
    assert_eq!(goes(&snapshot, &web, &required("right")), "b");
    assert_eq!(
        goes(&snapshot, &web, &required("none")),
        "0/2 nodes are available: 2 node(s) didn't match scheduler-enforced node affinity."
    );
    snapshot.set_pod(asking("there", "1"), Some("b"));
    let liked = format!("[{{weight: 5, preference: {}}}]", matching("right"));
    let liked = profile(&of_args(
        "NodeAffinity",
        &format!("{{addedAffinity: {{preferredDuringSchedulingIgnoredDuringExecution: {liked}}}}}"),
    ));
    assert_eq!(goes(&snapshot, &web, &Profile::default()), "a");
    assert_eq!(goes(&snapshot, &web, &liked), "b");
}

#[test]
fn pods_that_say_nothing_are_spread_as_the_profile_says() {
    let zoned = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let mut snapshot = cluster([zoned("a", "1"), zoned("b", "2")]);
    snapshot.set_service("default", "web", Some([("app".to_owned(), "web".to_owned())].into()));
    let web = |name: &str, cpu: &str| {
        let mut one = (*asking(name, cpu)).clone();
        one.labels = crate::selector::LabelSet::new(&[("app".to_owned(), "web".to_owned())].into());
        Arc::new(one)
    };
    snapshot.set_pod(web("web-0", "100m"), Some("a"));
    snapshot.set_pod(asking("other", "3900m"), Some("b"));
    let list = |when: &str| {
        let constraint = format!("[{{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: {when}}}]");
        profile(&of_args(
            "PodTopologySpread",
            &format!("{{defaultingType: List, defaultConstraints: {constraint}}}"),
        ))
    };
    let next = web("web-1", "1");
    assert_eq!(goes(&snapshot, &next, &list("ScheduleAnyway")), "a");
    let hard = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints.";
    assert_eq!(goes(&snapshot, &next, &list("DoNotSchedule")), hard);
    // One that is of no service is of no group.
    assert_eq!(goes(&snapshot, &asking("alone", "1"), &list("DoNotSchedule")), "a");
}

#[test]
fn what_others_must_have_near_weighs_as_the_profile_says() {
    let term =
        json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"});
    let drawn = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"affinity": {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [term]}}}});
    let mut snapshot = cluster([node("a", json!({})), node("b", json!({}))]);
    snapshot.set_pod(pod("drawn", drawn), Some("a"));
    snapshot.set_pod(asking("there", "1"), Some("a"));
    let web = pod("web", json!({"metadata": {"labels": {"app": "web"}}}));
    assert_eq!(
        goes(&snapshot, &web, &profile(&of_args("InterPodAffinity", "{hardPodAffinityWeight: 100}"))),
        "a"
    );
    assert_eq!(
        goes(&snapshot, &web, &profile(&of_args("InterPodAffinity", "{hardPodAffinityWeight: 0}"))),
        "b"
    );
    let ignoring = "{hardPodAffinityWeight: 100, ignorePreferredTermsOfExistingPods: true}";
    assert_eq!(goes(&snapshot, &web, &profile(&of_args("InterPodAffinity", ignoring))), "b");
}

#[test]
fn candidates_and_patience_are_taken_over() {
    let given = "pluginConfig: [{name: DefaultPreemption, args: {minCandidateNodesPercentage: 50, minCandidateNodesAbsolute: 3}}, {name: VolumeBinding, args: {bindTimeoutSeconds: 7}}]";
    let made = profile(&of_profile(given));
    let candidates = made.preemption.expect("room is made");
    assert_eq!((candidates.percentage, candidates.least), (50, 3));
    assert_eq!(made.binding_patience, Duration::from_secs(7));
    assert!(profile(&of_profile("plugins: {postFilter: {disabled: [{name: '*'}]}}")).preemption.is_none());
}

/// A rule of a program's own: only nodes whose name ends in an even number.
#[derive(Debug)]
struct Even;

impl Plugin for Even {
    fn name(&self) -> &'static str {
        "Even"
    }

    fn refuses(&self, _: &PodInfo, node: &NodeInfo, _: &Snapshot) -> Option<String> {
        let odd = node.spec.name.ends_with(['1', '3', '5', '7', '9']);
        odd.then(|| "node(s) were odd".to_owned())
    }

    fn points(&self, _: &PodInfo, node: &NodeInfo, _: &Snapshot) -> i64 {
        if node.spec.name.ends_with('4') { 100 } else { 0 }
    }
}

#[test]
fn a_file_enables_the_rules_of_a_program() {
    let snapshot = cluster((1..=6).map(|number| node(&format!("n{number}"), json!({}))));
    let own: [Arc<dyn Plugin>; 1] = [Arc::new(Even)];
    let read = |rest: &str| {
        let text = format!("{}{}", super::HEAD, of_profile(rest));
        Configuration::parse_with(text.as_bytes(), &own).unwrap().profiles.remove(0)
    };
    let web = asking("web", "1");
    let both = read("plugins: {multiPoint: {enabled: [{name: Even, weight: 50}]}}");
    assert_eq!(goes(&snapshot, &web, &both), "n4");
    let odd = cluster([node("n1", json!({}))]);
    assert_eq!(goes(&odd, &web, &both), "0/1 nodes are available: 1 node(s) were odd.");
    let scoring = read("plugins: {score: {enabled: [{name: Even}]}}");
    assert_eq!(goes(&odd, &web, &scoring), "n1");
    assert_eq!(goes(&odd, &web, &read("")), "n1");
    assert_eq!(
        goes(&odd, &web, &Profile::default().with(Even, 1)),
        "0/1 nodes are available: 1 node(s) were odd."
    );
}
