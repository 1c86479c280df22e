//! The forms in which objects go out: as they are, as nothing but their metadata, or as the rows of a table.
//!
//! [`Form::negotiate`] finds out what a client wants. A [`Writer`] appends it to a buffer, for one object, a list or
//! the events of a watch; lists can be written in pieces, so that a long one need not be in memory as a whole. The
//! bytes at rest are sent as they are wherever the version is the stored one.

mod form;
mod scale;
#[cfg(test)]
mod tests;

pub use form::{Form, Format, IncludeObject, MetaVersion, Offer};

use std::io::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Column, ObjectList, Resource, Status, WatchEvent, api_version};
use crate::meta::Revision;
use crate::watch::Entry;

/// Writes objects of one kind, as one version of it and in one form.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'r> {
    resource: &'r Resource,
    group: &'r str,
    version: &'r str,
    form: Form,
    include: IncludeObject,
    now: Timestamp,
}

impl<'r> Writer<'r> {
    /// A writer for a kind as a group and version serve it. `now` is what ages are counted to.
    pub fn new(
        resource: &'r Resource,
        (group, version): (&'r str, &'r str),
        form: Form,
        now: Timestamp,
    ) -> Self {
        Self { resource, group, version, form, include: IncludeObject::default(), now }
    }

    /// Carries this much of the object in the rows of a table.
    #[must_use]
    pub fn including(self, include: IncludeObject) -> Self {
        Self { include, ..self }
    }

