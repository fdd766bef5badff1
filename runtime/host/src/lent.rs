//! Everything the engine lends to a hook: the machine, as one trait in plain Rust types.
//!
//! Each method is only called after the policy has allowed it. Paths are normalised (absolute, no `..`); the implementer resolves them below
//! the target's root descriptor and never trusts what it finds there.
//! Must not know: wasmtime, WIT. Implemented by the engine; called by [`crate::capabilities`].

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use dibw_policy::{Access, BootLoader, MountKind, Record, ServiceAction};

/// Why something lent did not work. All but `Fatal` are told to the element, which may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LentError {
    /// There is no such file, unit, account.
    NotFound(String),
    /// The request makes no sense here.
    Invalid(String),
    /// The system said no; the text names the path and the reason.
    Io(String),
    /// A program ended with another status than 0.
    Exec {
        /// What was run.
        argv: Vec<String>,
        /// Its exit code; none when a signal ended it.
        code: Option<i32>,
        /// The last lines of its standard error.
        stderr_tail: String,
    },
    /// A limit of the implementer.
    Limit(String),
    /// The hook must end now: the build was interrupted, the audit log cannot be written.
    Fatal(String),
}

impl fmt::Display for LentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LentError::NotFound(what) => write!(f, "not found: {what}"),
            LentError::Invalid(what)
            | LentError::Io(what)
            | LentError::Limit(what)
            | LentError::Fatal(what) => f.write_str(what),
            LentError::Exec { argv, code: Some(code), .. } => {
                write!(f, "`{}` ended with status {code}", argv.join(" "))
            }
            LentError::Exec { argv, code: None, .. } => {
                write!(f, "`{}` was ended by a signal", argv.join(" "))
            }
        }
    }
}

impl std::error::Error for LentError {}

/// What lent methods return.
pub type Lend<T> = Result<T, LentError>;

/// Whether the last component of a path is followed when it is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The entry itself is meant: writing replaces a link.
    Parents,
    /// What it leads to is meant: reading, listing.
    Whole,
}

/// An entry of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// `file dir symlink char block fifo socket`.
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
}

/// An account to be. Empty strings and lists mean the distribution's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the contract, sdk/wit")]
pub struct Account {
    pub name: String,
    pub system: bool,
    pub uid: Option<u32>,
    pub shell: String,
    pub home: String,
    pub comment: String,
    pub groups: Vec<String>,
    pub password_hash: String,
}

/// Whether an account is asked for its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sudo {
    /// Asked.
    WithPassword,
    /// Not asked.
    Passwordless,
}

/// Whether a group belongs to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// Number from the system's range.
    System,
    /// Number from the people's range.
    Regular,
}

/// What a program wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For the element's author.
    Debug,
    /// Progress.
    Info,
    /// Look at it.
    Warn,
    /// Something did not happen.
    Error,
}

/// What is known of a download's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Their SHA-256: 64 lower-case hexadecimal digits.
    Sha256(String),
    /// Nothing at first; from then on they must stay the same.
    FirstUse,
    /// Nothing.
    Unknown,
}

/// A header of a download whose value is a secret. It goes to the origin of the first URL only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// The name of the secret.
    pub secret: String,
}

/// What is to be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// From where.
    pub url: String,
    /// What is known of it.
    pub expected: Expected,
    /// A secret to send.
    pub header: Option<Header>,
    /// The most bytes it may have.
    pub most: u64,
    /// The longest it may take.
    pub time: Duration,
}

/// The policy's answer about one hop of a download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// To be recorded before anything is sent there.
    pub record: Record,
    /// Why the download must end here.
    pub refused: Option<String>,
}

/// Decides about one hop, by its URL and the addresses that its name leads to.
pub type Judge<'a> = dyn FnMut(&str, &[IpAddr]) -> Verdict + 'a;

