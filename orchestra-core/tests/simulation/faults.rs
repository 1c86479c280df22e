//! Each fault does what it says, and plans that do harm are found and made small.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use orchestra_core::api::{Client, Reason};
use orchestra_core::cluster::Component;
use orchestra_core::control::{Action, Context, Controller, Error};
use orchestra_core::simulation::{Explore, Fault, FaultKind, FaultPlan, Scenario, Simulation, Strategy};
use serde_json::json;

use super::scenarios::{create, of, serves};

/// A controller that copies each map `NAME` to `NAME-copy`, and notes in the map that it has.
async fn copy(context: Context) -> Result<Action, Error> {
    let Some(map) = context.object::<ConfigMap>().await? else { return Ok(Action::Done) };
    let name = context.name().name();
    if name.ends_with("-copy") || !name.starts_with("map") {
        return Ok(Action::Done);
    }
    let api = context.api::<ConfigMap>();
    let copy_name = format!("{name}-copy");
    let copied = context.cache::<ConfigMap>().await?;
    let there =
        copied.get(&orchestra_core::meta::ObjectName::namespaced("default", copy_name.as_str())).is_some();
    if !there {
        let copy = json!({"metadata": {"name": copy_name}, "data": map.data});
        let copy: ConfigMap = serde_json::from_value(copy)?;
        api.create(&copy).await?;
    }
    Ok(Action::Done)
}

fn copies(bug: bool) -> Scenario {
    Scenario::new("copies")
        .cluster(move |builder| {
            builder.without(Component::ControllerManager).without(Component::Scheduler).part(
                "copier",
                move |client: Client, stop| async move {
                    let controller = Controller::new::<ConfigMap>(client);
                    let reconcile = move |context: Context| async move {
                        // The bug: what it made before is taken for made by somebody else.
                        let outcome = copy(context).await;
                        match outcome {
                            Err(_) if bug => Ok(Action::Done),
                            outcome => outcome,
                        }
                    };
                    let _ = controller.run(reconcile, stop.cancelled_owned()).await;
                },
            )
        })
        .script(|world| async move {
            for number in 0..4 {
                let name = format!("map{number}");
                create::<ConfigMap>(&world.client(), json!({"metadata": {"name": name}})).await?;
                world.sleep(Duration::from_secs(2)).await;
            }
            Ok(())
        })
        .patience(Duration::from_secs(120))
        .eventually("each map has a copy", |state| {
            let copies = state.objects::<ConfigMap>();
            let count =
                copies.filter(|map| map.metadata.name.as_deref().unwrap_or("").ends_with("-copy")).count();
            if count == 4 { Ok(()) } else { Err(format!("{count} copies of 4")) }
        })
}

#[test]
fn what_a_fault_does_is_in_the_story() {
    let told = |plan: &str| {
        let life = Simulation::new(&copies(false), 1).faults(plan.parse().unwrap()).run();
        assert_eq!(life.violation, None, "{plan}\n{}", life.story);
        let lines = life
            .story
            .lines
            .iter()
            .map(|line| format!("{} {} {} {}", line.at.as_secs(), line.who, line.what, line.why));
        lines.collect::<Vec<_>>().join("\n")
    };
    let quiet = told("");
    assert_eq!(quiet.matches("create configmaps default/map").count(), 4, "{quiet}");
    let refused = told("0s refuse-calls copier amount=1000 lasts=3s");
    assert!(refused.contains("fault: refused"), "{refused}");
    let lost = told("0s lose-answers copier amount=1000 lasts=3s");
    assert_eq!(lost.matches("done, and its answer lost").count(), 2, "{lost}");
    let died = told("0s crash copier amount=2");
    assert!(died.contains("copier dies") && died.contains("copier starts"), "{died}");
    let hung = told("1s hang copier lasts=30s");
    assert!(
        hung.lines().any(|line| line.starts_with("31 copier create configmaps default/map3-copy")),
        "{hung}"
    );
    let held = told("1s hold-events copier lasts=30s");
    assert!(
        held.lines().any(|line| line.starts_with("31 copier create configmaps default/map3-copy")),
        "{held}"
    );
    let skipped = told("1s skip-events copier lasts=30s");
    assert!(
        skipped.lines().any(|line| line.starts_with("31 copier create configmaps default/map3-copy")),
        "{skipped}"
    );
    let late = told("0s delay-events copier amount=5000 lasts=60s");
    assert!(
        late.lines().any(|line| line.starts_with("5 copier create configmaps default/map0-copy")),
        "{late}"
    );
    let cut_off = told("1s hang-calls copier lasts=30s");
    assert!(
        cut_off.lines().any(|line| line.starts_with("31 copier create configmaps default/map3-copy")),
        "{cut_off}"
    );
    // It died before the last map was made, and sees none of what came since the first.
    let past = told("1s restart-in-past copier amount=4000 lasts=20s");
    assert!(past.contains("5 copier dies") && past.contains("21 copier sees the present again"), "{past}");
    assert!(
        past.lines().any(|line| line.starts_with("21 copier create configmaps default/map3-copy")),
        "{past}"
    );
    let stopped = told("1s stop copier lasts=30s");
    assert!(
        stopped.lines().any(|line| line.starts_with("31 copier create configmaps default/map1-copy")),
        "{stopped}"
    );
}

