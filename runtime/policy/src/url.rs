//! URLs as needs and requests spell them, and the checksum that a download must have.
//!
//! One spelling only: what a URL library makes of it (RFC 3986, lower-case host, no `..`), without credentials and fragment.
//! Anything else is refused, so that the server that is judged is the server that is asked.
//! Must not know: names' addresses, redirects. Callers: [`crate::need`], [`crate::requirement`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::glob::word_matches;
use crate::subject::escape;

/// Longest URL that is looked at, in bytes.
const LONGEST: usize = 2048;

/// What is known of the contents before they are fetched, strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checksum {
    /// Their SHA-256.
    Required,
    /// Nothing at first; from then on they must stay the same.
    FirstUse,
    /// Nothing.
    None,
}

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Url {
    scheme: String,
    host: String,
    port: u16,
    path: String,
    query: Option<String>,
}

/// URLs that begin alike. The host is a name, `*.` and a domain, or `*`; the path is covered with all below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UrlPattern(Url);

impl Checksum {
    /// All, strictest first.
    pub const ALL: [Checksum; 3] = [Checksum::Required, Checksum::FirstUse, Checksum::None];

    /// The word in needs and policies.
    pub const fn name(self) -> &'static str {
        match self {
            Checksum::Required => "required",
            Checksum::FirstUse => "first-use",
            Checksum::None => "none",
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Checksum::ALL
            .into_iter()
            .find(|c| c.name() == word)
            .ok_or_else(|| format!("`{}` is not one of required, first-use, none", escape(word)))
    }
}

impl Url {
    /// Parses a URL of a request.
    ///
    /// # Errors
    /// Says what is wrong with it, or how it is to be spelled.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parts(text)?;
        if is_host(&url.host) { Ok(url) } else { Err(format!("`{}` has no proper host name", escape(text))) }
    }

    fn parts(text: &str) -> Result<Self, String> {
        let shown = escape(text);
        if text.len() > LONGEST {
            return Err(format!("URL of {} bytes is longer than {LONGEST}: {shown}", text.len()));
        }
        if text.chars().any(|c| !c.is_ascii_graphic() || "\\^`{}|<>\"#".contains(c)) {
            return Err(format!("`{shown}` has characters that a URL must escape, or a fragment"));
        }
        let (scheme, rest) = text
            .split_once("://")
            .filter(|(scheme, _)| ["http", "https"].contains(scheme))
            .ok_or_else(|| format!("`{shown}` is not a URL with http:// or https://"))?;
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(format!("`{shown}` has a user name or password in it"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| format!("`{shown}` has no proper port"))?;
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path_and_query, None),
        };
        // RFC 3986 lets it stand there; the URL standard escapes it.
        if query.as_ref().is_some_and(|query| query.contains('\'')) {
            return Err(format!("`{shown}` has `'` in its query; write it as %27"));
        }
        let path = if path.is_empty() { "/" } else { path };
        if path.split('/').any(is_dots) {
            return Err(format!("`{shown}` contains `.` or `..`; write the URL without it"));
        }
        let port = port.unwrap_or(if scheme == "https" { 443 } else { 80 });
        Ok(Url { scheme: scheme.to_owned(), host: host.to_owned(), port, path: path.to_owned(), query })
    }

    /// The address that the host is, when it is not a name.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Scheme, host and port, the port only where it is not the scheme's own.
    pub(crate) fn origin(&self) -> String {
        match (self.scheme.as_str(), self.port) {
            ("https", 443) | ("http", 80) => format!("{}://{}", self.scheme, self.host),
            (scheme, port) => format!("{scheme}://{}:{port}", self.host),
        }
    }
}

/// Scheme, host and port of a URL as requests spell it, the port only where it is not the scheme's own; none of what is no such URL.
pub fn origin(url: &str) -> Option<String> {
    Url::parse(url).ok().map(|url| url.origin())
}

impl UrlPattern {
    /// Parses a URL prefix.
    ///
    /// # Errors
    /// As for a URL; or a `*` that is neither the whole host nor its first label.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parts(text)?;
        let literal = url.host.strip_prefix("*.").unwrap_or(&url.host);
        if url.host != "*" && !is_host(literal) {
            return Err(format!("`{}`: a host is a name, `*.DOMAIN` or `*`", escape(text)));
        }
        if url.path.contains('*') {
            return Err(format!("`{}`: a path covers all below it and takes no `*`", escape(text)));
        }
        Ok(UrlPattern(url))
    }

    /// Whether it names one host.
    pub(crate) fn names_its_host(&self) -> bool {
        !self.0.host.contains('*')
    }

    /// A query is covered only where the need has the same one: it could carry anything out.
    pub(crate) fn covers(&self, url: &Url) -> bool {
        let Url { scheme, host, port, path, query } = &self.0;
        *scheme == url.scheme
            && *port == url.port
            && word_matches(host, &url.host)
            && (*path == url.path || (query.is_none() && is_below(&url.path, path)))
            && *query == url.query
    }

    /// Whether everything that `other` covers is covered.
    pub(crate) fn contains(&self, other: &UrlPattern) -> bool {
        self.covers(&other.0)
    }
}

