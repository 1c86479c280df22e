//! Who looks: the token of a cookie, and the guard that forms come from our own pages.
//!
//! A browser sends a user's certificate, or what a proxy adds, with any request, also with one that another site's page
//! makes. So a form carries a secret that is in a cookie too, which no other site can read, and what the browser says of
//! where a form comes from must not be another site.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::{AUTHORIZATION, COOKIE, HeaderValue};
use http::{HeaderMap, HeaderName};

use crate::api::credentials;
use crate::route::{Query, escape};
use percent_encoding::percent_decode_str;

const TOKEN: &str = "orchestra-token";
const GUARD: &str = "orchestra-form";
const SAID: &str = "orchestra-said";
/// Where a request comes from, as the browser says.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The longest token that a cookie holds.
const LONGEST_TOKEN: usize = 3800;

/// What a request says of who sends it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The headers by which the API knows who it is.
    pub(crate) credentials: HeaderMap,
    /// Whether it is the token of a form that says so.
    pub(crate) has_token: bool,
    /// The secret of forms.
    pub(crate) guard: String,
    /// Whether the secret is new, so that the answer has to set the cookie.
    pub(crate) is_new: bool,
    /// What the last form did.
    pub(crate) said: Option<String>,
}

impl Session {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut credentials = credentials(headers);
        let token = cookie(headers, TOKEN).filter(|_| !credentials.contains_key(AUTHORIZATION));
        let bearer = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let has_token = bearer.is_some();
        if let Some(mut bearer) = bearer {
            bearer.set_sensitive(true);
            credentials.insert(AUTHORIZATION, bearer);
        }
        let held = cookie(headers, GUARD).filter(|guard| is_guard(guard));
        let is_new = held.is_none();
        let said = cookie(headers, SAID);
        let said = said.map(|said| percent_decode_str(&said).decode_utf8_lossy().into_owned());
        Self { credentials, has_token, guard: held.unwrap_or_else(secret), is_new, said }
    }

    /// Whether a form was sent by one of our own pages.
    pub(crate) fn sent(&self, headers: &HeaderMap, form: &Query) -> bool {
        let site = headers.get(&FETCH_SITE).map(|value| value.as_bytes());
        let is_ours = matches!(site, None | Some(b"same-origin" | b"none"));
        let same = verify_slices_are_equal(self.guard.as_bytes(), form.get("guard").as_bytes()).is_ok();
        is_ours && same && !self.is_new
    }

    /// The cookie that keeps the secret of forms.
    pub(crate) fn keep_guard(&self) -> String {
        format!("{GUARD}={}; HttpOnly; SameSite=Strict", self.guard)
    }
}

/// The cookie that keeps a token. It names no path, so it is sent to the dashboard alone, wherever that is mounted: a
/// cookie without one is for the folder of the page that set it.
pub(crate) fn keep_token(token: &str) -> Result<String, &'static str> {
    let token = token.trim();
    let is_fine = |letter: u8| letter.is_ascii_graphic() && !matches!(letter, b'"' | b',' | b';' | b'\\');
    match token {
        "" => Err("No token was entered."),
        token if token.len() > LONGEST_TOKEN => Err("The token is too long to be kept by a browser."),
        token if !token.bytes().all(is_fine) => Err("The token has letters that no token has."),
        token => Ok(format!("{TOKEN}={token}; HttpOnly; Secure; SameSite=Strict")),
    }
}

/// The cookie that is no more.
pub(crate) fn forget_token() -> String {
    format!("{TOKEN}=; HttpOnly; Secure; SameSite=Strict; Max-Age=0")
}

/// Tells the next page what was done.
pub(crate) fn say(what: &str) -> String {
    format!("{SAID}={}; HttpOnly; SameSite=Strict; Max-Age=15", escape(what))
}

pub(crate) fn said_it() -> String {
    format!("{SAID}=; HttpOnly; SameSite=Strict; Max-Age=0")
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|header| header.to_str().ok());
    let pairs = all.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(key, value)| *key == name && !value.is_empty());
    found.next().map(|(_, value)| value.to_owned())
}

fn secret() -> String {
    let mut random = [0; 16];
    // A guard that could not be drawn guards nothing, so no form is taken by it: see `is_guard`.
    match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => format!("{:032x}", u128::from_be_bytes(random)),
        Err(_) => String::new(),
    }
}

fn is_guard(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|letter| letter.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(HeaderName, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_form_is_taken_from_our_own_pages_alone() {
        let guard = "0123456789abcdef0123456789abcdef";
        let cookie = format!("a=b; orchestra-form={guard}");
        let sent = |cookie: &str, site: Option<&str>, field: &str| {
            let mut all = vec![(COOKIE, cookie)];
            all.extend(site.map(|site| (FETCH_SITE, site)));
            let headers = headers(&all);
            Session::of(&headers).sent(&headers, &Query::default().with("guard", field))
        };
        assert!(sent(&cookie, None, guard));
        assert!(sent(&cookie, Some("same-origin"), guard));
        for (why, cookie, site, field) in [
            ("another site", &*cookie, Some("cross-site"), guard),
            ("another host of the same site", &cookie, Some("same-site"), guard),
            ("no secret", &cookie, None, ""),
            ("another secret", &cookie, None, "0123456789abcdef0123456789abcdee"),
            ("no cookie", "a=b", None, guard),
            ("an empty secret", "orchestra-form=", None, ""),
            ("a secret that is none", "orchestra-form=x", None, "x"),
        ] {
            assert!(!sent(cookie, site, field), "{why}");
        }
    }

    #[test]
    fn a_token_is_the_senders_unless_the_request_says_who_that_is() {
        let session = Session::of(&headers(&[(COOKIE, "orchestra-token=a.b.c")]));
        assert!(session.has_token);
        assert_eq!(session.credentials[AUTHORIZATION], "Bearer a.b.c");
        let both = [(COOKIE, "orchestra-token=a"), (AUTHORIZATION, "Bearer b")];
        let session = Session::of(&headers(&both));
        assert!(!session.has_token);
        assert_eq!(session.credentials[AUTHORIZATION], "Bearer b");
    }

    #[test]
    fn only_what_can_be_a_token_is_kept() {
        assert!(keep_token(" a.b-c_d ").unwrap().starts_with("orchestra-token=a.b-c_d; "));
        for wrong in ["", " ", "a;b", "a\r\nSet-Cookie: x=y", "é", &"a".repeat(5000)] {
            assert!(keep_token(wrong).is_err(), "{wrong:?}");
        }
    }
}
