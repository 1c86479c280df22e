//! What a cluster sees to unasked: that Services lead to their pods and balancers to Services, that namespaces have what
//! their pods need, that roles are put together, and that what is over goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Pod, ReplicationController, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::ClusterRole;
use orchestra_core::api::{Patch, Status};
use orchestra_core::controllers::Config;
use orchestra_core::simulation::{Scenario, State};
use serde_json::json;

use super::scenarios::{create, has_ended, of, serves, template};

/// The addresses that the slices of a Service list.
fn listed(state: &State, service: &str) -> Vec<String> {
    let of = |slice: &Arc<EndpointSlice>| {
        let labels = slice.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get("kubernetes.io/service-name")).is_some_and(|name| name == service)
    };
    let slices = state.objects::<EndpointSlice>().filter(of);
    let mut listed: Vec<String> = slices
        .flat_map(|slice| slice.endpoints.clone().into_iter().flatten())
        .flat_map(|endpoint| endpoint.addresses)
        .collect();
    listed.sort();
    listed
}

fn addresses_of_balancers(state: &State) -> Vec<(String, String)> {
    let shown = |service: Arc<Service>| {
        let status = service.status.clone()?.load_balancer?.ingress?.first()?.ip.clone()?;
        Some((status, service.metadata.name.clone()?))
    };
    state.objects::<Service>().filter_map(shown).collect()
}

