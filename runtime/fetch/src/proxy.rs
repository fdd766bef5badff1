//! An HTTP/1.1 forward proxy for commands that have no network but this: `CONNECT host:port` for TLS, and plain http.
//!
//! Each request is put to a [`Gate`] with the addresses its host has, and goes to one of those addresses or nowhere. TLS is
//! not opened; its first message must name the host that was asked for (SNI), so that a tunnel to one host is not used
//! for another one behind the same address. Must not decide who may go where. Callers: the engine, with a listener that
//! lies in the network namespace of a sandbox.

mod body;
mod connection;
mod head;
mod hello;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use url::Url;

use crate::resolve::Resolver;
pub use hello::{Hello, parse as parse_hello};
pub use stream::Listener;
use stream::Stream;

/// How long [`Running::stop`] waits for connections to end.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// After a client that could not be taken in: when no descriptor is left, it would be tried again at once for ever.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Who may go where. Called from several threads.
pub trait Gate: Send + Sync {
    /// Whether the connection may be made; the error says why not, and is shown to the client.
    ///
    /// # Errors
    /// It may not.
    fn allow(&self, target: &Target) -> Result<(), String>;

    /// Each decision and each end.
    fn log(&self, event: &Event);
}

/// Where a client wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name (lower case, without the last dot) or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What the host's name stands for; the connection goes to one of these.
    pub addresses: Vec<IpAddr>,
    /// The whole URL of a plain http request; none of a tunnel.
    pub url: Option<Url>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The gate agreed.
    Allowed(Target),
    /// The gate refused, or the client asked for one host and named another one.
    Refused(Target, String),
    /// It was allowed but could not be done.
    Failed(Target, String),
    /// What the client said is no request that is served.
    Malformed(String),
    /// The connection is over.
    Closed {
        /// Where it went.
        target: Target,
        /// Bytes from the client.
        up: u64,
        /// Bytes to the client.
        down: u64,
    },
}

/// Bounds of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at a time; more have to wait.
    pub connections: usize,
    /// For a request's head, a name, a connection to a host.
    pub start: Duration,
    /// A connection on which nothing happens for so long is closed.
    pub idle: Duration,
    /// Most bytes of all connections in both directions; then all is closed.
    pub bytes: u64,
}

/// Bytes that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From clients.
    pub up: u64,
    /// To clients.
    pub down: u64,
}

/// A proxy at work. It stops when this is dropped.
pub struct Running {
    shared: Arc<Shared>,
    /// Its closing wakes the thread that accepts.
    wake: Option<OwnedFd>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the threads of a proxy share.
struct Shared {
    resolver: Arc<dyn Resolver>,
    gate: Arc<dyn Gate>,
    limits: Limits,
    up: AtomicU64,
    down: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    next: u64,
    /// The sockets of each connection, so that they can be closed from outside.
    open: BTreeMap<u64, Vec<Arc<Stream>>>,
}

/// Starts a proxy on `listener`, in threads of this process.
///
/// # Errors
/// No thread or pipe could be made.
pub fn start(
    listener: impl Into<Listener>,
    resolver: Arc<dyn Resolver>,
    gate: Arc<dyn Gate>,
    limits: Limits,
) -> io::Result<Running> {
    let listener = listener.into();
    listener.set_nonblocking()?;
    let (woken, wake) = pipe_with(PipeFlags::CLOEXEC)?;
    let shared = Arc::new(Shared {
        resolver,
        gate,
        limits,
        up: AtomicU64::new(0),
        down: AtomicU64::new(0),
        state: Mutex::default(),
        changed: Condvar::new(),
    });
    let of_thread = Arc::clone(&shared);
    let acceptor = std::thread::Builder::new()
        .name("proxy".to_owned())
        .spawn(move || accept_all(&listener, &woken, &of_thread))?;
    Ok(Running { shared, wake: Some(wake), acceptor: Some(acceptor) })
}

impl Running {
    /// What has passed so far.
    pub fn traffic(&self) -> Traffic {
        self.shared.traffic()
    }

    /// Closes the listener and all connections, and says what has passed.
    pub fn stop(mut self) -> Traffic {
        self.end();
        self.shared.traffic()
    }

    fn end(&mut self) {
        self.shared.close_all();
        drop(self.wake.take());
        if let Some(acceptor) = self.acceptor.take() {
            // It does not panic; if it did, it has ended all the same.
            drop(acceptor.join());
        }
        let state = self.shared.state();
        let busy = |state: &mut State| !state.open.is_empty();
        drop(self.shared.changed.wait_timeout_while(state, STOP_PATIENCE, busy));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes connections in until it is woken; as many at a time as the limits say.
fn accept_all(listener: &Listener, woken: &OwnedFd, shared: &Arc<Shared>) {
    while let Some(number) = shared.take_place() {
        let mut polled = [PollFd::new(listener, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
        // An interrupted wait is begun again.
        let ready = poll(&mut polled, None).is_ok();
        let accepted = match ready && !polled[0].revents().is_empty() {
            true => listener.accept().inspect_err(|_| std::thread::sleep(ACCEPT_PAUSE)).ok(),
            false => None,
        };
        let Some(client) = accepted else {
            shared.leave(number);
            continue;
        };
        let client = Arc::new(client);
        shared.hold(number, &client);
        let of_thread = Arc::clone(shared);
        let serve = move || {
            connection::serve(&of_thread, number, &client);
            of_thread.leave(number);
        };
        if std::thread::Builder::new().name("proxy client".to_owned()).spawn(serve).is_err() {
            shared.leave(number);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after each statement, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more connection. None once the proxy is stopped.
    fn take_place(&self) -> Option<u64> {
        let full = |state: &mut State| !state.stopped && state.open.len() >= self.limits.connections.max(1);
        let mut state = self.changed.wait_while(self.state(), full).unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return None;
        }
        state.next += 1;
        let number = state.next;
        state.open.insert(number, Vec::new());
        Some(number)
    }

    fn leave(&self, number: u64) {
        self.state().open.remove(&number);
        self.changed.notify_all();
    }

    /// Notes a socket of a connection; it is closed at once when the proxy is stopped.
    fn hold(&self, number: u64, stream: &Arc<Stream>) {
        let mut state = self.state();
        if state.stopped {
            stream.close();
        } else if let Some(streams) = state.open.get_mut(&number) {
            streams.push(Arc::clone(stream));
        }
    }

    fn close_all(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.open.values().flatten().for_each(|stream| stream.close());
        self.changed.notify_all();
    }

    /// Counts bytes of one direction; false (and all is closed) when the limit is passed.
    fn count(&self, direction: &AtomicU64, bytes: u64) -> bool {
        direction.fetch_add(bytes, Ordering::Relaxed);
        let Traffic { up, down } = self.traffic();
        let within = up.saturating_add(down) <= self.limits.bytes;
        if !within {
            self.close_all();
        }
        within
    }

    fn traffic(&self) -> Traffic {
        Traffic { up: self.up.load(Ordering::Relaxed), down: self.down.load(Ordering::Relaxed) }
    }
}
