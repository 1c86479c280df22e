//! Laying what a file says of plugins over the defaults.

use std::collections::HashMap;

use super::file::{PluginFile, PluginSet, Plugins};

pub(super) fn merged(defaults: &Plugins, given: &Plugins) -> Plugins {
    Plugins {
        pre_enqueue: set(&defaults.pre_enqueue, &given.pre_enqueue),
        queue_sort: set(&defaults.queue_sort, &given.queue_sort),
        pre_filter: set(&defaults.pre_filter, &given.pre_filter),
        filter: set(&defaults.filter, &given.filter),
        post_filter: set(&defaults.post_filter, &given.post_filter),
        pre_score: set(&defaults.pre_score, &given.pre_score),
        score: set(&defaults.score, &given.score),
        reserve: set(&defaults.reserve, &given.reserve),
        permit: set(&defaults.permit, &given.permit),
        pre_bind: set(&defaults.pre_bind, &given.pre_bind),
        bind: set(&defaults.bind, &given.bind),
        post_bind: set(&defaults.post_bind, &given.post_bind),
        multi_point: set(&defaults.multi_point, &given.multi_point),
        placement_generate: set(&defaults.placement_generate, &given.placement_generate),
        placement_score: set(&defaults.placement_score, &given.placement_score),
    }
}

/// The defaults that are not disabled, each as the file has it where it has it (the last of several), and then the rest of
/// the file's.
fn set(defaults: &PluginSet, given: &PluginSet) -> PluginSet {
    let unweighted = |plugin: &PluginFile| PluginFile { name: plugin.name.clone(), weight: 0 };
    let disabled: Vec<PluginFile> = given.disabled.iter().chain(&defaults.disabled).map(unweighted).collect();
    let is_disabled = |name: &str| disabled.iter().any(|plugin| plugin.name == name);
    let by_name: HashMap<&str, usize> =
        given.enabled.iter().enumerate().map(|(at, plugin)| (plugin.name.as_str(), at)).collect();
    let (mut enabled, mut replaced) = (Vec::new(), Vec::new());
    let kept = defaults.enabled.iter().filter(|plugin| !is_disabled("*") && !is_disabled(&plugin.name));
    for plugin in kept {
        match by_name.get(plugin.name.as_str()) {
            Some(at) => {
                replaced.push(*at);
                enabled.push(given.enabled[*at].clone());
            }
            None => enabled.push(plugin.clone()),
        }
    }
    let rest = given.enabled.iter().enumerate().filter(|(at, _)| !replaced.contains(at));
    enabled.extend(rest.map(|(_, plugin)| plugin.clone()));
    PluginSet { enabled, disabled }
}
