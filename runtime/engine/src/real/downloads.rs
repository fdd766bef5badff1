//! Downloads of a real machine: made by an unprivileged process that is not believed, kept by content.

use std::fs::File;
use std::time::Duration;

use dibw_fetch::{Check, FetchError, FetchErrorKind, Hop};
use dibw_host::{Expected, LentError};
use sha2::{Digest, Sha256};

use super::RealMachine;
use crate::catalogue::hex;
use crate::downloads::{AllowHop, Downloads, Wanted};
use crate::network::{self, Bounds};

/// For one connection, its TLS handshake included.
const CONNECT: Duration = Duration::from_secs(30);

impl Downloads for RealMachine {
    fn download(&mut self, wanted: &Wanted<'_>, allow: &mut AllowHop<'_>) -> Result<File, LentError> {
        // What a secret opened at its first use is not what somebody without the secret is given.
        let directory = match (wanted.header, wanted.expected) {
            (Some(header), Expected::FirstUse) => {
                self.downloads.join("with-secret").join(hex(&Sha256::digest(header.secret)))
            }
            (Some(_) | None, _) => self.downloads.clone(),
        };
        let downloads =
            network::Downloads::open(&directory, |name| std::env::var(name).ok()).map_err(lent)?;
        let check = check(wanted.expected);
        if wanted.offline {
            return downloads.kept(wanted.url, &check).map(|obtained| obtained.file).map_err(lent);
        }
        let headers = wanted.header.iter().map(|header| (header.name.to_owned(), header.value.to_owned()));
        let bounds = Bounds { bytes: wanted.most, deadline: wanted.time, connect: CONNECT };
        let mut allow = |hop: &Hop| allow(hop.url.as_str(), &hop.addresses);
        let obtained = downloads.obtain(wanted.url, headers.collect(), &check, bounds, &mut allow);
        Ok(obtained.map_err(lent)?.file)
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
