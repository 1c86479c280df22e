//! The messages of the device plugins' API, `v1beta1`, with the numbers that their definitions give their fields.

use std::collections::HashMap;

use crate::host::calls::calls;

calls! {
    "/v1beta1.DevicePlugin/ListAndWatch" ListRequest -> ListResponse,
    "/v1beta1.DevicePlugin/GetPreferredAllocation" PreferenceRequest -> PreferenceResponse,
    "/v1beta1.DevicePlugin/Allocate" AllocateRequest -> AllocateResponse,
    "/v1beta1.DevicePlugin/PreStartContainer" PreStartRequest -> Empty,
}

/// Says that a plugin is there.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RegisterRequest {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    /// The name of its socket in the folder of the plugins.
    #[prost(string, tag = "2")]
    pub(super) endpoint: String,
    #[prost(string, tag = "3")]
    pub(super) resource_name: String,
    #[prost(message, optional, tag = "4")]
    pub(super) options: Option<PluginOptions>,
}

/// What a plugin wants to be asked.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct PluginOptions {
    #[prost(bool, tag = "1")]
    pub(super) pre_start_required: bool,
    #[prost(bool, tag = "2")]
    pub(super) get_preferred_allocation_available: bool,
}

/// An answer that says nothing but that it was done.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Empty {}

/// Asks for the devices, now and whenever they change.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct ListRequest {}

/// All devices there are.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) devices: Vec<Device>,
}

/// A device and how it is.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Device {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) health: String,
}

/// Asks which devices are best given.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PreferenceRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) container_requests: Vec<ContainerPreference>,
}

/// What one container is to be given.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ContainerPreference {
    #[prost(string, repeated, tag = "1")]
    pub(super) available: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) must_include: Vec<String>,
    #[prost(int32, tag = "3")]
    pub(super) size: i32,
}

/// What is best given to each container.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PreferenceResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) container_responses: Vec<Preferred>,
}

/// What is best given to one.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Preferred {
    #[prost(string, repeated, tag = "1")]
    pub(super) devices: Vec<String>,
}

/// Gives devices to containers.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AllocateRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) container_requests: Vec<Allocated>,
}

/// The devices of one container.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Allocated {
    #[prost(string, repeated, tag = "1")]
    pub(super) devices: Vec<String>,
}

/// What the containers are to be given with them.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AllocateResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) container_responses: Vec<Given>,
}

/// What one container is to be given.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Given {
    #[prost(map = "string, string", tag = "1")]
    pub(super) envs: HashMap<String, String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) mounts: Vec<Mount>,
    #[prost(message, repeated, tag = "3")]
    pub(super) devices: Vec<Node>,
    #[prost(map = "string, string", tag = "4")]
    pub(super) annotations: HashMap<String, String>,
    #[prost(message, repeated, tag = "5")]
    pub(super) cdi_devices: Vec<Named>,
}

/// Some of the machine's files.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Mount {
    #[prost(string, tag = "1")]
    pub(super) container_path: String,
    #[prost(string, tag = "2")]
    pub(super) host_path: String,
    #[prost(bool, tag = "3")]
    pub(super) read_only: bool,
}

/// A device of the machine.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Node {
    #[prost(string, tag = "1")]
    pub(super) container_path: String,
    #[prost(string, tag = "2")]
    pub(super) host_path: String,
    #[prost(string, tag = "3")]
    pub(super) permissions: String,
}

/// A device by its name in the Container Device Interface.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Named {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

/// Containers with these devices are about to start.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PreStartRequest {
    #[prost(string, repeated, tag = "1")]
    pub(super) devices: Vec<String>,
}
