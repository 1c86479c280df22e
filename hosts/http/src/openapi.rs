//! OpenAPI documents: in the format that a client asks for, and not again when it has them.

use http::header::{ACCEPT, CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Response};
use orchestra_core::api::Status;
use orchestra_core::api::openapi::{Document, OpenApi, V2_PROTOBUF, V2_PROTOBUF_ANSWER};
use orchestra_core::api::represent::Format;

use crate::path::Route;
use crate::query::QueryString;
use crate::reply::{self, Body, JSON, Wanted};

/// How long a client may keep a document that it asked for by its hash, which never changes: a year.
const FOREVER: HeaderValue = HeaderValue::from_static("public, immutable, max-age=31536000");

/// Answers a request for a document; `None` if the route leads to none.
pub(crate) async fn answer(
    documents: &OpenApi,
    route: &Route,
    headers: &HeaderMap,
    query: &QueryString,
) -> Result<Option<Response<Body>>, Status> {
    let (document, content_type) = match route {
        Route::OpenApiV2 if asks_for_protobuf(headers) => (documents.v2_protobuf(), V2_PROTOBUF_ANSWER),
        Route::OpenApiV2 => (documents.v2(), JSON),
        Route::OpenApiIndex => (documents.index(), JSON),
        Route::OpenApiV3(path) => match documents.group_version(path) {
            Some(document) => (document, JSON),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let mut response = send(&document, content_type, headers).await?;
    if query.get("hash") == Some(&document.tag) {
        response.headers_mut().insert(CACHE_CONTROL, FOREVER);
    }
    Ok(Some(response))
}

fn asks_for_protobuf(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.split([',', ';']).any(|media| matches!(media.trim(), V2_PROTOBUF | V2_PROTOBUF_ANSWER))
}

async fn send(
    document: &Document,
    content_type: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let tag = format!("\"{}\"", document.tag);
    let held = headers.get(IF_NONE_MATCH).and_then(|held| held.to_str().ok()).unwrap_or_default();
    let mut response = match held.split(',').any(|held| held.trim() == tag) {
        true => reply::bytes(304, content_type, ""),
        false => {
            Wanted::of(Format::Json, headers, None).encoded(200, content_type, document.bytes.clone()).await?
        }
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use orchestra_core::objects::builtin;

    use super::*;

    async fn ask(path: &str, header: Option<(http::HeaderName, &str)>) -> Option<Response<Body>> {
        let documents = OpenApi::new(builtin());
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let headers = header.into_iter().map(|(name, value)| (name, HeaderValue::from_str(value).unwrap()));
        let query = QueryString::parse(Some(query)).unwrap();
        answer(&documents, &Route::parse(path, &builtin()).0, &headers.collect(), &query).await.unwrap()
    }

    #[tokio::test]
    async fn kubectl_gets_protobuf_and_others_json() {
        let kubectl = ask("/openapi/v2", Some((ACCEPT, V2_PROTOBUF))).await.unwrap();
        assert_eq!(kubectl.headers()["content-type"], V2_PROTOBUF_ANSWER);
        let other = ask("/openapi/v2", Some((ACCEPT, "application/json"))).await.unwrap();
        assert_eq!(other.headers()["content-type"], JSON);
    }

    #[tokio::test]
    async fn a_document_that_the_client_has_is_not_sent_again() {
        let tag =
            ask("/openapi/v3/apis/apps/v1", None).await.unwrap().headers()[ETAG].to_str().unwrap().to_owned();
        let again = ask("/openapi/v3/apis/apps/v1", Some((IF_NONE_MATCH, &tag))).await.unwrap();
        assert_eq!(again.status(), 304);
        let hashed =
            ask(&format!("/openapi/v3/apis/apps/v1?hash={}", tag.trim_matches('"')), None).await.unwrap();
        assert_eq!(hashed.headers()[CACHE_CONTROL], FOREVER);
        assert!(ask("/openapi/v3/apis/nothing/v1", None).await.is_none());
        assert!(ask("/version", None).await.is_none());
    }
}
