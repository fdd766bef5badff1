//! `Cx`: all that an element can do, in the author's words. Adds convenience and nothing else; every request goes to the [`Host`].

use std::time::Duration;

use crate::account::Account;
use crate::error::{Error, Result};
use crate::host::{Host, Output, Stat};

/// Bytes asked for at once when a whole file is read; the contract allows 16 MiB.
const READ_CHUNK: u64 = 4 << 20;

/// How long [`Cx::run`] lets a program run.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// The way to the target. Paths are absolute in the target and never leave it, whatever links lie on the way.
pub struct Cx {
    pub(crate) host: Answerer,
}

/// In a component the answerer is a type of its own, not a trait object: a table of methods would keep every import, and the imports
/// of a component are the proof of what it cannot do.
#[cfg(target_family = "wasm")]
type Answerer = crate::wasm::Imports;
#[cfg(not(target_family = "wasm"))]
type Answerer = std::rc::Rc<dyn Host>;

/// Files of the target. Needs `read` and `write`.
impl Cx {
    /// Creates or replaces a file, mode 0644, atomically. Missing parent directories are made.
    pub fn write(&self, path: impl AsRef<str>, contents: impl AsRef<[u8]>) -> Result {
        self.host.write(path.as_ref(), contents.as_ref(), 0o644)
    }

    /// As [`Cx::write`], with permission bits.
    pub fn write_mode(&self, path: impl AsRef<str>, contents: impl AsRef<[u8]>, mode: u32) -> Result {
        self.host.write(path.as_ref(), contents.as_ref(), mode)
    }

    /// The file's bytes.
    pub fn read(&self, path: impl AsRef<str>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let chunk = self.host.read(path.as_ref(), bytes.len() as u64, READ_CHUNK)?;
            let last = (chunk.len() as u64) < READ_CHUNK;
            bytes.extend(chunk);
            if last {
                return Ok(bytes);
            }
        }
    }

    /// The file's text; `Invalid` when it is not UTF-8.
    pub fn read_to_string(&self, path: impl AsRef<str>) -> Result<String> {
        let path = path.as_ref();
        String::from_utf8(self.read(path)?).map_err(|_| Error::Invalid(format!("{path} is not UTF-8 text")))
    }

    /// Replaces the file's text by what `change` makes of it, keeping mode and owner. A missing file is `NotFound`.
    pub fn edit(&self, path: impl AsRef<str>, change: impl FnOnce(String) -> String) -> Result {
        let path = path.as_ref();
        let before = self.read_to_string(path)?;
        let after = change(before.clone());
        if after == before { Ok(()) } else { self.replace(path, after.as_bytes()) }
    }

    /// Adds to the end of the file, keeping mode and owner; makes the file when it is missing.
    pub fn append(&self, path: impl AsRef<str>, contents: impl AsRef<[u8]>) -> Result {
        let path = path.as_ref();
        if !self.exists(path)? {
            return self.write(path, contents);
        }
        let mut bytes = self.read(path)?;
        bytes.extend_from_slice(contents.as_ref());
        self.replace(path, &bytes)
    }

    /// A write makes a new file of root's; what the old one was is put back.
    fn replace(&self, path: &str, contents: &[u8]) -> Result {
        let before = self.host.stat(path)?.filter(Stat::is_file);
        self.host.write(path, contents, before.map_or(0o644, |stat| stat.mode & 0o777))?;
        match before {
            Some(stat) if (stat.uid, stat.gid) != (0, 0) => self.host.set_owner(path, stat.uid, stat.gid),
            _ => Ok(()),
        }
    }

    /// Whether there is an entry; a dangling symbolic link is one.
    pub fn exists(&self, path: impl AsRef<str>) -> Result<bool> {
        Ok(self.host.stat(path.as_ref())?.is_some())
    }

    /// Of the entry itself, a link not followed; none when there is no such entry.
    pub fn stat(&self, path: impl AsRef<str>) -> Result<Option<Stat>> {
        self.host.stat(path.as_ref())
    }

    /// Makes the directory and its missing parents, mode 0755.
    pub fn make_dir(&self, path: impl AsRef<str>) -> Result {
        self.host.make_dir(path.as_ref(), 0o755)
    }

    /// As [`Cx::make_dir`], with permission bits for the last one.
    pub fn make_dir_mode(&self, path: impl AsRef<str>, mode: u32) -> Result {
        self.host.make_dir(path.as_ref(), mode)
    }

    /// Makes or replaces a symbolic link at `path` that says `target`.
    pub fn symlink(&self, target: impl AsRef<str>, path: impl AsRef<str>) -> Result {
        self.host.symlink(target.as_ref(), path.as_ref())
    }

    /// What a symbolic link says.
    pub fn read_link(&self, path: impl AsRef<str>) -> Result<String> {
        self.host.read_link(path.as_ref())
    }

    /// Names in a directory, sorted.
    pub fn list(&self, path: impl AsRef<str>) -> Result<Vec<String>> {
        self.host.list_dir(path.as_ref())
    }

    /// Renames within the target.
    pub fn rename(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result {
        self.host.rename(from.as_ref(), to.as_ref())
    }

    /// Removes a file, a link or an empty directory.
    pub fn remove(&self, path: impl AsRef<str>) -> Result {
        self.host.remove(path.as_ref())
    }

    /// Removes a directory with everything in it.
    pub fn remove_all(&self, path: impl AsRef<str>) -> Result {
        self.host.remove_all(path.as_ref())
    }

    /// Sets permission bits, 0 to 0o777.
    pub fn set_mode(&self, path: impl AsRef<str>, mode: u32) -> Result {
        self.host.set_mode(path.as_ref(), mode)
    }

    /// Sets the numeric owner and group.
    pub fn set_owner(&self, path: impl AsRef<str>, uid: u32, gid: u32) -> Result {
        self.host.set_owner(path.as_ref(), uid, gid)
    }
}