    /// Appends one object; as a table, one of one row.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn object(&self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Status> {
        match self.form {
            Form::Object => self.whole(entry, out),
            Form::Metadata(version) => metadata(entry, version, out),
            Form::Table(_) => self.table(entry, true, out),
        }
    }

    /// Appends a list.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn list(&self, list: &ObjectList, out: &mut Vec<u8>) -> Result<(), Status> {
        if let Form::Object = self.form {
            // A long list is written once, and not moved whenever it outgrows its room.
            out.reserve(list.objects.iter().map(|entry| entry.bytes().len() + 64).sum());
        }
        self.list_head(list, out);
        for (index, entry) in list.objects.iter().enumerate() {
            self.list_item(entry, index == 0, out)?;
        }
        self.list_tail(list, out);
        Ok(())
    }

    /// Appends what comes before the objects of a list.
    pub fn list_head(&self, list: &ObjectList, out: &mut Vec<u8>) {
        // A list of custom objects as they are says it also when it ends here.
        let always = self.resource.custom && self.form == Form::Object;
        let meta = ListMeta {
            resource_version: match self.resource.made_up {
                Some(_) => String::new(),
                None => list.revision.to_string(),
            },
            continue_token: list.continue_token.as_deref().or(always.then_some("")),
            remaining_item_count: list.remaining,
        };
        let (kind, api_version) = match self.form {
            Form::Object => (self.resource.list_kind.to_string(), api_version(self.group, self.version)),
            Form::Metadata(version) => ("PartialObjectMetadataList".into(), version.api_version().into()),
            Form::Table(version) => ("Table".into(), version.api_version().into()),
        };
        head(&kind, &api_version, &meta, out);
        if let Form::Table(_) = self.form {
            self.columns(out);
            out.extend_from_slice(b",\"rows\":");
        } else {
            out.extend_from_slice(b",\"items\":");
        }
        out.extend_from_slice(if self.is_null(list) { b"null" } else { b"[" });
    }

    /// Whether a list without objects is told as none at all, as Kubernetes tells those of which it makes the form for every
    /// kind in the same way.
    fn is_null(&self, list: &ObjectList) -> bool {
        let has_usual_columns =
            || self.resource.columns.get(1).is_some_and(|column| &*column.name == Column::CREATED_AT.name);
        list.objects.is_empty()
            && match self.form {
                Form::Object => false,
                Form::Metadata(_) => true,
                Form::Table(_) => has_usual_columns() && !self.resource.custom,
            }
    }

    /// Appends one object of a list.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn list_item(&self, entry: &Entry, first: bool, out: &mut Vec<u8>) -> Result<(), Status> {
        if !first {
            out.push(b',');
        }
        match self.form {
            Form::Object if self.resource.custom => self.whole(entry, out),
            Form::Object => self.item(entry, out),
            Form::Table(_) => self.row(entry, out),
            Form::Metadata(version) => metadata(entry, version, out),
        }
    }

    /// Appends what comes after the objects of a list.
    pub fn list_tail(&self, list: &ObjectList, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.is_null(list) { b"}\n" } else { b"]}\n" });
    }

    /// Appends an event of a watch, as one line. The first event of a table carries its columns.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn event(&self, event: &WatchEvent, first: bool, out: &mut Vec<u8>) -> Result<(), Status> {
        let (kind, entry) = match event {
            WatchEvent::Added(entry) => ("ADDED", entry),
            WatchEvent::Modified(entry) => ("MODIFIED", entry),
            WatchEvent::Deleted(entry) => ("DELETED", entry),
            WatchEvent::Bookmark { revision, initial_events_end } => {
                self.bookmark(*revision, *initial_events_end, out);
                return Ok(());
            }
        };
        out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
        match self.form {
            Form::Table(_) => self.table(entry, first, out)?,
            _ => self.object(entry, out)?,
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    /// Appends the event that ends a watch which failed.
    pub fn error(status: &Status, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"ERROR\",\"object\":");
        out.extend_from_slice(&status.to_json());
        out.extend_from_slice(b"}\n");
    }

    fn bookmark(&self, revision: Revision, initial_events_end: bool, out: &mut Vec<u8>) {
        let mut meta = json!({"resourceVersion": revision.to_string()});
        if initial_events_end {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Object => {
                let api_version = api_version(self.group, self.version);
                json!({"kind": self.resource.kind, "apiVersion": api_version, "metadata": meta})
            }
            Form::Metadata(version) => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": version.api_version(), "metadata": meta})
            }
            Form::Table(version) => json!({
                "kind": "Table",
                "apiVersion": version.api_version(),
                "metadata": {"resourceVersion": revision.to_string()},
                "columnDefinitions": [],
                "rows": [],
            }),
        };
        write(&json!({"type": "BOOKMARK", "object": object}), out);
        out.push(b'\n');
    }

    /// The object as its served version has it.
    fn whole(&self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Status> {
        if self.is_stored_version() {
            entry.write_json(out);
            return Ok(());
        }
        write(&self.converted(entry)?, out);
        Ok(())
    }

    /// The same without `kind` and `apiVersion`.
    fn item(&self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Status> {
        if self.is_stored_version() {
            entry.write_item(out);
            return Ok(());
        }
        let mut object = self.converted(entry)?;
        if let Value::Object(fields) = &mut object {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        write(&object, out);
        Ok(())
    }

    fn is_stored_version(&self) -> bool {
        self.group == &*self.resource.id.group && self.version == &*self.resource.version
    }

    fn converted(&self, entry: &Entry) -> Result<Value, Status> {
        let mut object = entry.to_value().map_err(Status::internal)?;
        self.resource.present(self.group, self.version, &mut object);
        Ok(object)
    }

    fn table(&self, entry: &Entry, columns: bool, out: &mut Vec<u8>) -> Result<(), Status> {
        let version = match self.form {
            Form::Table(version) => version,
            _ => MetaVersion::V1,
        };
        let meta = ListMeta {
            resource_version: revision_of(entry),
            continue_token: None,
            remaining_item_count: None,
        };
        head("Table", version.api_version(), &meta, out);
        if columns {
            self.columns(out);
        } else {
            out.extend_from_slice(b",\"columnDefinitions\":null");
        }
        out.extend_from_slice(b",\"rows\":[");
        self.row(entry, out)?;
        out.extend_from_slice(b"]}");
        Ok(())
    }

    fn cells(&self, entry: &Entry) -> Result<Vec<Value>, Status> {
        let rules = &self.resource.rules;
        if self.is_stored_version() || !self.resource.custom {
            return rules.cells(entry.bytes(), self.now).map_err(Status::internal);
        }
        let spoken = serde_json::to_vec(&self.converted(entry)?).map_err(Status::internal)?;
        rules.cells(&spoken, self.now).map_err(Status::internal)
    }

    fn columns(&self, out: &mut Vec<u8>) {
        let columns = self.resource.columns.iter().map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            })
        });
        out.extend_from_slice(b",\"columnDefinitions\":");
        write(&columns.collect::<Vec<_>>(), out);
    }

    fn row(&self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Status> {
        out.extend_from_slice(b"{\"cells\":");
        // An object that its own kind cannot read must not take the rest of the table away.
        let cells = self.cells(entry).unwrap_or_else(|_| {
            let name = Value::from(entry.name().name());
            let unknown = std::iter::repeat_n(Value::from("<unknown>"), self.resource.columns.len());
            std::iter::once(name).chain(unknown.skip(1)).collect()
        });
        write(&cells, out);
        out.extend_from_slice(b",\"object\":");
        match (self.include, self.form) {
            (IncludeObject::None, _) => out.extend_from_slice(b"null"),
            (IncludeObject::Metadata, Form::Table(version)) => metadata(entry, version, out)?,
            (IncludeObject::Metadata, _) => metadata(entry, MetaVersion::V1, out)?,
            (IncludeObject::Object, _) => self.whole(entry, out)?,
        }
        out.push(b'}');
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta<'m> {
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_version: String,
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    continue_token: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_item_count: Option<u64>,
}

/// Appends the beginning of an object up to and with its metadata.
fn head(kind: &str, api_version: &str, meta: &ListMeta<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":");
    write(kind, out);
    out.extend_from_slice(b",\"apiVersion\":");
    write(api_version, out);
    out.extend_from_slice(b",\"metadata\":");
    write(meta, out);
}

/// Appends an object's `PartialObjectMetadata`.
fn metadata(entry: &Entry, version: MetaVersion, out: &mut Vec<u8>) -> Result<(), Status> {
    #[derive(Deserialize)]
    struct Head<'b> {
        #[serde(borrow)]
        metadata: &'b RawValue,
    }
    let head: Head<'_> = serde_json::from_slice(entry.bytes()).map_err(Status::internal)?;
    let fields = head.metadata.get().trim_start_matches('{').trim_start();
    let comma = if fields.starts_with('}') { "" } else { "," };
    let api_version = version.api_version();
    let (revision, comma) = match revision_of(entry) {
        revision if revision.is_empty() => (String::new(), ""),
        revision => (format!("\"resourceVersion\":\"{revision}\""), comma),
    };
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{api_version}\",\
         \"metadata\":{{{revision}{comma}{fields}}}"
    );
    Ok(())
}

/// The revision of an object; empty of one that was not stored, as of a dry run.
fn revision_of(entry: &Entry) -> String {
    match entry.revision() {
        Revision::ZERO => String::new(),
        revision => revision.to_string(),
    }
}

/// Appends a value whose keys are text, which serializes without fail.
fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, value);
}
