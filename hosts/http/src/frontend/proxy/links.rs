//! The links of a page that a service answers with, so that they lead through the proxy too; pure.
//!
//! A page is passed on as it comes: of it, no more is held than a tag.

use bytes::Bytes;

/// The longest tag that is looked at. A longer one is passed on as it is.
const LONGEST: usize = 64 * 1024;

/// Which attributes of which tags are links.
const LINKS: [(&str, &[&str]); 26] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["formaction", "src", "usemap"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("track", &["src"]),
    ("video", &["poster", "src"]),
];
/// Tags in which there are no others.
const OPAQUE: [&str; 4] = ["script", "style", "title", "textarea"];

/// Where a link leads, if not as it is written.
type Moved = Box<dyn Fn(&str) -> Option<String> + Send>;

/// A page, as far as it has come.
pub(super) struct Page {
    held: Vec<u8>,
    /// The tag that ends what is passed over.
    until: Option<String>,
    moved: Moved,
}

impl Page {
    /// A page whose links lead elsewhere.
    pub(super) fn new(moved: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        Self { held: Vec::new(), until: None, moved: Box::new(moved) }
    }

    /// Takes what came, and returns what can be passed on.
    pub(super) fn take(&mut self, piece: &[u8]) -> Bytes {
        self.held.extend_from_slice(piece);
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while let Some(length) = self.next(at, &mut out) {
            at += length;
        }
        self.held.drain(..at);
        if self.held.len() > LONGEST {
            out.append(&mut self.held);
        }
        out.into()
    }

    /// What is left at the end.
    pub(super) fn end(&mut self) -> Bytes {
        std::mem::take(&mut self.held).into()
    }

    /// Writes the next part of what is held, and returns how long it is; `None` if it is not whole yet.
    fn next(&mut self, at: usize, out: &mut Vec<u8>) -> Option<usize> {
        let rest = self.held.get(at..).filter(|rest| !rest.is_empty())?;
        if let Some(until) = &self.until {
            let found = find_ignoring_case(rest, until.as_bytes());
            // The end of what came may be the beginning of the tag.
            let length = found.unwrap_or_else(|| (rest.len() + 1).saturating_sub(until.len()));
            out.extend_from_slice(&rest[..length]);
            if found.is_some() {
                self.until = None;
            }
            match length {
                0 if found.is_some() => {}
                0 => return None,
                length => return Some(length),
            }
        }
        let rest = &self.held[at..];
        let length = match rest.iter().position(|byte| *byte == b'<') {
            None => rest.len(),
            Some(0) if rest.starts_with(b"<!--") => find(rest, b"-->")? + 3,
            Some(0) => match rest.get(1)? {
                next if next.is_ascii_alphabetic() => {
                    let length = tag_length(rest)?;
                    let (tag, written) = rewritten(&rest[..length], &self.moved);
                    out.extend_from_slice(&written);
                    self.until = OPAQUE.contains(&tag.as_str()).then(|| format!("</{tag}"));
                    return Some(length);
                }
                b'!' if b"<!--".starts_with(rest) => return None,
                b'!' | b'/' | b'?' => find(rest, b">")? + 1,
                _ => 1,
            },
            Some(text) => text,
        };
        out.extend_from_slice(&rest[..length]);
        Some(length)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn find_ignoring_case(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window.eq_ignore_ascii_case(what))
}

/// How long the tag is with which bytes begin: to the first `>` that is not within quotes.
fn tag_length(bytes: &[u8]) -> Option<usize> {
    let (mut quote, mut before) = (None, b' ');
    for (at, byte) in bytes.iter().copied().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') if before == b'=' => quote = Some(byte),
            (None, b'>') => return Some(at + 1),
            (None, _) => {}
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
    }
    None
}

