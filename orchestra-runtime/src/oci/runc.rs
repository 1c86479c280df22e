//! runc: the program that makes a container of a bundle. It is told what to do by its command line and says what went wrong in
//! a file.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// A runc, and where it keeps what it knows.
#[derive(Debug, Clone)]
pub(crate) struct Runc<'a> {
    pub(crate) program: &'a Path,
    pub(crate) state: &'a Path,
}

/// A line of what it writes down.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

impl Runc<'_> {
    /// A command of it, with nothing of our own environment.
    pub(crate) fn command(&self, log: &Path) -> Command {
        let mut command = Command::new(self.program);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg("--root").arg(self.state).arg("--log").arg(log).args(["--log-format", "json"]);
        command
    }

    /// Removes whatever there is of a container, ending it first.
    pub(crate) fn delete(&self, id: &OsStr) {
        if !self.state.join(id).exists() {
            return;
        }
        let mut command = self.command(Path::new("/dev/null"));
        command.args(["delete", "--force"]).arg(id);
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    /// Its version, as it says it.
    pub(crate) fn version(program: &Path) -> std::io::Result<String> {
        let output = Command::new(program).arg("--version").stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.lines().find_map(|line| line.strip_prefix("runc version "));
        match version.filter(|_| output.status.success()) {
            Some(version) => Ok(version.trim().to_owned()),
            None => Err(std::io::Error::other(format!("{} does not say its version", program.display()))),
        }
    }
}

/// What it wrote down last as an error.
pub(crate) fn failure(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    said(&text)
}

fn said(log: &str) -> Option<String> {
    let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let message =
        lines.filter(|line| line.level == "error" || line.level == "fatal").map(|line| line.msg).next()?;
    Some(message.trim().to_owned())
}

/// The code a shell would give a command that could not be started, by what was said of it: there is nothing else to go by.
pub(crate) fn code(message: &str) -> i32 {
    let says = |words: &str| message.contains(words);
    match () {
        () if says("executable file not found") || says("no such file or directory") => 127,
        () if says("permission denied") || says("is a directory") || says("exec format error") => 126,
        () => 128,
    }
}

/// The program of this machine, if it has one.
pub(crate) fn find() -> Option<PathBuf> {
    super::machine::program("runc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_told() {
        let log = concat!(
            r#"{"level":"warning","msg":"old","time":"t"}"#,
            "\n",
            r#"{"level":"error","msg":"runc run failed: exec: \"x\": executable file not found in $PATH\n","time":"t"}"#,
            "\n",
            "half a li",
        );
        let message = said(log).unwrap();
        assert_eq!(message, "runc run failed: exec: \"x\": executable file not found in $PATH");
        assert_eq!(said("nothing"), None);
        for (message, expected) in [
            (message.as_str(), 127),
            ("exec: \"/x\": stat /x: no such file or directory", 127),
            ("exec: \"/etc\": permission denied", 126),
            ("cgroups: something else", 128),
        ] {
            assert_eq!(code(message), expected, "{message}");
        }
    }
}
