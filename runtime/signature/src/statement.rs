//! What a signature says: "these bytes are this kind of thing".
//! Must not know keys. Callers: [`crate::key`], [`crate::verify`].

use std::fmt;
use std::fmt::Write;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// What is signed. A signature counts for its own kind only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A typed element: the component file.
    Element,
    /// A policy file.
    Policy,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 2] = [Kind::Element, Kind::Policy];

    /// The word in signature files, messages and command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Element => "element",
            Kind::Policy => "policy",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == word);
        found.ok_or_else(|| "what is signed is `element` or `policy`".to_owned())
    }
}

/// A kind and the sha256 of the bytes in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    kind: Kind,
    sha256: String,
}

impl Statement {
    /// About `bytes`. Use these very bytes afterwards, do not read the file again.
    pub fn about(kind: Kind, bytes: &[u8]) -> Self {
        Self { kind, sha256: hexadecimal(&Sha256::digest(bytes)) }
    }

    /// About the bytes with this digest, 64 hexadecimal digits: use no others afterwards.
    pub fn of_digest(kind: Kind, sha256: &str) -> Self {
        Self { kind, sha256: sha256.to_owned() }
    }

    /// What the bytes are said to be.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The digest, 64 hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The bytes that ed25519 signs. Two statements never give the same: the first line ends at its only newline, and the
    /// digest has one length.
    pub fn signed_bytes(&self) -> Vec<u8> {
        format!("dibw {} v1\nsha256:{}\n", self.kind, self.sha256).into_bytes()
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all text");
        text
    })
}

pub(crate) fn is_hexadecimal_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