/// The name of a tag, and the tag with its links moved.
fn rewritten(tag: &[u8], moved: &Moved) -> (String, Vec<u8>) {
    let end = tag.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'));
    let end = end.unwrap_or(tag.len());
    let name = String::from_utf8_lossy(&tag[1..end]).to_ascii_lowercase();
    let links = LINKS.iter().find(|(tag, _)| *tag == name).map_or(&[][..], |(_, links)| links);
    let mut out = tag[..end].to_vec();
    let mut rest = &tag[end..];
    while let Some([before, attribute, value, after]) = attribute(rest) {
        let is_link = links.iter().any(|link| attribute.eq_ignore_ascii_case(link.as_bytes()));
        let text = std::str::from_utf8(value).ok().filter(|_| is_link);
        out.extend_from_slice(before);
        match text.and_then(|text| moved(text.trim())) {
            Some(moved) => out.extend_from_slice(moved.as_bytes()),
            None => out.extend_from_slice(value),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    (name, out)
}

/// The next attribute that has a value: what is before the value, the name, the value, and what follows.
fn attribute(bytes: &[u8]) -> Option<[&[u8]; 4]> {
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let name = bytes[..equals].trim_ascii_end();
    let begin =
        name.iter().rposition(|byte| byte.is_ascii_whitespace() || *byte == b'/').map_or(0, |at| at + 1);
    let mut value = equals + 1;
    while bytes.get(value)?.is_ascii_whitespace() {
        value += 1;
    }
    let quote = Some(bytes[value]).filter(|byte| matches!(byte, b'"' | b'\''));
    value += usize::from(quote.is_some());
    let ends = |byte: &u8| match quote {
        Some(quote) => *byte == quote,
        None => byte.is_ascii_whitespace() || *byte == b'>',
    };
    let length = bytes[value..].iter().position(ends)?;
    let end = value + length;
    Some([&bytes[..value], &name[begin..], &bytes[value..end], &bytes[end..]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page::new(|link| link.starts_with('/').then(|| format!("/proxy{link}")))
    }

    fn whole(text: &str) -> String {
        let mut page = page();
        let mut out = page.take(text.as_bytes()).to_vec();
        out.extend_from_slice(&page.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn links_are_moved_and_nothing_else() {
        for (given, written) in [
            (r#"<a href="/rewriteme">test</a>"#, r#"<a href="/proxy/rewriteme">test</a>"#),
            ("<A class=x HREF='/a' >", "<A class=x HREF='/proxy/a' >"),
            ("<img src=/a alt=/b>", "<img src=/proxy/a alt=/b>"),
            ("<form action = \"/a?b=1&amp;c\">", "<form action = \"/proxy/a?b=1&amp;c\">"),
            (
                r#"<script src="/a.js">x = '<a href="/b">';</script><a href="/c">"#,
                r#"<script src="/proxy/a.js">x = '<a href="/b">';</script><a href="/proxy/c">"#,
            ),
        ] {
            assert_eq!(whole(given), written);
        }
        for same in [
            "<a href=\"further\">",
            "<p title=\"/a\">",
            "<!-- <a href=\"/a\"> --> <!doctype html>",
            "1 < 2 <3 </a href=\"/a\">",
            "<a href>",
            "<a href=",
            "<title><a href=\"/a\"></TITLE>",
            "<",
        ] {
            assert_eq!(whole(same), same);
        }
        assert_eq!(
            whole("<div title='>' ><a title=\"1>2\" href='/a'>"),
            "<div title='>' ><a title=\"1>2\" href='/proxy/a'>"
        );
    }

    #[test]
    fn however_a_page_is_cut_it_is_the_same() {
        let text =
            "<!doctype html><!-- <a href='/no'> --><title>a < b</title><a href='/a'>x</a> <img src=/b> end <";
        let expected = whole(text);
        for length in 1..text.len() {
            let mut page = page();
            let mut out = Vec::new();
            for piece in text.as_bytes().chunks(length) {
                out.extend_from_slice(&page.take(piece));
            }
            out.extend_from_slice(&page.end());
            assert_eq!(String::from_utf8(out).unwrap(), expected, "pieces of {length}");
        }
    }

    #[test]
    fn what_is_held_has_a_bound() {
        let mut page = page();
        let mut passed = page.take(b"<a title='").len();
        for _ in 0..200 {
            passed += page.take(&[b'x'; 1024]).len();
            assert!(page.held.len() <= LONGEST);
        }
        assert!(passed > LONGEST);
    }
}
