//! Which streams of which container a request asks for; pure.

use orchestra_core::api::Status;
use orchestra_core::runtime::AttachOptions;

use crate::query::QueryString;

/// The streams that a request asks for.
///
/// # Errors
/// 400 when it asks for none.
pub(crate) fn streams(query: &QueryString) -> Result<AttachOptions, Status> {
    streams_by(query, ["stdin", "stdout", "stderr"])
}

/// The streams that a request to a node asks for: in the API's words, or in those of the kubelet.
///
/// # Errors
/// 400 when it asks for none.
pub(crate) fn streams_of_node(query: &QueryString) -> Result<AttachOptions, Status> {
    let kubelets = ["input", "output", "error"];
    if kubelets.iter().any(|name| query.is_set(name)) { streams_by(query, kubelets) } else { streams(query) }
}

fn streams_by(query: &QueryString, [stdin, stdout, stderr]: [&str; 3]) -> Result<AttachOptions, Status> {
    let tty = query.is_set("tty");
    let streams = AttachOptions {
        stdin: query.is_set(stdin),
        stdout: query.is_set(stdout),
        // A terminal has one output only.
        stderr: query.is_set(stderr) && !tty,
        tty,
    };
    match streams {
        AttachOptions { stdin: false, stdout: false, stderr: false, .. } => {
            Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"))
        }
        streams => Ok(streams),
    }
}

/// The command that a request asks for.
///
/// # Errors
/// 400 when it asks for none.
pub(crate) fn command(query: &QueryString) -> Result<Vec<String>, Status> {
    match query.all("command") {
        [] => Err(Status::bad_request("you must specify a command to execute")),
        [program, ..] if program.is_empty() => {
            Err(Status::bad_request("the command to execute has an empty name"))
        }
        words => Ok(words.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_those_that_are_asked_for() {
        let of = |query: &str| streams(&QueryString::parse(Some(query)).unwrap());
        let none = AttachOptions::default();
        for (query, wanted) in [
            ("stdout=1", AttachOptions { stdout: true, ..none }),
            ("stdout=true&stderr=true&stdin=0", AttachOptions { stdout: true, stderr: true, ..none }),
            (
                "stdin=true&stdout=true&stderr=true&tty=true",
                AttachOptions { stdin: true, stdout: true, tty: true, stderr: false },
            ),
        ] {
            assert_eq!(of(query).unwrap(), wanted, "{query}");
        }
        for query in ["", "tty=true", "stdin=false", "stderr=true&tty=true"] {
            assert_eq!(of(query).unwrap_err().code(), 400, "{query}");
        }
    }

    #[test]
    fn commands_have_a_program() {
        let of = |query: &str| command(&QueryString::parse(Some(query)).unwrap());
        assert_eq!(of("command=sh&command=-c&command=").unwrap(), ["sh", "-c", ""]);
        assert_eq!(of("").unwrap_err().code(), 400);
        assert_eq!(of("command=&command=x").unwrap_err().code(), 400);
    }
}
