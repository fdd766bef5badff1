//! Which of the trusted signers vouch for some bytes.
//! Must not know how many a policy wants. Callers: the engine, `dibw verify`.

use std::collections::BTreeSet;
use std::fmt;

use crate::key::{KeyId, PublicKey};
use crate::signature_file::{Signature, SignatureFile};
use crate::statement::Statement;

/// Who signed. Two entries of a trust list, or of a signature file, with the same identity are one signer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignerId {
    /// The owner of this key.
    Key(KeyId),
}

impl fmt::Display for SignerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignerId::Key(id) => write!(f, "key {id}"),
        }
    }
}

/// One entry of a trust list: a way to know a signer.
pub trait Verifier {
    /// Whether `signature` is this signer's and says `statement`.
    fn judge(&self, statement: &Statement, signature: &Signature) -> Answer;
}

/// What a [`Verifier`] says of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The signer made it, over this statement.
    Vouches(SignerId),
    /// It is somebody else's.
    NotMine,
    /// It names this signer and does not hold: why.
    Refuted(String),
    /// This kind of signer can't be checked here: why.
    CannotTell(String),
}

impl Verifier for PublicKey {
    fn judge(&self, statement: &Statement, signature: &Signature) -> Answer {
        let key = self.id();
        if signature.key() != key {
            return Answer::NotMine;
        }
        if signature.kind != statement.kind() {
            let (is, wanted) = (signature.kind, statement.kind());
            return Answer::Refuted(format!("key {key} signed it as {is}, which does not count as {wanted}"));
        }
        if signature.sha256 != statement.sha256() {
            let (is, was) = (statement.sha256(), &signature.sha256);
            return Answer::Refuted(format!("key {key} signed sha256:{was}, but this is sha256:{is}"));
        }
        match self.made(statement, &signature.bytes) {
            true => Answer::Vouches(SignerId::Key(key.clone())),
            false => Answer::Refuted(format!("the signature that names key {key} was not made with it")),
        }
    }
}

/// A signer known by an identity provider (sigstore) and not by a key of theirs.
///
/// Checking it needs sigstore's certificates and transparency log, which this build does not have: it never vouches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyless {
    /// Who says who they are, a URL.
    pub issuer: String,
    /// Who they are: a glob over the certificate's subject.
    pub subject: String,
}

impl Verifier for Keyless {
    fn judge(&self, _: &Statement, _: &Signature) -> Answer {
        let Keyless { issuer, subject } = self;
        Answer::CannotTell(format!(
            "keyless signer {subject} of {issuer}: this needs sigstore, which this build does not have; trust a key instead"
        ))
    }
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// The trusted signers that vouch for the bytes, each once.
    pub signers: BTreeSet<SignerId>,
    /// What is wrong with signatures that claim to be of trusted signers, and with trust entries that can't be checked; each once.
    pub problems: Vec<String>,
    /// Keys named in the signature file that nobody here trusts.
    pub strangers: BTreeSet<KeyId>,
}

impl Verification {
    /// The signers, when there are at least `wanted` (and at least one) of them.
    ///
    /// # Errors
    /// Too few, with all that was found instead.
    pub fn require(self, wanted: usize) -> Result<BTreeSet<SignerId>, String> {
        let wanted = wanted.max(1);
        if self.signers.len() >= wanted {
            return Ok(self.signers);
        }
        let mut said = vec![format!("signed by {} trusted signer(s), {wanted} needed", self.signers.len())];
        said.extend(self.problems);
        said.extend(self.strangers.iter().map(|key| format!("signed by key {key}, which is not trusted")));
        Err(said.join("; "))
    }

    fn note(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// Asks every trusted signer about every signature.
pub fn verify(statement: &Statement, signatures: &SignatureFile, trusted: &[&dyn Verifier]) -> Verification {
    let mut found = Verification::default();
    for signature in signatures.signatures() {
        let mut known = false;
        for verifier in trusted {
            match verifier.judge(statement, signature) {
                Answer::Vouches(signer) => {
                    known = true;
                    found.signers.insert(signer);
                }
                Answer::Refuted(problem) => {
                    known = true;
                    found.note(problem);
                }
                Answer::CannotTell(problem) => found.note(problem),
                Answer::NotMine => {}
            }
        }
        if !known {
            found.strangers.insert(signature.key().clone());
        }
    }
    found
}
