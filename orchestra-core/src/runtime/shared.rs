//! A runtime that is shared is a runtime.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    AttachOptions, ByteStream, Capabilities, Container, ContainerId, ContainerSpec, ContainerStats, Duplex,
    EventStream, ExecOptions, ExecOutput, Filter, Image, ImageRef, LogOptions, MachineInfo, MachineStats,
    PodRef, PullProgress, RegistryCredentials, Resources, Result, RunningSandbox, Runtime, RuntimeInfo,
    Sandbox, SandboxId, SandboxSpec, Session,
};

#[async_trait]
impl<R: Runtime + ?Sized> Runtime for Arc<R> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    async fn info(&self) -> Result<RuntimeInfo> {
        (**self).info().await
    }

    async fn machine(&self) -> Result<MachineInfo> {
        (**self).machine().await
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        (**self).run_sandbox(spec).await
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        (**self).stop_sandbox(id).await
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        (**self).remove_sandbox(id).await
    }

    async fn update_sandbox(&self, id: &SandboxId, resources: &Resources) -> Result<()> {
        (**self).update_sandbox(id, resources).await
    }

    async fn create_container(&self, sandbox: &SandboxId, spec: &ContainerSpec) -> Result<ContainerId> {
        (**self).create_container(sandbox, spec).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        (**self).start_container(id).await
    }

    async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        (**self).update_container(id, resources).await
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        (**self).stop_container(id, grace).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        (**self).remove_container(id).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>> {
        (**self).list(filter).await
    }

    async fn container(&self, id: &ContainerId) -> Result<Container> {
        (**self).container(id).await
    }

    async fn image(&self, image: &ImageRef) -> Result<Option<Image>> {
        (**self).image(image).await
    }

    async fn pull_image(&self, image: &ImageRef, credentials: Option<&RegistryCredentials>) -> Result<Image> {
        (**self).pull_image(image, credentials).await
    }

    async fn pull_image_telling(
        &self,
        image: &ImageRef,
        credentials: Option<&RegistryCredentials>,
        progress: &PullProgress,
    ) -> Result<Image> {
        (**self).pull_image_telling(image, credentials, progress).await
    }

    async fn images(&self) -> Result<Vec<Image>> {
        (**self).images().await
    }

    async fn remove_image(&self, image: &ImageRef) -> Result<()> {
        (**self).remove_image(image).await
    }

    async fn mount_image(&self, image: &str, pod: &PodRef, at: &Path) -> Result<()> {
        (**self).mount_image(image, pod, at).await
    }

    async fn release_images(&self, pod_uid: &str) -> Result<()> {
        (**self).release_images(pod_uid).await
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream> {
        (**self).logs(id, options).await
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        (**self).exec_sync(id, command, timeout).await
    }

    async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        (**self).exec(id, options).await
    }

    async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<Session> {
        (**self).attach(id, options).await
    }

    async fn port_forward(&self, sandbox: &SandboxId, port: u16) -> Result<Box<dyn Duplex>> {
        (**self).port_forward(sandbox, port).await
    }

    async fn stats(&self, filter: &Filter) -> Result<Vec<ContainerStats>> {
        (**self).stats(filter).await
    }

    async fn machine_stats(&self) -> Result<MachineStats> {
        (**self).machine_stats().await
    }

    async fn events(&self) -> Result<EventStream> {
        (**self).events().await
    }
}
