//! Opening connections: directly or through a proxy, encrypted or not.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::{
    Uri,
    http::Extensions,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::connect::{
        CaptureConnection, Connected, Connection, HttpConnector,
        proxy::{SocksV5, Tunnel},
    },
    rt::TokioIo,
};
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tower_service::Service;

use super::options::{RemoteOptions, basic, credentials};
use crate::{Error, Result};

/// How often the kernel asks whether the other end of a quiet connection is still there.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How many bytes the kernel takes before they can be sent: more would leave it unknown for long whether they move.
const SEND_BUFFER: usize = 128 << 10;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Opens what a client needs: TCP, and TLS over it for `https`.
pub(super) type Connector = HttpsConnector<Dial>;

/// The way that `options` describe.
pub(super) fn connector(options: &RemoteOptions, secure: bool) -> Result<Connector> {
    let tls = tls(options.ca_file.as_deref(), secure)?;
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    Ok(builder.wrap_connector(Dial::new(options)?))
}

fn tls(ca_file: Option<&Path>, secure: bool) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if secure {
        let system = rustls_native_certs::load_native_certs();
        // some systems carry certificates that nobody can read
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = ca_file {
            let unusable = |why: String| Error::Address(format!("the certificates in {}: {why}", path.display()));
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
            let before = roots.len();
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            if roots.len() == before {
                return Err(unusable("there are none".into()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring offers what the default versions need");
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Opens TCP connections.
#[derive(Clone)]
pub(super) struct Dial {
    route: Route,
    timeout: Duration,
}

#[derive(Clone)]
enum Route {
    Direct(HttpConnector),
    Tunnel(Tunnel<HttpConnector>),
    Socks(SocksV5<HttpConnector>),
}

impl Dial {
    fn new(options: &RemoteOptions) -> Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // a connection whose other end has gone without a word is noticed also while nothing is sent
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_send_buffer_size(Some(SEND_BUFFER));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(options.connect_timeout));
        Ok(Self { route: Route::new(options.proxy.as_deref(), tcp)?, timeout: options.connect_timeout })
    }
}

impl Route {
    fn new(proxy: Option<&str>, tcp: HttpConnector) -> Result<Self> {
        let Some(proxy) = proxy else { return Ok(Self::Direct(tcp)) };
        let invalid = || Error::Address("a proxy's address is http://HOST:PORT or socks5://HOST:PORT".into());
        let uri: Uri = proxy.parse().map_err(|_| invalid())?;
        let authority = uri.authority().filter(|a| !a.host().is_empty()).ok_or_else(invalid)?;
        match uri.scheme_str() {
            Some("http") => {
                let tunnel = Tunnel::new(uri.clone(), tcp);
                Ok(Self::Tunnel(match basic(authority.as_str()) {
                    Some(login) => tunnel.with_auth(login),
                    None => tunnel,
                }))
            }
            Some("socks5" | "socks5h") => {
                let host = authority.host();
                let port = authority.port_u16().unwrap_or(1080);
                let at = format!("http://{host}:{port}").parse().map_err(|_| invalid())?;
                let socks = SocksV5::new(at, tcp).local_dns(false);
                Ok(Self::Socks(match credentials(authority.as_str()) {
                    Some((user, password)) => socks.with_auth(user, password),
                    None => socks,
                }))
            }
            _ => Err(invalid()),
        }
    }

    async fn open(self, uri: Uri) -> std::result::Result<TokioIo<TcpStream>, BoxError> {
        Ok(match self {
            Self::Direct(mut tcp) => tcp.call(uri).await?,
            Self::Tunnel(mut tunnel) => tunnel.call(uri).await?,
            Self::Socks(mut socks) => socks.call(uri).await?,
        })
    }
}

impl Service<Uri> for Dial {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<std::result::Result<Stream, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { route, timeout } = self.clone();
        Box::pin(async move {
            let opened = tokio::time::timeout(timeout, route.open(uri)).await;
            opened.map_err(|_| "it does not answer in time")?.map(Stream::new)
        })
    }
}

/// A TCP connection that acknowledges what answers a request at once: servers that send head and body of an answer in
/// two packets otherwise wait 40 ms for it (spec 02 §2.4).
pub(super) struct Stream {
    tcp: TokioIo<TcpStream>,
    moved: Moved,
}

/// When bytes last went into or came out of a connection.
#[derive(Clone)]
struct Moved(Arc<Mutex<Instant>>);

/// When bytes last moved over a connection, if there is one yet.
pub(super) fn last_moved(connection: &CaptureConnection) -> Option<Instant> {
    let mut extras = Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut extras);
    extras.get::<Moved>().map(|moved| *moved.0.lock())
}

impl Stream {
    fn new(tcp: TokioIo<TcpStream>) -> Self {
        Self { tcp, moved: Moved(Arc::new(Mutex::new(Instant::now()))) }
    }

    fn note(&self) {
        *self.moved.0.lock() = Instant::now();
    }

    fn acknowledge_at_once(&self) {
        // the kernel forgets it now and then, and where it cannot be set, answers come late but come
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_quickack(self.tcp.inner(), true);
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.note();
            self.acknowledge_at_once();
        }
        written
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.tcp.connected().extra(self.moved.clone())
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        if read.is_ready() {
            self.note();
        }
        read
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.sent(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.sent(written)
    }
}
