//! What a probe or a lifecycle hook does: run a command, ask over HTTP or gRPC, connect. Who and where is worked out
//! here; doing it is the runtime's and the prober's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container as Wanted, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::context::Context;
use super::ports::{HttpProbe, ProbeError};
use crate::runtime::{ContainerId, RuntimeError};

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Handler {
    /// Run a command in the container.
    Exec(ExecAction),
    /// Ask over HTTP.
    Http(HTTPGetAction),
    /// Connect.
    Tcp(TCPSocketAction),
    /// Ask over gRPC.
    Grpc(GRPCAction),
    /// Wait.
    Sleep(Duration),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// All is well as far as can be said; in words.
    Warning(String),
    /// It is not; in words.
    Failure(String),
    /// Nobody can say; why.
    Unknown(String),
}

impl Handler {
    /// What a probe does; `None` when it says nothing.
    pub fn of_probe(probe: &Probe) -> Option<Self> {
        let exec = probe.exec.clone().map(Self::Exec);
        let http = || probe.http_get.clone().map(Self::Http);
        let tcp = || probe.tcp_socket.clone().map(Self::Tcp);
        exec.or_else(http).or_else(tcp).or_else(|| probe.grpc.clone().map(Self::Grpc))
    }

    /// Whether it goes to the pod's own address.
    pub fn needs_address(&self) -> bool {
        match self {
            Self::Exec(_) | Self::Sleep(_) => false,
            Self::Http(action) => action.host.as_deref().is_none_or(str::is_empty),
            Self::Tcp(action) => own_host(action).is_none(),
            Self::Grpc(_) => true,
        }
    }

    /// What a lifecycle hook does; `None` when it says nothing.
    pub fn of_hook(hook: &LifecycleHandler) -> Option<Self> {
        let sleep = |seconds: i64| Duration::from_secs(seconds.max(0).unsigned_abs());
        let exec = hook.exec.clone().map(Self::Exec);
        let http = || hook.http_get.clone().map(Self::Http);
        let tcp = || hook.tcp_socket.clone().map(Self::Tcp);
        exec.or_else(http).or_else(tcp).or_else(|| hook.sleep.as_ref().map(|s| Self::Sleep(sleep(s.seconds))))
    }
}

/// The address that a TCP handler names, if it names one.
fn own_host(action: &TCPSocketAction) -> Option<IpAddr> {
    action.host.as_deref().and_then(|host| host.parse().ok())
}

/// The number of a port that is given by number or by the name it has in the container.
pub fn port(wanted: &Wanted, port: &IntOrString) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = wanted.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port);
            named.or_else(|| name.parse().ok())?
        }
    };
    u16::try_from(number).ok().filter(|number| *number > 0)
}