/// A part of one's own that notes when it first sees the map of each Secret, and what time it thinks that it is.
fn notes() -> Scenario {
    Scenario::new("notes")
        .cluster(|builder| {
            builder.part("noter", |client: Client, stop| async move {
                let controller = Controller::new::<Secret>(client).reads::<ConfigMap>();
                let reconcile = |context: Context| async move {
                    let name = context.name().clone();
                    let sees_map = context.cache::<ConfigMap>().await?.get(&name).is_some();
                    let note = json!({"metadata": {"name": format!("{}-seen", name.name())}, "data": {
                        "map": sees_map.to_string(), "at": context.clock().now().to_string(),
                    }});
                    if name.name().starts_with("a") {
                        let note: ConfigMap = serde_json::from_value(note)?;
                        match context.api::<ConfigMap>().create(&note).await {
                            Err(status) if status.reason() == Reason::AlreadyExists => {}
                            outcome => drop(outcome?),
                        }
                    }
                    Ok::<_, Error>(Action::Done)
                };
                let _ = controller.run(reconcile, stop.cancelled_owned()).await;
            })
        })
        .script(|world| async move {
            world.sleep(Duration::from_secs(5)).await;
            for kind in 0..8 {
                let object = json!({"metadata": {"name": format!("a{kind}")}});
                create::<ConfigMap>(&world.client(), object.clone()).await?;
                create::<Secret>(&world.client(), object).await?;
            }
            Ok(())
        })
}

#[test]
fn kinds_come_in_another_order_and_clocks_differ() {
    let lived = |plan: &str| {
        let life = Simulation::new(&notes(), 1).faults(plan.parse().unwrap()).run();
        assert_eq!(life.violation, None, "{plan}\n{}", life.story);
        let notes = life.state.objects::<ConfigMap>().filter_map(|map| map.data.clone());
        notes.collect::<Vec<_>>()
    };
    let count = |notes: &[BTreeMap<String, String>], sees: &str| {
        notes.iter().filter(|note| note.get("map").is_some_and(|it| it == sees)).count()
    };
    let quiet = lived("");
    assert_eq!((count(&quiet, "true"), count(&quiet, "false")), (8, 0), "{quiet:?}");
    // Of some amounts the maps come late and the secrets do not.
    let orders: Vec<usize> = (400..406)
        .map(|amount| count(&lived(&format!("0s shuffle-kinds noter amount={amount} lasts=60s")), "false"))
        .collect();
    assert!(orders.contains(&8) && orders.contains(&0), "{orders:?}");
    let ahead = lived("0s skew-clock noter amount=7200000 lasts=60s");
    let hour = |notes: &[BTreeMap<String, String>]| {
        let at = notes.iter().find_map(|note| note.get("at")).unwrap();
        at.parse::<Timestamp>().unwrap().as_second() / 3600
    };
    assert_eq!(hour(&ahead) - hour(&quiet), 2);
}

#[test]
fn disks_are_lost_and_run_full() {
    let scenario = Scenario::new("disks").nodes(2).script(|world| async move {
        create::<Deployment>(&world.client(), of("web", 4)).await?;
        world.sleep(Duration::from_secs(30)).await;
        let (here, machine) = (world.machines().len(), world.machine("fake-0").cloned());
        world.tell("test", format!("{here} machines"), format!("{:?}", machine.map(|it| it.running().len())));
        Ok(())
    });
    let scenario = scenario.eventually("four serve", serves("web", 4, "web:1"));
    let lived = |plan: &str| {
        let life = Simulation::new(&scenario, 1).faults(plan.parse().unwrap()).run();
        assert_eq!(life.violation, None, "{plan}\n{}", life.story);
        life
    };
    lived("10s lose-disk fake-0 lasts=8s");
    lived("10s lose-disk fake-0 lasts=300s");
    let full = lived("10s fill-disk fake-0 lasts=120s");
    let evicted =
        full.story.lines.iter().any(|line| line.who == "node/fake-0" && line.what.contains("pods/status"));
    let places = full.state.objects::<Pod>().filter_map(|pod| pod.spec.clone()?.node_name);
    let places: BTreeSet<String> = places.collect();
    assert!(evicted && places.contains("fake-1"), "{places:?}");
}

