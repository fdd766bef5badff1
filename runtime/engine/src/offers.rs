//! What the one who builds offers to typed elements by name: files, secrets, package repositories. Read before anything runs.
//! Secrets are in no plan, no cache key and no message: [`Secret`] has no text form, and [`crate::redaction`] takes them out of output.

use std::collections::BTreeMap;
use std::fmt;

/// Everything that is offered.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    /// Files, by the name that elements ask for.
    pub inputs: BTreeMap<String, Vec<u8>>,
    /// Secrets, by the name that elements ask for.
    pub secrets: BTreeMap<String, Secret>,
    /// The site's catalogue of package repositories, by id.
    pub repositories: BTreeMap<String, Repository>,
}

/// Bytes that nobody is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// A repository of Debian packages, and the key that signs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Where it is.
    pub url: String,
    /// Its suites.
    pub suites: Vec<String>,
    /// Its components; none for a suite that is a path.
    pub components: Vec<String>,
    /// The key, armoured or not.
    pub key: Vec<u8>,
}

impl Secret {
    /// Takes the bytes in.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for the place where they are needed.
    pub(crate) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
