//! Quantities inside objects, brought into the spelling that is stored.

use serde_json::{Map, Value};

use super::json::Fields;
use crate::quantity::{ParseQuantityError, Quantity, canonicalize};

/// The values of a map from resources to quantities.
pub(super) fn list(fields: &mut Map<String, Value>, name: &str) -> Result<(), ParseQuantityError> {
    let Some(amounts) = fields.object(name) else { return Ok(()) };
    amounts.values_mut().try_for_each(value)
}

/// The quantity in a field.
pub(super) fn field(fields: &mut Map<String, Value>, name: &str) -> Result<(), ParseQuantityError> {
    match fields.get_mut(name) {
        Some(held) => value(held),
        None => Ok(()),
    }
}

/// `limits` and `requests` of a container, a pod or a claim.
pub(super) fn requirements(fields: &mut Map<String, Value>) -> Result<(), ParseQuantityError> {
    let Some(resources) = fields.object("resources") else { return Ok(()) };
    list(resources, "limits")?;
    list(resources, "requests")
}

fn value(held: &mut Value) -> Result<(), ParseQuantityError> {
    let text = match held {
        Value::String(text) => canonicalize(text)?,
        Value::Number(number) => canonicalize(&number.to_string())?,
        // Left for the decoder to complain of.
        _ => return Ok(()),
    };
    *held = Value::String(text);
    Ok(())
}

/// Rounds the amounts in a map up to thousandths, the finest that the API keeps of resources.
pub(super) fn round_up(fields: &mut Map<String, Value>, name: &str) {
    for held in fields.object(name).into_iter().flat_map(Map::values_mut) {
        let Some(Ok(amount)) = held.as_str().map(Quantity::parse) else { continue };
        let milli = amount.milli_value();
        let rounded = Quantity::from_milli(milli, amount.format());
        if rounded != amount && milli != i64::MAX && milli != i64::MIN {
            *held = Value::String(rounded.to_string());
        }
    }
}
