//! Connections: how many there may be, how long they may take, how they end.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{CONTENT_TYPE, HeaderMap},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::TcpStream,
    runtime::Runtime,
    sync::{Semaphore, watch},
};

use super::{
    Options,
    body::Bodies,
    call::{Call, Route, route},
    gate::Gate,
    limits::Limits,
    metrics::Metrics,
    pace::Paced,
    query::Query,
    reply::{bare, refusal},
    shares::Shares,
};
use crate::{Error, Node, Result};

/// How long the network may take to take what is sent to a client.
const SEND_TIME: Duration = Duration::from_secs(60);
/// How long calls that are under way may take when the service ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// The memory for a connection's head and for what it sends, in bytes: the longest queries have some 5 kB.
const BUFFER: usize = 128 << 10;

/// A node that is being served. It ends when this is dropped: calls that are under way are answered.
pub struct Service {
    address: SocketAddr,
    metrics: Option<SocketAddr>,
    end: watch::Sender<bool>,
    runtime: Option<Runtime>,
    loops: Vec<tokio::task::JoinHandle<()>>,
}

impl Service {
    /// See [`Service::start`].
    pub(super) fn run(
        node: Arc<dyn Node>,
        listener: TcpListener,
        metrics: Option<TcpListener>,
        options: Options,
    ) -> Result<Self> {
        let fail = || Error::io("serving the node");
        let address = listener.local_addr().map_err(fail())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(options.threads.max(1))
            .thread_name("peergos-http")
            .enable_all()
            .build()
            .map_err(fail())?;
        let shared = Arc::new(Shared {
            gate: Gate::new(address, &node.id()?, &options.hosts, options.public),
            node,
            limits: Limits::default(),
            metrics: Metrics::default(),
            bodies: Bodies::new(),
            behind_proxy: options.behind_proxy,
            head_time: options.head_time,
            body_time: options.body_time,
            pace: options.pace,
        });
        let (end, ended) = watch::channel(false);
        let mut loops = Vec::new();
        let mut serve = |listener: TcpListener, connections, handler: Handler| {
            listener.set_nonblocking(true)?;
            let listener = {
                let _inside = runtime.enter();
                tokio::net::TcpListener::from_std(listener)?
            };
            let accept = accept(listener, Arc::clone(&shared), connections, handler, ended.clone());
            loops.push(runtime.spawn(accept));
            Ok::<_, std::io::Error>(())
        };
        let metrics_address = metrics.as_ref().map(TcpListener::local_addr).transpose().map_err(fail())?;
        serve(listener, options.connections.max(1), Handler::Calls).map_err(fail())?;
        if let Some(listener) = metrics {
            serve(listener, 16, Handler::Metrics).map_err(fail())?;
        }
        Ok(Self { address, metrics: metrics_address, end, runtime: Some(runtime), loops })
    }

