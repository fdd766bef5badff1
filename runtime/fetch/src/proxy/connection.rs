//! One client of the proxy, from its request to the last byte.
//! Must not decide: the gate does. Called by [`super::accept_all`], in a thread of its own.

use std::io::{self, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dibw_policy::subject;
use url::Host;

use super::body;
use super::head::{self, Asked, Body, Refusal};
use super::hello::{self, Hello};
use super::stream::Stream;
use super::{Event, Shared, Target};
use crate::request::port_of;
use crate::resolve::addresses_of;

/// TLS's own way to say that the name is not right (RFC 8446 6.2): a fatal alert, unrecognized_name.
const ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 112];
const PIECE: usize = 64 * 1024;

/// Serves one request and closes the connection.
pub(super) fn serve(shared: &Shared, number: u64, client: &Arc<Stream>) {
    let connection = Connection { shared, number, client };
    if let Err(Refusal { status, reason }) = connection.run() {
        let reason = subject::escape_controls(&reason);
        let text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\ndibw: {reason}\n",
            reason.len() + "dibw: \n".len()
        );
        // A client that is gone does not hear why.
        drop((&**client).write_all(text.as_bytes()));
    }
    client.close_write();
    linger(client);
}

/// Reads on for a moment what the client still sends: closed with unread bytes, TCP would take our answer back.
fn linger(client: &Stream) {
    let until = Instant::now() + Duration::from_millis(200);
    let mut piece = [0; 4096];
    while client.set_patience(until.saturating_duration_since(Instant::now())).is_ok()
        && Instant::now() < until
        && matches!((&*client).read(&mut piece), Ok(count) if count > 0)
    {}
    client.close();
}

/// What passes between a client and a server.
enum Flow {
    /// Anything, until either side closes.
    Tunnel,
    /// One request and its answer.
    Request { head: Vec<u8>, body: Body, wants_leave: bool },
}

struct Connection<'a> {
    shared: &'a Shared,
    number: u64,
    client: &'a Arc<Stream>,
}

