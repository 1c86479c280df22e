//! The node agent over fakes, in virtual time: what a pod's author and `kubectl` see.
#![cfg(feature = "testing")]

mod admission;
mod adoption;
mod configuration;
mod devices;
mod ephemeral;
mod figures;
mod garbage;
mod lifecycle;
mod pod_resources;
mod pressure;
mod registration;
mod resize;
mod room;
mod security;
mod static_pods;
mod supervision;
mod world;
