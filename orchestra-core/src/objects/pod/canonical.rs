//! The quantities of a pod.

use serde_json::{Map, Value};

use super::CONTAINERS;
use crate::objects::json::Fields;
use crate::objects::quantities;
use crate::quantity::ParseQuantityError;

/// Brings the quantities of a pod's specification into the spelling that is stored.
pub(in crate::objects) fn spec(spec: &mut Map<String, Value>) -> Result<(), ParseQuantityError> {
    for list in CONTAINERS {
        spec.each(list).try_for_each(container)?;
    }
    spec.each("volumes").try_for_each(volume)?;
    quantities::list(spec, "overhead")?;
    quantities::requirements(spec)
}

fn container(container: &mut Map<String, Value>) -> Result<(), ParseQuantityError> {
    quantities::requirements(container)?;
    for variable in container.each("env") {
        if let Some(source) = variable.object("valueFrom").and_then(|from| from.object("resourceFieldRef")) {
            quantities::field(source, "divisor")?;
        }
    }
    Ok(())
}

fn volume(volume: &mut Map<String, Value>) -> Result<(), ParseQuantityError> {
    if let Some(directory) = volume.object("emptyDir") {
        quantities::field(directory, "sizeLimit")?;
    }
    if let Some(source) = volume.object("downwardAPI") {
        items(source)?;
    }
    for source in volume.object("projected").into_iter().flat_map(|projected| projected.each("sources")) {
        source.object("downwardAPI").map_or(Ok(()), items)?;
    }
    let claim = volume.object("ephemeral").and_then(|own| own.object("volumeClaimTemplate"));
    match claim.and_then(|claim| claim.object("spec")) {
        Some(claim) => quantities::requirements(claim),
        None => Ok(()),
    }
}

fn items(source: &mut Map<String, Value>) -> Result<(), ParseQuantityError> {
    for item in source.each("items") {
        if let Some(source) = item.object("resourceFieldRef") {
            quantities::field(source, "divisor")?;
        }
    }
    Ok(())
}
