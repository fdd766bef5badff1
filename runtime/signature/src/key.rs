//! Keys: from a seed, to and from PEM, and their names.
//! Must not know files or who is trusted. Callers: [`crate::verify`], the commands for keys.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::spki::der::zeroize::Zeroizing;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{SECRET_KEY_LENGTH, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::signature_file::Signature;
use crate::statement::{Statement, hexadecimal, is_hexadecimal_sha256};

/// Longest PEM text that is looked at, in bytes; one of ours has about 120.
const LONGEST_PEM: usize = 4096;

/// A private key and its public key. Its secret is wiped when it is dropped, and never shown.
pub struct KeyPair {
    secret: SigningKey,
    public: PublicKey,
}

impl KeyPair {
    /// The pair that belongs to `seed`, 32 bytes that nobody can guess. The same seed gives the same pair.
    pub fn generate(seed: &[u8; SECRET_KEY_LENGTH]) -> Self {
        Self::of(SigningKey::from_bytes(seed))
    }

    fn of(secret: SigningKey) -> Self {
        let public = PublicKey::of(secret.verifying_key());
        Self { secret, public }
    }

    /// Reads a private key: PKCS#8 in PEM (RFC 8410), as [`KeyPair::private_pem`] or `openssl genpkey` writes it.
    ///
    /// # Errors
    /// Says what the text is instead, never what it contains.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        if text.contains("-----BEGIN PUBLIC KEY-----") {
            return Err("this is a public key; signing needs the private one".to_owned());
        }
        if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            return Err("this private key is encrypted; decrypt it first: openssl pkey -in FILE".to_owned());
        }
        short_enough(text)
            .and_then(|text| SigningKey::from_pkcs8_pem(text.trim()).ok())
            .map(Self::of)
            .ok_or_else(|| {
                "not an ed25519 private key in PEM (PKCS#8); make one: dibw key new FILE".to_owned()
            })
    }

    /// The private key in PEM (PKCS#8 version 1, which every OpenSSL reads). Whoever writes it to a file gives that mode 0600.
    pub fn private_pem(&self) -> Zeroizing<String> {
        let bytes = KeypairBytes { secret_key: self.secret.to_bytes(), public_key: None };
        bytes.to_pkcs8_pem(LineEnding::LF).expect("32 bytes fit into PEM")
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Vouches for what `statement` says.
    pub fn sign(&self, statement: &Statement) -> Signature {
        let signature = self.secret.sign(&statement.signed_bytes());
        Signature::of(statement, self.public.id(), signature.to_bytes())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public.id())
    }
}

/// A key that signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
}

impl PublicKey {
    fn of(key: VerifyingKey) -> Self {
        let der = key.to_public_key_der().expect("32 bytes fit into DER");
        let id = KeyId(hexadecimal(&Sha256::digest(der.as_bytes())));
        Self { key, id }
    }

    /// Reads a public key: SubjectPublicKeyInfo in PEM (RFC 8410), as [`PublicKey::pem`] or `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// Says what the text is instead. Weak keys, under which one signature fits many texts, are refused.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        if text.contains("PRIVATE KEY-----") {
            return Err("this is a private key; trust its public one: dibw key show FILE".to_owned());
        }
        let key = short_enough(text)
            .and_then(|text| VerifyingKey::from_public_key_pem(text.trim()).ok())
            .ok_or_else(|| "not an ed25519 public key in PEM".to_owned())?;
        if key.is_weak() {
            return Err("a weak ed25519 key: anyone can sign for it".to_owned());
        }
        Ok(Self::of(key))
    }

    /// The key in PEM.
    pub fn pem(&self) -> String {
        self.key.to_public_key_pem(LineEnding::LF).expect("32 bytes fit into PEM")
    }

    /// Its name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Whether this key's owner made `signature` (64 bytes) over `statement`.
    pub(crate) fn made(&self, statement: &Statement, signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.key.verify_strict(&statement.signed_bytes(), &signature).is_ok()
    }
}

/// The name of a key: sha256 over its public half in DER, 64 hexadecimal digits.
///
/// `openssl pkey -pubin -in FILE -outform DER | sha256sum` prints the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match is_hexadecimal_sha256(text) {
            true => Ok(KeyId(text.to_owned())),
            false => Err("the name of a key is 64 hexadecimal digits in lower case".to_owned()),
        }
    }
}

fn short_enough(text: &str) -> Option<&str> {
    (text.len() <= LONGEST_PEM).then_some(text)
}
