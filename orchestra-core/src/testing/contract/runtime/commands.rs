//! Commands in running containers, and figures of them.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::{Subject, Workload};
use crate::runtime::{AttachOptions, ContainerId, ExecOptions, ExecOutput, Filter, Result, RuntimeError};

pub(super) async fn check(s: &Subject) {
    let sandbox = s.sandbox("exec", 0).await;
    let id = s.ready(&sandbox, "app", &Workload::Stubborn).await;
    answers(s, &id).await;
    ends_in_time(s, &id).await;
    if s.runtime.capabilities().exec {
        connects_streams(s, &id).await;
    }
    if s.runtime.capabilities().stats {
        has_figures(s).await;
    }
    s.runtime.stop_container(&id, Duration::ZERO).await.expect("stop");
    let error = run(s, &id, &Workload::Exits(0), Duration::from_secs(10)).await.err();
    assert!(matches!(error, Some(RuntimeError::NotRunning { .. })), "nothing runs there any more: {error:?}");
    s.drop_sandbox(&sandbox).await;
}

async fn run(s: &Subject, id: &ContainerId, what: &Workload, timeout: Duration) -> Result<ExecOutput> {
    let command = (s.commands)(what);
    s.in_time("a command with a timeout", s.runtime.exec_sync(id, &command, timeout)).await
}

async fn answers(s: &Subject, id: &ContainerId) {
    let patient = Duration::from_secs(20);
    for code in [0, 3] {
        let answer = run(s, id, &Workload::Exits(code), patient).await.expect("exec");
        assert_eq!(answer.exit_code, code, "a code is an answer and no error");
    }
    let answer = run(s, id, &Workload::Prints(vec!["one two".into()]), patient).await.expect("exec");
    assert_eq!((answer.exit_code, answer.stdout.as_slice()), (0, &b"one two\n"[..]));
}

async fn ends_in_time(s: &Subject, id: &ContainerId) {
    let timeout = Duration::from_millis(500);
    let slow = run(s, id, &Workload::Stubborn, timeout).await;
    assert_eq!(slow, Err(RuntimeError::Timeout { after: timeout }), "a command that takes too long");
    assert!(s.container(id).await.state.is_running(), "which is no reason to end the container");
}

async fn connects_streams(s: &Subject, id: &ContainerId) {
    let streams = AttachOptions { stdout: true, ..AttachOptions::default() };
    let command = (s.commands)(&Workload::Prints(vec!["three".into()]));
    let session = s.runtime.exec(id, &ExecOptions { command, streams }).await;
    let mut session = session.expect("exec with streams");
    let mut text = String::new();
    let mut stdout = session.stdout.take().expect("its standard output");
    s.in_time("reading a session", stdout.read_to_string(&mut text)).await.expect("read");
    assert_eq!((text.as_str(), s.in_time("a session", session.exit).await), ("three\n", Ok(0)));
}

async fn has_figures(s: &Subject) {
    let stats = s.runtime.stats(&Filter::owner(&s.owner)).await.expect("stats");
    let own = stats.iter().find(|one| one.pod == s.pod("exec") && one.container == "app");
    assert!(own.is_some_and(|one| one.memory_working_set_bytes > 0), "{stats:?}");
}
