//! One download: each hop is resolved, put to the caller, and only then connected to; the bytes go to a writer.
//! Must not know files, digests that were expected, or processes. Callers: [`crate::helper`], tests.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use dibw_policy::subject;
use sha2::{Digest, Sha256};
use url::Url;

use crate::error::{FetchError, FetchErrorKind};
use crate::proxy_settings;
use crate::request::{FetchRequest, Fetched, Hop, fetchable, port_of};
use crate::resolve::{Resolver, addresses_of};
use crate::transport::{self, Patience, Route};

/// Most redirects that are followed.
pub(crate) const MOST_REDIRECTS: usize = 10;
/// Bytes that are handed on at a time.
const PIECE: usize = 64 * 1024;

/// Whether a hop may be taken; the error says why not.
pub type Allow<'a> = &'a mut dyn FnMut(&Hop) -> Result<(), String>;

/// Downloads with one way to look up names.
#[derive(Clone)]
pub struct Fetcher {
    resolver: Arc<dyn Resolver>,
}

impl Fetcher {
    /// Names are looked up by `resolver`, once per hop.
    pub fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver }
    }

    /// Downloads into `out`. Each connection is put to `allow` before it is made, redirects included.
    ///
    /// # Errors
    /// See [`FetchErrorKind`]. `out` may have received bytes already.
    pub fn fetch(
        &self,
        request: &FetchRequest,
        allow: Allow<'_>,
        out: &mut dyn Write,
    ) -> Result<Fetched, FetchError> {
        let until = Instant::now() + request.deadline;
        let mut url = fetchable(&request.url)?;
        let origin = url.origin();
        for _ in 0..=MOST_REDIRECTS {
            let route = self.route(&url, request, until, allow)?;
            let headers: &[_] = if url.origin() == origin { &request.headers } else { &[] };
            let whole = until.saturating_duration_since(Instant::now());
            let patience = Patience { connect: request.connect_timeout.min(whole), whole };
            let answer = transport::get(&url, &route, headers, &patience)
                .map_err(|error| network(&url, &error, request))?;
            let status = answer.status().as_u16();
            match transport::redirect(status, answer.headers()) {
                Some(location) => url = follow(&url, location)?,
                None if status == 200 => return receive(url, answer.into_body(), request, out),
                None => {
                    return Err(FetchError::new(
                        FetchErrorKind::Answer,
                        format!("{url}: the server answered {}", answer.status()),
                    ));
                }
            }
        }
        let message = format!("{}: more than {MOST_REDIRECTS} redirects, the last to {url}", request.url);
        Err(FetchError::new(FetchErrorKind::Answer, message))
    }

    /// Where a hop goes, after `allow` has agreed to it.
    fn route(
        &self,
        url: &Url,
        request: &FetchRequest,
        until: Instant,
        allow: Allow<'_>,
    ) -> Result<Route, FetchError> {
        let proxy = request.proxies.for_url(url)?;
        let (hop, route) = match proxy {
            None => {
                let addresses = self.resolve(url, request, until)?;
                let hop = Hop { url: url.clone(), addresses: addresses.clone(), via_proxy: None };
                (hop, transport::direct(url, addresses))
            }
            Some(proxy) => {
                let via_proxy = Some(proxy_settings::shown(&proxy));
                let hop = Hop { url: url.clone(), addresses: Vec::new(), via_proxy };
                let addresses = self.resolve(&proxy, request, until)?;
                let port = port_of(&proxy);
                (hop, Route { addresses, port, proxy: Some(proxy) })
            }
        };
        allow(&hop).map_err(|reason| {
            FetchError::new(FetchErrorKind::Refused, format!("{url}: {}", subject::escape_controls(&reason)))
        })?;
        Ok(route)
    }

    fn resolve(&self, url: &Url, request: &FetchRequest, until: Instant) -> Result<Vec<IpAddr>, FetchError> {
        let host = url.host().ok_or_else(|| {
            FetchError::new(FetchErrorKind::Invalid, format!("{url}: a URL without a host"))
        })?;
        addresses_of(&host, self.resolver.as_ref(), until).map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => too_slow(url, request),
            _ => FetchError::new(FetchErrorKind::Network, format!("{url}: look up {host}: {error}")),
        })
    }
}

/// The URL that a redirect of `from` leads to.
fn follow(from: &Url, location: Result<String, String>) -> Result<Url, FetchError> {
    let refuse = |why: String| FetchError::new(FetchErrorKind::Answer, format!("{from}: {why}"));
    let location = location.map_err(refuse)?;
    let to = from
        .join(&location)
        .map_err(|error| refuse(format!("a redirect to {}: {error}", subject::escape(&location))))?;
    fetchable(to.as_str()).map_err(|error| refuse(format!("a redirect to {error}")))
}

/// Hands the body on and digests it.
fn receive(
    url: Url,
    body: ureq::Body,
    request: &FetchRequest,
    out: &mut dyn Write,
) -> Result<Fetched, FetchError> {
    let too_large = || {
        let message = format!("{url}: the file is larger than the limit of {} bytes", request.max_bytes);
        FetchError::new(FetchErrorKind::TooLarge, message)
    };
    let announced = body.content_length();
    if announced.is_some_and(|length| length > request.max_bytes) {
        return Err(too_large());
    }
    let mut reader = body.into_reader();
    let mut digest = Sha256::new();
    let (mut bytes, mut piece) = (0u64, vec![0; PIECE]);
    loop {
        let count = match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(network(&url, &ureq::Error::from(error), request)),
        };
        bytes += count as u64;
        if bytes > request.max_bytes {
            return Err(too_large());
        }
        digest.update(&piece[..count]);
        out.write_all(&piece[..count]).map_err(|error| {
            FetchError::new(FetchErrorKind::Local, format!("{url}: keep what came: {error}"))
        })?;
    }
    if let Some(wanted) = announced.filter(|wanted| *wanted != bytes) {
        let message = format!("{url}: {wanted} bytes were announced and {bytes} came");
        return Err(FetchError::new(FetchErrorKind::Network, message));
    }
    Ok(Fetched { url, sha256: hexadecimal(&digest.finalize()), bytes })
}

fn network(url: &Url, error: &ureq::Error, request: &FetchRequest) -> FetchError {
    if transport::is_late(error) {
        return too_slow(url, request);
    }
    let message = format!("{url}: {}", subject::escape_controls(&error.to_string()));
    FetchError::new(FetchErrorKind::Network, message)
}

fn too_slow(url: &Url, request: &FetchRequest) -> FetchError {
    let FetchRequest { deadline, connect_timeout, .. } = request;
    let message =
        format!("{url}: too slow; {connect_timeout:?} to connect and {deadline:?} in all are the limits");
    FetchError::new(FetchErrorKind::TooSlow, message)
}

/// A digest as text.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all text");
        text
    })
}
