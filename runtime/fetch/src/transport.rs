//! One request over one connection, to addresses that were decided before. Follows no redirect, looks no name up.
//! Must not decide anything. Called by [`crate::fetcher`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error, Proxy};
use url::Url;

use crate::request::port_of;

/// Largest head of an answer, in bytes.
const LARGEST_HEAD: usize = 64 * 1024;
const AGENT: &str = concat!("dibw/", env!("CARGO_PKG_VERSION"));

/// Where a connection goes.
pub(crate) struct Route {
    /// The addresses of the host, or of the proxy.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
    pub proxy: Option<Url>,
}

/// How long things may take.
pub(crate) struct Patience {
    pub connect: Duration,
    /// For all of it, the body included.
    pub whole: Duration,
}

/// Asks for `url`. Any status is an answer; the body comes as it was served, not unpacked.
pub(crate) fn get(
    url: &Url,
    route: &Route,
    headers: &[(String, String)],
    patience: &Patience,
) -> Result<Response<Body>, Error> {
    let proxy = route.proxy.as_ref().map(|proxy| Proxy::new(proxy.as_str())).transpose()?;
    let provider = Arc::new(ring::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(patience.whole))
        .timeout_connect(Some(patience.connect))
        .max_response_header_size(LARGEST_HEAD)
        .user_agent(AGENT)
        .accept_encoding("identity")
        .build();
    let pinned =
        Pinned(route.addresses.iter().map(|address| SocketAddr::new(*address, route.port)).collect());
    let agent = Agent::with_parts(config, DefaultConnector::default(), pinned);
    let mut request = agent.get(url.as_str());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.call()
}

/// Where a redirect leads, when the answer is one.
pub(crate) fn redirect(status: u16, headers: &HeaderMap) -> Option<Result<String, String>> {
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = headers.get("location")?;
    let text = std::str::from_utf8(location.as_bytes()).map(str::to_owned);
    Some(text.map_err(|_| "its redirect is not text".to_owned()))
}

/// Answers every question with the addresses that were judged.
#[derive(Debug)]
struct Pinned(Vec<SocketAddr>);

impl Resolver for Pinned {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        for address in &self.0 {
            // Those beyond its capacity are only tried less.
            if addresses.try_push(*address).is_err() {
                break;
            }
        }
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

/// Whether time ran out.
pub(crate) fn is_late(error: &Error) -> bool {
    match error {
        Error::Timeout(_) => true,
        Error::Io(error) => error.kind() == std::io::ErrorKind::TimedOut,
        _ => false,
    }
}

/// The port that a route to `url`'s own host has.
pub(crate) fn direct(url: &Url, addresses: Vec<IpAddr>) -> Route {
    Route { addresses, port: port_of(url), proxy: None }
}