impl Connection<'_> {
    fn run(&self) -> Result<(), Refusal> {
        let until = Instant::now() + self.shared.limits.start;
        let (asked, rest) = self.request(until).inspect_err(|refusal| {
            self.log(Event::Malformed(refusal.reason.clone()));
        })?;
        let (host, port, url) = match &asked {
            Asked::Tunnel { host, port } => (host.clone(), *port, None),
            Asked::Plain { url, .. } => match url.host() {
                Some(host) => (host.to_owned(), port_of(url), Some(url.clone())),
                None => return Err(refusal(head::BAD_REQUEST, "a URL without a host")),
            },
        };
        let mut target = Target { host: shown(&host), port, addresses: Vec::new(), url };
        let server = self.reach(&host, &mut target)?;
        match asked {
            Asked::Tunnel { .. } => self.tunnel(&host, &target, &server, rest),
            Asked::Plain { head, body, wants_leave, .. } => {
                self.exchange(&target, &server, &Flow::Request { head, body, wants_leave }, &rest);
            }
        }
        Ok(())
    }

    /// The request's head, and what came behind it.
    fn request(&self, until: Instant) -> Result<(Asked, Vec<u8>), Refusal> {
        let mut bytes = Vec::new();
        loop {
            if let Some((asked, length)) = head::parse(&bytes)? {
                return Ok((asked, bytes.split_off(length)));
            }
            self.read_more(&mut bytes, until)
                .map_err(|error| refusal("408 Request Timeout", format!("no request came: {error}")))?;
        }
    }

    fn read_more(&self, bytes: &mut Vec<u8>, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.client.set_patience(left)?;
        let mut piece = [0; 4096];
        match (&**self.client).read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                bytes.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }

    /// Looks the host up, asks the gate, connects: in this order, and to nothing else than what the gate saw.
    fn reach(&self, host: &Host, target: &mut Target) -> Result<Arc<Stream>, Refusal> {
        let until = Instant::now() + self.shared.limits.start;
        let failed = |target: &Target, why: String| {
            self.log(Event::Failed(target.clone(), why.clone()));
            refusal("502 Bad Gateway", why)
        };
        target.addresses = addresses_of(&borrowed(host), self.shared.resolver.as_ref(), until)
            .map_err(|error| failed(target, format!("look up {host}: {error}")))?;
        if let Err(reason) = self.shared.gate.allow(target) {
            self.log(Event::Refused(target.clone(), reason.clone()));
            return Err(refusal("403 Forbidden", reason));
        }
        self.log(Event::Allowed(target.clone()));
        let server = connect(&target.addresses, target.port, until)
            .and_then(|server| self.prepared(server))
            .map_err(|error| failed(target, format!("connect to {host}: {error}")))?;
        let server = Arc::new(server);
        self.shared.hold(self.number, &server);
        Ok(server)
    }

    fn prepared(&self, server: TcpStream) -> io::Result<Stream> {
        server.set_nodelay(true)?;
        let server = Stream::Tcp(server);
        server.set_patience(self.shared.limits.idle)?;
        self.client.set_patience(self.shared.limits.idle)?;
        Ok(server)
    }

    /// Lets TLS through once its first message has named the right host.
    fn tunnel(&self, host: &Host, target: &Target, server: &Arc<Stream>, mut first: Vec<u8>) {
        let greeted = (&**self.client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        let until = Instant::now() + self.shared.limits.start;
        let judged = greeted.map_err(|error| error.to_string()).and_then(|()| {
            loop {
                match hello::parse(&first) {
                    Hello::Incomplete => {}
                    Hello::Whole { name, encrypted } => break names(host, name.as_deref(), encrypted),
                    Hello::Invalid(why) => break Err(why.to_owned()),
                }
                self.read_more(&mut first, until)
                    .map_err(|error| format!("no TLS ClientHello came: {error}"))?;
            }
        });
        if let Err(why) = judged {
            self.log(Event::Refused(target.clone(), why));
            // A client that is gone does not hear why.
            drop((&**self.client).write_all(&ALERT));
            server.close();
            return;
        }
        if self.client.set_patience(self.shared.limits.idle).is_err() {
            return;
        }
        self.exchange(target, server, &Flow::Tunnel, &first);
    }

    /// Passes both directions on until they end. `came` was read from the client already.
    fn exchange(&self, target: &Target, server: &Arc<Stream>, flow: &Flow, came: &[u8]) {
        let meter = Meter::new(self.shared);
        std::thread::scope(|scope| {
            let answer = std::thread::Builder::new()
                .name("proxy answer".to_owned())
                .spawn_scoped(scope, || self.pass_back(server, flow, &meter));
            let sent = answer.and_then(|_| self.pass_on(server, flow, came, &meter));
            match (sent, flow) {
                // The server of a tunnel hears that no more comes; that of a request knows by the length.
                (Ok(()), Flow::Tunnel) => server.close_write(),
                (Ok(()), Flow::Request { .. }) => {}
                (Err(_), _) => server.close(),
            }
        });
        server.close();
        let (up, down) = (meter.up.load(Ordering::Relaxed), meter.down.load(Ordering::Relaxed));
        self.log(Event::Closed { target: target.clone(), up, down });
    }

    /// From the client to the server.
    fn pass_on(&self, server: &Stream, flow: &Flow, came: &[u8], meter: &Meter<'_>) -> io::Result<()> {
        let rest = Metered { stream: self.client, meter, direction: Direction::Down };
        let mut from = BufReader::with_capacity(PIECE, came.chain(rest));
        let mut to = Metered { stream: server, meter, direction: Direction::Up };
        match flow {
            Flow::Tunnel => io::copy(&mut from, &mut to).map(drop),
            Flow::Request { head, body, wants_leave } => {
                to.write_all(head)?;
                if *wants_leave {
                    (&**self.client).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                body::pass_on(*body, &mut from, &mut to)
            }
        }
    }

    /// From the server to the client, until the server closes.
    fn pass_back(&self, server: &Stream, flow: &Flow, meter: &Meter<'_>) {
        let from = Metered { stream: server, meter, direction: Direction::Up };
        let mut to = Metered { stream: self.client, meter, direction: Direction::Down };
        // How it ended does not matter: both ends are closed, and what passed is counted.
        drop(io::copy(&mut BufReader::with_capacity(PIECE, from), &mut to));
        self.client.close_write();
        match flow {
            // The client may go on talking to the server.
            Flow::Tunnel => {}
            // Nobody is there any more to hear the rest of the request.
            Flow::Request { .. } => self.client.close_read(),
        }
    }

    fn log(&self, event: Event) {
        self.shared.gate.log(&event);
    }
}

fn refusal(status: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal { status, reason: reason.into() }
}

/// How a target names its host: an IPv6 address without brackets, as addresses are written.
fn shown(host: &Host) -> String {
    match host {
        Host::Domain(name) => name.strip_suffix('.').unwrap_or(name).to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}

fn borrowed(host: &Host) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    }
}

