use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::Value;

use crate::api::{Column, Rules, table};

/// The rules of ServiceAccount objects.
pub(super) struct ServiceAccountRules;

impl Rules for ServiceAccountRules {
    type Object = ServiceAccount;

    const SHORT_NAMES: &'static [&'static str] = &["sa"];
    const COLUMNS: &'static [Column] = &[Column::NAME, Column::AGE];

    fn cells(object: &ServiceAccount, now: Timestamp) -> Vec<Value> {
        vec![object.metadata.name.clone().into(), table::age(&object.metadata, now).into()]
    }
}
