use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ParentReference};
use serde::Deserialize as _;
use serde_json::Value;

use super::check::{self, say};
use super::names;
use crate::api::field::{Errors, Path, Shown};
use crate::api::{Column, NameRule, Rules};

/// The rules of IPAddress objects, each of which is named after an address and says whose it is.
pub(in crate::objects) struct IpAddressRules;

impl Rules for IpAddressRules {
    type Object = IPAddress;

    const SHORT_NAMES: &'static [&'static str] = &["ip"];
    const NAME: NameRule = NameRule::Address;
    const COLUMNS: &'static [Column] =
        &[Column::NAME, Column::new("ParentRef", "The object that the address is of.")];

    fn validate_json(object: &Value, errors: &mut Errors) {
        let path = Path::new("spec.parentRef");
        match object.pointer("/spec/parentRef") {
            None | Some(Value::Null) => errors.required(&path, ""),
            // What is no reference is refused before anything is said of it.
            Some(reference) => {
                if let Ok(reference) = ParentReference::deserialize(reference) {
                    parent(&reference, &path, errors);
                }
            }
        }
    }

    fn validate_update(new: &IPAddress, old: &IPAddress, errors: &mut Errors) {
        let (new, old) = (&new.spec.parent_ref, &old.spec.parent_ref);
        if new != old {
            errors.invalid_object(&Path::new("spec.parentRef"), shown_parent(new), check::IMMUTABLE);
        }
    }

    fn cells(object: &IPAddress, _now: Timestamp) -> Vec<Value> {
        let parent = &object.spec.parent_ref;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let group = given(&parent.group).map_or_else(String::new, |group| format!(".{group}"));
        let namespace = given(&parent.namespace).map_or_else(String::new, |name| format!("/{name}"));
        let resource = format!("{}{group}", parent.resource).to_lowercase();
        vec![object.metadata.name.clone().into(), format!("{resource}{namespace}/{}", parent.name).into()]
    }
}

fn parent(parent: &ParentReference, path: &Path, errors: &mut Errors) {
    if let Some(group) = parent.group.as_deref().filter(|group| !group.is_empty()) {
        say(errors, &path.child("group"), group, names::subdomain(group));
    }
    check::required_segment(errors, &path.child("resource"), &parent.resource);
    check::required_segment(errors, &path.child("name"), &parent.name);
    if let Some(namespace) = parent.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
        say(errors, &path.child("namespace"), namespace, names::path_segment(namespace));
    }
}

/// As Kubernetes shows it, whose own form of it has other names and leaves nothing out.
fn shown_parent(parent: &ParentReference) -> Shown {
    let text = |text: &Option<String>| Value::from(text.as_deref().unwrap_or_default()).into();
    Shown::object([
        ("Group", text(&parent.group)),
        ("Resource", Value::from(&*parent.resource).into()),
        ("Namespace", text(&parent.namespace)),
        ("Name", Value::from(&*parent.name).into()),
    ])
}
