//! The network of a test: what each URL gives, and whether that is what the element expects.

use std::collections::BTreeMap;

use dibw_policy::Checksum;
use dibw_sdk::{Error, Result};
use sha2::{Digest, Sha256};

/// Contents by URL.
#[derive(Default)]
pub struct Urls(BTreeMap<String, Vec<u8>>);

/// What an element says of the contents.
pub enum Known {
    Sha256(String),
    FirstUse,
    Nothing,
}

impl Urls {
    pub fn insert(&mut self, url: &str, contents: &[u8]) {
        self.0.insert(url.to_owned(), contents.to_vec());
    }

    /// The contents; a mock has no redirects and no addresses.
    pub fn answer(&self, url: &str, known: &Known) -> Result<Vec<u8>> {
        let contents = self
            .0
            .get(url)
            .ok_or_else(|| Error::NotFound(format!("{url} (a test says what it gives with `with_url`)")))?;
        let found: String = Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect();
        match known {
            Known::Sha256(expected) if *expected != found => {
                Err(Error::Io(format!("{url}: SHA-256 is {found}, not {expected}")))
            }
            Known::Sha256(_) | Known::FirstUse | Known::Nothing => Ok(contents.clone()),
        }
    }
}

impl Known {
    pub fn parse(checksum: &str) -> Result<Self> {
        let is_digest = |text: &str| text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
        match (checksum, checksum.strip_prefix("sha256:")) {
            (_, Some(digits)) if is_digest(digits) => Ok(Self::Sha256(digits.to_ascii_lowercase())),
            ("first-use", _) => Ok(Self::FirstUse),
            ("none", _) => Ok(Self::Nothing),
            _ => Err(Error::Invalid(format!(
                "`{checksum}` is not `sha256:` and 64 hexadecimal digits, `first-use` or `none`"
            ))),
        }
    }

    pub fn kind(&self) -> Checksum {
        match self {
            Self::Sha256(_) => Checksum::Required,
            Self::FirstUse => Checksum::FirstUse,
            Self::Nothing => Checksum::None,
        }
    }
}
