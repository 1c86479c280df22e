use std::future::ready;
use std::time::Duration;

use orchestra_core::clock::TokioClock;
use orchestra_core::testing::contract::runtime::{Subject, check};

use super::*;

/// As much of busybox as the suite asks for.
fn busybox(call: Call) -> Option<BoxFuture<'static, i32>> {
    let words: Vec<&str> = call.command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["true"] => Some(ready(0).boxed()),
        ["sleep", seconds] => {
            let time = Duration::from_secs(seconds.parse().ok()?);
            Some(
                async move {
                    call.stopping.run_until_cancelled(tokio::time::sleep(time)).await.map_or(143, |()| 0)
                }
                .boxed(),
            )
        }
        ["sh", "-c", line] => match line.split_once(' ')? {
            ("echo", text) => {
                call.print(text);
                Some(ready(0).boxed())
            }
            ("exit", code) => Some(ready(code.parse().ok()?).boxed()),
            _ => None,
        },
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_a_runtime() {
    let library = Library::default().commands("busybox", busybox);
    let runtime = library.runtime(TokioClock::simulated(1));
    check(&Subject::new(Arc::new(runtime))).await;
}
