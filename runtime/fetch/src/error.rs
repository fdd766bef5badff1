//! Why a download failed: a kind for callers that act on it, and one message for people.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A failed download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchError {
    /// What a caller may act on.
    pub kind: FetchErrorKind,
    /// One line, names the URL or file; safe to print.
    pub message: String,
}

/// The kinds of [`FetchError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchErrorKind {
    /// The callback refused a hop.
    Refused,
    /// Not a URL that can be fetched, or a proxy setting that can't be used.
    Invalid,
    /// No answer: names, connections, TLS, broken HTTP.
    Network,
    /// The server answered with something else than the file, or with too many redirects.
    Answer,
    /// More bytes than allowed.
    TooLarge,
    /// Not done before the deadline.
    TooSlow,
    /// Other bytes than those whose digest was asked for.
    Digest,
    /// Other bytes than at the first use.
    Changed,
    /// The file or directory on this machine.
    Local,
    /// The helper process ended early or said nonsense.
    Helper,
}

impl FetchError {
    pub(crate) fn new(kind: FetchErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn local(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(FetchErrorKind::Local, format!("{what} {}: {error}", path.display()))
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FetchError {}
