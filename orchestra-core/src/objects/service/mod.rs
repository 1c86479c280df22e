//! Services. Which address and which ports of the nodes one gets is for the API's allocators; here is what it may ask
//! for, and what goes when its type changes.

mod defaults;
mod print;
mod status;
mod update;
mod validate;

pub(crate) use validate::cluster_ips as validate_cluster_ips;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

use crate::api::field::Errors;
use crate::api::{Column, Deletion, NameRule, Rules, Subresource};
use crate::watch::IndexedField;

/// The rules of Service objects.
pub(super) struct ServiceRules;

impl Rules for ServiceRules {
    type Object = Service;

    const SHORT_NAMES: &'static [&'static str] = &["svc"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const GENERATION: bool = false;
    const DELETION: Deletion = Deletion::Object;
    const CREATED_BY_UPDATE: bool = true;
    const NAME: NameRule = NameRule::Label;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::proxy("ServiceProxyOptions")];
    const FIELDS: &'static [IndexedField] =
        &[IndexedField::new("spec.clusterIP"), IndexedField::new("spec.type")];
    const COLUMNS: &'static [Column] = print::COLUMNS;

    fn default(object: &mut Value) {
        defaults::service(object);
    }

    fn prepare_create(object: &mut Value) {
        update::prepare_create(object);
    }

    fn prepare_update(new: &mut Value, old: &Value) {
        update::prepare(new, old);
    }

    fn validate(object: &Service, errors: &mut Errors) {
        validate::service(object, errors);
    }

    fn validate_update(new: &Service, old: &Service, errors: &mut Errors) {
        validate::update(new, old, errors);
    }

    fn validate_status(new: &Service, _old: &Service, errors: &mut Errors) {
        status::validate(new, errors);
    }

    fn warnings(object: &Service) -> Vec<String> {
        validate::warnings(object)
    }

    fn cells(object: &Service, now: Timestamp) -> Vec<Value> {
        print::cells(object, now)
    }
}
