//! Why a hook failed, typed so that an element can act on it. Mirrors `types.error` of the contract; knows nothing of who answers.

use std::fmt;

/// What a hook, or one request of it, ends with.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why a request was not done. An element returns it with `?`; the build then ends with its message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The policy refused.
    Denied {
        /// The capability that was missing, as in `target.write`.
        capability: String,
        /// What it was wanted for: a path, a package, a unit.
        subject: String,
        /// Which gate refused and what would allow it.
        rule: String,
    },
    /// There is no such file, package, unit or account.
    NotFound(String),
    /// What was asked makes no sense: a relative path, a bad name, configuration of the wrong type.
    Invalid(String),
    /// The target could not be read or changed.
    Io(String),
    /// A program of the target failed.
    Exec {
        /// The command line.
        argv: Vec<String>,
        /// Its exit status; none when a signal ended it.
        code: Option<i32>,
        /// The last lines it wrote to its standard error.
        stderr_tail: String,
    },
    /// A limit of the runtime was reached: size, time, number.
    Limit(String),
}

impl Error {
    /// An error of the element's own, shown to the user as it is.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// Says what was being attempted, before the message. `Denied` and `Exec` keep their fields and stay as they are.
    #[must_use]
    pub fn while_doing(self, what: &str) -> Self {
        match self {
            Self::NotFound(message) => Self::NotFound(format!("{what}: {message}")),
            Self::Invalid(message) => Self::Invalid(format!("{what}: {message}")),
            Self::Io(message) => Self::Io(format!("{what}: {message}")),
            Self::Limit(message) => Self::Limit(format!("{what}: {message}")),
            denied @ Self::Denied { .. } => denied,
            exec @ Self::Exec { .. } => exec,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { capability, subject, rule } => {
                write!(out, "{capability} {subject} refused: {rule}")
            }
            Self::NotFound(what) => write!(out, "not found: {what}"),
            Self::Invalid(message) | Self::Io(message) => out.write_str(message),
            Self::Exec { argv, code, stderr_tail } => {
                write!(out, "`{}` ", argv.join(" "))?;
                match code {
                    Some(code) => write!(out, "ended with status {code}")?,
                    None => write!(out, "was ended by a signal")?,
                }
                if stderr_tail.trim().is_empty() {
                    Ok(())
                } else {
                    write!(out, ":\n{}", stderr_tail.trim_end())
                }
            }
            Self::Limit(message) => write!(out, "limit reached: {message}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::Invalid(message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Self::Invalid(message.to_owned())
    }
}

/// What `?` meets when an element parses text: each becomes `Invalid` with its own message.
macro_rules! from_parse_error {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::Invalid(error.to_string())
            }
        })*
    };
}

from_parse_error!(
    fmt::Error,
    std::num::ParseIntError,
    std::num::ParseFloatError,
    std::str::ParseBoolError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    serde_json::Error,
);
