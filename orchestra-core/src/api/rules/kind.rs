use std::marker::PhantomData;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::Value;

use super::{Rules, desires_otherwise, foreign};
use crate::api::Status;
use crate::api::field::Errors;
use crate::api::ownership::Versions;
use crate::api::schema::{self, Place, canonical, fit};
use crate::api::table;
use crate::meta::Object;

/// Says what is wrong with the metadata of an object.
pub type MetadataCheck<'c> = &'c dyn Fn(&ObjectMeta, &mut Errors);

/// The rules of a kind by value, over objects as JSON: what a row of the table holds.
///
/// All functions are pure, and each has a default that fits a kind with nothing special and objects of any shape. What
/// each is for is said at the function of the same name of [`Rules`].
pub trait KindRules: Send + Sync + 'static {
    /// Drops the fields that the type of the kind does not have, and names them as a user would.
    ///
    /// # Errors
    /// What is mistyped.
    fn check(&self, _object: &mut Value) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    /// Drops the fields that the schema of the kind does not have, and names them as a user would. It comes after
    /// [`KindRules::check`].
    ///
    /// # Errors
    /// What is mistyped.
    fn prune(&self, _object: &mut Value) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    /// Makes an object as it is stored one of the version that these rules are for. `apiVersion` is seen to.
    fn present(&self, _object: &mut Value) {}

    /// What a stored object is by the rules of today, where they have changed since; `None` if it is as it stands.
    fn restore(&self, _stored: &[u8]) -> Option<Value> {
        None
    }

    /// Fills in what the user left out. Idempotent.
    fn default(&self, _object: &mut Value) {}

    /// Makes an object fit to be created.
    fn prepare_create(&self, _object: &mut Value) {}

    /// Makes the new state of an object fit to replace the old.
    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    /// Makes a new status fit to replace the old.
    fn prepare_status(&self, _new: &mut Value, _old: &Value) {}

    /// Makes what was sent to a part of an object fit to replace the old object.
    fn prepare_part(&self, _part: &str, new: &mut Value, old: &Value) {
        new.clone_from(old);
    }

    /// Says what is wrong with an object, and what its author should know nevertheless.
    ///
    /// # Errors
    /// When the object has not the shape of the kind.
    fn validate(&self, _object: &Value, _errors: &mut Errors) -> Result<Vec<String>, serde_json::Error> {
        Ok(Vec::new())
    }

    /// Says what is wrong with an object that is to be created, and what its author should know nevertheless, beside
    /// what [`KindRules::validate`] says.
    ///
    /// # Errors
    /// When the object has not the shape of the kind.
    fn validate_create(
        &self,
        _object: &Value,
        _errors: &mut Errors,
    ) -> Result<Vec<String>, serde_json::Error> {
        Ok(Vec::new())
    }

    /// What is wrong with the metadata of an object, which `metadata` says, [`KindRules::validate`] and
    /// [`KindRules::validate_create`], for rules that can do all of it at one reading of the object.
    ///
    /// # Errors
    /// When the object has not the shape of the kind.
    fn validate_new(
        &self,
        object: &Value,
        metadata: MetadataCheck<'_>,
        errors: &mut Errors,
    ) -> Result<Vec<String>, serde_json::Error> {
        metadata(&ObjectMeta::deserialize(&object["metadata"])?, errors);
        let mut warnings = self.validate(object, errors)?;
        warnings.extend(self.validate_create(object, errors)?);
        Ok(warnings)
    }

    /// Whether what an object's author should know is said again when it changes so.
    fn warns_of_change(&self, _new: &Value, _old: &Value) -> bool {
        true
    }

    /// Why an object may not be deleted; `None` if it may.
    fn keeps(&self, _object: &Value) -> Option<&'static str> {
        None
    }

    /// Whether a change is one of the desired state.
    fn is_new_generation(&self, new: &Value, old: &Value) -> bool {
        desires_otherwise(new, old)
    }

    /// Says what is wrong with a change, beside what [`KindRules::validate`] finds in its outcome.
    ///
    /// # Errors
    /// When one of the objects has not the shape of the kind.
    fn validate_update(
        &self,
        _new: &Value,
        _old: &Value,
        _errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        Ok(())
    }

    /// [`KindRules::validate`] and [`KindRules::validate_update`], for rules that can do both at one reading of the object.
    ///
    /// # Errors
    /// When one of the objects has not the shape of the kind.
    fn validate_change(
        &self,
        new: &Value,
        old: &Value,
        errors: &mut Errors,
    ) -> Result<Vec<String>, serde_json::Error> {
        let warnings = self.validate(new, errors)?;
        self.validate_update(new, old, errors)?;
        Ok(warnings)
    }

    /// Says what is wrong with a new status.
    ///
    /// # Errors
    /// When one of the objects has not the shape of the kind.
    fn validate_status(
        &self,
        _new: &Value,
        _old: &Value,
        _errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        Ok(())
    }

    /// Says what is wrong with a change that was made through a part of the object.
    ///
    /// # Errors
    /// When one of the objects has not the shape of the kind.
    fn validate_part(
        &self,
        _part: &str,
        _new: &Value,
        _old: &Value,
        _errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        Ok(())
    }

    /// The seconds of grace that a deletion gives; `None` for a kind whose objects are deleted at once.
    fn grace_period(&self, _object: &Value, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// Makes an object say that it is being deleted, beside its metadata.
    fn prepare_deletion(&self, _object: &mut Value) {}

    /// Whether an object that is being deleted must stay for a reason of its kind.
    fn holds(&self, _object: &Value) -> bool {
        false
    }

    /// Checks what a subresource is created with.
    ///
    /// # Errors
    /// What the caller is told of what is wrong with it.
    fn check_body(&self, _subresource: &str, _body: &Value) -> Result<(), Status> {
        Ok(())
    }

    /// Changes the object as the creation of a subresource asks.
    ///
    /// # Errors
    /// What the caller is told, when the object cannot be changed so.
    fn edit(
        &self,
        _subresource: &str,
        _object: &mut Value,
        _body: &Value,
        _now: Timestamp,
    ) -> Result<(), Status> {
        Err(Status::method_not_allowed())
    }

    /// The cells of an object's row, of the object as it is stored.
    ///
    /// # Errors
    /// When the object has not the shape of the kind.
    fn cells(&self, json: &[u8], now: Timestamp) -> Result<Vec<Value>, serde_json::Error> {
        let object: table::Head = serde_json::from_slice(json)?;
        Ok(vec![object.metadata.name.clone().into(), table::age(&object.metadata, now).into()])
    }

    /// How the versions of the kind differ and how objects of each are merged when a configuration is applied, for a kind
    /// that says so itself; `None` for what the row and the table of types say.
    fn versions(&self) -> Option<&dyn Versions> {
        None
    }

    /// The schema of the objects; `None` lets any field pass.
    #[cfg(feature = "openapi")]
    fn schema(
        &self,
        _generator: &mut k8s_openapi::schemars::SchemaGenerator,
    ) -> Option<k8s_openapi::schemars::Schema> {
        None
    }
}

