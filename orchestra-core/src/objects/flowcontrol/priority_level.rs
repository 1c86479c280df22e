use jiff::Timestamp;
use k8s_openapi::api::flowcontrol::v1::{
    LimitResponse, LimitedPriorityLevelConfiguration, PriorityLevelConfiguration,
    PriorityLevelConfigurationSpec, QueuingConfiguration,
};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::check::{self, shown};
use super::{bootstrap, conditions};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, table};
use crate::objects::json::{Fields, at, keep_metadata};

/// The level that nothing holds back.
const EXEMPT: &str = "exempt";
/// The most queues of a level.
const MAX_QUEUES: i32 = 10_000_000;
/// The bits of a hash, out of which a hand of queues is dealt.
const HASH_BITS: f64 = 60.0;
/// An annotation of older versions, which says what is a field now.
const ZERO_SHARES: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

/// The rules of PriorityLevelConfiguration objects.
pub(in crate::objects) struct PriorityLevelRules;

impl Rules for PriorityLevelRules {
    type Object = PriorityLevelConfiguration;

    const METADATA_CHECKED_ONCE: bool = true;
    const STATUS: bool = true;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Type", "Whether its requests are limited."),
        Column::new("NominalConcurrencyShares", "Its share of what the server does at once."),
        Column::new("Queues", "How many queues it has."),
        Column::new("HandSize", "Over how many queues a flow is spread."),
        Column::new("QueueLengthLimit", "How many requests may wait in a queue."),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        let shares = |fields: &mut Map<String, Value>, shares: i32| {
            fields.or("nominalConcurrencyShares", shares);
            fields.or("lendablePercent", 0);
        };
        if let Some(exempt) = at(object, &["spec", "exempt"]) {
            shares(exempt, 0);
        }
        if let Some(limited) = at(object, &["spec", "limited"]) {
            shares(limited, 30);
        }
        if let Some(queuing) = at(object, &["spec", "limited", "limitResponse", "queuing"]) {
            queuing.or_number("handSize", 8);
            queuing.or_number("queues", 64);
            queuing.or_number("queueLengthLimit", 50);
        }
    }

    fn prepare_status(new: &mut Value, old: &Value) {
        keep_metadata(new, old);
    }

    fn validate(object: &PriorityLevelConfiguration, errors: &mut Errors) {
        if object.metadata.annotations.iter().flatten().any(|(key, _)| key == ZERO_SHARES) {
            let detail = format!("annotation '{ZERO_SHARES}' is forbidden");
            errors.forbidden(&Path::new("metadata.annotations"), detail);
        }
        let path = Path::new("spec");
        let none = PriorityLevelConfigurationSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&none);
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let kind = spec.type_.as_str();
        if (name == EXEMPT) != (kind == "Exempt") {
            let detail = "must be 'Exempt' if and only if `name` is 'exempt'";
            errors.invalid(&path.child("type"), kind, detail);
        }
        match kind {
            "Exempt" => exempt(spec, &path, errors),
            "Limited" => {
                if spec.exempt.is_some() {
                    errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
                }
                match &spec.limited {
                    None => {
                        errors.required(&path.child("limited"), "must not be empty when type is Limited");
                    }
                    Some(own) => limited(own, &path.child("limited"), errors),
                }
            }
            other => errors.not_supported(&path.child("type"), other, &["Exempt", "Limited"]),
        }
        fixed(name, spec, &path, errors);
    }

    fn validate_status(
        new: &PriorityLevelConfiguration,
        _old: &PriorityLevelConfiguration,
        errors: &mut Errors,
    ) {
        let held = new.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions(held.map(|condition| condition.type_.as_ref()), errors);
    }

    fn cells(object: &PriorityLevelConfiguration, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let limited = spec.limited.as_ref();
        let queuing = limited.and_then(|limited| limited.limit_response.as_ref()?.queuing.clone());
        let queuing = queuing.as_ref();
        let number = |number: Option<i32>| number.map_or_else(|| "<none>".into(), Value::from);
        vec![
            object.metadata.name.clone().into(),
            spec.type_.clone().into(),
            number(limited.and_then(|limited| limited.nominal_concurrency_shares)),
            number(queuing.and_then(|queuing| queuing.queues)),
            number(queuing.and_then(|queuing| queuing.hand_size)),
            number(queuing.and_then(|queuing| queuing.queue_length_limit)),
            table::age(&object.metadata, now).into(),
        ]
    }
}