/// The request of an HTTP handler to a host.
pub fn http_request(
    wanted: &Wanted,
    action: &HTTPGetAction,
    host: &str,
    timeout: Duration,
    agent: &str,
) -> Option<HttpProbe> {
    let path = action.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut headers: Vec<(String, String)> = action
        .http_headers
        .iter()
        .flatten()
        .map(|header| (header.name.clone(), header.value.clone()))
        .collect();
    let has =
        |headers: &[(String, String)], name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    for (name, value) in [("User-Agent", agent), ("Accept", "*/*")] {
        if !has(&headers, name) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    Some(HttpProbe {
        tls: action.scheme.as_deref() == Some("HTTPS"),
        host: host.to_owned(),
        port: port(wanted, &action.port)?,
        path,
        headers,
        timeout,
    })
}

/// Does it, in or against one container, for as long as `timeout`.
pub(super) async fn run(
    ctx: &Context,
    handler: &Handler,
    wanted: &Wanted,
    id: &ContainerId,
    ip: Option<IpAddr>,
    timeout: Duration,
) -> Outcome {
    let no_address = || Outcome::Unknown("the pod has no address yet".into());
    let no_port = || Outcome::Unknown("couldn't find the port in the container".into());
    match handler {
        Handler::Exec(action) => exec(ctx, id, action.command.as_deref().unwrap_or_default(), timeout).await,
        Handler::Sleep(time) => {
            ctx.clock().sleep((*time).min(timeout)).await;
            Outcome::Success
        }
        Handler::Http(action) => {
            let named = action.host.clone().filter(|host| !host.is_empty());
            let Some(host) = named.or_else(|| ip.map(|ip| ip.to_string())) else { return no_address() };
            match http_request(wanted, action, &host, timeout, AGENT) {
                Some(request) => http(ctx, &request).await,
                None => no_port(),
            }
        }
        Handler::Tcp(action) => match (own_host(action).or(ip), port(wanted, &action.port)) {
            (Some(ip), Some(port)) => {
                answered(ctx.prober.tcp(SocketAddr::new(ip, port), timeout).await.map(|()| true))
            }
            (None, _) => no_address(),
            (_, None) => no_port(),
        },
        Handler::Grpc(action) => match (ip, u16::try_from(action.port).ok()) {
            (Some(ip), Some(port)) => {
                let service = action.service.as_deref().unwrap_or_default();
                answered(ctx.prober.grpc(SocketAddr::new(ip, port), service, timeout).await)
            }
            (None, _) => no_address(),
            (_, None) => no_port(),
        },
    }
}

const AGENT: &str = "kube-probe/1.36";

async fn exec(ctx: &Context, id: &ContainerId, command: &[String], timeout: Duration) -> Outcome {
    match ctx.runtime.exec_sync(id, command, timeout).await {
        Ok(output) if output.exit_code == 0 => Outcome::Success,
        Ok(output) => {
            let mut text = output.stdout;
            text.extend_from_slice(&output.stderr);
            Outcome::Failure(String::from_utf8_lossy(&text).trim_end().to_owned())
        }
        Err(RuntimeError::Timeout { after }) => Outcome::Failure(format!(
            "command timed out: {:?} timed out after {}",
            command.join(" "),
            super::backoff::go_duration(after)
        )),
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

async fn http(ctx: &Context, request: &HttpProbe) -> Outcome {
    match ctx.prober.http(request).await {
        Ok(answer) if (200..300).contains(&answer.status) => Outcome::Success,
        // Redirects to another host are not followed.
        Ok(answer) if (300..400).contains(&answer.status) => {
            Outcome::Warning(format!("Probe terminated redirects, Response body: {}", answer.body))
        }
        Ok(answer) => Outcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status)),
        Err(ProbeError::Timeout) => Outcome::Failure(format!(
            "Get \"{}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            request.url()
        )),
        Err(error @ ProbeError::Unsupported { .. }) => Outcome::Unknown(error.to_string()),
        Err(error) => Outcome::Failure(format!("Get \"{}\": {error}", request.url())),
    }
}

fn answered(answer: Result<bool, ProbeError>) -> Outcome {
    match answer {
        Ok(true) => Outcome::Success,
        Ok(false) => Outcome::Failure("service unhealthy (responded with \"NOT_SERVING\")".into()),
        Err(error @ ProbeError::Unsupported { .. }) => Outcome::Unknown(error.to_string()),
        Err(error) => Outcome::Failure(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_name_host_port_and_path() {
        let wanted: Wanted = serde_json::from_value(json!({
            "name": "app", "ports": [{"name": "web", "containerPort": 8080}],
        }))
        .unwrap();
        let of = |action: serde_json::Value| {
            let action: HTTPGetAction = serde_json::from_value(action).unwrap();
            let host = action.host.clone().unwrap_or_else(|| "10.1.0.5".into());
            http_request(&wanted, &action, &host, Duration::from_secs(1), "probe")
                .map(|request| request.url())
        };
        for (action, url) in [
            (json!({"port": 80}), Some("http://10.1.0.5:80/")),
            (json!({"port": "web", "path": "healthz?x=1"}), Some("http://10.1.0.5:8080/healthz?x=1")),
            (
                json!({"port": "web", "scheme": "HTTPS", "host": "fd00::1", "path": "/a"}),
                Some("https://[fd00::1]:8080/a"),
            ),
            (json!({"port": "none"}), None),
            (json!({"port": 0}), None),
            (json!({"port": 70000}), None),
        ] {
            assert_eq!(of(action.clone()).as_deref(), url, "{action}");
        }
    }

    #[test]
    fn headers_of_the_probe_come_before_the_usual() {
        let action: HTTPGetAction = serde_json::from_value(json!({
            "port": 80, "httpHeaders": [{"name": "Host", "value": "shop"}, {"name": "user-agent", "value": "me"}],
        }))
        .unwrap();
        let request =
            http_request(&Wanted::default(), &action, "10.1.0.5", Duration::from_secs(1), "probe").unwrap();
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Host", "user-agent", "Accept"]);
    }
}
