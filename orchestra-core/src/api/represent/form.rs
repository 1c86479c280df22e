//! What of objects a client wants, and in which text.

use crate::api::{Reason, Status};

/// What of the object a row of a table carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// Reads the `includeObject` parameter of a query.
    ///
    /// # Errors
    /// When it is none of the three.
    pub fn parse(parameter: &str) -> Result<Self, Status> {
        match parameter {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
                 'Object', 'None', or empty"
            ))),
        }
    }
}

/// The version of `meta.k8s.io` that a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaVersion {
    /// `v1`.
    V1,
    /// `v1beta1`, in which only the name differs.
    V1Beta1,
}

impl MetaVersion {
    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// The form of objects in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Object,
    /// `PartialObjectMetadata`.
    Metadata(MetaVersion),
    /// Rows of a `Table`.
    Table(MetaVersion),
}

/// The text format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML, made of the JSON.
    Yaml,
}

/// What there is of what a client asks for, beside the objects as they are and their metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// They can be shown as a table.
    pub tables: bool,
    /// Their changes can be watched: it is a collection.
    pub streams: bool,
}

impl Form {
    /// The first form and format of an `Accept` header that there is. No header is JSON.
    ///
    /// # Errors
    /// 406 when there is none that both know.
    pub fn negotiate(accept: &str, offer: Offer) -> Result<(Self, Format), Status> {
        let forms = if offer.streams { COLLECTIONS } else { OBJECTS };
        Self::first_of(accept, |form| offer.tables || !matches!(form, Self::Table(_)), forms)
    }

    /// The format of a document that there is in no other form, such as those of discovery, as an `Accept` header asks.
    ///
    /// # Errors
    /// 406 when it asks for none that there is.
    pub fn negotiate_document(accept: &str) -> Result<Format, Status> {
        let is_had = |form| form == Self::Object;
        Self::first_of(accept, is_had, OBJECTS).map(|(_, format)| format)
    }

    /// The same of the documents of groups, which Kubernetes' router leaves to them: they know what stands for several types.
    ///
    /// # Errors
    /// As for [`negotiate_document`](Self::negotiate_document).
    pub fn negotiate_groups(accept: &str) -> Result<Format, Status> {
        let found = Self::negotiate_document(&accept.replace("application/*", "*/*"));
        found.map_err(|_| Status::new(Reason::NotAcceptable, ONLY_THESE))
    }

    /// Whether a document that there is in JSON alone is what an `Accept` header asks for.
    ///
    /// # Errors
    /// 406 when it is not.
    pub fn negotiate_json(accept: &str) -> Result<(), Status> {
        let takes = |one: &str| matches!(media_type(one), "" | JSON | "*/*");
        if accept.split(',').any(takes) { Ok(()) } else { Err(Status::not_acceptable(JSON)) }
    }

    fn first_of(accept: &str, is_had: impl Fn(Self) -> bool, forms: &str) -> Result<(Self, Format), Status> {
        if accept.trim().is_empty() {
            return Ok((Self::Object, Format::Json));
        }
        let mut known = accept.split(',').filter_map(Self::of_media_type);
        known.find(|(form, _)| is_had(*form)).ok_or_else(|| {
            let types: Vec<&str> = accept.split(',').map(media_type).collect();
            if types.iter().any(|media| format(media).is_some()) {
                return Status::new(Reason::NotAcceptable, ONLY_THESE);
            }
            if types.contains(&PROTOBUF) {
                // It is read here and not written.
                let message =
                    "only the following media types are accepted: application/json, application/yaml";
                return Status::new(Reason::NotAcceptable, message);
            }
            Status::not_acceptable(forms)
        })
    }

    fn of_media_type(media: &str) -> Option<(Self, Format)> {
        let mut parts = media.split(';').map(str::trim);
        let format = format(parts.next()?)?;
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter = |name| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let version = match parameter("v") {
            None | Some("v1") => Some(MetaVersion::V1),
            Some("v1beta1") => Some(MetaVersion::V1Beta1),
            Some(_) => None,
        };
        match (parameter("as"), parameter("g"), version) {
            (None, ..) => Some((Self::Object, format)),
            (Some("Table"), Some("meta.k8s.io"), Some(version)) => Some((Self::Table(version), format)),
            (
                Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
                Some("meta.k8s.io"),
                Some(version),
            ) => Some((Self::Metadata(version), format)),
            _ => None,
        }
    }
}

const ONLY_THESE: &str = "only the following media types are accepted: application/json, application/yaml, \
                          application/vnd.kubernetes.protobuf";
/// What the router of Kubernetes says there is of an object.
const OBJECTS: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// The same of a collection.
const COLLECTIONS: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf, \
                           application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A media type without its parameters.
fn media_type(media: &str) -> &str {
    media.split(';').next().unwrap_or_default().trim()
}

fn format(media_type: &str) -> Option<Format> {
    match media_type {
        // What stands for several types of one kind, as "application/*", is none that Kubernetes knows.
        JSON | "*/*" => Some(Format::Json),
        "application/yaml" => Some(Format::Yaml),
        _ => None,
    }
}