/// Packages, services, accounts and programs of the target.
impl Cx {
    /// Installs packages. Requests of all elements in a phase become one transaction, so a package is there *after* the phase's
    /// transaction, not when this returns. Needs `package`.
    pub fn packages<S: Into<String>>(&self, names: impl IntoIterator<Item = S>) -> Result {
        self.host.install_packages(&words(names))
    }

    /// Removes packages, in the phase's one transaction. Needs `remove_package`.
    pub fn remove_packages<S: Into<String>>(&self, names: impl IntoIterator<Item = S>) -> Result {
        self.host.remove_packages(&words(names))
    }

    /// Starts the unit at boot. Needs `enable`.
    pub fn enable(&self, unit: impl AsRef<str>) -> Result {
        self.host.enable(unit.as_ref())
    }

    /// Does not start the unit at boot. Needs `disable`.
    pub fn disable(&self, unit: impl AsRef<str>) -> Result {
        self.host.disable(unit.as_ref())
    }

    /// Makes it impossible to start the unit. Needs `mask`.
    pub fn mask(&self, unit: impl AsRef<str>) -> Result {
        self.host.mask(unit.as_ref())
    }

    /// Creates the account, or changes it to match. Needs `user`.
    pub fn add_user(&self, account: Account) -> Result {
        self.host.add_user(&account)
    }

    /// Creates the group if it is missing. Needs `group`.
    pub fn add_group(&self, name: impl AsRef<str>) -> Result {
        self.host.add_group(name.as_ref(), false)
    }

    /// Creates the system group if it is missing. Needs `group`.
    pub fn add_system_group(&self, name: impl AsRef<str>) -> Result {
        self.host.add_group(name.as_ref(), true)
    }

    /// Replaces the account's `~/.ssh/authorized_keys`. Needs `user` and `privileged authorized_keys`.
    pub fn authorized_keys<S: Into<String>>(
        &self,
        name: impl AsRef<str>,
        keys: impl IntoIterator<Item = S>,
    ) -> Result {
        self.host.set_authorized_keys(name.as_ref(), &words(keys))
    }

