//! What follows from what the file leaves out.

use super::args::Args;
use super::file::{
    ClientConnection, File, LeaderElection, PluginConfig, PluginFile, PluginSet, Plugins, ProfileFile,
};
use super::merge::merged;
use super::plugins::{ROWS, Row};
use crate::scheduler::pod::DEFAULT_SCHEDULER;

impl File {
    /// Adds what follows from what is left out.
    pub(super) fn complete(&mut self) {
        if self.profiles.is_empty() {
            self.profiles.push(ProfileFile::default());
        }
        // Of several, each must say its own.
        if let [only] = self.profiles.as_mut_slice() {
            only.scheduler_name.get_or_insert_with(|| DEFAULT_SCHEDULER.to_owned());
        }
        for profile in &mut self.profiles {
            profile.plugins = merged(&default_plugins(), &profile.plugins);
            for name in profile.plugins.names() {
                let given = profile.plugin_config.iter().any(|config| config.name == name);
                if let Some(args) = Args::default_of(&name).filter(|_| !given) {
                    profile.plugin_config.push(PluginConfig { name, args });
                }
            }
        }
        let fallback = LeaderElection::default();
        let elect = &mut self.leader_election;
        for (given, default) in [
            (&mut elect.lease_duration, fallback.lease_duration),
            (&mut elect.renew_deadline, fallback.renew_deadline),
            (&mut elect.retry_period, fallback.retry_period),
            (&mut elect.resource_lock, fallback.resource_lock),
            (&mut elect.resource_name, fallback.resource_name),
            (&mut elect.resource_namespace, fallback.resource_namespace),
        ] {
            if given.is_empty() || given == "0s" || given == "0" {
                *given = default;
            }
        }
        let (connection, fallback) = (&mut self.client_connection, ClientConnection::default());
        if connection.content_type.is_empty() {
            connection.content_type = fallback.content_type;
        }
        if connection.qps == 0.0 {
            connection.qps = fallback.qps;
        }
        if connection.burst == 0 {
            connection.burst = fallback.burst;
        }
    }
}

/// What is enabled where the file says nothing.
fn default_plugins() -> Plugins {
    let plugin = |row: &Row| Some(PluginFile { name: row.name.to_owned(), weight: row.weight? });
    let enabled = ROWS.iter().filter_map(plugin).collect();
    Plugins { multi_point: PluginSet { enabled, disabled: Vec::new() }, ..Plugins::default() }
}
