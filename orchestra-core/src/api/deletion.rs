//! The options of a deletion, as they are sent.

use serde::Deserialize;
use serde_json::{Value, json};

use super::field::{Errors, Path};
use super::schema::{Place, fit};
use super::{DeleteOptions, Propagation, Status};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    dry_run: Option<Vec<String>>,
    grace_period_seconds: Option<i64>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    preconditions: Option<Preconditions>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// Reads a `DeleteOptions` object of `meta.k8s.io/v1`.
    ///
    /// # Errors
    /// 400 when a field is mistyped, 422 when its value is none of those there are.
    pub fn read(mut body: Value) -> Result<Self, Status> {
        if let Some(place) = Place::of_kind("meta.k8s.io/v1", "DeleteOptions") {
            fit::fit(place, &mut body).map_err(Status::bad_request)?;
        }
        let body = Body::deserialize(&body)
            .map_err(|error| Status::bad_request(format!("options that cannot be read: {error}")))?;
        let mut errors = Errors::new();
        let propagation = body.propagation(&mut errors);
        let dry_run = body.dry_run.unwrap_or_default();
        if dry_run.iter().any(|value| value != "All") {
            errors.not_supported(&Path::new("dryRun"), json!(dry_run), &["All"]);
        }
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        let Preconditions { uid, resource_version } = body.preconditions.unwrap_or_default();
        let revision = resource_version.filter(|text| !text.is_empty()).map(|text| {
            text.parse().map_err(|_| {
                Status::bad_request(format!(
                    "preconditions.resourceVersion: Invalid value: {text:?}: must be a number"
                ))
            })
        });
        Ok(Self {
            dry_run: !dry_run.is_empty(),
            grace_period: body.grace_period_seconds,
            propagation,
            uid,
            revision: revision.transpose()?,
        })
    }
}

impl Body {
    fn propagation(&self, errors: &mut Errors) -> Option<Propagation> {
        let policy = self.propagation_policy.as_deref();
        if let (Some(_), Some(policy)) = (self.orphan_dependents, policy) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.invalid(&Path::new("propagationPolicy"), policy, why);
        }
        match policy {
            // Not orphaning is the deletion of what is owned, after its owner.
            None => self.orphan_dependents.map(|orphan| match orphan {
                true => Propagation::Orphan,
                false => Propagation::Background,
            }),
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                errors.not_supported(&Path::new("propagationPolicy"), other, &known);
                None
            }
        }
    }
}
