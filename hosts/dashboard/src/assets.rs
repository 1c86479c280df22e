//! The style sheet and the scripts: a few files, made by hand, carried in the program.

use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderValue, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, Response};

use crate::answer;
use crate::api::Body;

struct Asset {
    content_type: &'static str,
    plain: &'static str,
    gzip: Bytes,
    tag: HeaderValue,
}

impl Asset {
    fn new(content_type: &'static str, plain: &'static str) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let gzip = encoder.write_all(plain.as_bytes()).and_then(|()| encoder.finish()).unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, plain.as_bytes());
        let tag: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let tag = HeaderValue::from_str(&format!("\"{tag}\"")).unwrap_or(HeaderValue::from_static("\"0\""));
        Self { content_type, plain, gzip: gzip.into(), tag }
    }
}

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/css; charset=utf-8", include_str!("assets/style.css")));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("assets/script.js")));
static SCREEN: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("assets/screen.js")));
static TERMINAL: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("assets/terminal.js")));
static ICON: LazyLock<Asset> = LazyLock::new(|| Asset::new("image/svg+xml", include_str!("assets/icon.svg")));

/// The file of a name.
pub(crate) fn find(name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let asset = match name {
        "style.css" => &*STYLE,
        "script.js" => &*SCRIPT,
        "screen.js" => &*SCREEN,
        "terminal.js" => &*TERMINAL,
        "icon.svg" => &*ICON,
        _ => return None,
    };
    let mut response = if headers.get(IF_NONE_MATCH) == Some(&asset.tag) {
        answer::text(304, "")
    } else if takes_gzip(headers) && !asset.gzip.is_empty() {
        let mut response = answer::bytes(200, asset.content_type, asset.gzip.clone());
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        answer::bytes(200, asset.content_type, asset.plain)
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, asset.tag.clone());
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    // It is asked for again with each page, and not sent again: a new program has new files.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Some(response)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|encoding| encoding.trim() == "gzip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_loads_is_small() {
        let all = [&*STYLE, &SCRIPT, &SCREEN, &TERMINAL, &ICON].map(|asset| asset.gzip.len());
        assert!(all.iter().all(|size| *size > 100), "{all:?}");
        let all: usize = all.iter().sum();
        assert!(all < 60 * 1024, "{all} bytes");
    }

    #[test]
    fn what_is_there_is_not_sent_again() {
        let first = find("style.css", &HeaderMap::new()).unwrap();
        let again = HeaderMap::from_iter([(IF_NONE_MATCH, first.headers()[ETAG].clone())]);
        assert_eq!(find("style.css", &again).unwrap().status(), 304);
        let packed = HeaderMap::from_iter([(ACCEPT_ENCODING, "br, gzip".parse().unwrap())]);
        assert_eq!(find("style.css", &packed).unwrap().headers()[CONTENT_ENCODING], "gzip");
        assert!(find("../style.css", &HeaderMap::new()).is_none());
    }
}
