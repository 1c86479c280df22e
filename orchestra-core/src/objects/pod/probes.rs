//! What is wrong with the probes and hooks of a container.

use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, PodSpec, Probe, SleepAction, TCPSocketAction,
};

use crate::api::field::{Errors, Path};
use crate::objects::check::{self, say};
use crate::objects::names;

/// Says what is wrong with the probes and hooks of a container.
pub(super) fn of_container(container: &Container, spec: &PodSpec, path: &Path, errors: &mut Errors) {
    if let Some(lifecycle) = &container.lifecycle {
        let path = path.child("lifecycle");
        let grace = spec.termination_grace_period_seconds;
        for (field, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
            if let Some(hook) = hook {
                action(Action::of_hook(hook), grace, &path.child(field), errors);
            }
        }
    }
    for (field, given) in
        [("livenessProbe", &container.liveness_probe), ("startupProbe", &container.startup_probe)]
    {
        let Some(given) = given else { continue };
        let path = path.child(field);
        probe(given, &path, errors);
        if given.success_threshold != Some(1) {
            errors.invalid(
                &path.child("successThreshold"),
                given.success_threshold.unwrap_or_default(),
                "must be 1",
            );
        }
    }
    if let Some(given) = &container.readiness_probe {
        let path = path.child("readinessProbe");
        probe(given, &path, errors);
        if let Some(seconds) = given.termination_grace_period_seconds {
            errors.invalid(
                &path.child("terminationGracePeriodSeconds"),
                seconds,
                "must not be set for readinessProbes",
            );
        }
    }
}

fn probe(probe: &Probe, path: &Path, errors: &mut Errors) {
    action(Action::of_probe(probe), None, path, errors);
    for (field, number) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        check::not_negative(errors, &path.child(field), number);
    }
    if let Some(seconds) = probe.termination_grace_period_seconds.filter(|seconds| *seconds <= 0) {
        errors.invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
}

/// What a probe or a hook does: one of these.
struct Action<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc_port: Option<i32>,
    sleep: Option<&'a SleepAction>,
}

impl<'a> Action<'a> {
    fn of_probe(probe: &'a Probe) -> Self {
        Self {
            exec: probe.exec.as_ref(),
            http_get: probe.http_get.as_ref(),
            tcp_socket: probe.tcp_socket.as_ref(),
            grpc_port: probe.grpc.as_ref().map(|grpc| grpc.port),
            sleep: None,
        }
    }

    fn of_hook(hook: &'a LifecycleHandler) -> Self {
        Self {
            exec: hook.exec.as_ref(),
            http_get: hook.http_get.as_ref(),
            tcp_socket: hook.tcp_socket.as_ref(),
            grpc_port: None,
            sleep: hook.sleep.as_ref(),
        }
    }

    fn given(&self) -> impl Iterator<Item = &'static str> {
        [
            ("exec", self.exec.is_some()),
            ("httpGet", self.http_get.is_some()),
            ("tcpSocket", self.tcp_socket.is_some()),
            ("grpc", self.grpc_port.is_some()),
            ("sleep", self.sleep.is_some()),
        ]
        .into_iter()
        .filter_map(|(field, given)| given.then_some(field))
    }
}

fn action(action: Action<'_>, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let mut given = action.given();
    let Some(first) = given.next() else {
        return errors.required(path, "must specify a handler type");
    };
    let at = path.child(first);
    match action {
        Action { exec: Some(exec), .. } => {
            if exec.command.as_ref().is_none_or(Vec::is_empty) {
                errors.required(&at.child("command"), "");
            }
        }
        Action { http_get: Some(get), .. } => http_get(get, &at, errors),
        Action { tcp_socket: Some(tcp), .. } => check::port(errors, &at.child("port"), &tcp.port),
        Action { grpc_port: Some(port), .. } => check::port_number(errors, &at.child("port"), port),
        Action { sleep: Some(sleep), .. } => {
            if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&sleep.seconds)) {
                errors.invalid(
                    &at,
                    sleep.seconds,
                    format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
                );
            }
        }
        Action { .. } => {}
    }
    for further in given {
        errors.forbidden(&path.child(further), "may not specify more than 1 handler type");
    }
}

fn http_get(get: &HTTPGetAction, path: &Path, errors: &mut Errors) {
    if get.path.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("path"), "");
    }
    check::port(errors, &path.child("port"), &get.port);
    let scheme = get.scheme.as_deref().unwrap_or_default();
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in get.http_headers.iter().flatten() {
        say(errors, &path.child("httpHeaders"), &header.name, names::header(&header.name));
    }
}
