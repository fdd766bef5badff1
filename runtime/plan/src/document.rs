//! YAML documents of the user and of elements: where `dibw_policy::yaml` errors become faults. Called by every reader in `plan` and
//! `compat`.

use dibw_policy::yaml::{self, Node, Spot, YamlError};

use crate::fault::{Fault, FaultKind, Faults};
use crate::request::NamedText;

/// Reads a YAML (or JSON) text.
///
/// # Errors
/// The first thing wrong with its syntax.
pub fn load(source: &NamedText, kind: FaultKind) -> Result<Node, Faults> {
    yaml::load(&source.text).map_err(|error| fault(kind, &source.name, error).into())
}

/// A YAML error as a fault of that file.
pub fn fault(kind: FaultKind, file: &str, error: YamlError) -> Fault {
    let fault = Fault::new(kind, error.message).at(file, error.line, error.column);
    error.hint.into_iter().fold(fault, Fault::hint)
}

/// A fault at a place of that file.
pub fn fault_at(kind: FaultKind, file: &str, spot: Spot, message: impl Into<String>) -> Fault {
    fault(kind, file, spot.error(message))
}
