//! Each fault does what it says, and plans that do harm are found and made small.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use orchestra_core::api::Client;
use orchestra_core::cluster::Component;
use orchestra_core::control::{Action, Context, Controller, Error};
use orchestra_core::simulation::{Explore, Fault, FaultKind, FaultPlan, Scenario, Simulation, Strategy};
use serde_json::json;

use super::scenarios::create;

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