/// A ReplicationController behind a Service, Endpoints by hand, and more Services that want a balancer than there are
/// addresses.
pub fn services() -> Scenario {
    let pool: Vec<_> = ["192.0.2.240-192.0.2.241"].iter().filter_map(|range| range.parse().ok()).collect();
    Scenario::new("services")
        .nodes(2)
        .cluster(move |builder| {
            builder.controllers(Config { load_balancers: pool.clone().into(), ..Config::default() })
        })
        .script(|world| async move {
            let client = world.client();
            let balancer = |name: &str| {
                let spec =
                    json!({"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]});
                json!({"metadata": {"name": name}, "spec": spec})
            };
            for name in ["one", "two", "three"] {
                create::<Service>(&client, balancer(name)).await?;
            }
            let plain = json!({"metadata": {"name": "outside"}, "spec": {"ports": [{"port": 80}]}});
            create::<Service>(&client, plain).await?;
            let subset = |ip: &str| json!([{"addresses": [{"ip": ip}], "ports": [{"port": 80}]}]);
            create::<Endpoints>(
                &client,
                json!({"metadata": {"name": "outside"}, "subsets": subset("198.51.100.1")}),
            )
            .await?;
            let mut controller = of("web", 3);
            controller["spec"]["selector"] = json!({"app": "web"});
            create::<ReplicationController>(&client, controller).await?;
            world.sleep(Duration::from_secs(10)).await;
            client.api::<Service>("default").delete("one").await?;
            let moved = Patch::Merge(json!({"subsets": subset("198.51.100.2")}));
            client.api::<Endpoints>("default").patch("outside", moved).await?;
            client.api::<ReplicationController>("default").scale("web", 2).await?;
            world.sleep(Duration::from_secs(5)).await;
            // It is not selected any more, and the controller makes another.
            let pods = client.api::<Pod>("default");
            if let Some(pod) = pods.list().await?.first() {
                let other = Patch::Merge(json!({"metadata": {"labels": {"app": "other"}}}));
                pods.patch(pod.metadata.name.as_deref().unwrap_or_default(), other).await?;
            }
            Ok(())
        })
        .always("a balancer's address is of one Service", |state| {
            let mut shown = BTreeMap::new();
            for (ip, name) in addresses_of_balancers(state) {
                if let Some(other) = shown.insert(ip.clone(), name.clone()) {
                    return Err(format!("{ip} is of {other} and of {name}"));
                }
            }
            Ok(())
        })
        .eventually("two pods serve", serves("web", 2, "web:1"))
        .eventually("each Service that is left has an address", |state| {
            let mut names: Vec<_> = addresses_of_balancers(state).into_iter().map(|(_, name)| name).collect();
            names.sort();
            if names == ["three", "two"] { Ok(()) } else { Err(format!("{names:?} have")) }
        })
        .eventually("slices list the pods, and what is written by hand", |state| {
            let ip = |pod: Arc<Pod>| {
                let is_of = pod.metadata.labels.as_ref()?.get("app")? == "web" && !has_ended(&pod);
                is_of.then(|| pod.status.as_ref()?.pod_ip.clone())?
            };
            let mut pods: Vec<String> = state.objects::<Pod>().filter_map(ip).collect();
            pods.sort();
            let nobody: Vec<String> = Vec::new();
            let outside = vec!["198.51.100.2".to_owned()];
            for (service, wanted) in
                [("one", &nobody), ("two", &pods), ("three", &pods), ("outside", &outside)]
            {
                let listed = listed(state, service);
                if listed != *wanted {
                    return Err(format!("{service}: {listed:?} are listed, {wanted:?} wanted"));
                }
            }
            Ok(())
        })
}

/// Namespaces that come, a default account that goes, a role of roles, and Jobs that are over.
pub fn upkeep() -> Scenario {
    Scenario::new("upkeep")
        .nodes(1)
        .cluster(|builder| {
            builder.controllers(Config { root_ca: Some("the authority".to_owned()), ..Config::default() })
        })
        .script(|world| async move {
            let client = world.client();
            let named = |name: &str| json!({"metadata": {"name": name}});
            let space = |name: &str| serde_json::from_value(named(name)).map_err(Status::internal);
            client.cluster::<Namespace>().create(&space("a")?).await?;
            let of_roles = json!({
                "metadata": {"name": "all"}, "rules": [],
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"part": "yes"}}]},
            });
            let part = |name: &str, resource: &str| {
                json!({
                    "metadata": {"name": name, "labels": {"part": "yes"}},
                    "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}],
                })
            };
            let roles = client.cluster::<ClusterRole>();
            for role in [of_roles, part("of-pods", "pods"), part("of-secrets", "secrets")] {
                roles.create(&serde_json::from_value(role).map_err(Status::internal)?).await?;
            }
            let mut once = template("once");
            once["spec"]["restartPolicy"] = json!("Never");
            once["spec"]["containers"][0]["command"] = json!(["sleep", "3"]);
            once["spec"]["containers"][0].as_object_mut().map(|fields| fields.remove("readinessProbe"));
            for (name, life) in [("soon", json!(10)), ("never", json!(null))] {
                let spec = json!({"ttlSecondsAfterFinished": life, "backoffLimit": 1000, "template": once});
                create::<Job>(&client, json!({"metadata": {"name": name}, "spec": spec})).await?;
            }
            world.sleep(Duration::from_secs(6)).await;
            client.cluster::<Namespace>().create(&space("b")?).await?;
            // They may not have come yet.
            let gone = |outcome: Result<(), Status>| match outcome {
                Err(status) if !status.is_not_found() => Err(status),
                _ => Ok(()),
            };
            gone(client.api::<ServiceAccount>("a").delete("default").await)?;
            gone(client.api::<ConfigMap>("a").delete("kube-root-ca.crt").await)?;
            roles.delete("of-secrets").await?;
            world.sleep(Duration::from_secs(20)).await;
            Ok(())
        })
        .always("a Job is there until some time after its end", |state| {
            let done = |job: &Job| job.status.as_ref().is_some_and(|status| status.completion_time.is_some());
            let early = state
                .removed::<Job>()
                .find(|job| !done(job) || job.metadata.name.as_deref() == Some("never"));
            early.map_or(Ok(()), |job| Err(format!("{:?} is gone", job.metadata.name)))
        })
        .eventually("of the Jobs one is left", |state| {
            let jobs: Vec<_> = state.objects::<Job>().filter_map(|job| job.metadata.name.clone()).collect();
            if jobs == ["never"] { Ok(()) } else { Err(format!("{jobs:?}")) }
        })
        .eventually("namespaces have what their pods need", |state| {
            for space in ["a", "b", "default"] {
                state.object::<ServiceAccount>(space, "default").ok_or(format!("{space} has no account"))?;
                let map = state.object::<ConfigMap>(space, "kube-root-ca.crt");
                let map = map.ok_or(format!("{space} has no authority"))?;
                let held = map.data.as_ref().and_then(|data| data.get("ca.crt").cloned());
                if held.as_deref() != Some("the authority") {
                    return Err(format!("{space} has {held:?}"));
                }
            }
            Ok(())
        })
        .eventually("the role of roles has those that there are", |state| {
            let all = state.object::<ClusterRole>("", "all").ok_or("it is gone")?;
            let resources: Vec<String> = all
                .rules
                .iter()
                .flatten()
                .flat_map(|rule| rule.resources.clone().into_iter().flatten())
                .collect();
            if resources == ["pods"] { Ok(()) } else { Err(format!("{resources:?}")) }
        })
}
