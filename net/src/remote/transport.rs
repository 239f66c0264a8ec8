//! One request, one answer (spec 02 §2.3).

use std::{
    error::Error as StdError,
    io,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request as HttpRequest, StatusCode,
    body::{Body as _, Incoming},
    header,
    http::response::Parts,
};
use hyper_util::{
    client::legacy::{
        Client, Error as ClientError,
        connect::{CaptureConnection, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use tokio::sync::Semaphore;

use super::{
    account::SMALL,
    dial::{self, Connector},
    health::Health,
    options::{Address, RemoteOptions},
};
use crate::{
    Error, Result,
    http::{bodies, trailer},
};

/// Unused connections are closed before servers do it (Java's after 30 s), which would look like a refusal.
const IDLE: Duration = Duration::from_secs(15);
/// The longest that an exchange may take, in timeouts: however little moves at a time, it must end.
const LONGEST: u32 = 60;
/// The most bytes of an answer that nobody has use for.
const MAX_REFUSAL: usize = 16 << 10;

/// A request that can be sent again.
#[derive(Debug)]
pub(super) struct Request {
    /// Path and query. It may hold BATs and signatures, and is never logged.
    target: String,
    body: Bytes,
    /// The most bytes of an answer.
    max_reply: usize,
}

impl Request {
    /// A call without a body. Spaces and the like in `parameters` are escaped.
    pub fn new(path: &str, parameters: &[(&str, &str)], max_reply: usize) -> Self {
        let mut target = path.to_owned();
        for (i, (name, value)) in parameters.iter().enumerate() {
            target.push(if i == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            // a plus sign stands for itself in queries
            target.push_str(&trailer::encode(value).replace('+', "%20"));
        }
        Self { target, body: Bytes::new(), max_reply }
    }

    /// Asks for what every server answers.
    pub fn id() -> Self {
        Self::new("/api/v0/id", &[], SMALL)
    }

    /// The same call with a body.
    pub fn with(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Whether it carries more than a few packets.
    pub fn is_upload(&self) -> bool {
        self.body.len() > 4 << 10
    }
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    pub kind: Kind,
}

/// What is known of the request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is no connection to send it over.
    Unsent,
    /// The server has no time for it now.
    Later,
    /// It may or may not have been acted on.
    Lost,
    /// It was refused.
    Refused,
    /// What answered is no Peergos server, or one that does not know the request.
    Stranger,
}

/// A pool of connections to one server.
pub(super) struct Transport {
    client: Client<Connector, Full<Bytes>>,
    address: Address,
    timeout: Duration,
    pub(super) backoff: Duration,
    pub(super) patience: Duration,
    pub(super) health: Health,
    pub(super) parallelism: usize,
    pub(super) reads: Semaphore,
    pub(super) writes: Semaphore,
}

impl Transport {
    pub fn new(address: Address, options: &RemoteOptions) -> Result<Self> {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(dial::connector(options, address.secure)?);
        let parallelism = options.parallelism.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            client,
            address,
            timeout: options.timeout,
            backoff: options.backoff,
            patience: options.patience,
            health: Health::default(),
            parallelism,
            reads: Semaphore::new(parallelism),
            writes: Semaphore::new(parallelism),
        })
    }

    pub fn address(&self) -> &str {
        &self.address.base
    }

    /// Sends a request once.
    pub async fn exchange(&self, request: &Request) -> std::result::Result<Bytes, Failure> {
        let mut http = self.http(request)?;
        let connection = capture_connection(&mut http);
        tokio::select! {
            answer = self.answer(http, request.max_reply) => answer,
            () = self.standstill(&connection) => Err(self.lost("it does not answer in time".into())),
            () = tokio::time::sleep(LONGEST * self.timeout) => Err(self.lost("it takes too long to answer".into())),
        }
    }

    /// Whether a Peergos server answers, asked once.
    pub async fn is_there(&self) -> bool {
        self.exchange(&Request::id()).await.is_ok_and(|answer| bodies::read_id(&answer).is_ok())
    }

    /// Returns when nothing has moved for too long.
    async fn standstill(&self, connection: &CaptureConnection) {
        let began = Instant::now();
        loop {
            let moved = dial::last_moved(connection).map_or(began, |moved| moved.max(began));
            let rest = self.timeout.saturating_sub(moved.elapsed());
            if rest.is_zero() {
                return;
            }
            tokio::time::sleep(rest).await;
        }
    }

    fn http(&self, request: &Request) -> std::result::Result<HttpRequest<Full<Bytes>>, Failure> {
        let mut http = HttpRequest::post(format!("{}{}", self.address.base, request.target));
        if let Some(authorization) = &self.address.authorization {
            http = http.header(header::AUTHORIZATION, authorization);
        }
        // some proxies insist on a length, and hyper leaves out that of nothing
        let http = http.header(header::CONTENT_LENGTH, request.body.len());
        http.body(Full::new(request.body.clone())).map_err(|error| Failure {
            error: Error::Address(format!("a request cannot be expressed: {error}")),
            kind: Kind::Refused,
        })
    }

    async fn answer(&self, http: HttpRequest<Full<Bytes>>, max_reply: usize) -> std::result::Result<Bytes, Failure> {
        let (head, body) = self.client.request(http).await.map_err(|error| self.broken(&error))?.into_parts();
        if head.status == StatusCode::OK {
            return self.read(body, max_reply).await;
        }
        // only a connection that was read to the end can be used again
        let body = self.read(body, MAX_REFUSAL).await.unwrap_or_default();
        Err(self.refusal(&head, &body))
    }

    /// An answer to its end. Its length is what arrives, not what is announced.
    async fn read(&self, mut body: Incoming, max: usize) -> std::result::Result<Bytes, Failure> {
        let expected = body.size_hint().exact().map_or(0, |len| len.min(max as u64));
        let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.lost(format!("its answer breaks off ({error})")))?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > max - bytes.len() {
                return Err(self.not_peergos("an answer is too long"));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    }

    fn refusal(&self, head: &Parts, body: &[u8]) -> Failure {
        let failure = |error, kind| Failure { error, kind };
        match head.status {
            StatusCode::BAD_REQUEST => {
                let header = head.headers.get(trailer::NAME).map(|text| trailer::decode(text.as_bytes()));
                // proxies may drop the header; servers other than the reference repeat its text in the body
                let text = header.unwrap_or_else(|| {
                    String::from_utf8_lossy(body).chars().filter(|c| !c.is_control() || *c == '\n').collect()
                });
                match text.as_str() {
                    "" => failure(Error::Refused("the server refuses, and does not say why".into()), Kind::Refused),
                    text => match trailer::error(text) {
                        Error::Busy => failure(Error::Busy, Kind::Later),
                        error => failure(error, Kind::Refused),
                    },
                }
            }
            StatusCode::UNAUTHORIZED => failure(Error::FrontLogin(self.address.base.clone()), Kind::Stranger),
            StatusCode::TOO_MANY_REQUESTS => failure(Error::Busy, Kind::Later),
            // of a gateway that does not reach the server
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                self.lost(format!("status {}", head.status))
            }
            status => self.not_peergos(&format!("status {status}")),
        }
    }

    fn broken(&self, error: &ClientError) -> Failure {
        if let Some(tls) = tls_error(error) {
            let server = self.address.base.clone();
            return Failure { error: Error::Tls { server, reason: tls.to_string() }, kind: Kind::Stranger };
        }
        let failure = self.lost(innermost(error));
        if error.is_connect() { Failure { kind: Kind::Unsent, ..failure } } else { failure }
    }

    fn lost(&self, reason: String) -> Failure {
        Failure { error: self.unreachable(reason), kind: Kind::Lost }
    }

    pub(super) fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable { server: self.address.base.clone(), reason }
    }

    pub(super) fn not_peergos(&self, reason: &str) -> Failure {
        let error = Error::NotPeergos { server: self.address.base.clone(), reason: reason.to_owned() };
        Failure { error, kind: Kind::Stranger }
    }
}

/// The reason at the bottom of an error, which the layers above only repeat or name.
fn innermost(error: &ClientError) -> String {
    let mut innermost: &dyn StdError = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The TLS error that is the cause, if it is one.
fn tls_error(error: &ClientError) -> Option<&rustls::Error> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = error.downcast_ref().or_else(|| inner.and_then(|inner| inner.downcast_ref()));
        if tls.is_some() {
            return tls;
        }
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
