//! What a policy file settles beside rights: files and secrets that elements ask for by name, package repositories, the audit log,
//! what `environment.d` may export, when `dibw policy check` fails.
//!
//! Must not know: the file system. Callers: [`crate::policy`], the engine.

use std::collections::BTreeMap;

/// From which exposure on `dibw policy check` fails where no file says.
pub const FAIL_ON: f64 = 7.0;

/// The settings of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// By name.
    pub inputs: BTreeMap<String, Input>,
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
    /// By id.
    pub repositories: BTreeMap<String, Repository>,
    /// A file that audit records are also written to.
    pub audit_log: Option<String>,
    /// Globs of the variables that `environment.d` may export; none: all.
    pub environment_exports: Option<Vec<String>>,
    /// Functions that `environment.d` exports are dropped.
    pub drop_functions: bool,
    /// From which exposure on `dibw policy check` fails.
    pub fail_on: Option<f64>,
}

/// A file of the machine that elements may read by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Where it is.
    pub path: String,
    /// The most of it, in bytes.
    pub max_bytes: u64,
    /// Line in the policy file, from 1.
    pub line: usize,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its place.
    pub source: SecretSource,
    /// Line in the policy file, from 1.
    pub line: usize,
}

/// The place of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    Path(String),
    /// A variable of dibw's own environment.
    Variable(String),
}

/// A package repository of the site's catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The line of a sources list, or none where `url` and `suites` say it.
    pub source: RepositorySource,
    /// The file of the key that signs it.
    pub key: String,
    /// Line in the policy file, from 1.
    pub line: usize,
}

/// How a repository is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositorySource {
    /// A line of the package manager's own format.
    Line(String),
    /// Its parts.
    Parts {
        /// Where it is.
        url: String,
        /// Suites (or releases).
        suites: Vec<String>,
        /// Components.
        components: Vec<String>,
    },
}

impl Settings {
    /// Every name that it defines, with its section and line.
    pub(crate) fn names(&self) -> Vec<(&'static str, &str, usize)> {
        let inputs = self.inputs.iter().map(|(name, input)| ("inputs", name.as_str(), input.line));
        let secrets = self.secrets.iter().map(|(name, secret)| ("secrets", name.as_str(), secret.line));
        let repositories =
            self.repositories.iter().map(|(id, known)| ("repositories", id.as_str(), known.line));
        inputs.chain(secrets).chain(repositories).collect()
    }
}
