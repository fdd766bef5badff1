//! Every concrete thing that a host function may be asked to do.
//!
//! A new host function needs a new operation here, and then does not compile until [`crate::requirement`] says what it needs.
//! Callers: the host's capability interfaces, the mock host, `dibw policy explain`.

use crate::capability::ServiceAction;

/// One request of an element. Paths are as the element spelled them, or resolved; both are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named after what they are")]
pub enum Operation {
    /// The contents of a file.
    ReadFile { path: String },
    /// Kind, mode, owner and size of an entry.
    Stat { path: String },
    /// The names in a directory.
    ListDirectory { path: String },
    /// What a symbolic link points to.
    ReadLink { path: String },
    /// Create or replace a file. `mode`: permission bits.
    WriteFile { path: String, mode: u32 },
    /// Make a directory and its missing parents.
    MakeDirectory { path: String, mode: u32 },
    /// Make or replace the symbolic link `path`.
    Symlink { path: String, target: String },
    /// Rename an entry that is not a directory.
    Rename { from: String, to: String },
    /// Rename a directory with all it holds.
    RenameTree { from: String, to: String },
    /// Remove a file, link or empty directory.
    Remove { path: String },
    /// Remove a directory with all it holds.
    RemoveTree { path: String },
    /// Change permission bits.
    SetMode { path: String, mode: u32 },
    /// Change owner and group.
    SetOwner { path: String, uid: u32, gid: u32 },
    /// Ask for a package in this phase's transaction.
    InstallPackage { name: String },
    /// Ask for a package's removal.
    RemovePackage { name: String },
    /// Enable, disable or mask a unit.
    SetService { action: ServiceAction, unit: String },
    /// Add an account or change an existing one.
    AddUser { name: String, uid: Option<u32>, groups: Vec<String> },
    /// Add a group.
    AddGroup { name: String },
    /// Replace the keys that log in to an account.
    SetAuthorizedKeys { name: String },
    /// Let an account become root with sudo.
    GrantSudo { name: String },
    /// Run a program of the target.
    Execute { argv: Vec<String> },
    /// Read a variable of the phase.
    GetVariable { name: String },
    /// Set a variable for later hooks.
    SetVariable { name: String },
}
