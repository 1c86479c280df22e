//! The node agent over fakes, in virtual time: what a pod's author and `kubectl` see.
#![cfg(feature = "testing")]

mod adoption;
mod configuration;
mod ephemeral;
mod figures;
mod lifecycle;
mod registration;
mod security;
mod supervision;
mod world;
