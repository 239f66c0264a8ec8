//! What goes back to a client (spec 02 §2.3).

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, TRANSFER_ENCODING},
};
use peergos_crypto::cid::Cid;

use crate::{Error, http::trailer};

/// Immutable blocks may be kept for a year.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31622400 immutable");

/// The reply to a call that succeeded.
#[derive(Default)]
pub(super) struct Reply {
    body: Bytes,
    /// What the reply never changes for.
    about: Option<Cid>,
    /// Whether it is JSON, compressed by gzip.
    is_gzip: bool,
}

impl Reply {
    /// A reply that holds for ever, because it is about what is named by its hash.
    pub fn about(cid: Cid, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), about: Some(cid), is_gzip: false }
    }

    /// JSON compressed by gzip.
    pub fn gzip(body: Vec<u8>) -> Self {
        Self { body: body.into(), about: None, is_gzip: true }
    }

    /// As HTTP.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        let headers = response.headers_mut();
        if let Some(etag) = self.about.and_then(|cid| HeaderValue::try_from(format!("\"{cid}\"")).ok()) {
            headers.insert(ETAG, etag);
            headers.insert(CACHE_CONTROL, FOR_EVER);
        }
        if self.is_gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        response
    }
}

impl<T: Into<Bytes>> From<T> for Reply {
    fn from(body: T) -> Self {
        Self { body: body.into(), about: None, is_gzip: false }
    }
}

/// A reply without anything but its status.
pub(super) fn bare(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// The reply to a call that was refused, or failed. The text is in the header that clients read, and again in the body,
/// for people and for proxies that drop the header.
pub(super) fn refusal(error: &Error) -> Response<Full<Bytes>> {
    let text = match error {
        // where the store is, and what is wrong with it, is nobody else's business
        Error::Store(_) | Error::Io { .. } | Error::Locked(_) => {
            tracing::error!(%error, "a call failed");
            "The server has failed".to_owned()
        }
        other => other.to_string(),
    };
    let mut response = Response::new(Full::new(Bytes::from(text.clone())));
    *response.status_mut() = match error {
        Error::Busy => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::BAD_REQUEST,
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    // the HTTP library drops the header below from replies of known length, because there it cannot mean trailers
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    if let Ok(value) = HeaderValue::try_from(trailer::encode(&text)) {
        headers.insert(hyper::header::TRAILER, value);
    }
    response
}
