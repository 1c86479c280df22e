//! The query string of a request: options by name, each checked, none silently misread.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use orchestra_core::api::{
    DeleteOptions, FieldValidation, ListOptions, Propagation, RevisionMatch, Status, WatchOptions,
    WriteOptions,
};
use orchestra_core::meta::Revision;
use orchestra_core::selector::{FieldSelector, Selector};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

/// A query string, taken apart. Of a name that stands twice, the last counts, as in Kubernetes.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueryString(HashMap<String, String>);

impl QueryString {
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Status> {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text)
                .decode_utf8()
                .map(String::from)
                .map_err(|_| Status::bad_request("the query string is not valid UTF-8"))
        };
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<Result<_, Status>>().map(Self)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A switch. Kubernetes takes what Go's `ParseBool` does; a name alone is on.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        match self.0.get(name).map(String::as_str) {
            None => false,
            Some(value) => !matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False"),
        }
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Status> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let invalid =
            |_| Status::bad_request(format!("{name}: Invalid value: {text:?}: must be a whole number"));
        text.parse().map(Some).map_err(invalid)
    }

    fn revision(&self) -> Result<Option<Revision>, Status> {
        let Some(text) = self.get("resourceVersion") else { return Ok(None) };
        let invalid = |_| {
            Status::bad_request(format!(
                "resourceVersion: Invalid value: {text:?}: must be a number from an earlier read"
            ))
        };
        text.parse().map(Some).map_err(invalid)
    }

    fn revision_match(&self) -> Result<Option<RevisionMatch>, Status> {
        match self.get("resourceVersionMatch") {
            None => Ok(None),
            Some("Exact") => Ok(Some(RevisionMatch::Exact)),
            Some("NotOlderThan") => Ok(Some(RevisionMatch::NotOlderThan)),
            Some(other) => Err(Status::bad_request(format!(
                "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
            ))),
        }
    }

    fn labels(&self) -> Result<Option<Selector>, Status> {
        let Some(text) = self.get("labelSelector") else { return Ok(None) };
        Selector::parse(text).map(Some).map_err(|error| {
            Status::bad_request(format!("unable to parse requirement in labelSelector {text:?}: {error}"))
        })
    }

    fn fields(&self) -> Result<Option<FieldSelector>, Status> {
        let Some(text) = self.get("fieldSelector") else { return Ok(None) };
        FieldSelector::parse(text)
            .map(Some)
            .map_err(|error| Status::bad_request(format!("invalid fieldSelector {text:?}: {error}")))
    }

    pub(crate) fn get_options(&self) -> Result<(Option<Revision>, Option<RevisionMatch>), Status> {
        Ok((self.revision()?, self.revision_match()?))
    }

    pub(crate) fn list(&self) -> Result<ListOptions, Status> {
        Ok(ListOptions {
            labels: self.labels()?,
            fields: self.fields()?,
            limit: self.number("limit")?.unwrap_or(0),
            continue_token: self.get("continue").map(str::to_owned),
            revision: self.revision()?,
            revision_match: self.revision_match()?,
        })
    }

    pub(crate) fn watch(&self) -> Result<WatchOptions, Status> {
        Ok(WatchOptions {
            labels: self.labels()?,
            fields: self.fields()?,
            after: self.revision()?,
            bookmarks: self.is_set("allowWatchBookmarks"),
            initial_events: self.is_set("sendInitialEvents"),
        })
    }

    /// How long a watch lasts at most, if the caller says.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>, Status> {
        Ok(self.number("timeoutSeconds")?.map(Duration::from_secs))
    }

    fn dry_run(&self) -> Result<bool, Status> {
        dry_run(self.get("dryRun"))
    }

    pub(crate) fn write(&self) -> Result<WriteOptions, Status> {
        let field_validation = match self.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                return Err(Status::bad_request(format!(
                    "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                )));
            }
        };
        let field_manager = self.get("fieldManager").map(str::to_owned);
        Ok(WriteOptions { dry_run: self.dry_run()?, field_manager, field_validation })
    }

    /// The options of a deletion: those of the body, or of the query if there is none.
    pub(crate) fn delete(&self, body: Option<Value>) -> Result<DeleteOptions, Status> {
        let mut options = DeleteOptions {
            dry_run: self.dry_run()?,
            grace_period: self.number("gracePeriodSeconds")?,
            propagation: propagation(self.get("propagationPolicy"))?,
            ..Default::default()
        };
        if self.is_set("orphanDependents") {
            options.propagation = Some(Propagation::Orphan);
        }
        let Some(body) = body else { return Ok(options) };
        let given: DeleteBody = serde_json::from_value(body)
            .map_err(|error| Status::bad_request(format!("the body is not a DeleteOptions: {error}")))?;
        let preconditions = given.preconditions.unwrap_or_default();
        options.dry_run |= dry_run(given.dry_run.and_then(|dry_run| dry_run.first().cloned()).as_deref())?;
        options.grace_period = given.grace_period_seconds.or(options.grace_period);
        options.propagation = propagation(given.propagation_policy.as_deref())?
            .or_else(|| given.orphan_dependents.filter(|orphan| *orphan).map(|_| Propagation::Orphan))
            .or(options.propagation);
        options.uid = preconditions.uid;
        options.revision = match preconditions.resource_version.as_deref() {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(|_| {
                Status::bad_request(format!(
                    "preconditions.resourceVersion: Invalid value: {text:?}: must be a number"
                ))
            })?),
        };
        Ok(options)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteBody {
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

fn dry_run(value: Option<&str>) -> Result<bool, Status> {
    match value {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(other) => Err(Status::bad_request(format!(
            "dryRun: Unsupported value: {other:?}: supported values: \"All\""
        ))),
    }
}

fn propagation(value: Option<&str>) -> Result<Option<Propagation>, Status> {
    match value {
        None => Ok(None),
        Some("Orphan") => Ok(Some(Propagation::Orphan)),
        Some("Background") => Ok(Some(Propagation::Background)),
        Some("Foreground") => Ok(Some(Propagation::Foreground)),
        Some(other) => Err(Status::bad_request(format!(
            "propagationPolicy: Unsupported value: {other:?}: supported values: \"Background\", \"Foreground\", \
             \"Orphan\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> QueryString {
        QueryString::parse(Some(query)).unwrap()
    }

    #[test]
    fn what_is_misspelled_is_refused() {
        for query in
            ["limit=many", "resourceVersion=new", "labelSelector=a%20in", "resourceVersionMatch=Maybe"]
        {
            assert_eq!(parse(query).list().unwrap_err().code(), 400, "{query}");
        }
        assert_eq!(parse("fieldValidation=Never").write().unwrap_err().code(), 400);
        assert_eq!(parse("dryRun=Some").write().unwrap_err().code(), 400);
        assert!(QueryString::parse(Some("a=%ff")).is_err());
    }

    #[test]
    fn a_body_says_more_than_the_query() {
        let body = serde_json::json!({
            "gracePeriodSeconds": 0, "propagationPolicy": "Foreground", "preconditions": { "uid": "u" }
        });
        let options = parse("gracePeriodSeconds=9").delete(Some(body)).unwrap();
        assert_eq!(options.grace_period, Some(0));
        assert_eq!(options.propagation, Some(Propagation::Foreground));
        assert_eq!(options.uid.as_deref(), Some("u"));
    }
}
