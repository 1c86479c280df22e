use serde_json::Value;

use super::evaluation::{Access, Inputs};
use super::subject::Subject;
use crate::api::Status;
use crate::expression::AccessCheck;

/// A request as it is seen in one version.
pub(in crate::admission) struct View {
    object: Value,
    old: Value,
    request: Value,
    about: AccessCheck,
}

impl View {
    /// What expressions see of it. They have parameters if `params` is some.
    pub(in crate::admission) fn inputs<'v>(
        &'v self,
        subject: &'v Subject<'_>,
        params: Option<&'v Value>,
        access: &'v Access,
    ) -> Inputs<'v> {
        Inputs {
            object: &self.object,
            old: &self.old,
            request: &self.request,
            namespace: subject.namespace.as_deref().unwrap_or(&Value::Null),
            params,
            about: &self.about,
            access,
        }
    }

    /// The object, or null.
    pub(in crate::admission) fn object(&self) -> &Value {
        &self.object
    }

    /// The object that is there, or null.
    pub(in crate::admission) fn old(&self) -> &Value {
        &self.old
    }

    /// What a review says of the request, without its uid and its objects.
    pub(in crate::admission) fn request(&self) -> &Value {
        &self.request
    }
}

/// A request in the versions in which it has been looked at.
#[derive(Default)]
pub(in crate::admission) struct Views<'v>(Vec<((&'v str, &'v str), View)>);

impl<'v> Views<'v> {
    /// The request in a version in which it has been looked at.
    pub(in crate::admission) fn get(&self, version: (&str, &str)) -> Option<&View> {
        self.0.iter().find(|(held, _)| *held == version).map(|(_, view)| view)
    }

    /// The request in a version.
    pub(in crate::admission) async fn of(
        &mut self,
        subject: &Subject<'_>,
        version: (&'v str, &'v str),
    ) -> Result<&View, Status> {
        let held = self.0.iter().position(|(held, _)| *held == version);
        let place = match held {
            Some(place) => place,
            None => {
                let view = View {
                    object: subject.shown(version).await?,
                    old: subject.shown_old(version).await?,
                    request: Value::Object(subject.request(version)),
                    about: about(subject),
                };
                self.0.push((version, view));
                self.0.len() - 1
            }
        };
        Ok(&self.0[place].1)
    }
}

/// The question whether the user may do with an object what the request is about.
fn about(subject: &Subject<'_>) -> AccessCheck {
    let attributes = subject.attributes;
    AccessCheck {
        group: attributes.spoken.0.to_owned(),
        resource: attributes.resource.id.resource.to_string(),
        subresource: subject.subresource().to_owned(),
        namespace: attributes.name.namespace().unwrap_or_default().to_owned(),
        name: attributes.name.name().to_owned(),
        ..AccessCheck::default()
    }
}
