//! Logs and events.

use std::time::Duration;

use futures::StreamExt;

use super::{Subject, Workload};
use crate::runtime::{ContainerId, EventKind, EventStream, LogOptions};

pub(super) async fn check(s: &Subject) {
    logs(s).await;
    following(s).await;
    events_tell_of_lives(s).await;
}

fn lines(count: usize) -> Workload {
    Workload::Prints((1..=count).map(|n| format!("line {n}")).collect())
}

async fn logs(s: &Subject) {
    let sandbox = s.sandbox("logs", 0).await;
    let id = s.start(&sandbox, "app", 0, &lines(3)).await;
    s.until(&id, "ended", |c| c.state.exit().is_some()).await;
    let all = "line 1\nline 2\nline 3\n";
    let none = LogOptions::default();
    assert_eq!(s.logs(&id, none.clone()).await, all, "the log of a container that has ended");
    for (tail, text) in [(0, ""), (1, "line 3\n"), (2, "line 2\nline 3\n"), (9, all)] {
        let options = LogOptions { tail_lines: Some(tail), ..none.clone() };
        assert_eq!(s.logs(&id, options).await, text, "the last {tail} lines");
    }
    for (limit, text) in [(0, ""), (4, "line"), (8, "line 1\nl"), (999, all)] {
        let options = LogOptions { limit_bytes: Some(limit), ..none.clone() };
        assert_eq!(s.logs(&id, options).await, text, "{limit} bytes");
    }
    let stamped = s.logs(&id, LogOptions { timestamps: true, ..none.clone() }).await;
    let (time, rest) = stamped.lines().next_back().and_then(|line| line.split_once(' ')).expect("a time");
    let at: jiff::Timestamp = time.parse().expect("a time");
    assert_eq!((rest, stamped.lines().count()), ("line 3", 3));
    let later = at.checked_add(Duration::from_secs(1)).expect("a second later");
    assert_eq!(s.logs(&id, LogOptions { since: Some(later), ..none.clone() }).await, "", "nothing since");
    let since = s.logs(&id, LogOptions { since: Some(at), ..none }).await;
    assert!(since.ends_with("line 3\n"), "what was written at that time: {since:?}");
    s.drop_sandbox(&sandbox).await;
}

/// Following ends with the container: with what it wrote last, and also when it is removed meanwhile.
async fn following(s: &Subject) {
    let sandbox = s.sandbox("follow", 0).await;
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let id = s.start(&sandbox, "ends", 0, &lines(2)).await;
    assert_eq!(s.logs(&id, follow.clone()).await, "line 1\nline 2\n");
    let id = s.ready(&sandbox, "removed", &Workload::Polite).await;
    let mut stream = s.runtime.logs(&id, &follow).await.expect("logs");
    s.in_time("the first line", stream.next()).await.expect("a line").expect("a line");
    s.runtime.remove_container(&id).await.expect("remove");
    let rest = async { while stream.next().await.is_some_and(|piece| piece.is_ok()) {} };
    s.in_time("the end of the log of a container that was removed", rest).await;
    s.drop_sandbox(&sandbox).await;
}

async fn events_tell_of_lives(s: &Subject) {
    let mut events = s.runtime.events().await.expect("events");
    let sandbox = s.sandbox("events", 0).await;
    let id = s.start(&sandbox, "app", 0, &Workload::Polite).await;
    told(s, &mut events, EventKind::Started(id.clone())).await;
    s.runtime.stop_container(&id, Duration::ZERO).await.expect("stop");
    told(s, &mut events, EventKind::Exited(id)).await;
    let id: ContainerId = s.start(&sandbox, "brief", 0, &Workload::Exits(0)).await;
    told(s, &mut events, EventKind::Exited(id)).await;
    s.drop_sandbox(&sandbox).await;
}

async fn told(s: &Subject, events: &mut EventStream, kind: EventKind) {
    let told = async {
        while let Some(event) = events.next().await {
            let event = event.expect("the stream goes on");
            if event.kind == kind {
                assert_eq!(event.pod, s.pod("events"));
                return;
            }
        }
        panic!("the stream ended");
    };
    s.in_time(&format!("the event {kind:?}"), told).await;
}
