//! Amounts of resources inside objects.

use serde_json::{Map, Value};

use super::json::Fields;
use crate::quantity::Quantity;

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
