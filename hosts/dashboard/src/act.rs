//! What forms do: each is a request to the API, as whoever sent it.

use futures::future::join_all;
use http::Method;
use jiff::Timestamp;
use orchestra_core::api::history::restored;
use serde_json::{Value, json};

use crate::api::{Failure, Write, items, with};
use crate::route::{self, Place, Query, Spot, escape};
use crate::tell::{list, text};
use crate::visit::Visit;

/// What was done, and which page is next.
pub(crate) struct Done {
    pub(crate) said: String,
    pub(crate) next: String,
}

impl Done {
    fn to(spot: &Spot, said: impl Into<String>) -> Self {
        Self { said: said.into(), next: spot.link() }
    }
}

/// Does what a form asks for.
///
/// # Errors
/// What the API has against it.
pub(crate) async fn perform(visit: &Visit<'_>, form: &Query) -> Result<Done, Failure> {
    let spot = Spot::of(form);
    if !spot.is_sound() {
        return Err(Failure::new(400, "No object is named."));
    }
    let patch = async |patch: Value| visit.asker.write(Write::merge(spot.path(), &patch)).await;
    match form.get("act") {
        "scale" => scale(visit, &spot, form.get("replicas")).await,
        "restart" => {
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
            patch(json!({"spec": {"template": {"metadata": {"annotations": annotations}}}})).await?;
            Ok(Done::to(&spot, "Its pods are replaced one after another."))
        }
        "cordon" | "uncordon" => {
            let cordons = form.get("act") == "cordon";
            patch(json!({"spec": {"unschedulable": cordons}})).await?;
            let said = if cordons { "It takes no new pods." } else { "It takes pods again." };
            Ok(Done::to(&spot, said))
        }
        "suspend" | "resume" => {
            let suspends = form.get("act") == "suspend";
            patch(json!({"spec": {"suspend": suspends}})).await?;
            Ok(Done::to(&spot, if suspends { "It is suspended." } else { "It runs again." }))
        }
        "run" => run(visit, &spot).await,
        "roll-back" => roll_back(visit, &spot).await,
        "restore" => restore(visit, &spot, form.get("revision")).await,
        "delete" => delete(visit, &spot, form).await,
        "drain" => drain(visit, &spot).await,
        other => Err(Failure::new(400, format!("{other:?} is nothing that can be done."))),
    }
}

async fn scale(visit: &Visit<'_>, spot: &Spot, replicas: &str) -> Result<Done, Failure> {
    let wrong = || Failure::new(400, format!("{replicas:?} is no number of replicas."));
    let replicas: u32 = replicas.trim().parse().map_err(|_| wrong())?;
    let patch = json!({"spec": {"replicas": replicas}});
    visit.asker.write(Write::merge(format!("{}/scale", spot.path()), &patch)).await?;
    Ok(Done::to(spot, format!("Scaled to {replicas}.")))
}

/// Makes a job of a cron job now, as `kubectl create job --from` does.
async fn run(visit: &Visit<'_>, spot: &Spot) -> Result<Done, Failure> {
    let cron = visit.asker.get(&spot.path()).await?;
    let template = &cron["spec"]["jobTemplate"];
    // A name of at most 63 letters, which its pods' labels must hold.
    let stem: String = spot.name.chars().take(40).collect();
    let name = format!("{stem}-manual-{}", Timestamp::now().as_second());
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert("cronjob.kubernetes.io/instantiate".to_owned(), json!("manual"));
    let owner = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "name": spot.name, "uid": cron["metadata"]["uid"], "controller": true,
    });
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "spec": template["spec"],
        "metadata": {
            "name": name, "labels": template["metadata"]["labels"], "annotations": annotations,
            "ownerReferences": [owner],
        },
    });
    let jobs = Place::new("batch", "v1", "jobs");
    visit.asker.write(Write::json(Method::POST, jobs.path(&spot.namespace), &job)).await?;
    Ok(Done::to(&Spot::new(jobs, &spot.namespace, &name), "It runs now."))
}

/// Gives a deployment again the template of one of its replica sets, as `kubectl rollout undo` does.
async fn roll_back(visit: &Visit<'_>, spot: &Spot) -> Result<Done, Failure> {
    let set = visit.asker.get(&spot.path()).await?;
    let owner =
        list(&set, "/metadata/ownerReferences").iter().find(|owner| text(owner, "/kind") == "Deployment");
    let owner = owner.ok_or_else(|| Failure::new(400, "No deployment owns it."))?;
    let deployment =
        Spot::new(Place::new("apps", "v1", "deployments"), &spot.namespace, text(owner, "/name"));
    let mut template = set["spec"]["template"].clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        // The label is the replica set's own.
        labels.remove("pod-template-hash");
    }
    let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    visit.asker.write(Write::json_patch(deployment.path(), &patch)).await?;
    Ok(Done::to(&deployment, format!("It goes back to what {} runs.", spot.name)))
}

