//! The digest of a plan: SHA-256 over its JSON form, which is the same text for the same plan (maps are sorted, fields have one order).
//! Called by the command line and by the engine, which writes it beside every artifact.

use sha2::{Digest, Sha256};

use crate::plan::Plan;

/// The digest, 64 hexadecimal digits.
pub fn digest(plan: &Plan) -> String {
    let json = serde_json::to_vec(plan).expect("a plan has only text keys and finite numbers");
    Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
}
