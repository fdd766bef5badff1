//! What downloading takes from a machine. [`crate::real::RealMachine`] has an unprivileged process do it; tests pass a double.

use std::fs::File;
use std::net::IpAddr;
use std::time::Duration;

use dibw_host::{Expected, LentError};

/// What is wanted.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// From where.
    pub url: &'a str,
    /// What is known of the contents.
    pub expected: &'a Expected,
    /// A header to send to the origin of `url`, and to no other: its name, its value, and the name of the secret that the value is.
    pub header: Option<SecretHeader<'a>>,
    /// The most bytes.
    pub most: u64,
    /// The longest it may take.
    pub time: Duration,
    /// Only what is kept from earlier builds may be used.
    pub offline: bool,
}

/// A header whose value is a secret.
#[derive(Clone, Copy)]
pub struct SecretHeader<'a> {
    /// The header's name.
    pub name: &'a str,
    /// The secret's name.
    pub secret: &'a str,
    /// The secret.
    pub value: &'a str,
}

impl std::fmt::Debug for SecretHeader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: <secret {}>", self.name, self.secret)
    }
}

/// Decides about one hop, by its URL and the addresses that its name leads to, before anything is sent there.
pub type AllowHop<'a> = dyn FnMut(&str, &[IpAddr]) -> Result<(), String> + 'a;

/// A machine's way to the network.
pub trait Downloads {
    /// The contents as a file that is read from its start: kept from before, where what is wanted is known by its checksum, or downloaded.
    ///
    /// # Errors
    /// What went wrong, told to the element: refused, too large, too slow, other contents than expected.
    fn download(&mut self, wanted: &Wanted<'_>, allow: &mut AllowHop<'_>) -> Result<File, LentError>;
}
