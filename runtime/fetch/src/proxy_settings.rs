//! Which of the machine's proxies a URL goes through: `http_proxy`, `https_proxy`, `no_proxy`, as curl reads them.
//!
//! Must not read the environment: its caller lends it. With a proxy names are looked up by the proxy, so
//! [`crate::Hop::addresses`] is empty. Every request through a proxy is a tunnel (CONNECT), one for plain http too.

use std::fmt;
use std::net::IpAddr;

use dibw_policy::Cidr;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::error::{FetchError, FetchErrorKind};
use crate::request::port_of;

/// The proxies that the environment of dibw names.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxySettings {
    http: Option<String>,
    https: Option<String>,
    except: Vec<String>,
}

/// A proxy's URL may hold a password.
impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |proxy: &Option<String>| proxy.as_ref().map(|_| "...");
        f.debug_struct("ProxySettings")
            .field("http", &set(&self.http))
            .field("https", &set(&self.https))
            .finish()
    }
}

impl ProxySettings {
    /// From the variables `http_proxy`, `https_proxy` (or `HTTPS_PROXY`) and `no_proxy` (or `NO_PROXY`). `HTTP_PROXY` is not
    /// looked at: under CGI it is a header of the request (CVE-2016-5385).
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| {
            names
                .iter()
                .filter_map(|name| variable(name))
                .map(|text| text.trim().to_owned())
                .find(|t| !t.is_empty())
        };
        let except = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        let except =
            except.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
        Self { http: first(&["http_proxy"]), https: first(&["https_proxy", "HTTPS_PROXY"]), except }
    }

    /// The proxy for `url`, none for a direct connection.
    ///
    /// # Errors
    /// The setting is not an `http://` URL.
    pub(crate) fn for_url(&self, url: &Url) -> Result<Option<Url>, FetchError> {
        let (name, setting) = match url.scheme() {
            "https" => ("https_proxy", &self.https),
            _ => ("http_proxy", &self.http),
        };
        let Some(setting) = setting else { return Ok(None) };
        if self.except.iter().any(|rule| is_exempt(rule, url)) {
            return Ok(None);
        }
        let text = if setting.contains("://") { setting.clone() } else { format!("http://{setting}") };
        match Url::parse(&text) {
            Ok(proxy) if proxy.scheme() == "http" && proxy.host().is_some() => Ok(Some(proxy)),
            Ok(_) | Err(_) => {
                let message =
                    format!("the variable {name} is not the URL of a proxy; write http://HOST:PORT");
                Err(FetchError::new(FetchErrorKind::Invalid, message))
            }
        }
    }
}

/// How a hop names a proxy: without user and password.
pub(crate) fn shown(proxy: &Url) -> String {
    format!("{}:{}", proxy.host_str().unwrap_or_default(), port_of(proxy))
}

/// One word of `no_proxy`: `*`, an address, a range, or a domain with all below it; `:port` limits it.
fn is_exempt(rule: &str, url: &Url) -> bool {
    if rule == "*" {
        return true;
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) | None => None,
    };
    if let Ok(range) = rule.trim_matches(['[', ']']).parse::<Cidr>() {
        return address.is_some_and(|address| range.contains(address));
    }
    let (rule, port) = match rule.rsplit_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().ok()),
        None => (rule, None),
    };
    if port.is_some_and(|port| port != port_of(url)) {
        return false;
    }
    if let Ok(range) = rule.trim_matches(['[', ']']).parse::<Cidr>() {
        return address.is_some_and(|address| range.contains(address));
    }
    let domain = rule.trim_start_matches('.');
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    address.is_none()
        && !domain.is_empty()
        && host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(http: &str, https: &str, none: &str) -> ProxySettings {
        ProxySettings::from_variables(|name| {
            let value = match name {
                "http_proxy" => http,
                "HTTP_PROXY" => "http://evil:1",
                "https_proxy" => "",
                "HTTPS_PROXY" => https,
                "no_proxy" => none,
                _ => "",
            };
            Some(value.to_owned())
        })
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let settings = settings("plain:3128", "http://user:pass@secure", "");
        let of = |url: &str| settings.for_url(&url.parse().unwrap()).unwrap().map(|proxy| shown(&proxy));
        assert_eq!(of("http://example.org/").as_deref(), Some("plain:3128"));
        assert_eq!(of("https://example.org/").as_deref(), Some("secure:80"));
        assert!(!format!("{settings:?}").contains("pass"));
        let none =
            ProxySettings::from_variables(|name| (name == "HTTP_PROXY").then(|| "http://evil:1".into()));
        assert_eq!(none, ProxySettings::default());
    }

    #[test]
    fn some_hosts_are_reached_directly() {
        for (rule, url, direct) in [
            ("*", "http://a.example/", true),
            ("example.org", "http://example.org/", true),
            ("example.org", "http://www.example.org/", true),
            (".example.org", "http://example.org/", true),
            ("EXAMPLE.org", "http://www.example.org./", true),
            ("example.org", "http://badexample.org/", false),
            ("example.org:8080", "http://example.org/", false),
            ("example.org:8080", "http://example.org:8080/", true),
            ("10.0.0.0/8", "http://10.1.2.3/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("127.0.0.1:80", "http://127.0.0.1/", true),
            ("::1", "http://[::1]/", true),
            ("[::1]", "http://[::1]/", true),
            ("0.1", "http://127.0.0.1/", false),
            (".", "http://example.org/", false),
            ("other, example.org", "http://example.org/", true),
            ("", "http://example.org/", false),
        ] {
            let settings = settings("http://proxy:1", "", rule);
            assert_eq!(settings.for_url(&url.parse().unwrap()).unwrap().is_none(), direct, "{rule} {url}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_showing_it() {
        for setting in ["socks5://secret@host", "https://secret@host", "http://", "http://secret:x:y"] {
            let error = settings(setting, "", "").for_url(&"http://a/".parse().unwrap()).unwrap_err();
            assert_eq!(
                error.message,
                "the variable http_proxy is not the URL of a proxy; write http://HOST:PORT"
            );
        }
    }
}
