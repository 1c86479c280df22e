//! What is the matter with a container of a pod.

use super::Step;
use super::facts::{Facts, about};
use super::seen::{Container, ContainerStatus, Seen, Terminated, seconds_since};

/// For how long after a restart that is still worth telling, in seconds.
const RECENT: i64 = 600;

/// The first container that cannot begin, or does not stay up.
pub(super) fn trouble(facts: &Facts, pod: &Seen) -> Option<Step> {
    let of = |status: &ContainerStatus, is_initial: bool| {
        let spec = spec(pod, &status.name);
        let waiting = status.state.waiting.as_ref();
        match waiting.map(|waiting| (&*waiting.reason, &*waiting.message)) {
            Some((
                "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull",
                message,
            )) => Some(image(facts, pod, spec, message)),
            Some(("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError", message)) => {
                Some(unmakable(facts, pod, &status.name, message))
            }
            Some(("CrashLoopBackOff", message)) => Some(crash(pod, status, spec, message)),
            _ => {
                let ended = status.state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
                is_initial.then(|| crash_of(pod, status, spec, ended))
            }
        }
    };
    let initial = pod.status.init_container_statuses.iter().find_map(|status| of(status, true));
    initial.or_else(|| pod.status.container_statuses.iter().find_map(|status| of(status, false)))
}

fn spec<'p>(pod: &'p Seen, name: &str) -> Option<&'p Container> {
    let mut all = pod.spec.init_containers.iter().chain(&pod.spec.containers);
    all.find(|container| container.name == name)
}

fn here(pod: &Seen, says: impl Into<String>) -> Step {
    Step::new(about("pods", pod), says)
}

fn image(facts: &Facts, pod: &Seen, spec: Option<&Container>, message: &str) -> Step {
    let name = spec.map_or("", |spec| &*spec.image);
    let step = here(pod, format!("cannot get its image {name}"));
    // While it backs off, only the event says why the last try failed.
    let failed = facts.warning(pod, &["Failed", "ErrImagePull", "InspectFailed"]);
    let step = step.because("status.containerStatuses", message);
    let step = match failed.filter(|event| event.message != message && !event.message.starts_with("Error: "))
    {
        Some(event) => step.because(format!("event {}", event.reason), &*event.message),
        None => step,
    };
    step.advise("see that the image and its tag are spelled as the registry has them")
        .advise("for a private registry, name a secret in imagePullSecrets")
}

fn unmakable(facts: &Facts, pod: &Seen, name: &str, message: &str) -> Step {
    let step =
        here(pod, format!("cannot make its container {name}")).because("status.containerStatuses", message);
    let lower = message.to_lowercase();
    if lower.contains("not found") && (lower.contains("secret") || lower.contains("configmap")) {
        return step
            .advise("make what the message names, in the namespace of the pod, or mark it as optional");
    }
    match facts.warning(pod, &[]) {
        Some(event) if event.message != message => {
            step.because(format!("event {}", event.reason), &*event.message)
        }
        _ => step,
    }
}

/// A container that ends again and again.
fn crash(pod: &Seen, status: &ContainerStatus, spec: Option<&Container>, message: &str) -> Step {
    match &status.last_state.terminated {
        Some(ended) => crash_of(pod, status, spec, ended),
        None => here(pod, format!("has a container {} that does not stay up", status.name))
            .because("status.containerStatuses", message),
    }
}

fn crash_of(pod: &Seen, status: &ContainerStatus, spec: Option<&Container>, ended: &Terminated) -> Step {
    let name = &status.name;
    let times = match status.restart_count {
        0 => String::new(),
        1 => ", and was begun again once".to_owned(),
        count => format!(", and was begun again {count} times"),
    };
    let step = here(pod, format!("has a container {name} that {}{times}", how(ended)));
    let step = step.because(format!("last message of {name}"), &*ended.message);
    let step = step.because(format!("status.containerStatuses[{name}]"), described(ended));
    match (&*ended.reason, ended.exit_code) {
        ("OOMKilled", _) => {
            let limit = spec.and_then(|spec| spec.resources["limits"]["memory"].as_str());
            match limit {
                Some(limit) => step
                    .advise(format!("give it more memory than its limit of {limit}, or find what takes it")),
                None => {
                    step.advise("its node ran short of memory: give it a request that says what it needs")
                }
            }
        }
        (_, 126 | 127) => step.advise("see that its command is in the image, and can be run"),
        (_, 0) => {
            step.advise("its command ends although nothing is wrong: run one that stays, or make a Job of it")
        }
        _ => step.advise(format!(
            "kubectl logs -n {} {} -c {name} --previous",
            pod.metadata.namespace, pod.metadata.name
        )),
    }
}

fn how(ended: &Terminated) -> String {
    match (&*ended.reason, ended.exit_code) {
        ("OOMKilled", _) => "took more memory than it may".to_owned(),
        (_, 0) => "ends by itself".to_owned(),
        (_, 127) => "has a command that is not there (exit code 127)".to_owned(),
        (_, 126) => "has a command that cannot be run (exit code 126)".to_owned(),
        (_, 137) => "was killed (exit code 137)".to_owned(),
        (_, code) => format!("ends with exit code {code}"),
    }
}

fn described(ended: &Terminated) -> String {
    let at = ended.finished_at.as_deref().map(|at| format!(" at {at}")).unwrap_or_default();
    format!(
        "{} with exit code {}{at}",
        if ended.reason.is_empty() { "ended" } else { &ended.reason },
        ended.exit_code
    )
}

/// A container that runs and is not ready.
pub(super) fn unready(facts: &Facts, pod: &Seen) -> Option<Step> {
    let status = pod.status.container_statuses.iter().find(|status| !status.ready)?;
    let running = status.state.running.as_ref()?;
    let step = here(pod, format!("has a container {} that runs and is not ready", status.name));
    let step = match facts.warning(pod, &["Unhealthy", "ProbeWarning"]) {
        Some(event) => step
            .because(format!("event {}", event.reason), &*event.message)
            .advise("see that what the probe asks for is where the probe asks, and answers in time"),
        None => step,
    };
    Some(step.because(
        format!("status.containerStatuses[{}]", status.name),
        running.started_at.as_deref().map(|at| format!("running since {at}")).unwrap_or_default(),
    ))
}

/// A container that serves again, and was begun again not long ago.
pub(super) fn restarted(facts: &Facts, pod: &Seen) -> Option<Step> {
    let mut statuses = pod.status.container_statuses.iter();
    let (status, ended) = statuses.find_map(|status| {
        let ended = status.last_state.terminated.as_ref()?;
        let is_recent = seconds_since(ended.finished_at.as_deref(), facts.now) < RECENT;
        (is_recent && status.restart_count > 1).then_some((status, ended))
    })?;
    Some(crash_of(pod, status, spec(pod, &status.name), ended))
}

/// How a pod that failed ended.
pub(super) fn ended(pod: &Seen) -> Option<Step> {
    let all = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let mut ended = all.filter_map(|status| Some((status, status.state.terminated.as_ref()?)));
    let (status, ended) = ended.find(|(_, ended)| ended.exit_code != 0)?;
    Some(crash_of(pod, status, spec(pod, &status.name), ended))
}
