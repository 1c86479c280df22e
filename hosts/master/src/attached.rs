//! A scheduler and controllers of an API server that runs elsewhere: Kubernetes' own, or ours without its own.
//!
//! They reach it as any client does, by a kubeconfig. Each stands for election by the Lease that Kubernetes' own program
//! has, so that one can take the place of the other. All calls are made as the user of the kubeconfig, who must have the
//! rights of both parts. With `--use-service-account-credentials` each controller is its service account instead (`accounts`).
//! While the server is away they wait, and go on when it answers again.
//!
//! Tasks: one for each part, which stands for election and works while it leads; they end with [`Attached::stop`], or when
//! this is dropped.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use orchestra_core::api::Client;
use orchestra_core::cluster::Component;
use orchestra_core::control::leader::{Candidate, lead};
use orchestra_core::controllers;
use orchestra_core::scheduler::Scheduler;
use orchestra_core::supervise::Supervisor;
use orchestra_http::{AggregatedMetrics, Kubeconfig, Remote};
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::{Options, identity};

/// The parts of a master that act on an API server elsewhere.
#[derive(Debug)]
pub struct Attached {
    parts: Supervisor<Component>,
    stop: CancellationToken,
}

impl Attached {
    /// Starts the parts that the options do not leave out, for the server at a URL.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read, or nothing is left to be run. That the server does not answer yet is no error.
    pub fn start(options: &Options, server: &str) -> anyhow::Result<Self> {
        let path = options.kubeconfig.clone().or_else(|| std::env::var_os("KUBECONFIG").map(PathBuf::from));
        let path = path.context("who to be is not known: name a kubeconfig with --kubeconfig")?;
        let mut config = Kubeconfig::read(&path)?;
        server.clone_into(&mut config.url);
        let remote = Remote::connect(config.clone())?;
        let (client, figures) = (remote.client(), AggregatedMetrics::new());
        let controllers_client = match options.use_service_account_credentials {
            true => Accounts::client(Arc::clone(&remote), config.clone()),
            false => client.clone(),
        };
        figures.ask_remote(&remote);
        let (stop, name) = (CancellationToken::new(), options.shared.leader_identity.clone());
        let name = name.unwrap_or_else(identity);
        let mut parts = Supervisor::new("attached", Arc::clone(client.clock()));
        let configuration = options.scheduler.configuration()?;
        let manage = controllers::Config {
            upkeep: false,
            figures: Some(Arc::new(figures)),
            root_ca: Some(config.authority),
            ..options.controllers_elsewhere()
        };
        for part in [Component::Scheduler, Component::ControllerManager] {
            if options.without.contains(&part) {
                continue;
            }
            let candidate = Candidate::new(&name, part.to_string()).term(options.shared.leader_term);
            let (stop, scheduler) = (stop.clone(), Scheduler::new(client.clone()));
            let scheduler = configuration.iter().cloned().fold(scheduler, Scheduler::configured);
            let work = match part {
                Component::Scheduler => Work::Scheduler(scheduler),
                _ => Work::Controllers(controllers_client.clone(), Box::new(manage.clone())),
            };
            let client = client.clone();
            parts.start(part.clone(), move || {
                stand(client.clone(), candidate.clone(), work.clone(), stop.clone())
            });
        }
        anyhow::ensure!(!parts.is_empty(), "both parts are left out: there is nothing to run");
        Ok(Self { parts, stop })
    }

    /// What runs, as a person is told.
    pub fn told(&self) -> String {
        let mut names: Vec<String> = self.parts.keys().map(Component::to_string).collect();
        names.sort();
        names.join(" and ")
    }

    /// Ends what is under way, gives the lead up, and returns when that is done.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.parts.next().await.is_some() {}
    }
}

/// What a part does while it leads.
#[derive(Clone)]
enum Work {
    Scheduler(Scheduler),
    Controllers(Client, Box<controllers::Config>),
}

/// Stands for election, and works while it leads, until it is told to stop.
async fn stand(client: Client, candidate: Candidate, work: Work, stop: CancellationToken) {
    let work = async |stop: CancellationToken| match &work {
        Work::Scheduler(scheduler) => {
            if let Err(error) = scheduler.clone().run(stop.cancelled_owned()).await {
                tracing::error!(%error, "the scheduler stopped");
            }
        }
        Work::Controllers(client, config) => {
            controllers::run_all(client.clone(), (**config).clone(), stop.cancelled_owned()).await;
        }
    };
    lead(&client, client.clock(), candidate, work, stop.cancelled()).await;
}
