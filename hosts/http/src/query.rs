//! The query string of a request: options by name, each checked as Kubernetes checks it, none silently misread.

use std::collections::HashMap;
use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;
use std::time::Duration;

use orchestra_core::api::field::{Errors, Path, Problem};
use orchestra_core::api::{
    DeleteOptions, FieldValidation, ListOptions, PatchKind, Reason, RevisionMatch, Status, WatchOptions,
    WriteOptions,
};
use orchestra_core::meta::Revision;
use orchestra_core::selector::{FieldSelector, Selector};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// The parameter by which one object is read as it was at a revision.
pub(crate) const AS_OF: &str = "asOf";

/// The most bytes that the name of a field manager may have.
const LONGEST_MANAGER: usize = 128;

/// A query string, taken apart. Of a name that stands twice, the first counts, as in Kubernetes.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueryString(HashMap<String, Vec<String>>);

/// Which write a request asks for: what its options are called, and what they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Create,
    Update,
    Patch(PatchKind),
}

impl QueryString {
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Status> {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text)
                .decode_utf8()
                .map(String::from)
                .map_err(|_| Status::bad_request("the query string is not valid UTF-8"))
        };
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            found.entry(decode(name)?).or_default().push(decode(value)?);
        }
        Ok(Self(found))
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|values| values.first()).map(String::as_str)
    }

    /// Everything that a name stands for.
    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// What a name stands for; nothing is as good as not there.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.first(name).filter(|value| !value.is_empty())
    }

    /// A switch: only `false` and `0` are off, and a name alone is on.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.first(name).is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }

    pub(crate) fn number<T: FromStr<Err = ParseIntError>>(&self, name: &str) -> Result<Option<T>, Status> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| Status::bad_request(not_a_number("ParseInt", text, &error)))
    }

    fn parsed_revision(&self) -> Result<Option<Revision>, String> {
        let Some(text) = self.get("resourceVersion") else { return Ok(None) };
        text.parse::<u64>().map(|revision| Some(Revision(revision))).map_err(|error| {
            let why = not_a_number("ParseUint", text, &error);
            format!("resourceVersion: Invalid value: {text:?}: {why}")
        })
    }

    /// The revision of a get or a watch. Kubernetes takes one that is none for a fault of its own.
    fn revision(&self) -> Result<Option<Revision>, Status> {
        self.parsed_revision().map_err(|message| Status::new(Reason::Unknown, message))
    }

    /// The two parameters that say of when an answer is to be, which must fit together.
    fn revision_match(&self, kind: &str, watch: bool) -> Result<Option<RevisionMatch>, Status> {
        let text = self.get("resourceVersionMatch");
        let parsed = text.map(|text| match text {
            "Exact" => Ok(RevisionMatch::Exact),
            "NotOlderThan" => Ok(RevisionMatch::NotOlderThan),
            other => Err(other),
        });
        let mut errors = Errors::new();
        let path = Path::new("resourceVersionMatch");
        if watch {
            self.check_watch_match(parsed, &path, &mut errors);
        } else {
            if self.first("sendInitialEvents").is_some() {
                errors.forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
            }
            self.check_list_match(parsed, &path, &mut errors);
        }
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", kind, "", &errors));
        }
        Ok(parsed.and_then(Result::ok))
    }

    fn check_list_match(&self, given: Option<Result<RevisionMatch, &str>>, path: &Path, errors: &mut Errors) {
        let Some(given) = given else { return };
        let revision = self.get("resourceVersion");
        if revision.is_none() {
            errors.forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if self.get("continue").is_some() {
            errors.forbidden(path, "resourceVersionMatch is forbidden when continue is provided");
        }
        match given {
            Err(other) => errors.not_supported(path, other, &["Exact", "NotOlderThan", ""]),
            Ok(RevisionMatch::Exact) if revision == Some("0") => {
                errors
                    .forbidden(path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
            Ok(_) => {}
        }
    }

    fn check_watch_match(
        &self,
        given: Option<Result<RevisionMatch, &str>>,
        path: &Path,
        errors: &mut Errors,
    ) {
        let initial = self.first("sendInitialEvents").is_some();
        if initial && given != Some(Ok(RevisionMatch::NotOlderThan)) {
            errors.forbidden(path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if self.get("continue").is_some() {
            errors.forbidden(path, "resourceVersionMatch is forbidden when continue is provided");
        }
        let Some(given) = given else { return };
        if !initial {
            errors.forbidden(
                path,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        match given {
            Ok(RevisionMatch::NotOlderThan) => {}
            Ok(RevisionMatch::Exact) => errors.not_supported(path, "Exact", &["NotOlderThan"]),
            Err(other) => errors.not_supported(path, other, &["NotOlderThan"]),
        }
    }

    fn labels(&self) -> Result<Option<Selector>, Status> {
        let Some(text) = self.get("labelSelector") else { return Ok(None) };
        Selector::parse(text).map(Some).map_err(|error| Status::bad_request(error.to_string()))
    }

    fn fields(&self) -> Result<Option<FieldSelector>, Status> {
        let Some(text) = self.get("fieldSelector") else { return Ok(None) };
        FieldSelector::parse(text).map(Some).map_err(|error| Status::bad_request(error.to_string()))
    }

    /// Of when one object is to be. As it was, it is asked for by a name of orchestra's own: Kubernetes knows no such
    /// question, and takes no notice of `resourceVersionMatch` here.
    pub(crate) fn get_options(&self) -> Result<(Option<Revision>, Option<RevisionMatch>), Status> {
        if matches!(self.get("export"), Some("true" | "1" | "t" | "T" | "TRUE" | "True")) {
            let message = "the export parameter, deprecated since v1.14, is no longer supported";
            return Err(Status::bad_request(message));
        }
        match self.number::<u64>(AS_OF)? {
            Some(revision) => Ok((Some(Revision(revision)), Some(RevisionMatch::Exact))),
            None => Ok((self.revision()?, None)),
        }
    }

    pub(crate) fn list(&self) -> Result<ListOptions, Status> {
        let limit: i64 = self.number("limit")?.unwrap_or(0);
        let (labels, fields) = (self.labels()?, self.fields()?);
        self.timeout()?;
        let revision_match = self.revision_match("ListOptions", false)?;
        let revision = self.parsed_revision();
        let revision = revision
            .map_err(|message| Status::bad_request(format!("invalid resource version: {message}")))?;
        let continue_token = self.get("continue").map(str::to_owned);
        if continue_token.is_some() && revision.is_some_and(|revision| revision > Revision::ZERO) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let limit = usize::try_from(limit).unwrap_or(0);
        Ok(ListOptions { labels, fields, limit, continue_token, revision, revision_match })
    }

    pub(crate) fn watch(&self) -> Result<WatchOptions, Status> {
        let (labels, fields) = (self.labels()?, self.fields()?);
        self.revision_match("ListOptions", true)?;
        Ok(WatchOptions {
            labels,
            fields,
            after: self.revision()?,
            bookmarks: self.is_set("allowWatchBookmarks"),
            initial_events: self.first("sendInitialEvents").map(|_| self.is_set("sendInitialEvents")),
            timeout: self.timeout()?,
        })
    }

    /// Refuses a time limit that is none.
    ///
    /// # Errors
    /// 400 when it is not written as Go writes durations.
    pub(crate) fn check_time_limit(&self) -> Result<(), Status> {
        let Some(text) = self.get("timeout") else { return Ok(()) };
        duration(text).map_err(|why| {
            Status::bad_request(format!("invalid timeout specified in the request URL - time: {why}"))
        })
    }

    /// How long a watch lasts at most, if the caller says.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>, Status> {
        let seconds: Option<i64> = self.number("timeoutSeconds")?;
        Ok(seconds.filter(|seconds| *seconds != 0).map(|seconds| {
            // A watch of less than no time ends as soon as it has begun.
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        }))
    }

    /// The options of a write.
    pub(crate) fn write(&self, write: Write) -> Result<WriteOptions, Status> {
        let mut errors = Errors::new();
        let field_manager = self.get("fieldManager");
        if let Write::Patch(kind) = write {
            if kind != PatchKind::Apply && self.first("force").is_some() {
                errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
            }
            if kind == PatchKind::Apply && field_manager.is_none() {
                errors.required(&Path::new("fieldManager"), "is required for apply patch");
            }
        }
        check_manager(field_manager.unwrap_or_default(), &mut errors);
        let dry_run = dry_run(self.all("dryRun"), &mut errors);
        let field_validation = match self.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                errors.not_supported(&Path::new("fieldValidation"), other, &supported);
                FieldValidation::Warn
            }
        };
        let kind = match write {
            Write::Create => "CreateOptions",
            Write::Update => "UpdateOptions",
            Write::Patch(_) => "PatchOptions",
        };
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", kind, "", &errors));
        }
        Ok(WriteOptions { dry_run, field_manager: field_manager.map(str::to_owned), field_validation })
    }

    /// The options of a deletion: those of the body, or of the query if there is none.
    pub(crate) fn delete(&self, body: Option<Value>) -> Result<DeleteOptions, Status> {
        if let Some(body) = body {
            return DeleteOptions::read(body);
        }
        DeleteOptions::read(json!({
            "dryRun": self.0.get("dryRun"),
            "gracePeriodSeconds": self.number::<i64>("gracePeriodSeconds")?,
            "orphanDependents": self.first("orphanDependents").map(|_| self.is_set("orphanDependents")),
            "propagationPolicy": self.get("propagationPolicy"),
        }))
    }
}

/// What Go says of a text that is no number.
fn not_a_number(parser: &str, text: &str, error: &ParseIntError) -> String {
    let why = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{parser}: parsing {text:?}: {why}")
}

/// Whether a text is a duration as Go writes them, such as `1m30s`; else what Go says of it.
fn duration(text: &str) -> Result<(), String> {
    let invalid = || Err(format!("invalid duration {text:?}"));
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    if rest.is_empty() {
        return invalid();
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        if digits.matches('.').count() > 1 || !digits.contains(|c: char| c.is_ascii_digit()) {
            return invalid();
        }
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        match unit {
            "" => return Err(format!("missing unit in duration {text:?}")),
            "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h" => rest = after,
            unit => return Err(format!("unknown unit {unit:?} in duration {text:?}")),
        }
    }
    Ok(())
}

fn dry_run(values: &[String], errors: &mut Errors) -> bool {
    if values.iter().any(|value| value != "All") {
        errors.not_supported(&Path::new("dryRun"), json!(values), &["All"]);
    }
    !values.is_empty()
}

fn check_manager(name: &str, errors: &mut Errors) {
    let path = Path::new("fieldManager");
    if name.len() > LONGEST_MANAGER {
        errors.push(&path, Problem::TooLong(LONGEST_MANAGER));
    }
    for (position, character) in name.char_indices().filter(|(_, character)| character.is_control()) {
        let code = u32::from(character);
        errors.invalid(&path, name, format!("invalid character U+{code:04X} (at position {position})"));
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
            assert!(parse(query).list().is_err(), "{query}");
        }
        assert_eq!(parse("fieldValidation=Never").write(Write::Create).unwrap_err().code(), 422);
        assert_eq!(parse("dryRun=Some").write(Write::Update).unwrap_err().code(), 422);
        assert!(QueryString::parse(Some("a=%ff")).is_err());
    }

    #[test]
    fn a_time_limit_is_a_duration_of_go() {
        for (text, why) in [
            ("10s", ""),
            ("1m30.5s", ""),
            ("-1h", ""),
            ("0", ""),
            ("10", "missing unit in duration \"10\""),
            ("10d", "unknown unit \"d\" in duration \"10d\""),
            ("invalid", "invalid duration \"invalid\""),
            ("1.2.3s", "invalid duration \"1.2.3s\""),
            (".s", "invalid duration \".s\""),
        ] {
            assert_eq!(duration(text).err().unwrap_or_default(), why, "{text}");
        }
        assert_eq!(parse("timeout=x").check_time_limit().unwrap_err().code(), 400);
        assert_eq!(parse("timeoutSeconds=abc").list().unwrap_err().code(), 400);
    }

    #[test]
    fn a_revision_that_is_none_is_told_apart_as_kubernetes_does() {
        let query = parse("resourceVersion=abc");
        let list = query.list().unwrap_err();
        assert_eq!(list.code(), 400);
        assert!(list.message().starts_with("invalid resource version: resourceVersion: "), "{list}");
        for (code, status) in [(500, query.get_options().unwrap_err()), (500, query.watch().unwrap_err())] {
            assert_eq!((status.code(), status.reason()), (code, Reason::Unknown));
        }
    }

    #[test]
    fn one_object_is_read_as_it_was_by_a_name_of_its_own() {
        let exact = parse("resourceVersionMatch=Exact&resourceVersion=7").get_options().unwrap();
        assert_eq!(exact, (Some(Revision(7)), None));
        let past = parse("asOf=7").get_options().unwrap();
        assert_eq!(past, (Some(Revision(7)), Some(RevisionMatch::Exact)));
        assert_eq!(parse("asOf=x").get_options().unwrap_err().code(), 400);
    }

    #[test]
    fn a_watch_continues_nothing() {
        assert_eq!(parse("continue=x").watch().unwrap_err().code(), 422);
        let none = parse("sendInitialEvents=false&resourceVersionMatch=NotOlderThan").watch().unwrap();
        assert_eq!(none.initial_events, Some(false));
    }

    #[test]
    fn a_body_says_more_than_the_query() {
        let body = serde_json::json!({
            "gracePeriodSeconds": 0, "propagationPolicy": "Foreground", "preconditions": { "uid": "u" }
        });
        let options = parse("gracePeriodSeconds=9").delete(Some(body)).unwrap();
        assert_eq!(options.grace_period, Some(0));
        assert_eq!(options.propagation, Some(orchestra_core::api::Propagation::Foreground));
        assert_eq!(options.uid.as_deref(), Some("u"));
    }

    #[test]
    fn switches_and_repetitions_are_read_as_kubernetes_reads_them() {
        let query = parse("a&b=false&c=0&d=FALSE&e=no&limit=1&limit=2");
        assert_eq!(
            ["a", "b", "c", "d", "e", "f"].map(|name| query.is_set(name)),
            [true, false, false, false, true, false]
        );
        assert_eq!(query.list().unwrap().limit, 1);
        assert_eq!(parse("limit=-1").list().unwrap().limit, 0);
        assert_eq!(
            parse("orphanDependents=false").delete(None).unwrap().propagation,
            Some(orchestra_core::api::Propagation::Background)
        );
    }
}
