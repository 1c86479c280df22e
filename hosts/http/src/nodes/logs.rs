//! A request for logs, as a path and back; pure.

use orchestra_core::api::Status;
use orchestra_core::node::LogRequest;
use orchestra_core::runtime::{LogOptions, PodRef};
use percent_encoding::percent_decode_str;

use crate::query::QueryString;
use crate::remote::escape;

/// Path and query of a request.
pub(super) fn write(request: &LogRequest) -> String {
    let LogRequest { pod, container, previous, options } = request;
    let mut query = vec![format!("uid={}", escape(&pod.uid))];
    let flags = [("previous", *previous), ("follow", options.follow), ("timestamps", options.timestamps)];
    query.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| format!("{name}=true")));
    query.extend(options.tail_lines.map(|lines| format!("tailLines={lines}")));
    query.extend(options.limit_bytes.map(|bytes| format!("limitBytes={bytes}")));
    query.extend(options.since.map(|time| format!("sinceTime={}", escape(&time.to_string()))));
    let steps = [&pod.namespace, &pod.name, container].map(|step| escape(step)).join("/");
    format!("/containerLogs/{steps}?{}", query.join("&"))
}

/// The request of a path and query; `None` for another path.
pub(super) fn read(path: &str, query: Option<&str>) -> Option<Result<LogRequest, Status>> {
    let steps: Vec<&str> = path.strip_prefix("/containerLogs/")?.split('/').collect();
    let [namespace, name, container] = steps.as_slice() else { return None };
    let decode = |step: &str| percent_decode_str(step).decode_utf8().ok().map(String::from);
    let (namespace, name, container) = (decode(namespace)?, decode(name)?, decode(container)?);
    Some(QueryString::parse(query).and_then(|query| {
        let uid = query.get("uid").unwrap_or_default().to_owned();
        let since = query.get("sinceTime").map(|text| {
            text.parse().map_err(|_| Status::bad_request(format!("sinceTime: Invalid value: {text:?}")))
        });
        Ok(LogRequest {
            pod: PodRef { namespace, name, uid },
            container,
            previous: query.is_set("previous"),
            options: LogOptions {
                follow: query.is_set("follow"),
                tail_lines: query.number("tailLines")?,
                since: since.transpose()?,
                timestamps: query.is_set("timestamps"),
                limit_bytes: query.number("limitBytes")?,
            },
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let options = LogOptions {
            follow: true,
            tail_lines: Some(0),
            since: Some("2026-01-02T03:04:05.000000006Z".parse().unwrap()),
            timestamps: true,
            limit_bytes: Some(7),
        };
        let pod = PodRef { namespace: "default".into(), name: "web-1".into(), uid: "u-1".into() };
        for options in [options, LogOptions::default()] {
            let previous = options.follow;
            let request = LogRequest { pod: pod.clone(), container: "main".into(), previous, options };
            let text = write(&request);
            let (path, query) = text.split_once('?').unwrap();
            assert_eq!(read(path, Some(query)).unwrap().unwrap(), request);
        }
        assert!(read("/containerLogs/a/b", None).is_none());
        assert!(read("/pods", None).is_none());
        assert_eq!(read("/containerLogs/a/b/c", Some("tailLines=-1")).unwrap().unwrap_err().code(), 400);
    }
}
