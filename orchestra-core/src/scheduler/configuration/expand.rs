//! Which plugins stand at each extension point, after `multiPoint` is spread over them.

use super::file::{PluginFile, Plugins};
use super::plugins::{Point, ROWS};

/// The plugins there are: Kubernetes', and those of the program.
pub(super) struct Registry<'o> {
    pub(super) own: Vec<&'o str>,
}

impl Registry<'_> {
    fn has(&self, name: &str) -> bool {
        ROWS.iter().any(|row| row.name == name) || self.own.contains(&name)
    }

    fn extends(&self, name: &str, point: Point) -> bool {
        let own = self.own.contains(&name) && matches!(point, Point::Filter | Point::Score);
        own || ROWS.iter().any(|row| row.name == name && row.points.contains(&point))
    }
}

/// The plugins of each extension point, in their order.
pub(super) type Expanded = Vec<(Point, Vec<PluginFile>)>;

/// # Errors
/// What Kubernetes says of plugins that are not there, stand where they cannot, or stand there twice.
pub(super) fn expand(plugins: &Plugins, registry: &Registry<'_>) -> Result<Expanded, String> {
    for point in Point::ALL {
        specific(plugins, point, registry)?;
    }
    Point::ALL.into_iter().map(|point| Ok((point, at(plugins, point, registry)?))).collect()
}

fn absent(point: Point, name: &str) -> String {
    format!("{} {name:?} does not exist", point.interface())
}

/// What is enabled at one point by name.
fn specific(plugins: &Plugins, point: Point, registry: &Registry<'_>) -> Result<(), String> {
    let enabled = &plugins.at(point).enabled;
    for (at, plugin) in enabled.iter().enumerate() {
        let (name, interface) = (&plugin.name, point.interface());
        if !registry.has(name) {
            return Err(absent(point, name));
        }
        if !registry.extends(name, point) {
            return Err(format!("plugin {name:?} does not extend {interface} plugin"));
        }
        if enabled[..at].iter().any(|other| other.name == *name) {
            return Err(format!("plugin {name:?} already registered as {interface:?}"));
        }
    }
    Ok(())
}

/// Those that are said of the point and of many points come first, then those of many, then those of this point alone.
fn at(plugins: &Plugins, point: Point, registry: &Registry<'_>) -> Result<Vec<PluginFile>, String> {
    let set = plugins.at(point);
    let is_disabled = |name: &str| set.disabled.iter().any(|plugin| plugin.name == name);
    if is_disabled("*") {
        return Ok(set.enabled.clone());
    }
    let named = |name: &str| set.enabled.iter().find(|plugin| plugin.name == name);
    let (mut overridden, mut spread) = (Vec::<&str>::new(), Vec::<PluginFile>::new());
    for plugin in &plugins.multi_point.enabled {
        if !registry.has(&plugin.name) {
            return Err(absent(point, &plugin.name));
        }
        if !registry.extends(&plugin.name, point) || is_disabled(&plugin.name) {
            continue;
        }
        if named(&plugin.name).is_some() {
            overridden.push(&plugin.name);
        } else if spread.iter().any(|other| other.name == plugin.name) {
            return Err(format!("plugin {:?} already registered as {:?}", plugin.name, point.interface()));
        } else {
            spread.push(plugin.clone());
        }
    }
    let (mut all, rest): (Vec<_>, Vec<_>) =
        set.enabled.iter().cloned().partition(|plugin| overridden.contains(&plugin.name.as_str()));
    all.extend(spread);
    all.extend(rest);
    Ok(all)
}
