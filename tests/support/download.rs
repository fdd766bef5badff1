//! Owns downloads as tests make them: a request with short limits, and the hops that were put to the callback.

use std::sync::Arc;
use std::time::Duration;

use dibw_fetch::{FetchError, FetchRequest, Fetched, Fetcher, Hop, ProxySettings, Resolver, SystemResolver};
use dibw_policy::AddressClass;

/// A request for `url` with limits that no test of another matter reaches.
pub fn request(url: &str) -> FetchRequest {
    FetchRequest {
        url: url.to_owned(),
        headers: Vec::new(),
        max_bytes: 1 << 20,
        deadline: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(5),
        proxies: ProxySettings::default(),
    }
}

/// A download and what was seen of it.
pub struct Seen {
    /// How it ended.
    pub result: Result<Fetched, FetchError>,
    /// The hops, allowed or not.
    pub hops: Vec<Hop>,
    /// What was written.
    pub bytes: Vec<u8>,
}

impl Seen {
    /// Its error.
    ///
    /// # Panics
    /// When it worked.
    pub fn error(&self) -> &FetchError {
        self.result.as_ref().expect_err("it must fail")
    }
}

/// As the strictest site of a test can: this machine only.
///
/// # Errors
/// Any address that is not a loopback address.
pub fn loopback_only(hop: &Hop) -> Result<(), String> {
    match hop.addresses.iter().find(|address| AddressClass::of(**address) != AddressClass::Loopback) {
        Some(address) => Err(format!("{address} is {}", AddressClass::of(*address))),
        None => Ok(()),
    }
}

/// Downloads `request` in this process, asking `judge` about each hop.
pub fn download(
    request: &FetchRequest,
    resolver: Arc<dyn Resolver>,
    judge: impl Fn(&Hop) -> Result<(), String>,
) -> Seen {
    let (mut hops, mut bytes) = (Vec::new(), Vec::new());
    let mut allow = |hop: &Hop| {
        hops.push(hop.clone());
        judge(hop)
    };
    let result = Fetcher::new(resolver).fetch(request, &mut allow, &mut bytes);
    Seen { result, hops, bytes }
}

/// Downloads `url` from this machine.
pub fn plainly(url: &str) -> Seen {
    download(&request(url), Arc::new(SystemResolver), loopback_only)
}
