//! How much of a device that several may have at a time each is given. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::resource::v1 as api;

use crate::quantity::{ParseQuantityError, Quantity};

/// Amounts by the names of capacities.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// What a device has of something, and in which portions it is given.
#[derive(Clone, Debug)]
pub(super) struct Capacity {
    value: Quantity,
    policy: Option<Policy>,
}

#[derive(Clone, Debug)]
struct Policy {
    /// What whoever asks for none is given.
    default: Option<Quantity>,
    portions: Portions,
}

#[derive(Clone, Debug)]
enum Portions {
    Any,
    /// From the first to the second, in steps from the first.
    Range(Quantity, Option<Quantity>, Option<Quantity>),
    /// These, in order.
    Values(Vec<Quantity>),
}

impl Capacity {
    pub(super) fn read(capacity: &api::DeviceCapacity) -> Result<Self, ParseQuantityError> {
        let parse = |held: &Option<k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
            held.as_ref().map(|held| Quantity::parse(&held.0)).transpose()
        };
        let policy = capacity.request_policy.as_ref().map(|policy| {
            let portions = match (&policy.valid_range, &policy.valid_values) {
                (Some(range), _) => {
                    Portions::Range(Quantity::parse(&range.min.0)?, parse(&range.max)?, parse(&range.step)?)
                }
                (None, Some(values)) => {
                    let values = values.iter().map(|value| Quantity::parse(&value.0));
                    Portions::Values(values.collect::<Result<_, _>>()?)
                }
                (None, None) => Portions::Any,
            };
            Ok::<_, ParseQuantityError>(Policy { default: parse(&policy.default)?, portions })
        });
        Ok(Self { value: Quantity::parse(&capacity.value.0)?, policy: policy.transpose()? })
    }

    /// What whoever asks for so much is given: the least portion that is enough, or, if nothing is asked for, what is given
    /// then. `None`: there is no such portion.
    fn portion(&self, asked: Option<Quantity>) -> Option<Quantity> {
        let Some(policy) = &self.policy else { return Some(asked.unwrap_or(self.value)) };
        let Some(asked) = asked else { return Some(policy.default.unwrap_or(self.value)) };
        match &policy.portions {
            Portions::Any => Some(asked),
            Portions::Range(least, most, step) => {
                let portion = match step {
                    _ if asked <= *least => *least,
                    Some(step) => stepped(asked, *least, *step),
                    None => asked,
                };
                most.is_none_or(|most| portion <= most).then_some(portion)
            }
            Portions::Values(values) => values.iter().copied().find(|value| *value >= asked),
        }
    }
}

/// The least amount of whole steps that is enough.
fn stepped(asked: Quantity, least: Quantity, step: Quantity) -> Quantity {
    let (over, size) = ((asked - least).value(), step.value().max(1));
    let steps = over.saturating_add(size - 1) / size;
    least + Quantity::from_value(steps.saturating_mul(size), step.format())
}

/// What a request is given of a device, whoever has some of it already. `None`: the device has not what is asked for, or not
/// so much.
pub(super) fn given(capacities: &BTreeMap<String, Capacity>, asked: &Amounts) -> Option<Amounts> {
    if asked.keys().any(|name| !capacities.contains_key(name)) {
        return None;
    }
    let portions = capacities.iter().map(|(name, capacity)| {
        let portion = capacity.portion(asked.get(name).copied())?;
        (portion <= capacity.value && !portion.is_negative()).then(|| (name.clone(), portion))
    });
    portions.collect()
}

/// Whether so much more of a device can be given, when so much of it is.
pub(super) fn is_left(capacities: &BTreeMap<String, Capacity>, held: &Amounts, more: &Amounts) -> bool {
    more.iter().all(|(name, more)| {
        let held = held.get(name).copied().unwrap_or_default();
        capacities.get(name).is_some_and(|capacity| held + *more <= capacity.value)
    })
}

/// Counts what is given, or given back.
pub(super) fn count(held: &mut Amounts, more: &Amounts, back: bool) {
    for (name, more) in more {
        let held = held.entry(name.clone()).or_default();
        *held = if back { *held - *more } else { *held + *more };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn capacity(policy: Value) -> Capacity {
        let mut capacity = json!({"value": "40Gi"});
        if !policy.is_null() {
            capacity["requestPolicy"] = policy;
        }
        Capacity::read(&serde_json::from_value(capacity).unwrap()).unwrap()
    }

    fn portion(policy: &Value, asked: &str) -> Option<String> {
        let capacities = [("memory".to_owned(), capacity(policy.clone()))].into();
        let asked = (!asked.is_empty()).then(|| ("memory".to_owned(), Quantity::parse(asked).unwrap()));
        given(&capacities, &asked.into_iter().collect()).map(|given| given["memory"].to_string())
    }

    #[test]
    fn who_asks_is_given_the_least_portion_that_is_enough() {
        let range = json!({"default": "2Gi", "validRange": {"min": "1Gi", "max": "10Gi", "step": "2Gi"}});
        let open = json!({"default": "1Gi", "validRange": {"min": "1Gi"}});
        let values = json!({"default": "5Gi", "validValues": ["5Gi", "10Gi", "20Gi"]});
        for (policy, asked, expected) in [
            (Value::Null, "", Some("40Gi")),
            (Value::Null, "3Gi", Some("3Gi")),
            (Value::Null, "41Gi", None),
            (range.clone(), "", Some("2Gi")),
            (range.clone(), "1", Some("1Gi")),
            (range.clone(), "1Gi", Some("1Gi")),
            (range.clone(), "1025Mi", Some("3Gi")),
            (range.clone(), "9Gi", Some("9Gi")),
            (range.clone(), "10Gi", None),
            (open.clone(), "1500Mi", Some("1500Mi")),
            (open, "50Gi", None),
            (values.clone(), "", Some("5Gi")),
            (values.clone(), "1Gi", Some("5Gi")),
            (values.clone(), "6Gi", Some("10Gi")),
            (values, "21Gi", None),
            (json!({"default": "3Gi"}), "7Gi", Some("7Gi")),
        ] {
            assert_eq!(portion(&policy, asked).as_deref(), expected, "{policy} asked for {asked}");
        }
        let none = given(&BTreeMap::new(), &[("memory".to_owned(), Quantity::ZERO)].into());
        assert_eq!(none, None, "a device without the capacity");
    }

    proptest! {
        #[test]
        fn never_is_less_given_than_asked_nor_more_than_there_is(
            asked in prop::collection::vec(0..60_i64, 1..20), least in 1..5_i64, step in 1..5_i64,
        ) {
            let policy = json!({
                "default": least.to_string(),
                "validRange": {"min": least.to_string(), "step": step.to_string()},
            });
            let capacity = json!({"value": "40", "requestPolicy": policy});
            let capacity = Capacity::read(&serde_json::from_value(capacity).unwrap()).unwrap();
            let capacities: BTreeMap<_, _> = [("slots".to_owned(), capacity)].into();
            let mut held = Amounts::new();
            for asked in asked {
                let asked = Quantity::from_value(asked, crate::quantity::Format::DecimalSi);
                let Some(more) = given(&capacities, &[("slots".to_owned(), asked)].into()) else { continue };
                prop_assert!(more["slots"] >= asked);
                prop_assert_eq!((more["slots"].value() - least) % step, 0);
                if is_left(&capacities, &held, &more) {
                    count(&mut held, &more, false);
                }
                prop_assert!(held.get("slots").is_none_or(|held| held.value() <= 40));
            }
        }
    }
}
