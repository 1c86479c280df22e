//! As many sessions at once as there may well be: each has all its bytes and ends, and no process and no task is left.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use orchestra_core::runtime::*;
use orchestra_core::testing::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{PATIENCE, holds, started};
use super::{Place, container};

const SESSIONS: usize = 200;

/// How many processes of a test there are: those that were told of its folder.
fn processes(place: &Place) -> usize {
    let folder = place.path("").into_os_string().into_encoded_bytes();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line.windows(folder.len()).any(|found| found == folder)).count()
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn two_hundred_commands_at_once() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("commands")).await.unwrap();
    let id = started(&runtime, &sandbox.id, &container("app", "exec sleep 600")).await;
    let before = (processes(&place), tasks());
    // The shell stays until the other has ended, and is known by its folder.
    let name = place.path("").to_string_lossy().into_owned();
    let command = vec!["sh".to_owned(), "-c".into(), "cat; exit 4".into(), name];
    let streams = AttachOptions { stdin: true, stdout: true, ..AttachOptions::default() };
    let options = ExecOptions { command, streams };
    let begun = join_all((0..SESSIONS).map(|_| runtime.exec(&id, &options))).await;
    let each = begun.into_iter().enumerate().map(async |(number, session)| {
        let session = session.unwrap();
        let (mut stdin, mut stdout) = (session.stdin.unwrap(), session.stdout.unwrap());
        let said = format!("{number} ").repeat(50_000).into_bytes();
        let tell = async {
            stdin.write_all(&said).await.unwrap();
            stdin.shutdown().await.unwrap();
            drop(stdin);
        };
        let mut heard = Vec::new();
        let ((), read) = tokio::join!(tell, stdout.read_to_end(&mut heard));
        read.unwrap();
        assert!(heard == said, "{number}: {} bytes of {}", heard.len(), said.len());
        assert_eq!(session.exit.await, Ok(4));
    });
    tokio::time::timeout(PATIENCE, join_all(each)).await.expect("all end");
    holds("nothing is left", async || (processes(&place), tasks()) == before).await;
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

/// All hear what one says, and the end of the container, whose input ends with that one.
#[tokio::test]
async fn two_hundred_are_attached_at_once() {
    let place = Place::new();
    let runtime = place.open().await;
    let sandbox = runtime.run_sandbox(&place.sandbox("attached")).await.unwrap();
    let spec = ContainerSpec { stdin: true, stdin_once: true, ..container("app", "cat; exit 4") };
    let id = started(&runtime, &sandbox.id, &spec).await;
    let before = tasks();
    let input = AttachOptions { stdin: true, ..AttachOptions::default() };
    let output = AttachOptions { stdout: true, ..AttachOptions::default() };
    let speaker = runtime.attach(&id, &input).await.unwrap();
    let mut stdin = speaker.stdin.unwrap();
    let begun = join_all((0..SESSIONS).map(|_| runtime.attach(&id, &output))).await;
    let said = "what all hear ".repeat(10_000).into_bytes();
    let here = AtomicUsize::new(0);
    let each = begun.into_iter().map(async |session| {
        let session = session.unwrap();
        let (mut stdout, mut heard) = (session.stdout.unwrap(), Vec::new());
        stdout.read_buf(&mut heard).await.unwrap();
        here.fetch_add(1, Ordering::Relaxed);
        let (read, code) = tokio::join!(stdout.read_to_end(&mut heard), session.exit);
        read.unwrap();
        let calls = heard.iter().take_while(|byte| **byte == b'.').count();
        assert!(heard[calls..] == said[..], "{} bytes of {}", heard.len() - calls, said.len());
        assert_eq!(code, Ok(4));
    });
    let speaking = async {
        // Who has not been let in yet does not hear it.
        until("all are there", PATIENCE, async || {
            stdin.write_all(b".").await.unwrap();
            (here.load(Ordering::Relaxed) == SESSIONS).then_some(())
        })
        .await;
        stdin.write_all(&said).await.unwrap();
        stdin.shutdown().await.unwrap();
        drop(stdin);
        assert_eq!(speaker.exit.await, Ok(4));
    };
    let all = async { tokio::join!(join_all(each), speaking) };
    tokio::time::timeout(PATIENCE, all).await.expect("all end");
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
    holds("nothing is left", async || processes(&place) == 0 && tasks() <= before).await;
}
