//! The kinds that ask who one is and what one may do: created, answered, and not kept.

mod access;
mod identity;
mod subject;

use crate::api::access::{Authenticators, Authorizer};
use crate::api::{Responders, User};
use crate::clock::SharedClock;
use crate::meta::GroupResource;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview, UserInfo};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use std::sync::Arc;

use access::{LocalReviews, Reviews, RuleReviews, SelfReviews};
use identity::{IdentityReviews, TokenReviews};

/// Those who answer the reviews: what may be done is said by the authorizer, who has a token by the authenticators.
pub fn responders(
    authorizer: &Arc<dyn Authorizer>,
    authenticators: &Authenticators,
    clock: &SharedClock,
) -> Responders {
    let authorizer = || Arc::clone(authorizer);
    Responders::new()
        .kind(GroupResource::of::<SelfSubjectReview>(), IdentityReviews(Arc::clone(clock)))
        .kind(GroupResource::of::<TokenReview>(), TokenReviews(authenticators.clone()))
        .kind(GroupResource::of::<LocalSubjectAccessReview>(), LocalReviews(authorizer()))
        .kind(GroupResource::of::<SelfSubjectAccessReview>(), SelfReviews(authorizer()))
        .kind(GroupResource::of::<SelfSubjectRulesReview>(), RuleReviews(authorizer()))
        .kind(GroupResource::of::<SubjectAccessReview>(), Reviews(authorizer()))
}

/// A user as reviews show one.
fn info(user: &User) -> UserInfo {
    let text = |text: &str| Some(text).filter(|text| !text.is_empty()).map(str::to_owned);
    UserInfo {
        username: text(&user.name),
        uid: text(&user.uid),
        groups: Some(user.groups.clone()).filter(|groups| !groups.is_empty()),
        extra: Some(user.extra.clone()).filter(|extra| !extra.is_empty()),
    }
}
