//! What an API call that failed says: a code, a reason a program can act on, and a message for a person.

mod wire;

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;

use super::field::{Error as FieldError, Errors};
use crate::meta::{GroupResource, Revision};
use crate::store::StoreError;

/// The reason of a [`Status`], as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are Kubernetes' own and say it all")]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    Invalid,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    ServerTimeout,
    Timeout,
    Unknown,
}

impl Reason {
    /// The reason's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Expired => "Expired",
            Self::Invalid => "Invalid",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::ServerTimeout => "ServerTimeout",
            Self::Timeout => "Timeout",
            Self::Unknown => "",
        }
    }

    /// The HTTP status code that goes with the reason.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Gone | Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError | Self::Unknown => 500,
            Self::ServiceUnavailable => 503,
            Self::ServerTimeout | Self::Timeout => 504,
        }
    }

    /// The reason of that name; [`Reason::Unknown`] for one that this program does not know.
    pub fn parse(name: &str) -> Self {
        const ALL: [Reason; 18] = [
            Reason::BadRequest,
            Reason::Unauthorized,
            Reason::Forbidden,
            Reason::NotFound,
            Reason::MethodNotAllowed,
            Reason::NotAcceptable,
            Reason::AlreadyExists,
            Reason::Conflict,
            Reason::Gone,
            Reason::Expired,
            Reason::Invalid,
            Reason::RequestEntityTooLarge,
            Reason::UnsupportedMediaType,
            Reason::TooManyRequests,
            Reason::InternalError,
            Reason::ServiceUnavailable,
            Reason::ServerTimeout,
            Reason::Timeout,
        ];
        ALL.into_iter().find(|reason| reason.as_str() == name).unwrap_or(Self::Unknown)
    }
}

/// The error of every API call: what the wire calls a `Status` with `status: Failure`.
#[derive(Clone, Debug, PartialEq)]
pub struct Status(Box<Inner>);

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    reason: Reason,
    code: u16,
    message: String,
    details: Option<metav1::StatusDetails>,
    /// What the caller should know beside.
    warnings: Vec<String>,
    /// How a list goes on all the same.
    continue_token: Option<String>,
}

