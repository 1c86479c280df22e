//! Running a plugin: a program that reads JSON and writes JSON.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use orchestra_core::network::{NetworkError, Result};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::config::Asked;
use super::{DEVICE, failed};

/// How long a plugin may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The code of a plugin that cannot do it now and may later.
const TRY_AGAIN: u32 = 11;

/// The program of a plugin.
pub(super) fn find(folders: &[PathBuf], program: &str) -> io::Result<PathBuf> {
    let found = folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let what = format!("the plugin {program:?} of CNI is in none of {}", folders.join(", "));
        io::Error::new(io::ErrorKind::NotFound, what)
    })
}

/// A command to plugins.
pub(super) struct Call<'c> {
    programs: &'c [PathBuf],
    command: &'static str,
    asked: Option<&'c Asked>,
}

/// How a plugin says that it failed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fault {
    code: u32,
    msg: String,
    details: String,
}

impl<'c> Call<'c> {
    pub(super) fn of(programs: &'c [PathBuf], command: &'static str, asked: &'c Asked) -> Self {
        Self { programs, command, asked: Some(asked) }
    }

    pub(super) fn without_pod(programs: &'c [PathBuf], command: &'static str) -> Self {
        Self { programs, command, asked: None }
    }

    /// Runs a plugin, and gives what it answered, if anything.
    pub(super) async fn run(&self, program: &str, input: &Value) -> Result<Option<Value>> {
        let told = |what: &dyn std::fmt::Display| {
            failed(format!("{} by the plugin {program}: {what}", self.command))
        };
        let path = find(self.programs, program).map_err(|error| told(&error))?;
        let folders = std::env::join_paths(self.programs).map_err(|error| told(&error))?;
        let mut command = Command::new(path);
        command.env("CNI_COMMAND", self.command).env("CNI_PATH", folders).env("CNI_IFNAME", DEVICE);
        if let Some(asked) = self.asked {
            // One that is gone is named no more: then plugins give back what is theirs without it.
            let netns = if self.command == "DEL" && !asked.netns.exists() {
                std::ffi::OsStr::new("")
            } else {
                asked.netns.as_os_str()
            };
            command
                .env("CNI_CONTAINERID", &asked.sandbox)
                .env("CNI_NETNS", netns)
                .env("CNI_ARGS", &asked.args);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| told(&error))?;
        let (stdin, bytes) = (child.stdin.take(), input.to_string());
        let running = async {
            if let Some(mut stdin) = stdin {
                stdin.write_all(bytes.as_bytes()).await?;
            }
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(PATIENCE, running).await;
        let output = output.map_err(|_| told(&"it does not end"))?.map_err(|error| told(&error))?;
        if output.status.success() {
            return match output.stdout.trim_ascii() {
                [] => Ok(None),
                answer => serde_json::from_slice(answer).map(Some).map_err(|error| told(&error)),
            };
        }
        let fault: Fault = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if fault.msg.contains("no IP addresses available") {
            return Err(NetworkError::AddressesExhausted { range: fault.msg });
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let what = match (fault.msg.as_str(), fault.details.as_str()) {
            ("", _) => format!("{}: {}", output.status, said.trim()),
            (msg, "") => msg.to_owned(),
            (msg, details) => format!("{msg}: {details}"),
        };
        if fault.code == TRY_AGAIN {
            return Err(NetworkError::Unavailable { message: format!("{program}: {what}") });
        }
        Err(told(&what))
    }
}
