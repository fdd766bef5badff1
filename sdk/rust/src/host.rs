//! The seam between `Cx` and whoever answers: the runtime's imports in a component, the mock in a native test.
//! One method per function of the contract, same order. Not for elements: it grows with the contract.

use crate::account::Account;
use crate::error::Result;

/// The kind of an entry of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl FileKind {
    /// From the contract's word; none for one that this SDK does not know.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "file" => Self::File,
            "dir" => Self::Directory,
            "symlink" => Self::Symlink,
            "char" => Self::CharDevice,
            "block" => Self::BlockDevice,
            "fifo" => Self::Fifo,
            "socket" => Self::Socket,
            _ => return None,
        })
    }
}

/// An entry of the target; a symbolic link is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner in the target.
    pub uid: u32,
    /// Group in the target.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
}

impl Stat {
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind == FileKind::Symlink
    }
}

/// What a program of the target wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Bytes of its standard output, at most 1 MiB.
    pub stdout: Vec<u8>,
    /// Bytes of its standard error, at most 1 MiB.
    pub stderr: Vec<u8>,
}

impl Output {
    /// The standard output as text, bytes that are not UTF-8 replaced, the last newline dropped.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.stdout);
        text.strip_suffix('\n').unwrap_or(&text).to_owned()
    }
}

/// Only the SDK and its mock implement [`Host`], so that it can grow.
pub mod sealed {
    /// See [`super::Host`].
    pub trait Sealed {}
}

/// What `Cx` asks for.
#[expect(missing_docs, reason = "the contract, sdk/wit/v0.1/element.wit, documents each")]
pub trait Host: sealed::Sealed {
    fn log(&self, level: &str, message: &str);
    fn fact(&self, name: &str) -> Option<String>;
    fn read(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>>;
    fn write(&self, path: &str, contents: &[u8], mode: u32) -> Result;
    fn make_dir(&self, path: &str, mode: u32) -> Result;
    fn symlink(&self, target: &str, path: &str) -> Result;
    fn read_link(&self, path: &str) -> Result<String>;
    fn stat(&self, path: &str) -> Result<Option<Stat>>;
    fn list_dir(&self, path: &str) -> Result<Vec<String>>;
    fn rename(&self, from: &str, to: &str) -> Result;
    fn remove(&self, path: &str) -> Result;
    fn remove_all(&self, path: &str) -> Result;
    fn set_mode(&self, path: &str, mode: u32) -> Result;
    fn set_owner(&self, path: &str, uid: u32, gid: u32) -> Result;
    fn install_packages(&self, names: &[String]) -> Result;
    fn remove_packages(&self, names: &[String]) -> Result;
    fn enable(&self, unit: &str) -> Result;
    fn disable(&self, unit: &str) -> Result;
    fn mask(&self, unit: &str) -> Result;
    fn add_user(&self, account: &Account) -> Result;
    fn add_group(&self, name: &str, system: bool) -> Result;
    fn set_authorized_keys(&self, name: &str, keys: &[String]) -> Result;
    fn grant_sudo(&self, name: &str, passwordless: bool) -> Result;
    fn run(&self, argv: &[String], stdin: &[u8], timeout_seconds: u32) -> Result<Output>;
    fn variable(&self, name: &str) -> Result<Option<String>>;
    fn set_variable(&self, name: &str, value: &str) -> Result;
    fn fetch(&self, url: &str, checksum: &str, header: Option<(&str, &str)>) -> Result<Vec<u8>>;
    fn fetch_to_file(
        &self,
        url: &str,
        checksum: &str,
        header: Option<(&str, &str)>,
        path: &str,
        mode: u32,
    ) -> Result;
    fn input(&self, name: &str) -> Result<Vec<u8>>;
    fn write_secret(&self, name: &str, path: &str, mode: u32) -> Result;
    fn cached(&self, key: &str) -> Result<Option<Vec<u8>>>;
    fn cache(&self, key: &str, bytes: &[u8]) -> Result;
    fn mount(&self, kind: &str, path: &str) -> Result;
    fn add_kernel_argument(&self, key: &str, value: &str) -> Result;
    fn load_kernel_module(&self, name: &str) -> Result;
    fn set_sysctl(&self, key: &str, value: &str) -> Result;
    fn add_repository(&self, id: &str) -> Result;
    fn install_bootloader(&self, kind: &str) -> Result;
}
