//! The file beside what is signed, `PATH.sig`: the signatures of one or several signers.
//!
//! Version 1 is JSON; `for` and `digest` are there for people and for messages, what counts is what the key says:
//!
//! ```json
//! {"v": 1, "signatures": [
//!   {"alg": "ed25519", "for": "element", "key": "<64 hex digits>", "digest": "sha256:<64 hex digits>", "signature": "<base64>"}
//! ]}
//! ```
//!
//! Must not know which signers are trusted. Callers: [`crate::verify`], `dibw sign`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::key::KeyId;
use crate::statement::{Kind, Statement, is_hexadecimal_sha256};

/// Largest signature file, in bytes.
const LARGEST: usize = 64 * 1024;
/// Most signatures in a file: each costs a check.
const MOST: usize = 32;
const VERSION: u32 = 1;
const ALGORITHM: &str = "ed25519";

/// The signatures of a file, at most one of each key for each statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignatureFile {
    signatures: Vec<Signature>,
}

/// One signer's signature, well-formed but not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub(crate) kind: Kind,
    pub(crate) key: KeyId,
    pub(crate) sha256: String,
    pub(crate) bytes: [u8; 64],
}

impl Signature {
    pub(crate) fn of(statement: &Statement, key: &KeyId, bytes: [u8; 64]) -> Self {
        Self { kind: statement.kind(), key: key.clone(), sha256: statement.sha256().to_owned(), bytes }
    }

    /// The key that it claims to be made with.
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// Whether it claims to be about `statement`.
    pub fn claims(&self, statement: &Statement) -> bool {
        self.kind == statement.kind() && self.sha256 == statement.sha256()
    }
}

impl SignatureFile {
    /// Reads the text of a signature file.
    ///
    /// # Errors
    /// Says what is wrong, and in which entry. Nothing is left out quietly: an entry that can't be read spoils the file.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() > LARGEST {
            return Err(format!("a signature file of {} bytes; {LARGEST} are the limit", text.len()));
        }
        let Version { v } = serde_json::from_slice(text).map_err(malformed)?;
        if v != VERSION {
            return Err(format!("signature file of version {v}; this dibw reads version {VERSION}"));
        }
        let written: Written = serde_json::from_slice(text).map_err(malformed)?;
        if written.signatures.len() > MOST {
            return Err(format!("{} signatures in one file; {MOST} are the limit", written.signatures.len()));
        }
        let read = |(index, entry): (usize, Entry)| {
            entry.read().map_err(|error| format!("signature {}: {error}", index + 1))
        };
        let signatures = written.signatures.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self { signatures })
    }

    /// The file's text; ends with a newline.
    pub fn text(&self) -> String {
        let signatures = self.signatures.iter().map(Entry::of).collect();
        let mut text = serde_json::to_string_pretty(&Written { v: VERSION, signatures })
            .expect("a signature file has only text and a number");
        text.push('\n');
        text
    }

    /// Adds a signature. It takes the place of older ones by the same key for the same kind: the file lies beside one thing.
    pub fn add(&mut self, signature: Signature) {
        self.signatures.retain(|old| old.key != signature.key || old.kind != signature.kind);
        self.signatures.push(signature);
    }

    /// All signatures, in the file's order.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }
}

/// Read first, so that a file of a later version is named as such.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    v: u32,
    signatures: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    alg: String,
    #[serde(rename = "for")]
    kind: String,
    key: String,
    digest: String,
    signature: String,
}

impl Entry {
    fn of(signature: &Signature) -> Self {
        Self {
            alg: ALGORITHM.to_owned(),
            kind: signature.kind.to_string(),
            key: signature.key.to_string(),
            digest: format!("sha256:{}", signature.sha256),
            signature: STANDARD.encode(signature.bytes),
        }
    }

    fn read(self) -> Result<Signature, String> {
        if self.alg != ALGORITHM {
            return Err(format!("algorithm {:?}; this dibw knows {ALGORITHM:?}", shortened(&self.alg)));
        }
        let sha256 = self.digest.strip_prefix("sha256:").filter(|digits| is_hexadecimal_sha256(digits));
        let sha256 = sha256.ok_or("its digest is not `sha256:` and 64 hexadecimal digits in lower case")?;
        let bytes = STANDARD.decode(&self.signature).map_err(|error| format!("not base64: {error}"))?;
        let length = bytes.len();
        let bytes = bytes.try_into().map_err(|_| format!("{length} bytes; an ed25519 signature has 64"))?;
        Ok(Signature { kind: self.kind.parse()?, key: self.key.parse()?, sha256: sha256.to_owned(), bytes })
    }
}

fn malformed(error: serde_json::Error) -> String {
    format!("not a signature file of dibw: {error}")
}

/// Words of a hostile file, for a message.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
