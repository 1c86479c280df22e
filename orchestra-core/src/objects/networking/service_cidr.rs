use jiff::Timestamp;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use serde_json::{Value, json};

use super::address;
use super::check::{IMMUTABLE, shown};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, table};
use crate::objects::json::{keep_metadata, set};

/// The rules of ServiceCIDR objects: ranges out of which services get their addresses.
pub(in crate::objects) struct ServiceCidrRules;

impl Rules for ServiceCidrRules {
    type Object = ServiceCIDR;

    const STATUS: bool = true;
    const GENERATION: bool = false;
    const COLUMNS: &'static [Column] =
        &[Column::NAME, Column::new("CIDRs", "The ranges, separated by commas."), Column::AGE];

    fn prepare_create(object: &mut Value) {
        set(object, "status", json!({}));
    }

    fn prepare_status(new: &mut Value, old: &Value) {
        keep_metadata(new, old);
    }

    fn validate_create(object: &ServiceCIDR, errors: &mut Errors) {
        whole(object, errors);
    }

    fn validate_update(new: &ServiceCIDR, old: &ServiceCIDR, errors: &mut Errors) {
        let path = Path::new("spec.cidrs");
        let (now, before) = (ranges(new), ranges(old));
        // A second family may be added.
        let grows = (before.len(), now.len()) == (1, 2);
        if now.len() != before.len() && !grows {
            errors.invalid(&path, shown(&Some(now).filter(|now| !now.is_empty())), IMMUTABLE);
            return;
        }
        for (index, (now, before)) in now.iter().zip(before).enumerate() {
            if now != before {
                errors.invalid(&path.index(index), now.as_str(), IMMUTABLE);
            }
        }
        if grows {
            whole(new, errors);
        }
    }

    fn cells(object: &ServiceCIDR, now: Timestamp) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            ranges(object).join(",").into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

/// Says what is wrong with the ranges, which are looked into when they are new.
fn whole(object: &ServiceCIDR, errors: &mut Errors) {
    let path = Path::new("spec.cidrs");
    let cidrs = ranges(object);
    if cidrs.is_empty() {
        errors.required(&path, "at least one CIDR required");
        return;
    }
    if cidrs.len() > 2 {
        errors.invalid(&path, shown(&json!({ "CIDRs": cidrs })), "may only hold up to 2 values");
        return;
    }
    for (index, cidr) in cidrs.iter().enumerate() {
        address::canonical_range(errors, &path.index(index), cidr);
    }
    if let [first, second] = cidrs
        && let (Some(first), Some(second)) = (address::family(first), address::family(second))
        && first == second
    {
        let detail =
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(&path, shown(&cidrs), detail);
    }
}

fn ranges(object: &ServiceCIDR) -> &[String] {
    object.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default()
}
