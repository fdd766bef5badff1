//! A file by its URL: from the store when its content is known, otherwise downloaded, checked and kept.
//! Must not know how a download is made, or whether it may be. Callers: the engine, for `net.fetch`.

use std::fs::File;
use std::io::Write;

use dibw_policy::subject;

use crate::error::{FetchError, FetchErrorKind};
use crate::request::Fetched;
use crate::store::{FirstUse, Store, check_digest};

/// What is known of the content beforehand: the mode of `net.fetch` (SANDBOX.md 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// It has this sha256.
    Required(String),
    /// It is what it was at the first use.
    FirstUse,
    /// Nothing: it is downloaded each time.
    None,
}

/// A file that was obtained.
#[derive(Debug)]
pub struct Obtained {
    /// Its bytes, from the start.
    pub file: File,
    /// Their digest, taken by this process.
    pub sha256: String,
    /// It came from the store; the network was not used.
    pub cached: bool,
}

/// Makes a download into a writer.
pub type Download<'a> = &'a mut dyn FnMut(&mut dyn Write) -> Result<Fetched, FetchError>;

/// Obtains `url`. Whether its element may have it was decided before: a file in the store is given without asking again.
///
/// # Errors
/// The download's, other content than `check` says, or the store can't be used.
pub fn obtain(
    store: &Store,
    book: &FirstUse,
    url: &str,
    check: &Check,
    download: Download<'_>,
) -> Result<Obtained, FetchError> {
    let known = match check {
        Check::Required(sha256) => {
            check_digest(sha256)?;
            Some(sha256.clone())
        }
        Check::FirstUse => book.remembered(url)?,
        Check::None => None,
    };
    if let Some(sha256) = &known
        && let Some(file) = store.get(sha256)?
    {
        return Ok(Obtained { file, sha256: sha256.clone(), cached: true });
    }
    let mut incoming = store.incoming()?;
    download(&mut incoming)?;
    let (sha256, file) = store.keep(incoming)?;
    let wanted = match check {
        Check::FirstUse => Some(book.remember(url, &sha256)?),
        Check::Required(_) | Check::None => known,
    };
    match wanted {
        Some(wanted) if wanted != sha256 => Err(differs(book, url, check, &wanted, &sha256)),
        Some(_) | None => Ok(Obtained { file, sha256, cached: false }),
    }
}

fn differs(book: &FirstUse, url: &str, check: &Check, wanted: &str, got: &str) -> FetchError {
    let shown = subject::escape(url);
    match check {
        Check::Required(_) | Check::None => FetchError::new(
            FetchErrorKind::Digest,
            format!("{shown}: sha256 is {got}, but {wanted} was asked for"),
        ),
        Check::FirstUse => FetchError::new(
            FetchErrorKind::Changed,
            format!(
                "{shown}: its content changed: sha256 was {wanted} at the first use and is {got} now; if that is meant, rm {}",
                book.entry(url).display()
            ),
        ),
    }
}
