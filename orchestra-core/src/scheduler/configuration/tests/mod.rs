//! What files make of a scheduler. The refusals and defaults were recorded of kube-scheduler 1.36.2.

mod profiles;
mod refusals;

use serde_json::Value;

use super::{Configuration, ConfigurationError, decode};

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

/// What becomes of a file with this after its head.
fn parse(rest: &str) -> Result<Configuration, ConfigurationError> {
    Configuration::parse(format!("{HEAD}{rest}").as_bytes())
}

/// What a file is refused with.
fn refusal(rest: &str) -> String {
    parse(rest).err().map_or_else(|| panic!("taken: {rest}"), |error| error.to_string())
}

/// A file of one profile with this in it.
fn of_profile(rest: &str) -> String {
    format!("profiles:\n- schedulerName: default-scheduler\n  {rest}\n")
}

/// A file whose one profile has a plugin with these arguments.
fn of_args(plugin: &str, args: &str) -> String {
    of_profile(&format!("pluginConfig: [{{name: {plugin}, args: {args}}}]"))
}

/// Kubernetes writes what is empty too, and of which type arguments are.
fn bared(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, _)| name != "apiVersion" && name != "kind");
            let bare = kept.map(|(name, value)| (name, bared(value)));
            Value::Object(bare.filter(|(_, value)| *value != serde_json::json!({})).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(bared).collect()),
        other => other,
    }
}

#[test]
fn what_is_left_out_is_as_kubernetes_says() {
    let recorded: Value = serde_json::from_str(include_str!("recorded.json")).unwrap();
    for (name, case) in recorded.as_object().unwrap() {
        let text = format!("{HEAD}{}", case["given"].as_str().unwrap());
        let mut file = decode::decode(text.as_bytes()).unwrap();
        file.complete();
        // Kubernetes writes only the arguments of plugins that stand somewhere, in the order of the alphabet.
        for profile in &mut file.profiles {
            let names = profile.plugins.names();
            profile.plugin_config.retain(|config| names.contains(&config.name));
            profile.plugin_config.sort_by(|one, other| one.name.cmp(&other.name));
        }
        let profiles = bared(serde_json::to_value(&file.profiles).unwrap());
        assert_eq!(profiles, bared(case["profiles"].clone()), "{name}");
    }
}
