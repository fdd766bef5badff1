//! Downloads of a real machine: made by an unprivileged process that is not believed, kept by content. Started when the first is asked for.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use dibw_fetch::{
    Check, Client, FetchError, FetchErrorKind, FetchRequest, FirstUse, Hop, ProxySettings, Store, obtain,
};
use dibw_host::{Expected, LentError};
use dibw_sys::helper::{self, Helper};
use sha2::{Digest, Sha256};

use super::RealMachine;
use crate::catalogue::hex;
use crate::downloads::{AllowHop, Downloads, Wanted};

/// The name of the process.
pub(crate) const DOWNLOADER: &str = "fetch";

/// For one connection, its TLS handshake included.
const CONNECT: Duration = Duration::from_secs(30);

/// Variables that say where the certificates of authorities are.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The process, once it runs, and what was downloaded before.
#[derive(Debug)]
pub(super) struct Downloader {
    directory: PathBuf,
    running: Option<(Helper, Client<UnixStream>)>,
}

impl Downloader {
    /// Keeps files in `directory`, which is made when one comes.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), running: None }
    }

    fn client(&mut self) -> Result<&mut Client<UnixStream>> {
        if self.running.is_none() {
            let certificates =
                CERTIFICATES.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
            let helper = helper::start(DOWNLOADER, &certificates.collect::<Vec<_>>())?;
            let client = Client::new(helper.channel()?);
            self.running = Some((helper, client));
        }
        let (_, client) = self.running.as_mut().context("the process that downloads does not run")?;
        Ok(client)
    }

    fn download(&mut self, wanted: &Wanted<'_>, allow: &mut AllowHop<'_>) -> Result<File, LentError> {
        let store = Store::open(&self.directory).map_err(lent)?;
        // What a secret opened at its first use is not what somebody without the secret is given.
        let book = match wanted.header {
            None => self.directory.join("first-use"),
            Some(header) => self.directory.join("first-use-with").join(hex(&Sha256::digest(header.secret))),
        };
        let book = FirstUse::open(&book).map_err(lent)?;
        let request = FetchRequest {
            url: wanted.url.to_owned(),
            headers: wanted
                .header
                .iter()
                .map(|header| (header.name.to_owned(), header.value.to_owned()))
                .collect(),
            max_bytes: wanted.most,
            deadline: wanted.time,
            connect_timeout: CONNECT,
            proxies: ProxySettings::from_variables(|name| std::env::var(name).ok()),
        };
        let mut broken = None;
        let mut through_helper = |out: &mut dyn std::io::Write| {
            if wanted.offline {
                let message = format!(
                    "{}: not kept from an earlier build, and --offline says that nothing is downloaded",
                    wanted.url
                );
                return Err(FetchError { kind: FetchErrorKind::Network, message });
            }
            let mut allow = |hop: &Hop| allow(hop.url.as_str(), &hop.addresses);
            let client = self.client().map_err(|error| FetchError {
                kind: FetchErrorKind::Helper,
                message: format!("the process that downloads can't be started: {error:#}"),
            })?;
            client.fetch(&request, &mut allow, out).inspect_err(|error| broken = Some(error.kind))
        };
        let obtained = obtain(&store, &book, wanted.url, &check(wanted.expected), &mut through_helper);
        if broken == Some(FetchErrorKind::Helper) {
            self.running = None;
        }
        Ok(obtained.map_err(lent)?.file)
    }
}

impl Downloads for RealMachine {
    fn download(&mut self, wanted: &Wanted<'_>, allow: &mut AllowHop<'_>) -> Result<File, LentError> {
        self.downloader.download(wanted, allow)
    }
}

fn check(expected: &Expected) -> Check {
    match expected {
        Expected::Sha256(digest) => Check::Required(digest.clone()),
        Expected::FirstUse => Check::FirstUse,
        Expected::Unknown => Check::None,
    }
}

fn lent(error: FetchError) -> LentError {
    match error.kind {
        FetchErrorKind::Invalid => LentError::Invalid(error.message),
        FetchErrorKind::TooLarge | FetchErrorKind::TooSlow => LentError::Limit(error.message),
        FetchErrorKind::Refused
        | FetchErrorKind::Network
        | FetchErrorKind::Answer
        | FetchErrorKind::Digest
        | FetchErrorKind::Changed
        | FetchErrorKind::Local
        | FetchErrorKind::Helper => LentError::Io(error.message),
    }
}