#[test]
fn the_least_that_does_harm_is_found_and_replays() {
    let many = Strategy::new("many", |_, chance| {
        let harmless = (0..5).map(|_| {
            Fault::new(FaultKind::DelayEvents, "copier").at(Duration::from_secs(chance.below(9))).amount(10)
        });
        let harm = Fault::new(FaultKind::RefuseCalls, "copier").amount(1000).lasts(Duration::from_secs(60));
        FaultPlan::of(harmless.chain([harm]))
    });
    let found = Explore::new(copies(true)).strategies([many.clone()]).seeds(5).threads(2).run().unwrap_err();
    assert_eq!(found.violation.invariant, "each map has a copy");
    assert_eq!((found.planned.faults.len(), found.outcome.plan.faults.len()), (6, 1), "{found}");
    assert!(found.outcome.plan.faults[0].lasts <= Duration::from_secs(4), "{found}");
    let text = found.to_string();
    assert!(
        text.contains("fault: refused") && text.contains(".replay(0, \"0s refuse-calls copier"),
        "{text}"
    );
    let plan = found.outcome.plan.to_string();
    let again = Explore::new(copies(true)).replay(found.outcome.seed, &plan).seeds(0).run().unwrap_err();
    assert_eq!(again.outcome.digest, found.outcome.digest);
    // Without the bug the same does no harm.
    let mended =
        Explore::new(copies(false)).replay(found.outcome.seed, &plan).strategies([many]).seeds(5).run();
    assert_eq!(mended.unwrap().lives, 7);
}

#[test]
fn what_can_never_end_and_what_panics_is_found() {
    let stuck = Scenario::new("stuck").patience(Duration::from_secs(100)).script(|_| std::future::pending());
    let life = Simulation::new(&stuck, 1).run();
    assert_eq!(life.violation.unwrap().invariant, "the script ends");
    let wrong = Scenario::new("wrong").always("nothing is made", |state| {
        assert!(state.objects::<ConfigMap>().next().is_none(), "a map");
        Ok(())
    });
    let wrong = wrong.script(|world| async move {
        create::<ConfigMap>(&world.client(), json!({"metadata": {"name": "a"}})).await
    });
    let violation = Simulation::new(&wrong, 1).run().violation.unwrap();
    assert_eq!((violation.invariant.as_str(), violation.why.as_str()), ("nothing is made", "a map"));
}

#[test]
fn own_faults_happen() {
    let flood = copies(false).fault("flood", |world, fault| async move {
        for number in 0..fault.amount {
            let map = json!({"metadata": {"name": format!("flood-{number}")}});
            create::<ConfigMap>(&world.client(), map).await.unwrap();
        }
    });
    let plan = FaultPlan::of([Fault::new(FaultKind::Own("flood".into()), "*").amount(7)]);
    let life = Simulation::new(&flood, 1).faults(plan).run();
    assert_eq!(life.violation, None);
    assert_eq!(life.state.objects::<ConfigMap>().count(), 4 + 4 + 7);
}

/// A node whose last word on a pod met a conflict left it in the API for ever.
#[test]
fn a_pod_that_has_ended_leaves_the_api_whatever_its_node_meets() {
    let scenario = Scenario::new("ending")
        .nodes(2)
        .script(|world| async move {
            create::<Deployment>(&world.client(), of("web", 4)).await?;
            world.sleep(Duration::from_secs(10)).await;
            world.client().api::<Deployment>("default").scale("web", 0).await.map(drop)
        })
        .eventually("no pod is left", |state| match state.objects::<Pod>().count() {
            0 => Ok(()),
            count => Err(format!("{count} pods")),
        });
    let conflicts = Strategy::new("conflicts", |outline, _| {
        let conflict = |node: &String| {
            let fault = Fault::new(FaultKind::Conflict, format!("node/{node}")).amount(500);
            fault.at(Duration::from_secs(10)).lasts(Duration::from_secs(20))
        };
        FaultPlan::of(outline.nodes().iter().map(conflict))
    });
    if let Err(found) = Explore::new(scenario).strategies([conflicts]).seeds(4).run() {
        panic!("{found}");
    }
}
