//! Signatures over elements and policies: who vouches for these bytes.
//!
//! Owns keys ([`KeyPair`], [`PublicKey`]), the file beside what is signed ([`SignatureFile`]) and [`verify`], which answers
//! with the signers that hold. Pure: bytes in, bytes out; seeds and files are the caller's.
//! Must not know: which signers a policy wants, where files lie. Callers: the engine before it loads an element or a
//! policy, and the commands `dibw key`, `dibw sign` and `dibw verify`.
//!
//! What is signed (ed25519, RFC 8032) is a line that names the kind and a line with the digest, see [`Statement`]; so the
//! signature of a policy is never that of an element with the same bytes.
#![forbid(unsafe_code)]

mod key;
mod signature_file;
mod statement;
mod verify;

pub use key::{KeyId, KeyPair, PublicKey};
pub use signature_file::{Signature, SignatureFile};
pub use statement::{Kind, Statement};
pub use verify::{Answer, Keyless, SignerId, Verification, Verifier, verify};
