//! The kinds of `authentication.k8s.io` and `authorization.k8s.io`: questions that are answered, and not stored.

use std::marker::PhantomData;

use crate::api::{Resource, Rules, Verb};
use crate::meta::Object;

/// The rules of a kind that is created to be answered. What makes a question is said by who answers it.
struct Review<K>(PhantomData<K>);

impl<K: Object> Rules for Review<K> {
    type Object = K;

    const STORED: bool = false;
    const VERBS: &'static [Verb] = &[Verb::Create];
}

/// The row of such a kind.
pub(super) fn row<K: Object>() -> Resource {
    Resource::of::<Review<K>>()
}
