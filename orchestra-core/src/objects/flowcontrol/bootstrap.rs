//! The flow schemas and priority levels that every cluster has from the start, as Kubernetes 1.36 has them.
//!
//! Those that are mandatory are what requests fall back on: their specifications are fixed. The others are suggested,
//! and follow a newer version of this program only as long as nobody has changed them.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// The annotation that says whether an object follows the version of the program.
pub(crate) const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// An object that every cluster has.
pub(crate) struct Bootstrap {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whether its specification is fixed.
    pub(crate) mandatory: bool,
    /// Its specification.
    pub(crate) spec: Value,
}

/// Who sends what is to be told apart.
enum Who {
    Group(&'static str),
    User(&'static str),
    /// The service accounts of the system's own namespace.
    System,
}

const EVERYBODY: [Who; 2] = [Who::Group("system:unauthenticated"), Who::Group("system:authenticated")];
const NODES: [Who; 1] = [Who::Group("system:nodes")];
const MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// The priority levels.
pub(crate) fn priority_levels() -> &'static [Bootstrap] {
    static ALL: LazyLock<Vec<Bootstrap>> = LazyLock::new(all_levels);
    &ALL
}

/// The flow schemas.
pub(crate) fn flow_schemas() -> &'static [Bootstrap] {
    static ALL: LazyLock<Vec<Bootstrap>> = LazyLock::new(all_schemas);
    &ALL
}

fn all_levels() -> Vec<Bootstrap> {
    let limited = |name, shares: i32, lendable: i32, queues: i32, hand: i32| Bootstrap {
        name,
        mandatory: false,
        spec: json!({
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": shares,
                "lendablePercent": lendable,
                "limitResponse": {
                    "type": "Queue",
                    "queuing": { "queues": queues, "handSize": hand, "queueLengthLimit": 50 },
                },
            },
        }),
    };
    let fixed = |name, spec| Bootstrap { name, mandatory: true, spec };
    let rest = json!({
        "nominalConcurrencyShares": 5,
        "lendablePercent": 0,
        "limitResponse": { "type": "Reject" },
    });
    let exempt = json!({ "nominalConcurrencyShares": 0, "lendablePercent": 0 });
    vec![
        fixed("catch-all", json!({ "type": "Limited", "limited": rest })),
        fixed("exempt", json!({ "type": "Exempt", "exempt": exempt })),
        limited("system", 30, 33, 64, 6),
        limited("node-high", 40, 25, 64, 6),
        limited("leader-election", 10, 0, 16, 4),
        limited("workload-high", 40, 50, 128, 6),
        limited("workload-low", 100, 90, 128, 6),
        limited("global-default", 20, 50, 128, 6),
    ]
}

fn all_schemas() -> Vec<Bootstrap> {
    let everything = |who: &[Who]| rule(who, &[resources(&["*"], "*", &["*"], true)], Some(&["*"]));
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    let probes = rule(&EVERYBODY, &[], Some(&["/healthz", "/readyz", "/livez"]));
    let leases = |verbs: &[&str]| resources(verbs, "coordination.k8s.io", &["leases"], false);
    let leaders = [Who::User(MANAGER), Who::User(SCHEDULER), Who::System];
    let elections = rule(&leaders, &[leases(&["get", "create", "update"])], None);
    let own = resources(&["*"], "", &["nodes", "nodes/status"], true);
    let heartbeats = rule(&NODES, &[own, leases(&["*"])], None);
    vec![
        schema("exempt", "exempt", 1, None, everything(&[Who::Group("system:masters")])).mandatory(),
        schema("catch-all", "catch-all", 10_000, by_user, everything(&EVERYBODY)).mandatory(),
        schema("system-nodes", "system", 500, by_user, everything(&NODES)),
        schema("system-node-high", "node-high", 400, by_user, heartbeats),
        schema("probes", "exempt", 2, None, probes),
        schema("system-leader-election", "leader-election", 100, by_user, elections),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            by_namespace,
            everything(&[Who::User(MANAGER)]),
        ),
        schema("kube-scheduler", "workload-high", 800, by_namespace, everything(&[Who::User(SCHEDULER)])),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            by_namespace,
            everything(&[Who::System]),
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            by_user,
            everything(&[Who::Group("system:serviceaccounts")]),
        ),
        schema("global-default", "global-default", 9900, by_user, everything(&EVERYBODY)),
    ]
}

impl Bootstrap {
    fn mandatory(self) -> Self {
        Self { mandatory: true, ..self }
    }
}

fn schema(
    name: &'static str,
    level: &str,
    precedence: i32,
    distinguisher: Option<&str>,
    rule: Value,
) -> Bootstrap {
    let mut spec = json!({
        "priorityLevelConfiguration": { "name": level },
        "matchingPrecedence": precedence,
        "rules": [rule],
    });
    if let Some(distinguisher) = distinguisher {
        spec["distinguisherMethod"] = json!({ "type": distinguisher });
    }
    Bootstrap { name, mandatory: false, spec }
}

fn rule(who: &[Who], resources: &[Value], paths: Option<&[&str]>) -> Value {
    let mut rule = json!({ "subjects": who.iter().map(subject).collect::<Vec<_>>() });
    if !resources.is_empty() {
        rule["resourceRules"] = resources.into();
    }
    if let Some(paths) = paths {
        let verbs = if paths == ["*"] { ["*"] } else { ["get"] };
        rule["nonResourceRules"] = json!([{ "verbs": verbs, "nonResourceURLs": paths }]);
    }
    rule
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule =
        json!({ "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"] });
    if cluster {
        rule["clusterScope"] = true.into();
    }
    rule
}

fn subject(who: &Who) -> Value {
    match who {
        Who::Group(name) => json!({ "kind": "Group", "group": { "name": name } }),
        Who::User(name) => json!({ "kind": "User", "user": { "name": name } }),
        Who::System => json!({
            "kind": "ServiceAccount",
            "serviceAccount": { "name": "*", "namespace": "kube-system" },
        }),
    }
}
