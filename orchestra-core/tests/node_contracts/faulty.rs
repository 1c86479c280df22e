//! A runtime with one fault.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use orchestra_core::runtime::fake::FakeRuntime;
use orchestra_core::runtime::*;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    IgnoresTail,
    IgnoresLimit,
    IgnoresSince,
    IgnoresTimestamps,
    FollowsForEver,
    ExecTakesItsTime,
    ExecLosesTheCode,
    ExecLosesTheOutput,
    GivesNoGrace,
    NeverKills,
    ReturnsBeforeItHasStopped,
    TellsNothing,
    TellsOfNoEnds,
    HidesFailedStarts,
    LosesExitCodes,
    ForgetsWhenReopened,
    ForgetsTheDeadWhenReopened,
    ListsWhatIsOthers,
    MakesTheSameTwice,
    RunsAbsentImages,
}

impl Fault {
    pub const ALL: [Self; 20] = [
        Self::IgnoresTail,
        Self::IgnoresLimit,
        Self::IgnoresSince,
        Self::IgnoresTimestamps,
        Self::FollowsForEver,
        Self::ExecTakesItsTime,
        Self::ExecLosesTheCode,
        Self::ExecLosesTheOutput,
        Self::GivesNoGrace,
        Self::NeverKills,
        Self::ReturnsBeforeItHasStopped,
        Self::TellsNothing,
        Self::TellsOfNoEnds,
        Self::HidesFailedStarts,
        Self::LosesExitCodes,
        Self::ForgetsWhenReopened,
        Self::ForgetsTheDeadWhenReopened,
        Self::ListsWhatIsOthers,
        Self::MakesTheSameTwice,
        Self::RunsAbsentImages,
    ];
}

/// A fake with a fault, or none.
pub struct Faulty {
    pub inner: FakeRuntime,
    pub fault: Option<Fault>,
    /// Whether it is what a program sees that was started again.
    pub reopened: bool,
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn seen(&self, mut container: Container) -> Container {
        if let ContainerState::Exited(exit) = &mut container.state
            && self.has(Fault::LosesExitCodes)
        {
            exit.code = 0;
        }
        container
    }
}

#[async_trait]
impl Runtime for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn info(&self) -> Result<RuntimeInfo> {
        self.inner.info().await
    }

    async fn machine(&self) -> Result<MachineInfo> {
        self.inner.machine().await
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        self.inner.run_sandbox(spec).await
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.inner.stop_sandbox(id).await
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.inner.remove_sandbox(id).await
    }

    async fn create_container(&self, sandbox: &SandboxId, spec: &ContainerSpec) -> Result<ContainerId> {
        let mut spec = spec.clone();
        if self.has(Fault::RunsAbsentImages) {
            spec.image = "busybox".into();
        }
        match self.inner.create_container(sandbox, &spec).await {
            Err(RuntimeError::AlreadyExists { .. }) if self.has(Fault::MakesTheSameTwice) => {
                spec.meta.attempt += 1000;
                self.inner.create_container(sandbox, &spec).await
            }
            other => other,
        }
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        match self.inner.start_container(id).await {
            Err(RuntimeError::StartFailed { .. }) if self.has(Fault::HidesFailedStarts) => Ok(()),
            other => other,
        }
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        match self.fault {
            Some(Fault::GivesNoGrace) => self.inner.stop_container(id, Duration::ZERO).await,
            Some(Fault::NeverKills) if !grace.is_zero() => {
                self.inner.stop_container(id, Duration::from_secs(1 << 30)).await
            }
            Some(Fault::ReturnsBeforeItHasStopped) => Ok(()),
            _ => self.inner.stop_container(id, grace).await,
        }
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.inner.remove_container(id).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>> {
        let filter = match self.has(Fault::ListsWhatIsOthers) {
            true => Filter { owner: None, ..filter.clone() },
            false => filter.clone(),
        };
        let mut found = self.inner.list(&filter).await?;
        for sandbox in &mut found {
            sandbox.containers = sandbox.containers.drain(..).map(|one| self.seen(one)).collect();
            if self.reopened && self.has(Fault::ForgetsTheDeadWhenReopened) {
                sandbox.containers.retain(|one| one.state.is_running());
            }
        }
        if self.reopened && self.has(Fault::ForgetsWhenReopened) {
            found.clear();
        }
        Ok(found)
    }

    async fn container(&self, id: &ContainerId) -> Result<Container> {
        Ok(self.seen(self.inner.container(id).await?))
    }

    async fn image(&self, image: &ImageRef) -> Result<Option<Image>> {
        self.inner.image(image).await
    }

    async fn pull_image(&self, image: &ImageRef, credentials: Option<&RegistryCredentials>) -> Result<Image> {
        self.inner.pull_image(image, credentials).await
    }

    async fn images(&self) -> Result<Vec<Image>> {
        self.inner.images().await
    }

    async fn remove_image(&self, image: &ImageRef) -> Result<()> {
        self.inner.remove_image(image).await
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream> {
        let mut options = options.clone();
        match self.fault {
            Some(Fault::IgnoresTail) => options.tail_lines = None,
            Some(Fault::IgnoresLimit) => options.limit_bytes = None,
            Some(Fault::IgnoresSince) => options.since = None,
            Some(Fault::IgnoresTimestamps) => options.timestamps = false,
            _ => {}
        }
        let stream = self.inner.logs(id, &options).await?;
        match options.follow && self.has(Fault::FollowsForEver) {
            true => Ok(stream.chain(futures::stream::pending()).boxed()),
            false => Ok(stream),
        }
    }

    async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        self.inner.exec(id, options).await
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        let timeout = match self.has(Fault::ExecTakesItsTime) {
            true => Duration::from_secs(1 << 30),
            false => timeout,
        };
        let mut output = self.inner.exec_sync(id, command, timeout).await?;
        match self.fault {
            Some(Fault::ExecLosesTheCode) => output.exit_code = 0,
            Some(Fault::ExecLosesTheOutput) => output.stdout.clear(),
            _ => {}
        }
        Ok(output)
    }

    async fn stats(&self, filter: &Filter) -> Result<Vec<ContainerStats>> {
        self.inner.stats(filter).await
    }

    async fn machine_stats(&self) -> Result<MachineStats> {
        self.inner.machine_stats().await
    }

    async fn events(&self) -> Result<EventStream> {
        let ends = |event: &Result<RuntimeEvent>| {
            matches!(event, Ok(RuntimeEvent { kind: EventKind::Exited(_), .. }))
        };
        let events = self.inner.events().await?;
        Ok(match self.fault {
            Some(Fault::TellsNothing) => futures::stream::pending().boxed(),
            Some(Fault::TellsOfNoEnds) => {
                events.filter(move |event| std::future::ready(!ends(event))).boxed()
            }
            _ => events,
        })
    }
}
