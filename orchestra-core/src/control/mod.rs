//! The reconcile framework.

pub mod events;
