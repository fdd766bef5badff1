//! Names to addresses, once per connection: what is judged is what is connected to.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use url::Host;

/// Most addresses of one name that are judged and tried.
const MOST: usize = 16;

/// Looks names up.
pub trait Resolver: Send + Sync {
    /// The addresses of `name`, at least one.
    ///
    /// # Errors
    /// Unknown name, no answer within `patience`.
    fn resolve(&self, name: &str, patience: Duration) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own way (`getaddrinfo`: /etc/hosts, DNS).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    /// `getaddrinfo` can't be interrupted: when it takes too long, its thread is left to end by itself.
    fn resolve(&self, name: &str, patience: Duration) -> io::Result<Vec<IpAddr>> {
        let name = name.to_owned();
        let (send, receive) = sync_channel(1);
        std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            let found = (name.as_str(), 0).to_socket_addrs();
            // Nobody listens any more when it came too late.
            drop(send.send(found));
        })?;
        match receive.recv_timeout(patience) {
            Ok(found) => Ok(found?.map(|socket| socket.ip()).collect()),
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the resolver died")),
        }
    }
}

/// The addresses of a URL's host, each once: itself when it is one, otherwise what `resolver` says.
pub(crate) fn addresses_of(
    host: &Host<&str>,
    resolver: &dyn Resolver,
    until: Instant,
) -> io::Result<Vec<IpAddr>> {
    let name = match host {
        Host::Ipv4(address) => return Ok(vec![IpAddr::V4(*address)]),
        Host::Ipv6(address) => return Ok(vec![IpAddr::V6(*address)]),
        Host::Domain(name) => name,
    };
    let found = resolver.resolve(name, until.saturating_duration_since(Instant::now()))?;
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.truncate(MOST);
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no addresses"));
    }
    Ok(addresses)
}