/// The levels on which requests fall back are as they are; of the exempt one, its shares may change.
fn fixed(name: &str, spec: &PriorityLevelConfigurationSpec, path: &Path, errors: &mut Errors) {
    let levels = bootstrap::priority_levels();
    let Some(level) = levels.iter().find(|level| level.mandatory && level.name == name) else { return };
    let Ok(mut wanted) = PriorityLevelConfigurationSpec::deserialize(&level.spec) else { return };
    let beside = if name == EXEMPT { " except the 'spec.exempt' field" } else { "" };
    if name == EXEMPT {
        wanted.exempt.clone_from(&spec.exempt);
    }
    if wanted != *spec {
        let detail = format!("spec of '{name}'{beside} must equal the fixed value");
        errors.invalid(path, shown(spec), detail);
    }
}

fn shares(shares: Option<i32>, lendable: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(shares) = shares.filter(|shares| *shares < 0) {
        let detail = "must be a non-negative integer";
        errors.invalid(&path.child("nominalConcurrencyShares"), shares, detail);
    }
    if let Some(percent) = lendable {
        check::within(errors, &path.child("lendablePercent"), percent, 0, 100);
    }
}

fn exempt(spec: &PriorityLevelConfigurationSpec, path: &Path, errors: &mut Errors) {
    if spec.limited.is_some() {
        errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
    }
    if let Some(own) = &spec.exempt {
        shares(own.nominal_concurrency_shares, own.lendable_percent, &path.child("exempt"), errors);
    }
}

fn limited(limited: &LimitedPriorityLevelConfiguration, path: &Path, errors: &mut Errors) {
    shares(limited.nominal_concurrency_shares, limited.lendable_percent, path, errors);
    let none = LimitResponse::default();
    let response = limited.limit_response.as_ref().unwrap_or(&none);
    let at = path.child("limitResponse");
    match (response.type_.as_str(), &response.queuing) {
        ("Reject", None) => {}
        ("Reject", Some(_)) => {
            errors.forbidden(&at.child("queuing"), "must be nil if limited.limitResponse.type is not Limited")
        }
        ("Queue", None) => errors
            .required(&at.child("queuing"), "must not be empty if limited.limitResponse.type is Limited"),
        ("Queue", Some(queuing)) => queues(queuing, &at.child("queuing"), errors),
        (other, _) => errors.not_supported(&at.child("type"), other, &["Queue", "Reject"]),
    }
    if let Some(percent) = limited.borrowing_limit_percent.filter(|percent| *percent < 0) {
        let detail = "if specified, must be a non-negative integer";
        errors.invalid(&path.child("borrowingLimitPercent"), percent, detail);
    }
}

fn queues(queuing: &QueuingConfiguration, path: &Path, errors: &mut Errors) {
    let number = |number: Option<i32>| number.unwrap_or_default();
    let (queues, hand) = (number(queuing.queues), number(queuing.hand_size));
    let length = number(queuing.queue_length_limit);
    if length <= 0 {
        errors.invalid(&path.child("queueLengthLimit"), length, "must be positive");
    }
    let at = path.child("queues");
    match queues {
        ..=0 => errors.invalid(&at, queues, "must be positive"),
        1..=MAX_QUEUES => {}
        _ => errors.invalid(&at, queues, format!("must not be greater than {MAX_QUEUES}")),
    }
    let at = path.child("handSize");
    if hand <= 0 {
        errors.invalid(&at, hand, "must be positive");
    } else if hand > queues {
        errors.invalid(&at, hand, format!("should not be greater than queues ({queues})"));
    } else {
        let bits = (f64::from(queues).log2() * f64::from(hand)).ceil();
        if bits > HASH_BITS {
            let detail = format!(
                "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than \
                 {HASH_BITS}"
            );
            errors.invalid(&at, hand, detail);
        }
    }
}
