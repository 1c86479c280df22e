//! The controllers over an embedded server, in virtual time.

mod attaching;
mod autoscaling;
mod cluster;
mod cron;
mod daemons;
mod deletion;
mod devices;
mod disruption;
mod driven;
mod endpoints;
mod jobs;
mod load_balancers;
mod nodes;
mod protection;
mod quotas;
mod restless;
mod stateful;
mod statuses;
mod volumes;
mod workloads;
