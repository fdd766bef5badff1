//! Every concrete thing that a host function may be asked to do.
//!
//! A new host function needs a new operation here, and then does not compile until [`crate::requirement`] says what it needs.
//! Callers: the host's capability interfaces, the mock host, `dibw policy explain`.

use std::net::IpAddr;

use crate::capability::ServiceAction;
use crate::kernel::BootLoader;
use crate::mount::MountKind;
use crate::url::Checksum;

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
    /// Add a package repository of the site's catalogue.
    AddRepository { id: String },
    /// Download a URL, or follow a redirect to it. `addresses`: where the name leads, as soon as that is known.
    Fetch { url: String, checksum: Checksum, addresses: Vec<IpAddr> },
    /// Read a file that the site offers.
    ReadInput { name: String },
    /// Have a secret written to a file of the target.
    WriteSecret { name: String, path: String },
    /// Have a secret sent to a server in a header of a download.
    SendSecret { name: String, origin: String },
    /// Keep so many bytes from build to build, or read them.
    UseCache { bytes: u64 },
    /// Contribute a node of the disk's layout.
    ContributeLayout { kind: String },
    /// Have something mounted in the target while commands run.
    RequestMount { kind: MountKind, path: String },
    /// Add an argument of the image's kernel; an empty value is a bare key.
    AddKernelArgument { key: String, value: String },
    /// Load a module at boot.
    LoadKernelModule { name: String },
    /// Set a kernel setting at boot.
    SetSysctl { key: String, value: String },
    /// Install a boot loader on the image's disk.
    InstallBootloader { kind: BootLoader },
    /// Write the image in a format; asked by the runtime itself.
    EmitImage { format: String },
    /// Hand a directory of the target with all it holds to a WASI component.
    Preopen { path: String, access: Access },
}

/// What a WASI component may do in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Read and write.
    Write,
}
