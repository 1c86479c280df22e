//! What a decision costs by roles, and what it costs to be let in: `cargo bench -p orchestra-benches --bench access`.
//!
//! A thousand roles, each bound to a group and a user of its own, and the roles that every cluster has. The baseline walks
//! over all bindings and looks for the user in each, as Kubernetes does.

use criterion::{Criterion, criterion_group, criterion_main};
use futures::FutureExt as _;
use orchestra_core::access::flow_control::{FlowControl, SEATS};
use orchestra_core::api::access::AccessRequest;
use orchestra_core::api::{Target, User};
use orchestra_core::cluster::Cluster;
use orchestra_core::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use orchestra_core::k8s_openapi::api::flowcontrol::v1::FlowSchema;
use orchestra_core::k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROLES: usize = 1000;
const NAMESPACE: &str = "default";
/// How many flow schemas every cluster has.
const SCHEMAS: usize = 11;

criterion_group!(access, decisions, flows);
criterion_main!(access);

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object of the kind")
}

fn role(index: usize) -> Role {
    object(json!({
        "metadata": {"name": format!("role-{index}")},
        "rules": [
            {"apiGroups": [""], "resources": ["configmaps", "pods", "pods/log"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]},
        ],
    }))
}

fn binding(index: usize) -> RoleBinding {
    let group = "rbac.authorization.k8s.io";
    object(json!({
        "metadata": {"name": format!("binding-{index}")},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": format!("role-{index}")},
        "subjects": [
            {"apiGroup": group, "kind": "User", "name": format!("user-{index}")},
            {"apiGroup": group, "kind": "Group", "name": format!("group-{index}")},
        ],
    }))
}

async fn cluster() -> Cluster {
    let cluster = Cluster::builder().rbac().start().await.expect("it starts");
    let (roles, bindings) =
        (cluster.client().api::<Role>(NAMESPACE), cluster.client().api::<RoleBinding>(NAMESPACE));
    for index in 0..ROLES {
        let (role, binding) = (role(index), binding(index));
        let written = futures::future::try_join(roles.create(&role), bindings.create(&binding)).await;
        written.expect("they are made");
    }
    cluster
}

fn decisions(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let cluster = runtime.block_on(cluster());
    let authorizer = cluster.server().authorizer().clone();
    let user = User::named("user-500").in_group("group-900").in_group("others");
    let (maps, secrets) = (
        Target::of::<ConfigMap>(Some(NAMESPACE)).named("m"),
        Target::of::<Secret>(Some(NAMESPACE)).named("s"),
    );
    for (name, target, allowed) in [("allowed", &maps, true), ("refused", &secrets, false)] {
        c.bench_function(&format!("rbac/decision/{name}"), |bencher| {
            bencher.iter(|| {
                let request = AccessRequest::resource("get", target);
                // It reads what it holds, and waits for nothing.
                let decision =
                    authorizer.authorize(&user, &request).now_or_never().expect("a decision at once");
                assert_eq!(decision.is_allowed(), allowed);
            });
        });
    }
    let bindings: Vec<(RoleBinding, Role)> = (0..ROLES).map(|index| (binding(index), role(index))).collect();
    c.bench_function("rbac/decision/baseline_walk", |bencher| {
        bencher.iter(|| assert!(!walk(&bindings, &user, "secrets")));
    });
    runtime.block_on(cluster.shutdown());
}

/// What it costs to be let in when there are seats: by the flow schemas that every cluster has, as a service account whose
/// schema is one of the last.
fn flows(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let cluster = runtime.block_on(async {
        let cluster = Cluster::builder().start().await.expect("it starts");
        let schemas = cluster.client().cluster::<FlowSchema>();
        while schemas.list().await.expect("they are listed").len() < SCHEMAS {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        cluster
    });
    let control = FlowControl::new(cluster.server().caches(), cluster.client().clock(), SEATS);
    let account = User::service_account("default", "builder");
    let target = Target::of::<ConfigMap>(Some(NAMESPACE)).named("m");
    for (name, user) in [("service_account", &account), ("administrator", &User::admin())] {
        c.bench_function(&format!("flow_control/admit/{name}"), |bencher| {
            bencher.iter(|| {
                let request = AccessRequest::resource("get", &target);
                // There is a seat: nothing is waited for.
                let admitted = control.admit(user, &request, 1).now_or_never().expect("a seat at once");
                assert!(admitted.pass.is_ok());
            });
        });
    }
    runtime.block_on(cluster.shutdown());
}

fn walk(bindings: &[(RoleBinding, Role)], user: &User, resource: &str) -> bool {
    let holds = |binding: &RoleBinding| {
        binding.subjects.iter().flatten().any(|subject| match &*subject.kind {
            "User" => subject.name == user.name,
            _ => user.groups.contains(&subject.name),
        })
    };
    let allows = |role: &Role| {
        role.rules.iter().flatten().any(|rule| {
            rule.resources.iter().flatten().any(|held| held == resource)
                && rule.verbs.iter().any(|verb| verb == "get")
        })
    };
    bindings.iter().any(|(binding, role)| holds(binding) && allows(role))
}