/// An empty port (`host:`) is not one.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_end = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[host_end..].rfind(':') {
        None => Some((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(host_end + colon);
            let port = &port[1..];
            let digits = !port.starts_with('0') && port.chars().all(|c| c.is_ascii_digit());
            digits.then(|| port.parse().ok())?.map(|port| (host, Some(port)))
        }
    }
}

/// A DNS name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok_and(|address| address.to_string() == inner);
    }
    let label = |l: &str| {
        let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        l.len() <= 63 && l.starts_with(ends) && l.ends_with(ends) && l.chars().all(|c| ends(c) || c == '-')
    };
    // A last label of digits is read as an address by some and as a name by others.
    let number = host.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_digit()));
    let address = host.parse::<Ipv4Addr>().is_ok();
    host.len() <= 253 && host.split('.').all(label) && (!number || address)
}

/// `.` and `..`, however they are escaped.
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".." || plain.contains("%2f") || plain.contains("%5c") || plain.contains("%00")
}

fn is_below(path: &str, directory: &str) -> bool {
    let directory = directory.strip_suffix('/').unwrap_or(directory);
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proper_urls() {
        for (text, origin) in [
            ("https://a.example", "https://a.example"),
            ("https://a.example:443/x", "https://a.example"),
            ("https://a.example:80/x", "https://a.example:80"),
            ("http://a.example:80/x?y=1", "http://a.example"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443"),
            ("https://a_b.c-d.example?q", "https://a_b.c-d.example"),
        ] {
            assert_eq!(Url::parse(text).map(|url| url.origin()).as_deref(), Ok(origin), "{text}");
        }
    }

    #[test]
    fn improper_urls() {
        let long = format!("https://a.example/{}", "a".repeat(2048));
        for text in [
            "ftp://a.example/",
            "file:///etc/passwd",
            "a.example",
            "https://",
            "https:///x",
            "https://a@b.example/",
            "https://A.example/",
            "https://a.example:/",
            "https://a.example:0443/",
            "https://a.example:65536/",
            "https://a.example:+443/",
            "https://a..example/",
            "https://-a.example/",
            "https://a-.example/",
            "https://*.example/x",
            "https://a.example/../x",
            "https://a.example/%2E./x",
            "https://a.example/a%2fb",
            "https://a.example/a%5cb",
            "https://a.example/%00",
            "https://a.example/x#y",
            "https://a.example/x?y='",
            "https://a.example/ x",
            "https://a.example\\@b/",
            "https://0x7f.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://1.2.3.4.5/",
            "https://[::1/",
            "https://[0::1]/",
            "https://[::ffff:1.2.3.4%25eth0]/",
            "https://é.example/",
            "https://a.example/\u{202e}",
            &long,
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_prefix_covers() {
        for (pattern, url, expected) in [
            ("https://a.example", "https://a.example/x/y", true),
            ("https://a.example/", "https://a.example/x/y", true),
            ("https://a.example/pool", "https://a.example/pool/x", true),
            ("https://a.example/pool/", "https://a.example/pool/x", true),
            ("https://a.example/pool", "https://a.example/pool", true),
            ("https://a.example/pool", "https://a.example/poolside", false),
            ("https://a.example/pool/", "https://a.example/pool", false),
            ("https://a.example/pool", "http://a.example/pool", false),
            ("https://a.example/pool", "https://a.example:8443/pool", false),
            ("https://a.example/", "https://a.example/x?q=1", false),
            ("https://a.example/x?q=1", "https://a.example/x?q=1", true),
            ("https://a.example/x?q=1", "https://a.example/x/y?q=1", false),
            ("https://a.example/x?q=1", "https://a.example/x", false),
            ("https://*.example/", "https://a.b.example/x", true),
            ("https://*.example/", "https://example/x", false),
            ("https://*/", "https://anything.test/x", true),
            ("http://*/", "https://anything.test/x", false),
        ] {
            let covers = UrlPattern::parse(pattern).unwrap().covers(&Url::parse(url).unwrap());
            assert_eq!(covers, expected, "{pattern} {url}");
        }
        assert!(
            UrlPattern::parse("https://*/")
                .unwrap()
                .contains(&UrlPattern::parse("https://*.example/x").unwrap())
        );
        assert!(
            !UrlPattern::parse("https://*.example/")
                .unwrap()
                .contains(&UrlPattern::parse("https://*/").unwrap())
        );
        for text in ["https://a*.example/", "https://**.example/", "https://*", "https://a.example/*"] {
            assert_eq!(UrlPattern::parse(text).is_ok(), text == "https://*", "{text}");
        }
    }
}
