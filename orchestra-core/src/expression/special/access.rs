//! Questions about what somebody may do, and their answers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::expression::types::Opaque;

/// What an expression asks about a user: whether it may do something with a path or a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AccessCheck {
    /// The service account that is asked about, by namespace and name; `None` for who makes the request.
    pub service_account: Option<(String, String)>,
    /// The path, if it is about one.
    pub path: Option<String>,
    /// The group of the resource.
    pub group: String,
    /// The resource.
    pub resource: String,
    /// The subresource, or nothing.
    pub subresource: String,
    /// The namespace, or nothing.
    pub namespace: String,
    /// The name of the object, or nothing.
    pub name: String,
    /// A selector of fields, or nothing.
    pub field_selector: String,
    /// A selector of labels, or nothing.
    pub label_selector: String,
    /// What is to be done.
    pub verb: String,
}

/// What the authorizer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessDecision {
    /// Whether it may be.
    pub allowed: bool,
    /// Why.
    pub reason: String,
}

/// The checks whose answers are known.
pub type KnownDecisions = Rc<RefCell<HashMap<AccessCheck, AccessDecision>>>;

/// A value of this library.
#[derive(Clone, Debug)]
pub enum Access {
    /// Who answers, or how far a question has come.
    Asking(Opaque, KnownDecisions, Box<AccessCheck>),
    /// An answer.
    Decided(AccessDecision),
}

impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Asking(one, _, check), Self::Asking(other, _, checked)) => {
                one == other && check == checked
            }
            (Self::Decided(one), Self::Decided(other)) => one == other,
            _ => false,
        }
    }
}

impl Access {
    /// The type of the value.
    pub fn kind(&self) -> Opaque {
        match self {
            Self::Asking(kind, ..) => *kind,
            Self::Decided(_) => Opaque::Decision,
        }
    }
}
