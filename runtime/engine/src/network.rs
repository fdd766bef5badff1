//! Owns how a build reaches the network: downloads by a helper process of its own, and a proxy in front of hooks that have no
//! other network.
//! Must not decide what may be reached: whoever calls lends the decision. Called by the capability `net.fetch` and by the
//! steps that run classic hooks with a list of hosts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use dibw_fetch::proxy::{self, Gate, Limits, Running};
use dibw_fetch::{
    Check, Client, FetchError, FetchErrorKind, FetchRequest, FirstUse, Hop, Obtained, ProxySettings, Store,
    SystemResolver, obtain,
};
use dibw_sys::helper;
use dibw_sys::network::NetworkNamespace;

/// The helpers of this program, for [`dibw_sys::helper::dispatch`] at the start of `main`.
pub const HELPERS: [(&str, helper::Body); 1] = [(DOWNLOADER, dibw_fetch::helper::serve)];

const DOWNLOADER: &str = "fetch";
/// Where the proxy of a sandbox listens, in the sandbox's own network namespace.
const PROXY_PORT: u16 = 3128;
/// What TLS needs to find certificates where they are not in the usual place.
const CERTIFICATE_VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Bounds of one download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most bytes.
    pub bytes: u64,
    /// For all of it.
    pub deadline: Duration,
    /// For one connection.
    pub connect: Duration,
}

/// Downloads files and keeps them by content.
#[derive(Debug)]
pub struct Downloads {
    store: Store,
    book: FirstUse,
    proxies: ProxySettings,
    certificates: Vec<(String, String)>,
}

impl Downloads {
    /// With its store in `directory`; `variable` is the environment of dibw (`http_proxy` and so on, `SSL_CERT_FILE`).
    ///
    /// # Errors
    /// The directory can't be made.
    pub fn open(directory: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self, FetchError> {
        let certificates = CERTIFICATE_VARIABLES
            .iter()
            .filter_map(|name| variable(name).map(|value| ((*name).to_owned(), value)))
            .collect();
        Ok(Self {
            store: Store::open(directory)?,
            book: FirstUse::open(&directory.join("first-use"))?,
            proxies: ProxySettings::from_variables(variable),
            certificates,
        })
    }

    /// Obtains the file at `url`, from the store or by a helper started for it. `allow` judges every hop of a download.
    ///
    /// # Errors
    /// See [`FetchErrorKind`].
    pub fn obtain(
        &self,
        url: &str,
        headers: Vec<(String, String)>,
        check: &Check,
        bounds: Bounds,
        allow: &mut dyn FnMut(&Hop) -> Result<(), String>,
    ) -> Result<Obtained, FetchError> {
        let request = FetchRequest {
            url: url.to_owned(),
            headers,
            max_bytes: bounds.bytes,
            deadline: bounds.deadline,
            connect_timeout: bounds.connect,
            proxies: self.proxies.clone(),
        };
        obtain(&self.store, &self.book, url, check, &mut |out| {
            let unusable = |error: anyhow::Error| FetchError {
                kind: FetchErrorKind::Helper,
                message: format!("start the process that downloads: {error:#}"),
            };
            let helper = helper::start(DOWNLOADER, &self.certificates).map_err(unusable)?;
            Client::new(helper.channel().map_err(unusable)?).fetch(&request, allow, out)
        })
    }

    /// The file at `url` as an earlier build kept it; nothing is sent.
    ///
    /// # Errors
    /// It is not kept, or was not known by its content.
    pub fn kept(&self, url: &str, check: &Check) -> Result<Obtained, FetchError> {
        let message =
            format!("{url}: not kept from an earlier build, and nothing is downloaded with --offline");
        obtain(&self.store, &self.book, url, check, &mut |_| {
            Err(FetchError { kind: FetchErrorKind::Network, message: message.clone() })
        })
    }
}

/// A network of nothing but a proxy. Both are gone with it.
pub struct ProxiedNetwork {
    namespace: NetworkNamespace,
    proxy: Running,
}

impl ProxiedNetwork {
    /// Makes one; `gate` judges every connection.
    ///
    /// # Errors
    /// Not root, or no thread could be started.
    pub fn start(gate: Arc<dyn Gate>, limits: Limits) -> Result<Self> {
        let namespace = NetworkNamespace::create()?;
        let listener = namespace.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY_PORT)))?;
        let proxy =
            proxy::start(listener, Arc::new(SystemResolver), gate, limits).context("start the proxy")?;
        Ok(Self { namespace, proxy })
    }

    /// The namespace that the sandbox must run in.
    pub fn namespace(&self) -> &NetworkNamespace {
        &self.namespace
    }

    /// The proxy.
    pub fn proxy(&self) -> &Running {
        &self.proxy
    }

    /// The variables by which commands find the proxy: curl, wget, git, pip and apt read the lower-case ones, Go and others also these.
    pub fn variables() -> [(String, String); 4] {
        let url = format!("http://{}:{PROXY_PORT}", Ipv4Addr::LOCALHOST);
        ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"].map(|name| (name.to_owned(), url.clone()))
    }
}