/// What the engine lends to one hook. `Any`, so that the engine can take its own type back out of the outcome
/// (`let any: Box<dyn Any> = outcome.lent`).
#[expect(clippy::missing_errors_doc, reason = "each fails as `LentError` says")]
pub trait Lent: Any {
    /// Where `path` really is in the target: absolute, every link on the way resolved within the target; parts that do not exist stay as spelled.
    fn resolve(&mut self, path: &str, follow: Follow) -> Lend<String>;
    /// At most `length` bytes from `offset` of a regular file; links are followed within the target.
    fn read_file(&mut self, path: &str, offset: u64, length: u64) -> Lend<Vec<u8>>;
    /// Creates or replaces atomically, with permission bits `mode`; makes missing parents, 0755. A link at `path` is replaced, not followed.
    fn write_file(&mut self, path: &str, contents: &[u8], mode: u32) -> Lend<()>;
    /// Makes the directory and its missing parents; an existing directory is left as it is.
    fn make_directory(&mut self, path: &str, mode: u32) -> Lend<()>;
    /// Makes or replaces the link `path`.
    fn symlink(&mut self, target: &str, path: &str) -> Lend<()>;
    /// What the link points to.
    fn read_link(&mut self, path: &str) -> Lend<String>;
    /// The entry itself; none when there is none.
    fn stat(&mut self, path: &str) -> Lend<Option<FileStat>>;
    /// Names, sorted bytewise, UTF-8 ones only.
    fn list_directory(&mut self, path: &str) -> Lend<Vec<String>>;
    /// Renames within the target.
    fn rename(&mut self, from: &str, to: &str) -> Lend<()>;
    /// A file, link or empty directory.
    fn remove(&mut self, path: &str) -> Lend<()>;
    /// A directory with all it holds; crosses no mount, follows no link.
    fn remove_tree(&mut self, path: &str) -> Lend<()>;
    /// Permission bits of a file or directory, not of what a link points to.
    fn set_mode(&mut self, path: &str, mode: u32) -> Lend<()>;
    /// Numeric owner and group of the entry itself.
    fn set_owner(&mut self, path: &str, uid: u32, gid: u32) -> Lend<()>;
    /// Joins the phase's package transaction.
    fn install_packages(&mut self, names: &[String]) -> Lend<()>;
    /// Joins the phase's removals.
    fn remove_packages(&mut self, names: &[String]) -> Lend<()>;
    /// Enables, disables or masks a unit of the target.
    fn set_service(&mut self, action: ServiceAction, unit: &str) -> Lend<()>;
    /// Adds the account or changes it to match.
    fn add_user(&mut self, account: &Account) -> Lend<()>;
    /// Adds the group if it is missing.
    fn add_group(&mut self, name: &str, kind: GroupKind) -> Lend<()>;
    /// Replaces the account's `~/.ssh/authorized_keys`.
    fn set_authorized_keys(&mut self, name: &str, keys: &[String]) -> Lend<()>;
    /// Lets the account use sudo.
    fn grant_sudo(&mut self, name: &str, sudo: Sudo) -> Lend<()>;
    /// Runs a program in the target's sandbox; it is killed after `timeout`.
    fn execute(&mut self, argv: &[String], stdin: &[u8], timeout: Duration) -> Lend<Output>;
    /// A variable of the phase.
    fn get_variable(&mut self, name: &str) -> Lend<Option<String>>;
    /// Sets a variable for later hooks.
    fn set_variable(&mut self, name: &str, value: &str) -> Lend<()>;
    /// Downloads. Every hop is judged when its addresses are known and before anything is sent; its record is kept first.
    fn fetch(&mut self, download: &Download, judge: &mut Judge<'_>) -> Lend<Vec<u8>>;
    /// The same into a file of the target, as [`Lent::write_file`] writes it.
    fn fetch_to_file(
        &mut self,
        download: &Download,
        judge: &mut Judge<'_>,
        path: &str,
        mode: u32,
    ) -> Lend<()>;
    /// A file that is offered under this name.
    fn read_input(&mut self, name: &str) -> Lend<Vec<u8>>;
    /// Writes a secret as [`Lent::write_file`] writes; its bytes are not shown to anybody else.
    fn write_secret(&mut self, name: &str, path: &str, mode: u32) -> Lend<()>;
    /// What this element at this digest kept under the key; none when there is nothing sound.
    fn cached(&mut self, key: &str) -> Lend<Option<Vec<u8>>>;
    /// Bytes of all that it keeps, once so many are kept under the key.
    fn cache_size_with(&mut self, key: &str, bytes: u64) -> Lend<u64>;
    /// Keeps bytes under the key for this element at this digest.
    fn cache(&mut self, key: &str, bytes: &[u8]) -> Lend<()>;
    /// Has something mounted there for the programs that follow.
    fn mount(&mut self, kind: MountKind, path: &str) -> Lend<()>;
    /// Adds an argument of the image's kernel; an empty value is a bare key.
    fn add_kernel_argument(&mut self, key: &str, value: &str) -> Lend<()>;
    /// Has a module loaded at boot.
    fn load_kernel_module(&mut self, name: &str) -> Lend<()>;
    /// Has a kernel setting set at boot.
    fn set_sysctl(&mut self, key: &str, value: &str) -> Lend<()>;
    /// Adds a repository of the site's catalogue.
    fn add_repository(&mut self, id: &str) -> Lend<()>;
    /// Installs a boot loader on the image's disk.
    fn install_bootloader(&mut self, kind: BootLoader) -> Lend<()>;
    /// The directory `path` with what is in it, for a component from another language: as a mount of its own, without devices, without other
    /// mounts below it, read-only unless `access` says otherwise.
    fn open_tree(&mut self, path: &str, access: Access) -> Lend<OwnedFd>;
    /// A line of the element; control characters are already escaped.
    fn log(&mut self, level: LogLevel, message: &str);
    /// One decision. An error ends the hook: nothing goes on unrecorded.
    fn audit(&mut self, record: Record) -> Lend<()>;
}