    /// Gives the account sudo, asking for its password. Needs `user` and `privileged sudoers`.
    pub fn sudo(&self, name: impl AsRef<str>) -> Result {
        self.host.grant_sudo(name.as_ref(), false)
    }

    /// Gives the account sudo without a password. Needs `user` and `privileged sudoers`.
    pub fn passwordless_sudo(&self, name: impl AsRef<str>) -> Result {
        self.host.grant_sudo(name.as_ref(), true)
    }

    /// Runs a program of the target as its root, without network, for at most five minutes. A status other than 0 is
    /// [`Error::Exec`]. Needs `exec`.
    pub fn run<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Result<Output> {
        self.run_within(DEFAULT_TIMEOUT, argv, "")
    }

    /// As [`Cx::run`], with bytes for its standard input.
    pub fn run_with_stdin<S: Into<String>>(
        &self,
        argv: impl IntoIterator<Item = S>,
        stdin: impl AsRef<[u8]>,
    ) -> Result<Output> {
        self.run_within(DEFAULT_TIMEOUT, argv, stdin)
    }

    /// As [`Cx::run_with_stdin`], with a time limit, rounded up to whole seconds.
    pub fn run_within<S: Into<String>>(
        &self,
        limit: Duration,
        argv: impl IntoIterator<Item = S>,
        stdin: impl AsRef<[u8]>,
    ) -> Result<Output> {
        let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
        self.host.run(&words(argv), stdin.as_ref(), u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

/// Variables, facts and the log.
impl Cx {
    /// Around the one who answers.
    #[doc(hidden)]
    pub fn new(host: Answerer) -> Self {
        Self { host }
    }

    /// A variable that the user set or an `environment.d` file exported. Needs `variable`. For a setting of the element's own,
    /// `#[config(env = "..")]` is simpler and needs nothing.
    pub fn variable(&self, name: impl AsRef<str>) -> Result<Option<String>> {
        self.host.variable(name.as_ref())
    }

    /// Sets a variable for the hooks that follow, in this and later phases. Needs `variable`.
    pub fn set_variable(&self, name: impl AsRef<str>, value: impl AsRef<str>) -> Result {
        self.host.set_variable(name.as_ref(), value.as_ref())
    }

    /// A fact by the contract's name; none when it is not known.
    pub fn fact(&self, name: &str) -> Option<String> {
        self.host.fact(name)
    }

    /// The target's architecture in Debian's words (`amd64`, `arm64`); empty when not known, as are all facts below.
    pub fn arch(&self) -> String {
        self.known("arch")
    }

    /// The distribution: `debian`, `ubuntu`.
    pub fn distro(&self) -> String {
        self.known("distro")
    }

    /// The distribution's release: `bookworm`.
    pub fn release(&self) -> String {
        self.known("release")
    }

    /// The init system: `systemd`.
    pub fn init_system(&self) -> String {
        self.known("init-system")
    }

    /// What the user calls the image.
    pub fn image_name(&self) -> String {
        self.known("image-name")
    }

    /// The element's own name.
    pub fn element(&self) -> String {
        self.known("element")
    }

    /// The label of the root file system.
    pub fn root_label(&self) -> String {
        self.known("root-label")
    }

    /// The type of the root file system: `ext4`.
    pub fn root_fstype(&self) -> String {
        self.known("root-fstype")
    }

    /// The time this build pretends it is, in seconds since 1970; the only clock there is.
    pub fn source_date_epoch(&self) -> u64 {
        self.known("source-date-epoch").parse().unwrap_or(0)
    }

    fn known(&self, name: &str) -> String {
        self.host.fact(name).unwrap_or_default()
    }

    /// A line for `--verbose`.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.host.log("debug", message.as_ref());
    }

    /// A line for the build log.
    pub fn info(&self, message: impl AsRef<str>) {
        self.host.log("info", message.as_ref());
    }

    /// A line that the user should look at; the build goes on.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.host.log("warn", message.as_ref());
    }
}

fn words<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Vec<String> {
    words.into_iter().map(Into::into).collect()
}
