//! How a build ends badly: what kind it was, what the user sees first, and the last lines of what failed.

use std::fmt;
use std::path::Path;

use dibw_plan::{FaultKind, Faults};
use dibw_sys::full::says_full;

use crate::machine::Full;

/// The first error of a build.
#[derive(Debug)]
pub struct Failure {
    /// Gives the exit code.
    pub kind: FaultKind,
    /// One sentence that names the step.
    pub message: String,
    /// Causes, outermost first.
    pub causes: Vec<String>,
    /// The last lines of the failing hook or tool.
    pub tail: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Exit status of the failing hook, when there is one.
    pub status: Option<i32>,
    /// Something said that a disk is full; which one is still to be found out.
    pub full: bool,
    /// What went wrong afterwards, while everything was given back.
    pub clean_up: Vec<String>,
}

impl Failure {
    /// A failure of the build itself.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            kind: FaultKind::Build,
            message: message.into(),
            causes: Vec::new(),
            tail: Vec::new(),
            hint: None,
            status: None,
            full: false,
            clean_up: Vec::new(),
        }
    }

    /// The build was told to stop.
    pub fn interrupted() -> Self {
        Self { kind: FaultKind::Interrupted, ..Self::new("interrupted") }
    }

    /// The same failure, said of a step.
    #[must_use]
    pub fn during(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The same failure, with the name of what is full and the way out.
    #[must_use]
    pub fn because_full(mut self, full: &Full) -> Self {
        let (what, hint) = match full {
            Full::Image => (
                "the image is full".to_owned(),
                "give it more room with --image-size or --image-extra-size, or leave both out to have it computed",
            ),
            Full::WorkDirectory(base) => (
                format!("the file system of the work directory {} is full", base.display()),
                "free some space there, or give another place with --work-dir",
            ),
            Full::Memory => (
                "the memory for work files is full".to_owned(),
                "work on disk with --no-tmpfs, and with --work-dir where there is room",
            ),
        };
        self.message = format!("{}: {what}", self.message);
        self.full = false;
        self.hint(hint)
    }

    /// What `error` says of the output at `path`.
    pub fn of_output(error: anyhow::Error, path: &Path) -> Self {
        let failure = Self::from(error);
        if !failure.full {
            return failure;
        }
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let message = format!("{}: the file system of the output directory is full", failure.message);
        let hint = format!("free some space in {}, or write somewhere else with -o", directory.display());
        Self { message, full: false, ..failure }.hint(hint)
    }

    /// The last event of a build that failed, for `--log-format json`.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "event": "failed",
            "kind": self.kind,
            "message": self.message,
            "causes": self.causes,
            "last-lines": self.tail,
            "hint": self.hint,
            "status": self.status,
            "clean-up": self.clean_up,
            "exit": self.kind.exit_code(),
        })
        .to_string()
    }

    /// The same failure with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let full = says_full(&error);
        let mut chain = error.chain().map(ToString::to_string);
        let message = chain.next().unwrap_or_default();
        let failure = Self { causes: chain.collect(), full, ..Self::new(message) };
        match full {
            true => failure.hint("free some space, or give another place with --work-dir or -o"),
            false => failure,
        }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        let kind = faults.0.first().map_or(FaultKind::Build, |fault| fault.kind);
        let mut lines = faults.0.iter().map(ToString::to_string);
        let message = lines.next().unwrap_or_default();
        Self { kind, causes: lines.collect(), ..Self::new(message) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for cause in &self.causes {
            write!(f, "\n  cause: {cause}")?;
        }
        if !self.tail.is_empty() {
            f.write_str("\n  last lines:")?;
            for line in &self.tail {
                write!(f, "\n    | {line}")?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", hint.replace('\n', "\n        "))?;
        }
        for text in &self.clean_up {
            write!(f, "\n  {text}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
