//! Commands in running containers, and figures of them.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{Subject, Workload};
use crate::runtime::{
    AttachOptions, ContainerId, ExecOptions, ExecOutput, Filter, LogOptions, Result, RuntimeError, SandboxId,
    Session, TerminalSize,
};

pub(super) async fn check(s: &Subject) {
    let sandbox = s.sandbox("exec", 0).await;
    let id = s.ready(&sandbox, "app", &Workload::Stubborn).await;
    answers(s, &id).await;
    ends_in_time(s, &id).await;
    if s.runtime.capabilities().exec {
        connects_streams(s, &id).await;
        // What runs in name only does not read.
        if s.runtime.capabilities().attach && !s.runtime.capabilities().simulated {
            passes_input(s, &id).await;
            gives_a_terminal(s, &id).await;
            ends_with_its_session(s, &id).await;
            attaches(s, &sandbox).await;
        }
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

async fn begin(s: &Subject, id: &ContainerId, what: &Workload, streams: AttachOptions) -> Session {
    let options = ExecOptions { command: (s.commands)(what), streams };
    s.in_time("exec", s.runtime.exec(id, &options)).await.expect("exec with streams")
}

async fn read_all(s: &Subject, stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut text = String::new();
    let mut stream = stream.expect("the stream that was asked for");
    s.in_time("reading a session", stream.read_to_string(&mut text)).await.expect("read");
    text
}

/// The end of the input is one, and what was written before it is answered.
async fn passes_input(s: &Subject, id: &ContainerId) {
    let streams = AttachOptions { stdin: true, stdout: true, stderr: true, tty: false };
    let session = begin(s, id, &Workload::Answers, streams).await;
    let mut stdin = session.stdin.expect("its standard input");
    stdin.write_all(b"one\ntwo\n").await.expect("write");
    stdin.shutdown().await.expect("its end");
    drop(stdin);
    assert_eq!(read_all(s, session.stdout).await, "got one\ngot two\n");
    assert_eq!(read_all(s, session.stderr).await, "");
    assert_eq!(s.in_time("a session", session.exit).await, Ok(4));
}

async fn gives_a_terminal(s: &Subject, id: &ContainerId) {
    let streams = AttachOptions { stdin: true, stdout: true, stderr: false, tty: true };
    let session = begin(s, id, &Workload::Measures, streams).await;
    let size = TerminalSize { width: 101, height: 37 };
    session.resize.as_ref().expect("a terminal has a size").send(size).await.expect("resize");
    let mut stdin = session.stdin.expect("its standard input");
    let mut stdout = session.stdout.expect("its standard output");
    let mut said = Vec::new();
    // The size is passed on while the command runs already and somebody waits for its end: it is asked until it is that.
    let measured = async {
        let mut some = [0; 256];
        while !String::from_utf8_lossy(&said).contains("37 101\r\n") {
            stdin.write_all(b"\n").await.expect("write");
            if let Ok(read) = tokio::time::timeout(Duration::from_millis(300), stdout.read(&mut some)).await {
                let read = read.expect("read");
                assert_ne!(read, 0, "it goes on until it is told: {said:?}");
                said.extend_from_slice(&some[..read]);
            }
        }
        // What a terminal takes for the end.
        stdin.write_all(b"\x04").await.expect("write");
        stdout.read_to_end(&mut said).await.expect("read");
    };
    let ended = async { tokio::join!(session.exit, measured).0 };
    assert_eq!(s.in_time("a command in a terminal", ended).await, Ok(0));
}

/// Who drops a session ends what it runs: the container can be told by it that nothing is left.
async fn ends_with_its_session(s: &Subject, id: &ContainerId) {
    let streams = AttachOptions { stdout: true, ..AttachOptions::default() };
    let mut session = begin(s, id, &Workload::Stubborn, streams).await;
    let mut stdout = session.stdout.take().expect("its standard output");
    let mut word = [0; 5];
    s.in_time("the first word", stdout.read_exact(&mut word)).await.expect("read");
    assert_eq!(&word, b"ready");
    drop(session);
    let mut rest = Vec::new();
    s.in_time("the end of a session that was dropped", stdout.read_to_end(&mut rest)).await.expect("read");
}

async fn attaches(s: &Subject, sandbox: &SandboxId) {
    for tty in [false, true] {
        let name = if tty { "terminal" } else { "plain" };
        let mut spec = s.container_spec(name, 0, &Workload::Answers);
        (spec.stdin, spec.stdin_once, spec.tty) = (true, true, tty);
        let id = s.runtime.create_container(sandbox, &spec).await.expect("create");
        s.runtime.start_container(&id).await.expect("start");
        let streams = AttachOptions { stdin: true, stdout: true, stderr: !tty, tty };
        let attached = s.in_time("attach", s.runtime.attach(&id, &streams)).await;
        let session = attached.expect("attach");
        let mut stdin = session.stdin.expect("its standard input");
        // A terminal has no end of its input but the letter for it.
        let typed = if tty { &b"one\ntwo\n\x04"[..] } else { b"one\ntwo\n" };
        stdin.write_all(typed).await.expect("write");
        stdin.shutdown().await.expect("its end");
        let said = async {
            let mut text = String::new();
            let mut stdout = session.stdout.expect("its standard output");
            tokio::join!(session.exit, stdout.read_to_string(&mut text)).1.expect("read");
            text
        };
        let said = s.in_time("what an attached container says", said).await;
        assert!(said.contains("got one") && said.contains("got two"), "{said:?}");
        drop(stdin);
        s.until(&id, "ended", |c| c.state.exit().is_some_and(|exit| exit.code == 4)).await;
        assert!(s.logs(&id, LogOptions::default()).await.contains("got two"), "it is in the log too");
    }
}

async fn has_figures(s: &Subject) {
    let stats = s.runtime.stats(&Filter::owner(&s.owner)).await.expect("stats");
    let own = stats.iter().find(|one| one.pod == s.pod("exec") && one.container == "app");
    assert!(own.is_some_and(|one| one.memory_working_set_bytes > 0), "{stats:?}");
    let machine = s.runtime.machine_stats().await.expect("the figures of the machine");
    assert!(machine.memory_available_bytes > 0 && machine.disk.capacity_bytes > 0, "{machine:?}");
    assert!(machine.disk.available_bytes <= machine.disk.capacity_bytes, "{machine:?}");
}
