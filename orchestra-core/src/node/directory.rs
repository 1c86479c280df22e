//! Where the agents of the nodes are reached: the way from `kubectl logs` to a container.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod};

use super::service::{LogRequest, NodeService};
use super::static_pods::MIRROR;
use crate::api::{Client, LogQuery, Reason, Status};
use crate::meta::GroupResource;
use crate::runtime::{ByteStream, PodRef};

/// Reaches the agents of nodes that are not in this process.
#[async_trait]
pub trait Dialer: Send + Sync + fmt::Debug + 'static {
    /// The agent of a node.
    ///
    /// # Errors
    /// When it cannot be reached.
    async fn dial(&self, node: &Node) -> Result<Arc<dyn NodeService>, Status>;
}

/// Where a pod is.
#[derive(Clone)]
pub struct PodPlace {
    /// The pod.
    pub pod: PodRef,
    /// The agent of its node.
    pub node: Arc<dyn NodeService>,
}

/// Where a container is.
#[derive(Clone)]
pub struct ContainerPlace {
    /// Its pod.
    pub pod: PodRef,
    /// Its name.
    pub container: String,
    /// The agent of its node.
    pub node: Arc<dyn NodeService>,
}

impl fmt::Debug for PodPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.pod, f)
    }
}

impl fmt::Debug for ContainerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.container, self.pod)
    }
}

/// The agents by the name of their node. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Directory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    local: RwLock<HashMap<String, Arc<dyn NodeService>>>,
    dialer: RwLock<Option<Arc<dyn Dialer>>>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.0.local.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(local.keys()).finish()
    }
}

impl Directory {
    /// Adds an agent of this process.
    pub fn insert(&self, node: impl Into<String>, service: Arc<dyn NodeService>) {
        self.0.local.write().unwrap_or_else(PoisonError::into_inner).insert(node.into(), service);
    }

    /// Says how other agents are reached.
    pub fn dial_with(&self, dialer: Arc<dyn Dialer>) {
        *self.0.dialer.write().unwrap_or_else(PoisonError::into_inner) = Some(dialer);
    }

    /// Forgets all agents, and how others are reached. Agents hold clients of the server that finds them here: it would
    /// never go away otherwise.
    pub(crate) fn clear(&self) {
        self.0.local.write().unwrap_or_else(PoisonError::into_inner).clear();
        *self.0.dialer.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The agent of a node.
    ///
    /// # Errors
    /// When there is none of that name, or it cannot be reached.
    pub async fn find(&self, client: &Client, node: &str) -> Result<Arc<dyn NodeService>, Status> {
        match self.local(node) {
            Some(service) => Ok(service),
            None => self.dial(&client.cluster::<Node>().get(node).await?).await,
        }
    }

    /// The agent of a node whose object is at hand.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn reach(&self, node: &Node) -> Result<Arc<dyn NodeService>, Status> {
        match self.local(node.metadata.name.as_deref().unwrap_or_default()) {
            Some(service) => Ok(service),
            None => self.dial(node).await,
        }
    }

    fn local(&self, node: &str) -> Option<Arc<dyn NodeService>> {
        self.0.local.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    async fn dial(&self, node: &Node) -> Result<Arc<dyn NodeService>, Status> {
        let dialer = self.0.dialer.read().unwrap_or_else(PoisonError::into_inner).clone();
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let unreachable = || Status::internal(format!("no agent of node {name} is known to this server"));
        dialer.ok_or_else(unreachable)?.dial(node).await
    }

    /// What a container wrote. `client` is whoever asks.
    ///
    /// # Errors
    /// In Kubernetes' words: no such pod, no such container, no node yet, or what the node says.
    pub async fn logs(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
        query: LogQuery,
    ) -> Result<ByteStream, Status> {
        let place = self.container(client, namespace, name, query.container.as_deref()).await?;
        let request = LogRequest {
            pod: place.pod,
            container: place.container,
            previous: query.previous,
            options: query.options,
        };
        place.node.logs(&request).await
    }

    /// Where a container is; `wanted` may be `None` if its pod has but one.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub async fn container(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
        wanted: Option<&str>,
    ) -> Result<ContainerPlace, Status> {
        let object = client.api::<Pod>(namespace).get(name).await?;
        let container = container_of(&object, name, wanted)?;
        let PodPlace { pod, node } = self.place(client, namespace, name, &object).await?;
        Ok(ContainerPlace { pod, container, node })
    }

    /// Where a pod is.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub async fn pod(&self, client: &Client, namespace: &str, name: &str) -> Result<PodPlace, Status> {
        let object = client.api::<Pod>(namespace).get(name).await?;
        self.place(client, namespace, name, &object).await
    }

    async fn place(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
        pod: &Pod,
    ) -> Result<PodPlace, Status> {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        if node.is_empty() {
            return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
        }
        let uid = uid_on_node(pod).unwrap_or_default();
        let pod = PodRef { namespace: namespace.to_owned(), name: name.to_owned(), uid };
        Ok(PodPlace { pod, node: self.find(client, &node).await? })
    }
}

/// By which uid the node of a pod knows it: that of the manifest, for a pod that only shows how a static pod is.
fn uid_on_node(pod: &Pod) -> Option<String> {
    let mirrored = pod.metadata.annotations.as_ref().and_then(|all| all.get(MIRROR));
    mirrored.or(pod.metadata.uid.as_ref()).cloned()
}

/// The container that is meant.
fn container_of(pod: &Pod, name: &str, wanted: Option<&str>) -> Result<String, Status> {
    let Some(spec) = &pod.spec else {
        return Err(Status::not_found(&GroupResource::of::<Pod>(), name));
    };
    let init = spec.init_containers.iter().flatten().map(|container| container.name.as_str());
    let regular: Vec<&str> = spec.containers.iter().map(|container| container.name.as_str()).collect();
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| container.name.as_str());
    match wanted {
        Some(wanted) => {
            let mut all = regular.iter().copied().chain(init).chain(ephemeral);
            all.find(|held| *held == wanted).map(str::to_owned).ok_or_else(|| {
                Status::new(Reason::BadRequest, format!("container {wanted} is not valid for pod {name}"))
            })
        }
        None => match regular.as_slice() {
            [only] => Ok((*only).to_owned()),
            many => Err(Status::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                many.join(" ")
            ))),
        },
    }
}
