//! What an object is in versions that only a converter knows, for what cannot wait: it is asked again when that is known.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::api::ownership::{NodeId, Schema, Versions};
use crate::api::{Resource, Status};

/// How often a write is thought over anew because it asks for one more conversion.
const ROUNDS: usize = 8;

/// What an object is in the versions in which its owners name their fields. Who owns what is found without waiting for
/// anyone; so what is not known yet is noted, asked for, and then found anew.
#[derive(Debug, Default)]
pub(super) struct Conversions(Mutex<Vec<Conversion>>);

#[derive(Debug)]
struct Conversion {
    object: Value,
    api_version: String,
    converted: Option<Value>,
}

impl Conversions {
    /// An object in another version, if that is known; else it is noted that it is wanted.
    fn find(&self, object: &Value, api_version: &str) -> Option<Value> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |held: &&Conversion| held.api_version == api_version && held.object == *object;
        if let Some(held) = all.iter().find(same) {
            return held.converted.clone();
        }
        all.push(Conversion { object: object.clone(), api_version: api_version.to_owned(), converted: None });
        None
    }

    /// Asks for what is wanted. Answers whether anything was.
    async fn resolve(&self, kind: &Resource) -> Result<bool, Status> {
        let Some(kept) = &kind.kept else { return Ok(false) };
        let wanted: Vec<(usize, Value, String)> = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = all.iter().enumerate().filter(|(_, held)| held.converted.is_none());
            wanted.map(|(place, held)| (place, held.object.clone(), held.api_version.clone())).collect()
        };
        for (place, object, api_version) in &wanted {
            let converted = one(kept.converter.convert(vec![object.clone()], api_version).await?)?;
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all[*place].converted = Some(converted);
        }
        Ok(!wanted.is_empty())
    }
}

/// Does what needs conversions, until it needs no more than are known.
pub(super) async fn settled<T>(
    kind: &Resource,
    conversions: Option<&Conversions>,
    mut make: impl FnMut() -> T,
) -> Result<T, Status> {
    let mut made = make();
    let Some(conversions) = conversions else { return Ok(made) };
    for _ in 0..ROUNDS {
        if !conversions.resolve(kind).await? {
            break;
        }
        made = make();
    }
    Ok(made)
}

/// The versions of a kind between which a converter converts.
pub(super) struct Converted<'c> {
    pub(super) versions: &'c dyn Versions,
    pub(super) known: &'c Conversions,
}

impl Versions for Converted<'_> {
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        let renamed = self.versions.convert(object, api_version)?;
        // An object of which nothing is set is the same in all versions.
        if object["apiVersion"] == *api_version || object["metadata"].is_null() {
            return Some(renamed);
        }
        Some(self.known.find(object, api_version).unwrap_or(renamed))
    }

    fn schema(&self, api_version: &str) -> (&Schema, NodeId) {
        self.versions.schema(api_version)
    }
}

/// The only one of those that were answered.
pub(super) fn one<T>(converted: Vec<T>) -> Result<T, Status> {
    let mut converted = converted.into_iter();
    match (converted.next(), converted.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(Status::internal("a converter answered another number of objects")),
    }
}
