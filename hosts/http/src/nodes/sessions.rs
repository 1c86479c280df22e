//! A request for a session or a port, as a path and back; pure.

use orchestra_core::api::Status;
use orchestra_core::runtime::{AttachOptions, ExecOptions, PodRef};
use percent_encoding::percent_decode_str;

use crate::query::QueryString;
use crate::remote::escape;
use crate::remote::session;
use crate::streams::options;

/// What the agent of a node is asked to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SessionRequest {
    /// A command in a container.
    Exec { pod: PodRef, container: String, options: ExecOptions },
    /// What runs in a container.
    Attach { pod: PodRef, container: String, streams: AttachOptions },
    /// A port of a pod.
    Port { pod: PodRef, port: u16 },
}

/// Path and query of a request.
pub(super) fn write(request: &SessionRequest) -> String {
    let (first, pod, container) = match request {
        SessionRequest::Exec { pod, container, .. } => ("exec", pod, Some(container)),
        SessionRequest::Attach { pod, container, .. } => ("attach", pod, Some(container)),
        SessionRequest::Port { pod, .. } => ("portForward", pod, None),
    };
    let mut query = vec![format!("uid={}", escape(&pod.uid))];
    match request {
        SessionRequest::Exec { options, .. } => {
            query.extend(session::query(&options.streams));
            query.extend(session::command_query(&options.command));
        }
        SessionRequest::Attach { streams, .. } => query.extend(session::query(streams)),
        SessionRequest::Port { port, .. } => query.push(format!("port={port}")),
    }
    let steps = [&pod.namespace, &pod.name].into_iter().chain(container);
    let steps: Vec<String> = steps.map(|step| escape(step)).collect();
    format!("/{first}/{}?{}", steps.join("/"), query.join("&"))
}

/// The request of a path and query; `None` for another path.
pub(super) fn read(path: &str, query: Option<&str>) -> Option<Result<SessionRequest, Status>> {
    let steps: Option<Vec<String>> = path
        .strip_prefix('/')?
        .split('/')
        .map(|step| percent_decode_str(step).decode_utf8().ok().map(String::from))
        .collect();
    let steps = steps?;
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let (first, namespace, name, container) = match steps.as_slice() {
        [first @ ("exec" | "attach"), namespace, name, container] => (*first, *namespace, *name, *container),
        [first @ "portForward", namespace, name] => (*first, *namespace, *name, ""),
        _ => return None,
    };
    Some(QueryString::parse(query).and_then(|query| {
        let uid = query.get("uid").unwrap_or_default().to_owned();
        let pod = PodRef { namespace: namespace.to_owned(), name: name.to_owned(), uid };
        let container = container.to_owned();
        Ok(match first {
            "exec" => {
                let streams = options::streams_of_node(&query)?;
                let options = ExecOptions { command: options::command(&query)?, streams };
                SessionRequest::Exec { pod, container, options }
            }
            "attach" => SessionRequest::Attach { pod, container, streams: options::streams_of_node(&query)? },
            _ => {
                let port = query.number("port")?.filter(|port| *port > 0);
                let port = port.ok_or_else(|| Status::bad_request("query parameter \"port\" is required"))?;
                SessionRequest::Port { pod, port }
            }
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let pod = || PodRef { namespace: "default".into(), name: "web-1".into(), uid: "u/1".into() };
        let streams = AttachOptions { stdin: true, stdout: true, stderr: false, tty: true };
        let command = vec!["sh".to_owned(), "-c".into(), "echo a&b=\u{e9} \n".into(), String::new()];
        let container = || "main".to_owned();
        for request in [
            SessionRequest::Exec {
                pod: pod(),
                container: container(),
                options: ExecOptions { command, streams: streams.clone() },
            },
            SessionRequest::Attach { pod: pod(), container: container(), streams },
            SessionRequest::Port { pod: pod(), port: 65535 },
        ] {
            let text = write(&request);
            let (path, query) = text.split_once('?').unwrap();
            assert_eq!(read(path, Some(query)).unwrap().unwrap(), request);
        }
        let asked = read("/exec/a/b/c", Some("command=sh&input=1&output=1&error=1")).unwrap().unwrap();
        let streams = AttachOptions { stdin: true, stdout: true, stderr: true, tty: false };
        let pod = PodRef { namespace: "a".into(), name: "b".into(), uid: String::new() };
        let options = ExecOptions { command: vec!["sh".into()], streams };
        assert_eq!(
            asked,
            SessionRequest::Exec { pod, container: "c".into(), options },
            "as a kubelet is asked"
        );
        for path in ["/exec/a/b", "/portForward/a/b/c", "/pods", "/exec/a/b/c/d"] {
            assert!(read(path, None).is_none(), "{path}");
        }
        for (path, query) in
            [("/exec/a/b/c", "stdout=1"), ("/attach/a/b/c", ""), ("/portForward/a/b", "port=0")]
        {
            assert_eq!(read(path, Some(query)).unwrap().unwrap_err().code(), 400, "{path}");
        }
    }
}
