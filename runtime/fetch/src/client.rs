//! A download made by a helper process, which is not believed: hops are decided here, bytes are counted and digested here.
//!
//! What a helper that was taken over can still do is to use the network as an unprivileged user of this machine can; it
//! can't write files, pass other bytes off as checked ones, or exceed limits. Must not know how the helper was started.
//! Callers: the engine.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dibw_policy::subject;
use sha2::{Digest, Sha256};
use url::{Host, Url};

use crate::error::{FetchError, FetchErrorKind};
use crate::fetcher::{Allow, MOST_REDIRECTS, hexadecimal};
use crate::proxy_settings;
use crate::request::{FetchRequest, Fetched, Hop, fetchable};
use crate::wire::{self, Frame, Order, Report};

/// What the helper may take beyond its deadline to say that it is late.
const SLACK: Duration = Duration::from_secs(2);

/// The side of the channel that asks. A read of the channel should time out by itself now and then (a second, say): only
/// between reads is the deadline looked at.
#[derive(Debug)]
pub struct Client<C> {
    channel: C,
    /// After nonsense nothing that comes can be understood.
    broken: bool,
}

impl<C: Read + Write> Client<C> {
    /// Asks over `channel`, whose other end [`crate::helper::serve`] has.
    pub fn new(channel: C) -> Self {
        Self { channel, broken: false }
    }

    /// As [`crate::Fetcher::fetch`], by the helper.
    ///
    /// # Errors
    /// As there; and [`FetchErrorKind::Helper`] when the helper is gone or says what makes no sense. Then this client is of
    /// no more use.
    pub fn fetch(
        &mut self,
        request: &FetchRequest,
        allow: Allow<'_>,
        out: &mut dyn Write,
    ) -> Result<Fetched, FetchError> {
        let first = fetchable(&request.url)?;
        if self.broken {
            return Err(nonsense("it failed before"));
        }
        // Until the whole conversation has ended well.
        self.broken = true;
        let mut channel =
            Until { channel: &mut self.channel, until: Instant::now() + request.deadline + SLACK };
        wire::send(&mut channel, &Order::Fetch(request.clone())).map_err(|error| gone(&error, request))?;
        let mut talk = Talk::new(request, first);
        let answer = talk.run(&mut channel, allow, out);
        self.broken = !talk.ended;
        answer
    }
}

/// One download as seen from here.
struct Talk<'a> {
    request: &'a FetchRequest,
    first: Url,
    hops: Vec<Url>,
    refused: Option<FetchError>,
    bytes: u64,
    digest: Sha256,
    /// The helper has said its last word, so another download can follow.
    ended: bool,
}

impl<'a> Talk<'a> {
    fn new(request: &'a FetchRequest, first: Url) -> Self {
        let digest = Sha256::new();
        Self { request, first, hops: Vec::new(), refused: None, bytes: 0, digest, ended: false }
    }

    fn run(
        &mut self,
        channel: &mut (impl Read + Write),
        allow: Allow<'_>,
        out: &mut dyn Write,
    ) -> Result<Fetched, FetchError> {
        loop {
            match wire::receive(channel).map_err(|error| gone(&error, self.request))? {
                Some(Frame::Message(Report::Hop(hop))) => {
                    self.check(&hop)?;
                    let verdict = allow(&hop);
                    if let Err(reason) = &verdict {
                        let message = format!("{}: {}", hop.url, subject::escape_controls(reason));
                        self.refused = Some(FetchError::new(FetchErrorKind::Refused, message));
                    }
                    self.hops.push(hop.url);
                    wire::send(channel, &Order::Verdict(verdict))
                        .map_err(|error| gone(&error, self.request))?;
                }
                Some(Frame::Piece(bytes)) => self.take(&bytes, out)?,
                Some(Frame::Message(Report::Done(fetched))) => return self.finish(fetched),
                Some(Frame::Message(Report::Failed(error))) => {
                    self.ended = true;
                    return Err(self.blame(error));
                }
                None => return Err(nonsense("it died")),
            }
        }
    }

    /// Whether the helper may ask this question at all: a hop that hides its addresses would not be judged by them.
    fn check(&self, hop: &Hop) -> Result<(), FetchError> {
        if self.refused.is_some() {
            return Err(nonsense("it went on after a refusal"));
        }
        if self.bytes > 0 || self.hops.len() > MOST_REDIRECTS {
            return Err(nonsense("it asks for one more hop"));
        }
        if fetchable(hop.url.as_str()).as_ref() != Ok(&hop.url)
            || (self.hops.is_empty() && hop.url != self.first)
        {
            return Err(nonsense("it asks for another URL"));
        }
        let proxy = self.request.proxies.for_url(&hop.url)?.map(|proxy| proxy_settings::shown(&proxy));
        let literal = match hop.url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        let wrong = match (&proxy, literal) {
            (Some(_), _) => !hop.addresses.is_empty(),
            (None, Some(address)) => hop.addresses != [address],
            (None, None) => hop.addresses.is_empty(),
        };
        match wrong || hop.via_proxy != proxy {
            true => Err(nonsense("it says something wrong about where it connects to")),
            false => Ok(()),
        }
    }

    fn take(&mut self, bytes: &[u8], out: &mut dyn Write) -> Result<(), FetchError> {
        if self.hops.is_empty() || self.refused.is_some() {
            return Err(nonsense("bytes came that nobody allowed"));
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > self.request.max_bytes {
            let message = format!("{}: more than {} bytes came", self.first, self.request.max_bytes);
            return Err(FetchError::new(FetchErrorKind::TooLarge, message));
        }
        self.digest.update(bytes);
        out.write_all(bytes).map_err(|error| {
            FetchError::new(FetchErrorKind::Local, format!("{}: keep what came: {error}", self.first))
        })
    }

    fn finish(&mut self, fetched: Fetched) -> Result<Fetched, FetchError> {
        let sha256 = hexadecimal(&std::mem::take(&mut self.digest).finalize());
        if self.refused.is_some() || self.hops.last() != Some(&fetched.url) {
            return Err(nonsense("it says that a download is done that was not allowed"));
        }
        if fetched.sha256 != sha256 || fetched.bytes != self.bytes {
            return Err(nonsense("it digested other bytes than it sent"));
        }
        self.ended = true;
        Ok(fetched)
    }

    /// The error to show: a refusal is told in our own words.
    fn blame(&self, error: FetchError) -> FetchError {
        match (&self.refused, error.kind) {
            (Some(refused), _) => refused.clone(),
            (None, FetchErrorKind::Refused) => nonsense("it was refused what nobody refused"),
            (None, kind) => FetchError::new(kind, subject::escape_controls(&error.message)),
        }
    }
}

/// The channel until a moment.
struct Until<'a, C> {
    channel: &'a mut C,
    until: Instant,
}

impl<C: Read> Read for Until<'_, C> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            if Instant::now() >= self.until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.channel.read(bytes) {
                // A read timeout of a socket.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                answer => return answer,
            }
        }
    }
}

impl<C: Write> Write for Until<'_, C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.channel.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.channel.flush()
    }
}

fn gone(error: &io::Error, request: &FetchRequest) -> FetchError {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            let message = format!("{}: too slow; {:?} are the limit", request.url, request.deadline);
            FetchError::new(FetchErrorKind::TooSlow, message)
        }
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => nonsense("it died"),
        _ => nonsense(&subject::escape(&error.to_string())),
    }
}

fn nonsense(what: &str) -> FetchError {
    FetchError::new(FetchErrorKind::Helper, format!("the process that downloads can't be used: {what}"))
}
