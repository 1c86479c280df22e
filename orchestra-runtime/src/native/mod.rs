//! Images by this machine alone: no daemon.

pub mod images;
