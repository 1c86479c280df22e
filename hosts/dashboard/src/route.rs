//! What a URL asks for: a page, and in its query what the page is about.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A step of a path, or a word of a query, as a URL has it.
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// The words of a query string, or of a form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let decode =
            |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (decode(key), decode(value)))
                .collect(),
        )
    }

    /// The word of a name; empty if there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// All words of a name.
    pub(crate) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// The same with a word more, in place of one of its name; without it if it is empty.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.retain(|(key, _)| key != name);
        let value = value.into();
        if !value.is_empty() {
            self.0.push((name.to_owned(), value));
        }
        self
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let and = if index == 0 { "" } else { "&" };
            write!(f, "{and}{}={}", escape(key), escape(value))?;
        }
        Ok(())
    }
}

/// A kind as URLs name it: where its objects are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
}

impl Place {
    pub(crate) fn new(group: &str, version: &str, resource: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), resource: resource.to_owned() }
    }

    /// The kind that a query names.
    pub(crate) fn of(query: &Query) -> Self {
        let version = match query.get("v") {
            "" => "v1",
            version => version,
        };
        Self::new(query.get("g"), version, query.get("r"))
    }

    /// The query that names it.
    pub(crate) fn query(&self) -> Query {
        let version = if self.version == "v1" { "" } else { &self.version };
        Query::default().with("r", &*self.resource).with("g", &*self.group).with("v", version)
    }

    /// The API's path of its collection, in a namespace if one is named.
    pub(crate) fn path(&self, namespace: &str) -> String {
        let (version, resource) = (escape(&self.version), escape(&self.resource));
        let base = match &*self.group {
            "" => format!("/api/{version}"),
            group => format!("/apis/{}/{version}", escape(group)),
        };
        match namespace {
            "" => format!("{base}/{resource}"),
            namespace => format!("{base}/namespaces/{}/{resource}", escape(namespace)),
        }
    }
}

/// Pods, which many pages show.
pub(crate) fn pods() -> Place {
    core("pods")
}

/// A kind of the core group.
pub(crate) fn core(resource: &str) -> Place {
    Place::new("", "v1", resource)
}

/// An object as URLs name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) place: Place,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Spot {
    pub(crate) fn new(place: Place, namespace: &str, name: &str) -> Self {
        Self { place, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn of(query: &Query) -> Self {
        Self::new(Place::of(query), query.get("in"), query.get("n"))
    }

    pub(crate) fn query(&self) -> Query {
        self.place.query().with("in", &*self.namespace).with("n", &*self.name)
    }

    /// The API's path of the object.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.place.path(&self.namespace), escape(&self.name))
    }

    /// The dashboard's page of the object.
    pub(crate) fn link(&self) -> String {
        format!("object?{}", self.query())
    }

    /// A part of that page.
    pub(crate) fn tab(&self, tab: &str) -> String {
        format!("object?{}", self.query().with("tab", tab))
    }

    /// Whether a path of the API can be made of it that leads where it says.
    pub(crate) fn is_sound(&self) -> bool {
        let place = &self.place;
        let steps = [&place.version, &place.resource, &self.name];
        let all = steps.into_iter().chain([&place.group, &self.namespace]);
        steps.iter().all(|step| !step.is_empty()) && all.into_iter().all(|step| step != "." && step != "..")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_is_written() {
        let query = Query::default().with("a b", "c&d=é").with("e", "").with("f", "1").with("f", "2");
        assert_eq!(query.to_string(), "a%20b=c%26d%3D%C3%A9&f=2");
        assert_eq!(Query::parse(&query.to_string()), query);
        assert_eq!(Query::parse("x=1+2&&y&z=%ff").get("x"), "1 2");
    }

    #[test]
    fn names_lead_to_paths_of_one_object() {
        let spot = |text: &str| Spot::of(&Query::parse(text));
        assert_eq!(spot("r=pods&in=a&n=b").path(), "/api/v1/namespaces/a/pods/b");
        assert_eq!(spot("r=nodes&n=b%2F..%2Fc").path(), "/api/v1/nodes/b%2F..%2Fc");
        assert_eq!(
            spot("g=apps&r=deployments&in=a&n=b&v=v1beta1").path(),
            "/apis/apps/v1beta1/namespaces/a/deployments/b"
        );
        for wrong in ["r=pods", "r=pods&n=..", "n=a", "r=pods&n=a&in=.."] {
            assert!(!spot(wrong).is_sound(), "{wrong}");
        }
        let there = spot("g=apps&r=deployments&in=a&n=b");
        assert_eq!(Spot::of(&there.query()), there);
    }
}