impl Status {
    /// A failure for a reason, with a message that says what happened, to what, and what to do about it.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let (code, message) = (reason.code(), message.into());
        Self(Box::new(Inner {
            reason,
            code,
            message,
            details: None,
            warnings: Vec::new(),
            continue_token: None,
        }))
    }

    fn about(reason: Reason, resource: &GroupResource, name: &str, message: String) -> Self {
        let mut status = Self::new(reason, message);
        status.0.details = Some(metav1::StatusDetails {
            name: filled(name),
            group: filled(&resource.group),
            kind: filled(&resource.resource),
            ..Default::default()
        });
        status
    }

    /// Nothing is served under such a path.
    pub fn no_such_resource() -> Self {
        Self::of_route(Reason::NotFound, "the server could not find the requested resource")
    }

    /// What is served under this path cannot be done that to.
    pub fn method_not_allowed() -> Self {
        Self::of_route(
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        )
    }

    /// The answer cannot be in any form that the caller takes. `forms`: the media types that there are.
    pub fn not_acceptable(forms: &str) -> Self {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {forms}");
        Self::of_route(Reason::NotAcceptable, &message)
    }

    /// The body is of no type that can be sent here.
    pub fn unsupported_media_type() -> Self {
        Self::of_route(Reason::UnsupportedMediaType, "415: Unsupported Media Type")
    }

    /// Failures of the router have details, of nothing.
    fn of_route(reason: Reason, message: &str) -> Self {
        let mut status = Self::new(reason, message);
        status.0.details = Some(metav1::StatusDetails::default());
        status
    }

    /// There is no such object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::about(Reason::NotFound, resource, name, format!("{resource} \"{name}\" not found"))
    }

    /// There is one of that name already.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::about(Reason::AlreadyExists, resource, name, format!("{resource} \"{name}\" already exists"))
    }

    /// The write cannot be made on what is there now.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::about(Reason::Conflict, resource, name, message)
    }

    /// The write was made on a version of the object that is no longer the latest.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// The caller may not do this.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = match name {
            "" => format!("{resource} is forbidden: {why}"),
            name => format!("{resource} \"{name}\" is forbidden: {why}"),
        };
        Self::about(Reason::Forbidden, resource, name, message)
    }

    /// The caller may not do this with a path that is no resource.
    pub fn forbidden_path(why: impl fmt::Display) -> Self {
        Self::of_route(Reason::Forbidden, &format!("forbidden: {why}"))
    }

    /// Nobody knows who the caller is, and the request is not one for strangers.
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "Unauthorized")
    }

    /// The object is well-formed but breaks rules. Each broken rule is a cause, with the path of its field.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &Errors) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut status = Self::new(Reason::Invalid, format!("{qualified} \"{name}\" is invalid: {errors}"));
        status.0.details = Some(metav1::StatusDetails {
            name: filled(name),
            group: filled(group),
            kind: filled(kind),
            causes: Some(errors.iter().map(FieldError::cause).collect()),
            ..Default::default()
        });
        status
    }

    /// Broken rules that are told without a reason, as Kubernetes tells those of a binding.
    pub(crate) fn broken(errors: &Errors) -> Self {
        Self::new(Reason::Unknown, errors.to_string())
    }

    /// The request is not one that can be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// The past that was asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message)
    }

    /// Watching or listing from a revision that is no longer kept.
    pub fn too_old(requested: Revision, oldest: Revision) -> Self {
        Self::expired(format!("too old resource version: {requested} ({oldest})"))
    }

    /// A revision that has not been yet.
    pub fn too_large_revision(requested: Revision, latest: Revision) -> Self {
        let message = format!("Timeout: Too large resource version: {requested}, current: {latest}");
        let mut status = Self::new(Reason::Timeout, message);
        status.0.details = Some(metav1::StatusDetails {
            causes: Some(vec![metav1::StatusCause {
                reason: Some("ResourceVersionTooLarge".to_owned()),
                message: Some("Too large resource version".to_owned()),
                field: None,
            }]),
            retry_after_seconds: Some(1),
            ..Default::default()
        });
        status
    }

    /// Something in the cluster itself went wrong.
    pub fn internal(error: impl fmt::Display) -> Self {
        let mut status = Self::new(Reason::InternalError, format!("Internal error occurred: {error}"));
        status.0.details = Some(metav1::StatusDetails {
            causes: Some(vec![metav1::StatusCause {
                message: Some(error.to_string()),
                ..Default::default()
            }]),
            ..Default::default()
        });
        status
    }

    /// Adds a reason that a program can act on, and the field it lies in, if it lies in one.
    #[must_use]
    pub fn because(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = metav1::StatusCause {
            reason: Some(reason.to_owned()),
            message: Some(message.into()),
            field: Some(field.to_owned()).filter(|field| !field.is_empty()),
        };
        self.0.details.get_or_insert_default().causes.get_or_insert_default().push(cause);
        self
    }

    /// Adds what the caller should know beside: the answer has it in `Warning` headers.
    #[must_use]
    pub fn warned(mut self, warnings: &[String]) -> Self {
        self.0.warnings.extend_from_slice(warnings);
        self
    }

    /// What the caller should know beside.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// Adds the token by which a list goes on all the same.
    #[must_use]
    pub(crate) fn continued_by(mut self, token: String) -> Self {
        self.0.continue_token = Some(token);
        self
    }

    /// The token by which a list goes on all the same, of what is there now.
    pub fn continue_token(&self) -> Option<&str> {
        self.0.continue_token.as_deref()
    }

    /// Adds when the caller should try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: i32) -> Self {
        self.0.details.get_or_insert_default().retry_after_seconds = Some(seconds);
        self
    }

    /// Reads back what [`Status::to_object`] wrote, or any server's failure.
    pub fn from_object(status: metav1::Status) -> Self {
        let reason = Reason::parse(status.reason.as_deref().unwrap_or_default());
        let code = status.code.and_then(|code| u16::try_from(code).ok()).unwrap_or(reason.code());
        let message = status.message.unwrap_or_default();
        let details = status.details;
        let continue_token = status.metadata.continue_.filter(|token| !token.is_empty());
        Self(Box::new(Inner { reason, code, message, details, warnings: Vec::new(), continue_token }))
    }

    /// The `Status` object of the wire.
    pub fn to_object(&self) -> metav1::Status {
        metav1::Status {
            status: Some("Failure".to_owned()),
            message: Some(self.0.message.clone()),
            reason: Some(self.0.reason.as_str().to_owned()).filter(|reason| !reason.is_empty()),
            details: self.0.details.clone(),
            code: Some(i32::from(self.0.code)),
            metadata: metav1::ListMeta { continue_: self.0.continue_token.clone(), ..Default::default() },
        }
    }

    /// The `Status` object as its bytes are on the wire: its fields in the order that clients see from Kubernetes, some
    /// of which compare bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let Inner { reason, code, message, details, continue_token, .. } = &*self.0;
        wire::failure(message, reason.as_str(), details.as_ref(), *code, continue_token.as_deref())
    }

    /// Why, for a program.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.0.code
    }

    /// Why, for a person.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What it is about, when that is known.
    pub fn details(&self) -> Option<&metav1::StatusDetails> {
        self.0.details.as_ref()
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.0.reason == Reason::NotFound
    }

    /// Whether there is one of that name already.
    pub fn is_already_exists(&self) -> bool {
        self.0.reason == Reason::AlreadyExists
    }

    /// Whether the object has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.0.reason == Reason::Conflict
    }

    /// Whether a list or watch must start over from the present.
    pub fn is_expired(&self) -> bool {
        matches!(self.0.reason, Reason::Gone | Reason::Expired)
    }

    /// Whether the same call may succeed later with nothing else changed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.0.reason,
            Reason::ServerTimeout | Reason::Timeout | Reason::TooManyRequests | Reason::ServiceUnavailable
        )
    }
}

/// What the wire leaves out when there is nothing in it.
fn filled(text: &str) -> Option<String> {
    Some(text).filter(|text| !text.is_empty()).map(str::to_owned)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Status {}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Compacted { requested, oldest } => Self::too_old(requested, oldest),
            StoreError::Future { requested, latest } => Self::too_large_revision(requested, latest),
            StoreError::Unavailable(_) | StoreError::Closed => {
                Self::new(Reason::ServiceUnavailable, error.to_string()).retry_after(1)
            }
            StoreError::Conflict { .. } | StoreError::OutOfSpace(_) | StoreError::Damaged(_) => {
                Self::internal(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_leave_out_what_is_empty() {
        let pods = GroupResource::new("", "pods");
        let details = |status: Status| serde_json::to_value(status.details()).unwrap();
        assert_eq!(details(Status::forbidden(&pods, "", "no")), serde_json::json!({ "kind": "pods" }));
        let mut errors = Errors::new();
        errors.required(&super::super::field::Path::new("metadata.name"), "");
        let invalid = details(Status::invalid("", "", "", &errors));
        assert_eq!(invalid.as_object().unwrap().keys().collect::<Vec<_>>(), ["causes"]);
    }
}
