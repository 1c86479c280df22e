//! Commands in running containers: the helper goes into the container's namespaces and becomes the command.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::FutureExt;
use orchestra_core::runtime::{
    ContainerId, ContainerState, ExecOptions, ExecOutput, Result, RuntimeError, Session,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::ProcessRuntime;
use super::record::failed;

/// How much of each stream [`ExecOutput`] keeps.
const OUTPUT_LIMIT: usize = 64 * 1024;

impl ProcessRuntime {
    async fn exec_command(&self, id: &ContainerId, command: &[String]) -> Result<Command> {
        let (dir, _, state) = self.state(id.as_str()).await?;
        if !matches!(state, ContainerState::Running { .. }) {
            return Err(RuntimeError::NotRunning { id: id.to_string() });
        }
        let mut arguments = vec![OsStr::new("exec"), dir.0.as_os_str()];
        arguments.extend(command.iter().map(OsStr::new));
        let mut command = Command::from(self.inner.helper.command(&arguments));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    pub(super) async fn run_command(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput> {
        let mut child = self.exec_command(id, command).await?.spawn().map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let (stdout, stderr) = tokio::try_join!(gather(stdout), gather(stderr))?;
            Ok(ExecOutput { exit_code: code(child.wait().await?), stdout, stderr })
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(output) => output.map_err(failed),
            Err(_) => Err(RuntimeError::Timeout { after: timeout }), // and dropping the child kills it
        }
    }

    pub(super) async fn open_exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        let streams = &options.streams;
        if streams.tty {
            return Err(RuntimeError::Unsupported { what: "terminals (leave out -t)" });
        }
        let end = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
        let mut command = self.exec_command(id, &options.command).await?;
        command.stdin(end(streams.stdin)).stdout(end(streams.stdout)).stderr(end(streams.stderr));
        let mut child = command.spawn().map_err(failed)?;
        Ok(Session {
            stdin: child.stdin.take().map(|stdin| Box::new(stdin) as _),
            stdout: child.stdout.take().map(|stdout| Box::new(stdout) as _),
            stderr: child.stderr.take().map(|stderr| Box::new(stderr) as _),
            resize: None,
            exit: async move { child.wait().await.map(code).map_err(failed) }.boxed(),
        })
    }
}

/// Reads to the end and keeps the beginning, so that a command that says too much does not wait for us for ever.
async fn gather(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return Ok(kept) };
    (&mut stream).take(OUTPUT_LIMIT as u64).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(kept)
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
