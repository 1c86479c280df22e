//! What a fake container does: how it starts, what it says, and how it ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::{ContainerSpec, ExecOutput, PullFailure};

/// Answers a command executed in a fake container.
pub type ExecFn = dyn Fn(&[String]) -> ExecOutput + Send + Sync;

/// What containers of one image, or of one name, do. The default starts at once, runs for ever, says nothing, answers
/// every command with success and ends with code 0 when asked.
#[derive(Clone, Default)]
pub struct Behaviour {
    pub(super) pull: Pull,
    pub(super) start_delay: Duration,
    pub(super) start_error: Option<(i32, String)>,
    pub(super) end: Option<End>,
    pub(super) on_stop: OnStop,
    pub(super) logs: Vec<(Duration, String)>,
    pub(super) exec: Option<Arc<ExecFn>>,
    pub(super) exec_delay: Duration,
    pub(super) echoes: bool,
    pub(super) uses: Option<(u64, u64)>,
}

#[derive(Clone, Default, Debug)]
pub(super) struct Pull {
    pub(super) absent: bool,
    pub(super) delay: Duration,
    pub(super) failure: Option<(PullFailure, String)>,
}

/// How a container ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) after: Duration,
    pub(super) code: i32,
    pub(super) oom: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnStop {
    Exit { after: Duration, code: i32 },
    Ignore,
}

impl Default for OnStop {
    fn default() -> Self {
        Self::Exit { after: Duration::ZERO, code: 0 }
    }
}

impl Behaviour {
    /// Runs until it is stopped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends by itself after `after`, with this exit code. Without any time it has ended when its start is answered.
    pub fn exits(mut self, after: Duration, code: i32) -> Self {
        self.end = Some(End { after, code, oom: false });
        self
    }

    /// Is ended by the kernel after `after`, for want of memory.
    pub fn runs_out_of_memory(mut self, after: Duration) -> Self {
        self.end = Some(End { after, code: 137, oom: true });
        self
    }

    /// The image is not on the machine and must be pulled, which takes so long.
    pub fn pulled_in(mut self, delay: Duration) -> Self {
        self.pull = Pull { absent: true, delay, failure: None };
        self
    }

    /// The image is not on the machine and cannot be pulled.
    pub fn pull_fails(mut self, why: PullFailure, message: impl Into<String>) -> Self {
        self.pull.absent = true;
        self.pull.failure = Some((why, message.into()));
        self
    }

    /// Its process cannot be started.
    pub fn start_fails(mut self, exit_code: i32, message: impl Into<String>) -> Self {
        self.start_error = Some((exit_code, message.into()));
        self
    }

    /// Starting takes so long.
    pub fn starts_in(mut self, delay: Duration) -> Self {
        self.start_delay = delay;
        self
    }

    /// When asked to end it does so after `after`, with this code.
    pub fn stops_in(mut self, after: Duration, code: i32) -> Self {
        self.on_stop = OnStop::Exit { after, code };
        self
    }

    /// When asked to end it does not: it has to be killed.
    pub fn ignores_stop(mut self) -> Self {
        self.on_stop = OnStop::Ignore;
        self
    }

    /// Writes a line `after` it started.
    pub fn logs(mut self, after: Duration, line: impl Into<String>) -> Self {
        self.logs.push((after, line.into()));
        self
    }

    /// Answers executed commands.
    pub fn exec(mut self, answer: impl Fn(&[String]) -> ExecOutput + Send + Sync + 'static) -> Self {
        self.exec = Some(Arc::new(answer));
        self
    }

    /// An executed command whose streams are connected says first what it answers, and then what is written to it, until
    /// that ends, and it with that. Who attaches hears what is written as well.
    pub fn exec_echoes(mut self) -> Self {
        self.echoes = true;
        self
    }

    /// Executed commands take so long.
    pub fn exec_takes(mut self, delay: Duration) -> Self {
        self.exec_delay = delay;
        self
    }

    /// Uses so many thousandths of a core and so much memory for as long as it runs; none, and one page, if nothing is said.
    pub fn uses(mut self, cpu_millis: u64, memory_bytes: u64) -> Self {
        self.uses = Some((cpu_millis, memory_bytes));
        self
    }

    /// What a container does that nobody scripted: it follows the few commands that manifests use to end on purpose
    /// (`true`, `false`, `echo WORDS`, `sleep N`, `sh -c "exit N"`), and runs for ever otherwise.
    pub fn of_command(spec: &ContainerSpec) -> Self {
        let words: Vec<&str> =
            spec.command.iter().chain(&spec.args).flat_map(|word| word.split_whitespace()).collect();
        Self::of_words(&words)
    }

    fn of_words(words: &[&str]) -> Self {
        let words = match words {
            ["sh" | "/bin/sh" | "bash" | "/bin/bash", "-c", rest @ ..] => rest,
            all => all,
        };
        // A script of several commands is not followed: where it ends is not known from its first words.
        if words.iter().any(|word| word.contains([';', '&', '|'])) {
            return Self::new();
        }
        let ended = |after, code| Self::new().exits(Duration::from_secs(after), code);
        match words {
            ["true" | "/bin/true"] => ended(0, 0),
            ["false" | "/bin/false"] => ended(0, 1),
            ["exit", code] => code.parse().map_or_else(|_| Self::new(), |code| ended(0, code)),
            ["echo", line @ ..] => ended(0, 0).logs(Duration::ZERO, line.join(" ")),
            ["sleep" | "/bin/sleep", time] => {
                time.trim_end_matches('s').parse().map_or_else(|_| Self::new(), |after| ended(after, 0))
            }
            _ => Self::new(),
        }
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("pull", &self.pull)
            .field("start_error", &self.start_error)
            .field("end", &self.end)
            .field("on_stop", &self.on_stop)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_command_that_is_understood_whole_ends() {
        for (command, ends) in [
            (&["echo", "hello"][..], true),
            (&["/bin/sh", "-c", "exit 3"], true),
            (&["/bin/sh", "-c", "echo started; while :; do sleep 1; done"], false),
            (&["/bin/sh", "-c", "echo a && serve"], false),
            (&["serve"], false),
        ] {
            let words: Vec<_> = command.iter().flat_map(|word| word.split_whitespace()).collect();
            let behaviour = Behaviour::of_words(&words);
            assert_eq!(behaviour.end.is_some(), ends, "{behaviour:?}");
        }
    }
}
