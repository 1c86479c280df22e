//! Connecting a pod's sandbox to the network, and giving its addresses back.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::context::Context;
use super::model::Memory;
use super::ports::PodFile;
use super::translate::{self, pod_ref};
use crate::network::{AttachRequest, NetworkError};
use crate::runtime::{Sandbox, SandboxId};

/// The addresses of a pod; none before its sandbox is connected.
pub(super) fn addresses(ctx: &Context, pod: &Pod, memory: &Memory) -> Vec<IpAddr> {
    match &memory.attached {
        _ if is_on_host_network(pod) => ctx.facts.host_ips.clone(),
        Some((_, ips)) => ips.clone(),
        None => Vec::new(),
    }
}

fn is_on_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

/// Connects a sandbox, or finds that it is connected.
pub(super) async fn attach(
    ctx: &Context,
    pod: &Pod,
    spec: &PodSpec,
    sandbox: &Sandbox,
    memory: &mut Memory,
) -> Result<(), NetworkError> {
    if is_on_host_network(pod) {
        memory.attached = Some((sandbox.id.clone(), ctx.facts.host_ips.clone()));
        write_hosts_file(ctx, pod, spec, memory).await;
        return Ok(());
    }
    // Not while the agent looks for addresses that nobody uses: this one would seem to be one of them.
    let attaching = ctx.attaching.read().await;
    let attachment = ctx.network.attach(&request(ctx, pod, spec, sandbox)).await?;
    drop(attaching);
    memory.attached = Some((sandbox.id.clone(), attachment.ips));
    write_hosts_file(ctx, pod, spec, memory).await;
    Ok(())
}

fn request(ctx: &Context, pod: &Pod, spec: &PodSpec, sandbox: &Sandbox) -> AttachRequest {
    let adopted = sandbox.created_at < ctx.began;
    let reported = pod.status.as_ref().and_then(|status| status.pod_ips.as_ref());
    let known = reported.filter(|_| adopted).into_iter().flatten().filter_map(|ip| ip.ip.parse().ok());
    AttachRequest {
        sandbox: sandbox.id.clone(),
        pod: pod_ref(pod),
        netns: sandbox.netns.clone(),
        runtime_ips: sandbox.ips.clone(),
        known_ips: known.collect(),
        host_ports: translate::host_ports(spec),
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
    }
}

async fn write_hosts_file(ctx: &Context, pod: &Pod, spec: &PodSpec, memory: &mut Memory) {
    if !ctx.runtime.capabilities().mounts {
        return;
    }
    let reference = pod_ref(pod);
    let text = if is_on_host_network(pod) {
        let machine = ctx.volumes.hosts_file().await.unwrap_or_else(|error| {
            tracing::warn!(pod = %reference, %error, "the machine's hosts file cannot be read");
            String::new()
        });
        translate::machine_hosts_file(&machine, spec)
    } else {
        translate::hosts_file(&reference, spec, &addresses(ctx, pod, memory), &ctx.config.dns.domain)
    };
    let file = PodFile { name: "etc-hosts", content: text.as_bytes(), mode: 0o644, replace: true };
    match ctx.volumes.pod_file(&reference, &file).await {
        Ok(path) => memory.hosts_file = Some(path),
        Err(error) => tracing::warn!(pod = %reference, %error, "no hosts file of its own for the pod"),
    }
}

/// Gives a sandbox's addresses back.
pub(super) async fn detach(ctx: &Context, pod: &Pod, id: &SandboxId, memory: &mut Memory) {
    if memory.attached.as_ref().is_some_and(|(attached, _)| attached == id) {
        memory.attached = None;
    }
    if let Err(error) = ctx.network.detach(id, &pod_ref(pod)).await {
        // The addresses are found unused when the agent starts the next time.
        tracing::warn!(pod = %pod_ref(pod), %error, "the pod's addresses were not given back");
    }
}
