//! What is asked for, what is put to the caller on the way, and what came of it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use dibw_policy::subject;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{FetchError, FetchErrorKind};
use crate::proxy_settings::ProxySettings;

/// Longest URL that is looked at, in bytes.
const LONGEST_URL: usize = 8192;

/// A download.
#[derive(Clone, Serialize, Deserialize)]
pub struct FetchRequest {
    /// Where it begins: http or https, no user or password.
    pub url: String,
    /// More header fields. They are for the origin of `url` only: a redirect to another one does not carry them along.
    pub headers: Vec<(String, String)>,
    /// Most bytes of the file.
    pub max_bytes: u64,
    /// From the first name looked up to the last byte, all redirects included.
    pub deadline: Duration,
    /// For one connection, its TLS handshake included.
    pub connect_timeout: Duration,
    /// The proxies of the machine, if it has any.
    pub proxies: ProxySettings,
}

/// Names the header fields and not their values, which may be secrets.
impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("FetchRequest")
            .field("url", &self.url)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// One connection on the way, before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// What will be asked for.
    pub url: Url,
    /// Where it will be asked for: the connection goes to one of these, the name is not looked up again.
    /// Empty with `via_proxy`: the proxy looks the name up.
    pub addresses: Vec<IpAddr>,
    /// The machine's own proxy (`host:port`) that the connection goes through. The operator named it, so its own address is
    /// not put to the callback; and what the proxy may reach is the site's decision, made in the proxy.
    pub via_proxy: Option<String>,
}

/// A download that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Where it came from in the end.
    pub url: Url,
    /// Digest of the bytes as they were served, 64 hexadecimal digits.
    pub sha256: String,
    /// How many there were.
    pub bytes: u64,
}

/// Reads a URL that may be fetched: http or https, with a host, without user or password. The fragment is dropped.
pub(crate) fn fetchable(text: &str) -> Result<Url, FetchError> {
    let shown = subject::escape(text);
    let refuse = |why: &str| Err(FetchError::new(FetchErrorKind::Invalid, format!("{shown}: {why}")));
    if text.len() > LONGEST_URL {
        return refuse("the URL is too long");
    }
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return refuse(&format!("not a URL: {error}")),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("only http and https are fetched");
    }
    if url.host().is_none() {
        return refuse("a URL without a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: it is a secret.
        let message = format!(
            "a URL of {} has a user or password in it; write it without, secrets have a capability of their own",
            url.host_str().unwrap_or_default()
        );
        return Err(FetchError::new(FetchErrorKind::Invalid, message));
    }
    url.set_fragment(None);
    Ok(url)
}

/// The port, which http and https always have.
pub(crate) fn port_of(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or(match url.scheme() {
        "https" => 443,
        _ => 80,
    })
}