/// [`Rules`] as [`KindRules`]: objects are read as their type where the rules want one.
#[derive(Debug)]
pub struct Typed<R>(PhantomData<R>);

impl<R> Typed<R> {
    /// The rules by value.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R> Default for Typed<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// The object as its Rust type, some of which know no missing time, as that of a condition: Go writes null of it, and takes
/// it for the time of zero.
fn typed<K: Object>(object: &Value) -> Result<K, serde_json::Error> {
    K::deserialize(object).or_else(|error| match Place::of_version(K::GROUP, K::VERSION, K::KIND) {
        Some(place) => K::deserialize(&canonical::with_times(place, object)),
        None => Err(error),
    })
}

impl<R: Rules> KindRules for Typed<R> {
    #[cfg(feature = "openapi")]
    fn schema(
        &self,
        generator: &mut k8s_openapi::schemars::SchemaGenerator,
    ) -> Option<k8s_openapi::schemars::Schema> {
        R::Object::schema(generator)
    }

    fn default(&self, object: &mut Value) {
        R::default(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        R::prepare_create(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        R::prepare_update(new, old);
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        R::prepare_status(new, old);
    }

    fn prepare_part(&self, part: &str, new: &mut Value, old: &Value) {
        R::prepare_part(part, new, old);
    }

    fn check(&self, object: &mut Value) -> Result<Vec<String>, String> {
        if const { schema::describes(R::Object::GROUP) } {
            let place = Place::of_version(R::Object::GROUP, R::Object::VERSION, R::Object::KIND);
            return fit::fit(place.unwrap_or(Place::Object), object);
        }
        foreign::fit::<R::Object>(object)
    }

    fn prepare_deletion(&self, object: &mut Value) {
        R::prepare_deletion(object);
    }

    fn holds(&self, object: &Value) -> bool {
        R::holds(object)
    }

    fn check_body(&self, subresource: &str, body: &Value) -> Result<(), Status> {
        R::check_body(subresource, body)
    }

    fn edit(
        &self,
        subresource: &str,
        object: &mut Value,
        body: &Value,
        now: Timestamp,
    ) -> Result<(), Status> {
        R::edit(subresource, object, body, now)
    }

    fn validate(&self, object: &Value, errors: &mut Errors) -> Result<Vec<String>, serde_json::Error> {
        R::validate_json(object, errors);
        let object = typed::<R::Object>(object)?;
        R::validate(&object, errors);
        Ok(R::warnings(&object))
    }

    fn validate_create(&self, object: &Value, errors: &mut Errors) -> Result<Vec<String>, serde_json::Error> {
        let object = typed::<R::Object>(object)?;
        R::validate_create(&object, errors);
        Ok(R::warnings_at_creation(&object))
    }

    fn validate_new(
        &self,
        object: &Value,
        metadata: MetadataCheck<'_>,
        errors: &mut Errors,
    ) -> Result<Vec<String>, serde_json::Error> {
        let read = typed::<R::Object>(object)?;
        metadata(read.meta(), errors);
        R::validate_json(object, errors);
        R::validate(&read, errors);
        R::validate_create(&read, errors);
        let mut warnings = R::warnings(&read);
        warnings.extend(R::warnings_at_creation(&read));
        Ok(warnings)
    }

    fn warns_of_change(&self, new: &Value, old: &Value) -> bool {
        R::warns_of_change(new, old)
    }

    fn keeps(&self, object: &Value) -> Option<&'static str> {
        R::keeps(&typed(object).ok()?)
    }

    fn is_new_generation(&self, new: &Value, old: &Value) -> bool {
        R::is_new_generation(new, old)
    }

    fn validate_update(
        &self,
        new: &Value,
        old: &Value,
        errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        R::validate_update(&typed(new)?, &typed(old)?, errors);
        Ok(())
    }

    fn validate_change(
        &self,
        new: &Value,
        old: &Value,
        errors: &mut Errors,
    ) -> Result<Vec<String>, serde_json::Error> {
        R::validate_json(new, errors);
        let (new, old) = (typed::<R::Object>(new)?, typed::<R::Object>(old)?);
        R::validate(&new, errors);
        R::validate_update(&new, &old, errors);
        Ok(R::warnings(&new))
    }

    fn validate_status(
        &self,
        new: &Value,
        old: &Value,
        errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        R::validate_status(&typed(new)?, &typed(old)?, errors);
        Ok(())
    }

    fn validate_part(
        &self,
        part: &str,
        new: &Value,
        old: &Value,
        errors: &mut Errors,
    ) -> Result<(), serde_json::Error> {
        R::validate_part(part, &typed(new)?, &typed(old)?, errors);
        Ok(())
    }

    fn grace_period(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        R::grace_period(&typed(object).ok()?, requested)
    }

    fn cells(&self, json: &[u8], now: Timestamp) -> Result<Vec<Value>, serde_json::Error> {
        Ok(R::cells(&serde_json::from_slice(json)?, now))
    }
}
