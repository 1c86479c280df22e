//! An object that somebody on its way changed, made fit to be stored again.

use serde_json::Value;

use super::api_version;
use super::ownership::{Schema, merge};
use super::schema::{Place, canonical};
use super::{Resource, Status};

impl Resource {
    /// The object in a version that is served, as those see it who are asked about a write in that version.
    ///
    /// # Errors
    /// When a converter does not tell.
    pub(crate) async fn shown(
        &self,
        (group, version): (&str, &str),
        object: &Value,
    ) -> Result<Value, Status> {
        let mut shown = self.converted(object.clone(), &api_version(group, version)).await?;
        self.spoken(group, version).present(group, version, &mut shown);
        Ok(shown)
    }

    /// The object in a version, where only a converter knows how that differs.
    async fn converted(&self, object: Value, wanted: &str) -> Result<Value, Status> {
        match &self.kept {
            Some(kept) if object["apiVersion"] != *wanted => {
                let mut converted = kept.converter.convert(vec![object], wanted).await?;
                let one = converted.pop().filter(|_| converted.is_empty());
                one.ok_or_else(|| Status::internal("a converter answered another number of objects"))
            }
            _ => Ok(object),
        }
    }

    /// An object in a served version that was changed by somebody else, as it is stored: read, and defaulted anew. What the
    /// server has given it stays as it was `before`.
    ///
    /// # Errors
    /// When it is no longer an object of the kind.
    pub(crate) async fn revised(
        &self,
        (group, version): (&str, &str),
        mut object: Value,
        before: &Value,
    ) -> Result<Value, String> {
        let (said, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
        if said != Some(&api_version(group, version)) || kind != Some(&*self.kind) {
            return Err(format!(
                "it is now a {} of version {:?}, and must stay a {} of version {:?}",
                kind.unwrap_or_default(),
                said.unwrap_or_default(),
                self.kind,
                api_version(group, version)
            ));
        }
        object = self.converted(object, &self.api_version()).await.map_err(|status| status.to_string())?;
        if let Some(conversion) = self.conversion(group, version) {
            (conversion.to_stored)(&mut object);
        }
        object["apiVersion"] = self.api_version().into();
        let place = Place::of(self).unwrap_or(Place::Object);
        canonical::reduce(place, &mut object).map_err(|refusal| refusal.to_string())?;
        self.rules.check(&mut object)?;
        self.rules.prune(&mut object)?;
        self.rules.default(&mut object);
        canonical::complete(place, &mut object);
        keep(&mut object, before)?;
        Ok(object)
    }

    /// What a configuration makes of an object, both in a served version: lists and maps are merged as the schema says.
    pub(crate) fn merged(&self, version: (&str, &str), live: Value, configuration: &Value) -> Value {
        let spoken = api_version(version.0, version.1);
        let (schema, node) = match self.rules.versions() {
            Some(versions) => versions.schema(&spoken),
            None => {
                let place = Place::of_kind(&spoken, &self.kind).or_else(|| Place::of(self));
                Schema::builtin(place.unwrap_or(Place::Object))
            }
        };
        merge(schema, node, live, configuration)
    }
}

/// What the server gives an object, and nobody on the way may change.
const GIVEN: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
];

fn keep(object: &mut Value, before: &Value) -> Result<(), String> {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Err("it has no metadata".to_owned());
    };
    for field in GIVEN {
        match before.pointer(&format!("/metadata/{field}")) {
            Some(held) => drop(metadata.insert(field.to_owned(), held.clone())),
            None => drop(metadata.remove(field)),
        }
    }
    Ok(())
}