/// Makes an object again what it was.
async fn restore(visit: &Visit<'_>, spot: &Spot, revision: &str) -> Result<Done, Failure> {
    let old = visit.asker.get(&format!("{}?asOf={}", spot.path(), escape(revision))).await?;
    match visit.asker.get(&spot.path()).await {
        Ok(now) => {
            visit.asker.write(Write::json(Method::PUT, spot.path(), &restored(&old, Some(&now)))).await?;
        }
        Err(failure) if failure.code == 404 => {
            let path = spot.place.path(&spot.namespace);
            visit.asker.write(Write::json(Method::POST, path, &restored(&old, None))).await?;
        }
        Err(failure) => return Err(failure),
    }
    Ok(Done::to(spot, format!("It is again what it was at revision {revision}.")))
}

/// Deletes the very object that was shown.
async fn delete(visit: &Visit<'_>, spot: &Spot, form: &Query) -> Result<Done, Failure> {
    let policy = match form.get("policy") {
        "Orphan" => "Orphan",
        "Foreground" => "Foreground",
        _ => "Background",
    };
    let options = json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy,
        "preconditions": {"uid": form.get("uid")},
    });
    visit.asker.write(Write::json(Method::DELETE, spot.path(), &options)).await?;
    let next = format!("table?{}", spot.place.query().with("in", &*spot.namespace));
    Ok(Done { said: format!("{} is deleted.", spot.name), next })
}

/// The pods of a node that a drain moves: not those of daemon sets, which tolerate it and would come back, nor those that
/// the node runs of its own accord.
pub(crate) fn to_move(pods: &[Value]) -> Vec<&Value> {
    let stays = |pod: &&Value| {
        let owners = list(pod, "/metadata/ownerReferences");
        let of_daemon = owners.iter().any(|owner| text(owner, "/kind") == "DaemonSet");
        let mirrored = pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some();
        let ended = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
        of_daemon || mirrored || ended
    };
    pods.iter().filter(|pod| !stays(pod)).collect()
}

/// The pods of a node.
pub(crate) async fn pods_on(visit: &Visit<'_>, node: &str) -> Result<Value, Failure> {
    let words = Query::default().with("fieldSelector", format!("spec.nodeName={node}"));
    visit.asker.get(&with(&route::pods().path(""), &words)).await
}

/// Cordons a node and evicts its pods, each once: what a disruption budget holds back is told, to be asked for again.
async fn drain(visit: &Visit<'_>, spot: &Spot) -> Result<Done, Failure> {
    visit.asker.write(Write::merge(spot.path(), &json!({"spec": {"unschedulable": true}}))).await?;
    let pods = pods_on(visit, &spot.name).await?;
    let evicted = to_move(items(Some(&pods))).into_iter().map(|pod| async move {
        let (name, namespace) = (text(pod, "/metadata/name"), text(pod, "/metadata/namespace"));
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace},
        });
        let path = format!("{}/eviction", Spot::new(route::pods(), namespace, name).path());
        visit.asker.write(Write::json(Method::POST, path, &eviction)).await
    });
    let outcomes = join_all(evicted).await;
    let failed: Vec<&Failure> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    let gone = outcomes.len() - failed.len();
    let said = match failed.first() {
        None => format!("It takes no new pods, and {gone} pods move away."),
        Some(first) => format!(
            "It takes no new pods, and {gone} pods move away. {} stay for now: {}. Drain it again when others are ready.",
            failed.len(),
            first.message.trim_end_matches('.')
        ),
    };
    Ok(Done::to(spot, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_moves_what_can_live_elsewhere() {
        let pod = |name: &str, more: Value| {
            let mut pod = json!({"metadata": {"name": name}, "status": {"phase": "Running"}});
            for (key, value) in more.as_object().unwrap() {
                pod["metadata"][key] = value.clone();
            }
            pod
        };
        let mut ended = pod("ended", json!({}));
        ended["status"]["phase"] = json!("Succeeded");
        let pods = [
            pod("web", json!({"ownerReferences": [{"kind": "ReplicaSet"}]})),
            pod("bare", json!({})),
            pod("log", json!({"ownerReferences": [{"kind": "DaemonSet"}]})),
            pod("static", json!({"annotations": {"kubernetes.io/config.mirror": "x"}})),
            ended,
        ];
        let names: Vec<&str> = to_move(&pods).iter().map(|pod| text(pod, "/metadata/name")).collect();
        assert_eq!(names, ["web", "bare"]);
    }
}
