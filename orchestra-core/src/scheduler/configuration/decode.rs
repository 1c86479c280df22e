//! Reading the file strictly: what it has that there is not, or twice, is found and named by its path.

use serde_json::Value;

use super::args::Args;
use super::file::File;
use super::{API_VERSION, ConfigurationError};
use crate::api::{split_api_version, strict};
use crate::clock::parse_duration;

const KIND: &str = "KubeSchedulerConfiguration";

pub(super) fn decode(text: &[u8]) -> Result<File, ConfigurationError> {
    let unreadable = ConfigurationError::Unreadable;
    let (mut document, mut faults) = strict::document(text).map_err(unreadable)?;
    let version = document["apiVersion"].as_str().unwrap_or_default().to_owned();
    let kind = document["kind"].as_str().unwrap_or_default().to_owned();
    if version != API_VERSION {
        let why = format!("no kind {kind:?} is registered for version {version:?}");
        return Err(unreadable(format!("{why}: the version of scheduler configurations is {API_VERSION}")));
    }
    faults.extend(strict::fitted(&version, &kind, &mut document).map_err(unreadable)?);
    if kind != KIND {
        return Err(unreadable(format!("couldn't decode as {KIND}, got {version}, Kind={kind}: ")));
    }
    let mut file: File = read(document).map_err(|error| unreadable(error.to_string()))?;
    for (at, profile) in file.profiles.iter_mut().enumerate() {
        for (index, config) in profile.plugin_config.iter_mut().enumerate() {
            let Args::Unknown(given) = std::mem::take(&mut config.args) else { continue };
            let place = format!("decoding .profiles[{at}].pluginConfig[{index}]");
            let (args, unknown) =
                arguments(&config.name, given).map_err(|why| unreadable(format!("{place}: {why}")))?;
            config.args = args;
            if !unknown.is_empty() {
                let args = format!("decoding args for plugin {}", config.name);
                faults.push(format!(
                    "{place}: strict decoding error: {args}: strict decoding error: {}",
                    unknown.join(", ")
                ));
            }
        }
    }
    let elect = &file.leader_election;
    for length in [&elect.lease_duration, &elect.renew_deadline, &elect.retry_period] {
        check_duration(length).map_err(unreadable)?;
    }
    if faults.is_empty() { Ok(file) } else { Err(ConfigurationError::Strict(faults)) }
}

/// The arguments of a plugin, and the fields among them that there are not.
fn arguments(plugin: &str, mut given: Value) -> Result<(Args, Vec<String>), String> {
    if Args::default_of(plugin).is_none() {
        return Ok((Args::Unknown(given), Vec::new()));
    }
    if given.is_null() {
        given = Value::Object(serde_json::Map::new());
    }
    let of_plugin = |why: String| format!("decoding args for plugin {plugin}: {why}");
    let expected = format!("{plugin}Args");
    let says = |field: &str| given[field].as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    let version = says("apiVersion").unwrap_or_else(|| API_VERSION.to_owned());
    let kind = says("kind").unwrap_or_else(|| expected.clone());
    if given.is_object() && kind != expected && version == API_VERSION {
        // Whether there is such a kind at all is asked first.
        strict::fitted(&version, &kind, &mut Value::Object(serde_json::Map::new())).map_err(of_plugin)?;
        let (group, _) = split_api_version(&version);
        return Err(format!(
            "args for plugin {plugin} were not of type {expected}.{group}, got {kind}.{group}"
        ));
    }
    let unknown = strict::fitted(&version, &kind, &mut given).map_err(of_plugin)?;
    match Args::read(plugin, without_nulls(given)) {
        Some(Ok(args)) => {
            if let Args::DynamicResources(args) = &args {
                check_duration(&args.filter_timeout).map_err(of_plugin)?;
                check_duration(&args.binding_timeout).map_err(of_plugin)?;
            }
            Ok((args, unknown))
        }
        Some(Err(error)) => Err(of_plugin(error.to_string())),
        None => Ok((Args::default(), unknown)),
    }
}

/// Whether a text is a length of time; it may be negative here.
fn check_duration(text: &str) -> Result<(), String> {
    let is_length = text.is_empty() || text == "0" || parse_duration(text.trim_start_matches('-')).is_ok();
    if is_length { Ok(()) } else { Err(format!("time: invalid duration {text:?}")) }
}

fn read<T: for<'de> serde::Deserialize<'de>>(value: Value) -> Result<T, serde_json::Error> {
    T::deserialize(&without_nulls(value))
}

/// A field that is null is one that is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let given = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(given.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