    /// Where clients connect to.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where there is something to watch.
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // the loops may have ended by themselves
        let _ = self.end.send(true);
        if let Some(runtime) = self.runtime.take() {
            for accepting in self.loops.drain(..) {
                let _ = runtime.block_on(accepting);
            }
            // calls that block are waited for, so that nobody uses the node afterwards
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

/// What connections share.
struct Shared {
    node: Arc<dyn Node>,
    gate: Gate,
    limits: Limits,
    metrics: Metrics,
    bodies: Bodies,
    behind_proxy: bool,
    head_time: Duration,
    body_time: Duration,
    pace: Duration,
}

/// What a listener is for.
#[derive(Clone, Copy)]
enum Handler {
    Calls,
    Metrics,
}

/// Accepts connections until the service ends, and then waits for those that are answering.
async fn accept(
    listener: tokio::net::TcpListener,
    shared: Arc<Shared>,
    connections: usize,
    handler: Handler,
    mut ended: watch::Receiver<bool>,
) {
    let shares = Shares::new(connections, shared.behind_proxy);
    let connections = Arc::new(Semaphore::new(connections));
    let graceful = GracefulShutdown::new();
    loop {
        // those that are too many wait in the system's queue
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            _ = ended.changed() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // no file descriptors, most likely: connections that end give some back
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // one that waited here would keep out the others
        let Some(share) = shares.take(peer.ip()) else { continue };
        prepare(&stream);
        let service = {
            let shared = Arc::clone(&shared);
            service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move {
                    Ok::<_, Infallible>(match handler {
                        Handler::Calls => shared.answer(request, peer.ip()).await,
                        Handler::Metrics => shared.show(request.uri().path()).await,
                    })
                }
            })
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(shared.head_time)
            .max_buf_size(BUFFER)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(Paced::new(stream, shared.pace)), service);
        let connection = graceful.watch(connection);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.metrics.connections.fetch_add(1, Ordering::Relaxed);
            // what ends a connection is the client's affair
            let _ = connection.await;
            shared.metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop((share, permit));
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(PATIENCE, graceful.shutdown()).await;
}

/// Makes a connection quick, and mortal: a client that takes nothing is cut off.
fn prepare(stream: &TcpStream) {
    let outcome = stream.set_nodelay(true).and_then(|()| {
        let millis = u32::try_from(SEND_TIME.as_millis()).unwrap_or(u32::MAX);
        Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, millis)?)
    });
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection keeps its defaults");
    }
}

impl Shared {
    /// Answers a request.
    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
        let begun = Instant::now();
        let host = match self.gate.admit(request.method(), request.headers()) {
            Ok(host) => host.to_owned(),
            Err(status) => return bare(status),
        };
        let Some(route) = route(request.uri().path()) else { return bare(StatusCode::NOT_FOUND) };
        let client = if self.behind_proxy { forwarded(request.headers()).unwrap_or(peer) } else { peer };
        let response = match self.limits.admit(client, route.guarded, begun) {
            Ok(admitted) => {
                let response = Arc::clone(&self).call(request, route, host).await;
                response.inspect(|_| self.limits.succeeded(admitted))
            }
            Err(busy) => Err(busy),
        };
        let response = response.unwrap_or_else(|error| refusal(&error));
        let sent = response.body().size_hint().exact().unwrap_or(0);
        self.metrics.sent.fetch_add(sent, Ordering::Relaxed);
        self.metrics.count(route.name, response.status().as_u16(), begun.elapsed());
        response
    }

    /// Receives a call, and carries it out.
    async fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        route: Route,
        host: String,
    ) -> Result<Response<Full<Bytes>>> {
        let query = Query::parse(request.uri().query().unwrap_or_default())?;
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let receive = self.bodies.receive(request.into_body(), route.limit, self.pace);
        let (body, room) = tokio::time::timeout(self.body_time, receive).await.map_err(|_| Error::Busy)??;
        self.metrics.received.fetch_add(body.len() as u64, Ordering::Relaxed);
        let node = Arc::clone(&self.node);
        let reply = tokio::task::spawn_blocking(move || {
            // also if the client has gone
            let _until_the_call_is_done = room;
            let call = Call { node: &*node, query, body, content_type: &content_type, host: &host };
            (route.run)(&call)
        });
        // a call that panics has been reported by the panic itself
        let reply = reply.await.map_err(|_| Error::Store("a call has ended unexpectedly".into()))??;
        Ok(reply.into_response())
    }

    /// Answers who watches.
    async fn show(self: Arc<Self>, path: &str) -> Response<Full<Bytes>> {
        if path != "/metrics" {
            return bare(StatusCode::NOT_FOUND);
        }
        let node = Arc::clone(&self.node);
        let accounts = tokio::task::spawn_blocking(move || node.usernames("").map_or(0, |names| names.len())).await;
        Response::new(Full::from(self.metrics.render(accounts.unwrap_or(0))))
    }
}

/// Who is asking, as the proxy in front of us says: the last address, which it has added itself.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}
