//! An account to be, built step by step. What is left out follows the distribution's defaults.

/// An account of the target. Creating one that exists changes it to match.
///
/// ```
/// # use dibw_sdk::Account;
/// let account = Account::new("deploy").shell("/bin/bash").group("adm").password_hash("$y$j9T$...");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "an account is made by `Cx::add_user`"]
#[non_exhaustive]
pub struct Account {
    /// Its name.
    pub name: String,
    /// A system account: low id, no home.
    pub system: bool,
    /// Its numeric id; none takes the next free one.
    pub uid: Option<u32>,
    /// Its login shell; empty means the distribution's default.
    pub shell: String,
    /// Its home directory; empty means `/home/<name>`.
    pub home: String,
    /// Its full name or purpose.
    pub comment: String,
    /// Groups beside its own.
    pub groups: Vec<String>,
    /// A crypt(3) hash; empty means a locked password.
    pub password_hash: String,
}

impl Account {
    /// A regular account with a home and a locked password.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// A system account, for a daemon.
    pub fn system(name: impl Into<String>) -> Self {
        Self { name: name.into(), system: true, ..Self::default() }
    }

    /// Sets the numeric id.
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Sets the login shell.
    pub fn shell(mut self, shell: impl Into<String>) -> Self {
        self.shell = shell.into();
        self
    }

    /// Sets the home directory.
    pub fn home(mut self, home: impl Into<String>) -> Self {
        self.home = home.into();
        self
    }

    /// Sets the full name or purpose.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = comment.into();
        self
    }

    /// Adds a group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.push(group.into());
        self
    }

    /// Adds groups.
    pub fn groups<S: Into<String>>(mut self, groups: impl IntoIterator<Item = S>) -> Self {
        self.groups.extend(groups.into_iter().map(Into::into));
        self
    }

    /// Sets the crypt(3) hash of the password, never the password itself.
    pub fn password_hash(mut self, hash: impl Into<String>) -> Self {
        self.password_hash = hash.into();
        self
    }
}