/// Whether a ClientHello fits the host that the tunnel was asked for. A name must be named: without it, or with a second one
/// hidden behind it (ECH), a server with many hosts could be asked for any of them. An address has no name to say.
fn names(host: &Host, name: Option<&str>, encrypted: bool) -> Result<(), String> {
    if encrypted {
        return Err("its TLS ClientHello hides the host (ECH), which this proxy can't check".to_owned());
    }
    match (host, name) {
        (Host::Domain(host), Some(name)) if name.eq_ignore_ascii_case(host) => Ok(()),
        (Host::Ipv4(_) | Host::Ipv6(_), None) => Ok(()),
        (_, Some(name)) => {
            Err(format!("the tunnel was asked for {host}, but TLS names {}", subject::escape(name)))
        }
        (_, None) => Err(format!("the tunnel was asked for {host}, but TLS names no host (SNI)")),
    }
}

/// Tries the addresses in turn; each gets an even share of the time that is left.
fn connect(addresses: &[IpAddr], port: u16, until: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for (tried, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        if share.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&SocketAddr::new(*address, port), share) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What one connection passes, and when it last did.
struct Meter<'a> {
    shared: &'a Shared,
    up: AtomicU64,
    down: AtomicU64,
    began: Instant,
    /// Milliseconds after `began`.
    active: AtomicU64,
}

impl<'a> Meter<'a> {
    fn new(shared: &'a Shared) -> Self {
        let (up, down, active) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { shared, up, down, began: Instant::now(), active }
    }

    fn touch(&self) {
        self.active.store(self.age(), Ordering::Relaxed);
    }

    fn age(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether nothing has passed in either direction for too long: a download has nothing to send for hours.
    fn is_idle(&self) -> bool {
        let quiet = self.age().saturating_sub(self.active.load(Ordering::Relaxed));
        Duration::from_millis(quiet) >= self.shared.limits.idle
    }

    /// Counts what was written.
    fn count(&self, direction: Direction, bytes: usize) -> io::Result<()> {
        let (own, all) = match direction {
            Direction::Up => (&self.up, &self.shared.up),
            Direction::Down => (&self.down, &self.shared.down),
        };
        own.fetch_add(bytes as u64, Ordering::Relaxed);
        match self.shared.count(all, bytes as u64) {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::QuotaExceeded, "the limit of bytes is reached")),
        }
    }
}

/// Which way bytes written to a socket go.
#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

/// A socket whose written bytes are counted.
struct Metered<'a> {
    stream: &'a Stream,
    meter: &'a Meter<'a>,
    direction: Direction,
}

impl Read for Metered<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&*self.stream).read(bytes) {
                Ok(count) => {
                    self.meter.touch();
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.meter.is_idle() => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Metered<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = (&*self.stream).write(bytes)?;
        self.meter.touch();
        self.meter.count(self.direction, count)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
