//! How a build ends badly: what kind it was, what the user sees first, and the last lines of what failed.

use std::fmt;

use dibw_plan::{FaultKind, Faults};

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
        let full_disk = error.chain().any(|cause| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.raw_os_error() == Some(ENOSPC))
        });
        let mut chain = error.chain().map(ToString::to_string);
        let message = chain.next().unwrap_or_default();
        let failure = Self { causes: chain.collect(), ..Self::new(message) };
        match full_disk {
            true => failure.hint("free some space, or give another place with --work-dir or -o"),
            false => failure,
        }
    }
}

/// errno of a full disk, the same on every Linux architecture dibw runs on.
const ENOSPC: i32 = 28;

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
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
