//! The messages of the CRI, version 1, as far as they are used here, with the numbers that its definition gives their
//! fields; and the calls. What a runtime says beside that is passed over.
//!
//! They are written by hand, so that no compiler of protocol buffers is needed.

mod container;
mod image;
mod sandbox;
mod snapshot;

use prost::Message;

pub(super) use container::*;
pub(super) use image::*;
pub(super) use sandbox::*;
pub(super) use snapshot::*;

/// A question that a runtime answers.
pub(super) trait Call: Message + 'static {
    /// What it is called.
    const PATH: &'static str;
    /// The answer.
    type Answer: Message + Default + 'static;
}

/// An answer that says nothing but that it was done.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Empty {}

macro_rules! calls {
    ($service:literal: $($name:literal $call:ident -> $answer:ident),* $(,)?) => {
        $(impl Call for $call {
            const PATH: &'static str = concat!("/", $service, "/", $name);
            type Answer = $answer;
        })*
    };
}

calls! { "runtime.v1.RuntimeService":
    "RunPodSandbox" RunPodSandboxRequest -> RunPodSandboxResponse,
    "StopPodSandbox" StopPodSandboxRequest -> Empty,
    "RemovePodSandbox" RemovePodSandboxRequest -> Empty,
    "PodSandboxStatus" PodSandboxStatusRequest -> PodSandboxStatusResponse,
    "ListPodSandbox" ListPodSandboxRequest -> ListPodSandboxResponse,
    "CreateContainer" CreateContainerRequest -> CreateContainerResponse,
    "StartContainer" StartContainerRequest -> Empty,
    "UpdateContainerResources" UpdateContainerResourcesRequest -> Empty,
    "StopContainer" StopContainerRequest -> Empty,
    "RemoveContainer" RemoveContainerRequest -> Empty,
    "ReopenContainerLog" ReopenContainerLogRequest -> Empty,
    "ListContainers" ListContainersRequest -> ListContainersResponse,
    "ContainerStatus" ContainerStatusRequest -> ContainerStatusResponse,
    "ExecSync" ExecSyncRequest -> ExecSyncResponse,
    "Exec" ExecRequest -> UrlResponse,
    "Attach" AttachRequest -> UrlResponse,
    "GetContainerEvents" GetEventsRequest -> ContainerEventResponse,
    "ListContainerStats" ListContainerStatsRequest -> ListContainerStatsResponse,
    "Version" VersionRequest -> VersionResponse,
    "Status" StatusRequest -> StatusResponse,
    "UpdateRuntimeConfig" UpdateRuntimeConfigRequest -> Empty,
}

calls! { "runtime.v1.ImageService":
    "ListImages" ListImagesRequest -> ListImagesResponse,
    "ImageStatus" ImageStatusRequest -> ImageStatusResponse,
    "PullImage" PullImageRequest -> PullImageResponse,
    "RemoveImage" RemoveImageRequest -> Empty,
    "ImageFsInfo" ImageFsInfoRequest -> ImageFsInfoResponse,
}

// What the CRI has no call for, of containerd alone.
calls! { "containerd.services.snapshots.v1.Snapshots":
    "View" ViewSnapshotRequest -> ViewSnapshotResponse,
    "Mounts" MountsRequest -> ViewSnapshotResponse,
    "Remove" RemoveSnapshotRequest -> Empty,
    "List" ListSnapshotsRequest -> ListSnapshotsResponse,
}
