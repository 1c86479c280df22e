//! Acting as another: who may, asks as the user that the headers `Impersonate-…` name, and may do what that one may.

use std::collections::BTreeMap;

use http::HeaderMap;
use orchestra_core::api::access::{AUTHENTICATED, AccessRequest, UNAUTHENTICATED};
use orchestra_core::api::{Server, Status, Target, User};
use percent_encoding::percent_decode_str;

const AUTHENTICATION: &str = "authentication.k8s.io";
const EXTRA: &str = "impersonate-extra-";

/// Whom the headers name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    user: String,
    groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
}

/// Who a request is done as: whom its headers name, if whoever sends it may act as that one; `None` if they name nobody.
///
/// # Errors
/// 403 when they may not, 400 when the headers name nobody.
pub(crate) async fn impersonated(
    server: &Server,
    headers: &HeaderMap,
    user: &User,
) -> Result<Option<User>, Status> {
    let named = Named::of(headers)?;
    if named == Named::default() {
        return Ok(None);
    }
    if named.user.is_empty() {
        return Err(Status::bad_request(format!(
            "requested {} without impersonating a user name",
            named.in_go()
        )));
    }
    for target in named.targets() {
        server.authorize(user, AccessRequest::resource("impersonate", &target)).await?;
    }
    tracing::debug!(by = user.name, user = named.user, "a request is done as another");
    Ok(Some(named.into_user()))
}

impl Named {
    /// Reads the headers. What is no text must not be passed over: the request would be done as another than was meant.
    fn of(headers: &HeaderMap) -> Result<Self, Status> {
        let values = |name: &str| {
            let values = headers.get_all(name).into_iter().map(|value| {
                String::from_utf8(value.as_bytes().to_vec())
                    .map_err(|_| Status::bad_request(format!("the header {name} is no text in UTF-8")))
            });
            values.collect::<Result<Vec<_>, _>>()
        };
        let first = |name| values(name).map(|values| values.into_iter().next().unwrap_or_default());
        let mut extra = BTreeMap::<String, Vec<String>>::new();
        for name in headers.keys().map(http::HeaderName::as_str) {
            if let Some(key) = name.strip_prefix(EXTRA) {
                let key = percent_decode_str(key).decode_utf8().map_or(key.into(), |key| key);
                extra.entry(key.to_lowercase()).or_default().extend(values(name)?);
            }
        }
        let (user, uid) = (first("impersonate-user")?, first("impersonate-uid")?);
        Ok(Self { user, groups: values("impersonate-group")?, uid, extra })
    }

    /// The namespace and the name of the service account that the user is, if it is one.
    fn account(&self) -> Option<(&str, &str)> {
        self.user
            .strip_prefix("system:serviceaccount:")?
            .split_once(':')
            .filter(|(_, name)| !name.contains(':'))
    }

    /// All that one must have the right to impersonate.
    fn targets(&self) -> Vec<Target> {
        let target = |group: &str, resource: &str, name: &str| Target {
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            namespace: None,
            name: Some(name.into()),
            subresource: None,
        };
        let mut targets = vec![match self.account() {
            Some((namespace, name)) => {
                Target { namespace: Some(namespace.into()), ..target("", "serviceaccounts", name) }
            }
            None => target("", "users", &self.user),
        }];
        targets.extend(self.groups.iter().map(|group| target("", "groups", group)));
        for (key, values) in &self.extra {
            targets
                .extend(values.iter().map(|value| target(AUTHENTICATION, "userextras", value).sub(&**key)));
        }
        if !self.uid.is_empty() {
            targets.push(target(AUTHENTICATION, "uids", &self.uid));
        }
        targets
    }

    /// The user, in the groups that follow from who it is.
    fn into_user(self) -> User {
        let account = self.account().map(|(namespace, _)| namespace.to_owned());
        let Self { user: name, mut groups, uid, extra } = self;
        if let Some(namespace) = account.filter(|_| groups.is_empty()) {
            groups.push("system:serviceaccounts".to_owned());
            groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        let is_said = groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED);
        let anonymous = name == User::anonymous().name;
        if !is_said {
            groups.push(if anonymous { UNAUTHENTICATED } else { AUTHENTICATED }.to_owned());
        }
        User { name, groups, uid, extra }
    }

    /// The same in the form in which Kubernetes says that nobody is named.
    fn in_go(&self) -> String {
        let list = |values: &[String]| {
            let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            format!("[]string{{{}}}", quoted.join(", "))
        };
        let groups = match self.groups.is_empty() {
            true => "[]string(nil)".to_owned(),
            false => list(&self.groups),
        };
        let extra = match self.extra.is_empty() {
            true => "map[string][]string(nil)".to_owned(),
            false => {
                let entries = self.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values)));
                format!("map[string][]string{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        };
        let (user, uid) = (&self.user, &self.uid);
        format!("&user.DefaultInfo{{Name:{user:?}, UID:{uid:?}, Groups:{groups}, Extra:{extra}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(headers: &[(&'static str, &str)]) -> Named {
        let headers =
            headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        Named::of(&headers.collect()).unwrap()
    }

    #[test]
    fn a_header_that_is_no_text_is_not_passed_over() {
        let value = http::HeaderValue::from_bytes(b"\xff").unwrap();
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static("impersonate-user"), value)]);
        assert_eq!(Named::of(&headers).unwrap_err().code(), 400);
    }

    #[test]
    fn headers_name_a_user_with_groups_and_what_must_be_allowed_for_each() {
        let all = named(&[
            ("impersonate-user", "ann"),
            ("impersonate-group", "devs"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-acme.com%2fproject", "p"),
        ]);
        let targets: Vec<String> = all
            .targets()
            .iter()
            .map(|target| {
                AccessRequest::resource("impersonate", target).to_string()
                    + " "
                    + target.name.as_deref().unwrap()
            })
            .collect();
        assert_eq!(
            targets,
            [
                "impersonate resource \"users\" in API group \"\" at the cluster scope ann",
                "impersonate resource \"groups\" in API group \"\" at the cluster scope devs",
                "impersonate resource \"userextras/acme.com/project\" in API group \"authentication.k8s.io\" at the \
                 cluster scope p",
                "impersonate resource \"uids\" in API group \"authentication.k8s.io\" at the cluster scope 7",
            ]
        );
        let user = all.into_user();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("ann", "7"));
        assert_eq!(user.groups, ["devs", "system:authenticated"]);
        assert_eq!(user.extra["acme.com/project"], ["p"]);
    }

    #[test]
    fn groups_follow_from_who_one_is() {
        for (headers, groups) in [
            (vec![("impersonate-user", "a")], vec!["system:authenticated"]),
            (vec![("impersonate-user", "system:anonymous")], vec!["system:unauthenticated"]),
            (
                vec![("impersonate-user", "system:serviceaccount:n:s")],
                vec!["system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"],
            ),
            (
                vec![("impersonate-user", "system:serviceaccount:n:s"), ("impersonate-group", "g")],
                vec!["g", "system:authenticated"],
            ),
            (
                vec![("impersonate-user", "a"), ("impersonate-group", "system:unauthenticated")],
                vec!["system:unauthenticated"],
            ),
        ] {
            assert_eq!(named(&headers).into_user().groups, groups, "{headers:?}");
        }
    }

    #[test]
    fn one_who_is_not_named_is_shown_as_kubernetes_shows_it() {
        let shown = named(&[("impersonate-group", "g"), ("impersonate-extra-x", "y")]).in_go();
        assert_eq!(
            shown,
            "&user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"g\"}, \
             Extra:map[string][]string{\"x\":[]string{\"y\"}}}"
        );
    }
}
