//! Sandboxes and containers: made, started, stopped, removed, found again.

use std::time::{Duration, Instant};

use super::{Subject, Workload};
use crate::runtime::{
    ContainerId, ContainerState, Filter, ImageRef, LogOptions, RuntimeError, SandboxId, SandboxState,
};

pub(super) async fn check(s: &Subject) {
    says_who_it_is(s).await;
    lifecycle(s).await;
    repeats_are_harmless(s).await;
    what_is_not_there(s).await;
    exit_codes(s).await;
    a_grace_period(s).await;
    a_command_that_cannot_start(s).await;
    adoption(s).await;
    images(s).await;
}

async fn says_who_it_is(s: &Subject) {
    let info = s.runtime.info().await.expect("info");
    assert!(
        !info.name.is_empty() && !info.version.is_empty(),
        "a runtime has a name and a version: {info:?}"
    );
    let machine = s.runtime.machine().await.expect("machine");
    assert!(machine.cpu_millis > 0 && machine.memory_bytes > 0 && machine.pods > 0, "{machine:?}");
}

async fn lifecycle(s: &Subject) {
    let sandbox = s.sandbox("lifecycle", 0).await;
    let listed = s.list("lifecycle").await;
    assert_eq!(listed.len(), 1, "one sandbox is listed");
    assert_eq!(listed[0].state, SandboxState::Ready);
    assert!(listed[0].containers.is_empty());

    let id = s.create(&sandbox, "app", 0, &Workload::Polite).await;
    assert_eq!(s.container(&id).await.state, ContainerState::Created, "created is not started");
    s.runtime.start_container(&id).await.expect("start");
    let running = s.until(&id, "running", |c| c.state.is_running()).await;
    assert_eq!(running.meta.name, "app");

    s.runtime.stop_container(&id, Duration::from_secs(10)).await.expect("stop");
    let ended = s.container(&id).await;
    assert!(ended.state.exit().is_some(), "stop returns when it no longer runs: {:?}", ended.state);
    s.runtime.remove_container(&id).await.expect("remove container");
    assert!(matches!(s.runtime.container(&id).await, Err(RuntimeError::NotFound { .. })));

    let left = s.start(&sandbox, "left", 0, &Workload::Stubborn).await;
    s.runtime.stop_sandbox(&sandbox).await.expect("stop sandbox");
    assert_eq!(s.list("lifecycle").await[0].state, SandboxState::NotReady);
    s.until(&left, "ended with its sandbox", |c| !c.state.is_running()).await;
    s.runtime.remove_sandbox(&sandbox).await.expect("remove sandbox");
    assert!(s.list("lifecycle").await.is_empty(), "removed with its containers");
}

async fn repeats_are_harmless(s: &Subject) {
    let sandbox = s.sandbox("repeats", 0).await;
    let again = s.runtime.run_sandbox(&s.sandbox_spec("repeats", 0)).await;
    assert!(matches!(again, Err(RuntimeError::AlreadyExists { .. })), "the same sandbox twice: {again:?}");
    let id = s.start(&sandbox, "app", 0, &Workload::Polite).await;
    let again = s.runtime.create_container(&sandbox, &s.container_spec("app", 0, &Workload::Polite)).await;
    assert!(matches!(again, Err(RuntimeError::AlreadyExists { .. })), "the same container twice: {again:?}");
    s.runtime.start_container(&id).await.expect("starting what runs");
    for _ in 0..2 {
        s.runtime.stop_container(&id, Duration::ZERO).await.expect("stop twice");
    }
    for _ in 0..2 {
        s.runtime.remove_container(&id).await.expect("remove twice");
    }
    for _ in 0..2 {
        s.runtime.stop_sandbox(&sandbox).await.expect("stop sandbox twice");
    }
    for _ in 0..2 {
        s.runtime.remove_sandbox(&sandbox).await.expect("remove sandbox twice");
    }
    s.runtime.stop_sandbox(&sandbox).await.expect("stopping what is gone");
}

async fn what_is_not_there(s: &Subject) {
    let id = ContainerId::from("f00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeedf00dfeed");
    let gone = |error: Option<RuntimeError>| matches!(error, Some(RuntimeError::NotFound { .. }));
    let command = ["true".to_owned()];
    assert!(gone(s.runtime.container(&id).await.err()));
    assert!(gone(s.runtime.start_container(&id).await.err()));
    assert!(gone(s.runtime.logs(&id, &LogOptions::default()).await.err()));
    assert!(gone(s.runtime.exec_sync(&id, &command, Duration::from_secs(5)).await.err()));
    let (sandbox, spec) = (SandboxId::from(id.as_str()), s.container_spec("app", 0, &Workload::Exits(0)));
    assert!(s.runtime.create_container(&sandbox, &spec).await.is_err());
}

async fn exit_codes(s: &Subject) {
    let sandbox = s.sandbox("exits", 0).await;
    for code in [0, 3] {
        let id = s.start(&sandbox, &format!("exit-{code}"), 0, &Workload::Exits(code)).await;
        let ended = s.until(&id, "ended", |c| c.state.exit().is_some()).await;
        let exit = ended.state.exit().expect("it ended");
        assert_eq!((exit.code, exit.oom_killed), (code, false));
        assert!(exit.started_at.is_some_and(|at| at <= exit.finished_at));
    }
    s.drop_sandbox(&sandbox).await;
}

async fn a_grace_period(s: &Subject) {
    let sandbox = s.sandbox("grace", 0).await;
    let code = async |id: &ContainerId| s.container(id).await.state.exit().map(|exit| exit.code);
    let polite = s.ready(&sandbox, "polite", &Workload::Polite).await;
    let stop = s.runtime.stop_container(&polite, Duration::from_secs(3600));
    s.in_time("stopping what ends when it is asked to", stop).await.expect("stop");
    assert_eq!(code(&polite).await, Some(0), "what ends by itself within its grace period is not killed");

    let stubborn = s.ready(&sandbox, "stubborn", &Workload::Stubborn).await;
    let (began, virtually) = (Instant::now(), tokio::time::Instant::now());
    let stop = s.runtime.stop_container(&stubborn, Duration::from_secs(2));
    s.in_time("stopping what does not want to end", stop).await.expect("stop");
    assert_eq!(code(&stubborn).await, Some(137), "it is killed when its grace period is over");
    let waited = began.elapsed().max(virtually.elapsed());
    assert!(waited >= Duration::from_millis(1900), "it had {waited:?} of its 2 s of grace");

    let killed = s.ready(&sandbox, "killed", &Workload::Polite).await;
    s.runtime.stop_container(&killed, Duration::ZERO).await.expect("kill");
    assert_eq!(code(&killed).await, Some(137), "no grace is a kill");
    s.drop_sandbox(&sandbox).await;
}

async fn a_command_that_cannot_start(s: &Subject) {
    let sandbox = s.sandbox("nostart", 0).await;
    let id = s.create(&sandbox, "app", 0, &Workload::Unstartable).await;
    let error = s.runtime.start_container(&id).await.expect_err("it cannot start");
    assert!(matches!(error, RuntimeError::StartFailed { .. }), "{error:?}");
    let state = s.container(&id).await.state;
    assert!(state.exit().is_some_and(|e| e.code != 0), "it counts as ended: {state:?}");
    s.drop_sandbox(&sandbox).await;
}

/// Whoever opens the runtime anew finds everything under the same ids, goes on with it, and restarts nothing.
async fn adoption(s: &Subject) {
    let sandbox = s.sandbox("adopt", 2).await;
    let id = s.start(&sandbox, "app", 5, &Workload::Polite).await;
    s.says(&id, "ready").await;
    let done = s.start(&sandbox, "done", 0, &Workload::Exits(3)).await;
    let before = s.until(&id, "running", |c| c.state.is_running()).await;
    s.until(&done, "ended", |c| c.state.exit().is_some()).await;

    let adopted = (s.reopen)().await;
    let filter = Filter::owner(&s.owner).and_pod(s.pod("adopt").uid);
    let found = adopted.list(&filter).await.expect("list");
    let found = found.first().expect("a runtime that is opened anew finds its sandboxes");
    assert_eq!((&found.id, found.state), (&sandbox, SandboxState::Ready));
    assert_eq!(found.meta, s.sandbox_spec("adopt", 2).meta, "a sandbox's identity comes back");
    let app = found.containers.iter().find(|container| container.id == id).expect("and its containers");
    assert_eq!(app, &before, "the same container, not started again");
    assert_eq!(app.meta, s.container_spec("app", 5, &Workload::Polite).meta);
    let ended = found.containers.iter().find(|container| container.id == done).expect("those that ended too");
    assert_eq!(ended.state.exit().map(|exit| exit.code), Some(3), "with how they ended");
    let others = adopted.list(&Filter::owner("somebody/else")).await.expect("list");
    assert!(others.is_empty(), "each agent sees only its own");

    s.in_time("stopping what was adopted", adopted.stop_container(&id, Duration::from_secs(3600)))
        .await
        .expect("stop");
    let state = adopted.container(&id).await.expect("container").state;
    assert_eq!(state.exit().map(|exit| exit.code), Some(0), "it is asked to end, and how it ended is known");
    adopted.remove_sandbox(&sandbox).await.expect("remove sandbox");
    assert!(s.list("adopt").await.is_empty(), "removed for everybody");
}

async fn images(s: &Subject) {
    if !s.runtime.capabilities().images {
        return;
    }
    let present = ImageRef::parse(&s.image).expect("a name");
    let image = s.runtime.image(&present).await.expect("image").expect("the suite's image is present");
    assert!(!image.id.is_empty() && !image.reported_id().is_empty());
    let absent = ImageRef::parse(&s.absent_image).expect("a name");
    assert_eq!(s.runtime.image(&absent).await.expect("image"), None);
    let sandbox = s.sandbox("images", 0).await;
    let mut spec = s.container_spec("app", 0, &Workload::Exits(0));
    spec.image = absent.to_string();
    spec.image_id = String::new();
    let error = s.runtime.create_container(&sandbox, &spec).await.err();
    assert!(matches!(error, Some(RuntimeError::ImageNotFound { .. })), "{error:?}");
    s.drop_sandbox(&sandbox).await;
}
