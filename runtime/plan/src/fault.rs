//! What the user must fix, said once and well: a kind, a message, a place and a hint.
//! Knows nothing of terminals. Everyone who reads input returns these; the command line prints them and takes the exit code.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, by whose move it is to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The command line.
    Usage,
    /// A configuration file.
    Config,
    /// An element or the set of elements.
    Element,
    /// The disk layout.
    Layout,
    /// The machine: a missing tool, right or kernel feature.
    Host,
    /// A policy refused it.
    Policy,
    /// The build itself failed.
    Build,
    /// A signal ended the build.
    Interrupted,
}

impl FaultKind {
    /// The process exit code: 1 build failed, 2 usage or configuration, 3 refused by policy, 130 interrupted.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::Config | Self::Element | Self::Layout | Self::Host => 2,
            Self::Policy => 3,
            Self::Build => 1,
            Self::Interrupted => 130,
        }
    }
}

/// A position in a file. Lines and columns count from 1; column 0 means the whole line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Path as the user knows it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, or 0.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            0 => write!(f, "{}:{}", self.file, self.line),
            column => write!(f, "{}:{}:{column}", self.file, self.line),
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Whose move it is.
    pub kind: FaultKind,
    /// One sentence that names the file, command or element.
    pub message: String,
    /// Where, when the fault is in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The line to add or the command to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Fault {
    /// A fault without place or hint.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, hint: None }
    }

    /// The same fault, at a line of a file.
    #[must_use]
    pub fn at(mut self, file: impl Into<String>, line: usize, column: usize) -> Self {
        self.place = Some(Place { file: file.into(), line, column });
        self
    }

    /// The same fault with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault, with `did you mean X?` when a known name is near `wrong`.
    #[must_use]
    pub fn suggest<'a>(self, wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(wrong, known) {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {}", hint.replace('\n', "\n        ")),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// All problems found at once; never empty when returned as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Adds one.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Adds all of another list, or keeps the value.
    pub fn take<T>(&mut self, result: Result<T, Self>) -> Option<T> {
        result.map_err(|more| self.0.extend(more.0)).ok()
    }

    /// The value, if nothing was found.
    ///
    /// # Errors
    /// All faults collected so far.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    /// True when nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The exit code of the first fault.
    pub fn exit_code(&self) -> u8 {
        self.0.first().map_or(0, |fault| fault.kind.exit_code())
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "error: {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The known name closest to `wrong`, when it is close enough to be what was meant. A name that goes on where `wrong` stops
/// (`debian` for `debian-minimal`) is one edit away.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| match name.strip_prefix(wrong) {
        Some(rest) if rest.starts_with(['-', '_', '.']) => 1,
        _ => strsim::damerau_levenshtein(wrong, name),
    };
    known
        .into_iter()
        // Of two equally near names the one of the same length: a wrong letter is likelier than a missing one.
        .map(|name| (distance(name), name.len().abs_diff(wrong.len()), name))
        .filter(|(distance, _, name)| *distance <= 1 + wrong.len().max(name.len()) / 4)
        .min()
        .map(|(_, _, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_only_when_near() {
        assert_eq!(nearest("debian-minmal", ["debian", "debian-minimal", "vm"]), Some("debian-minimal"));
        assert_eq!(nearest("xyz", ["debian", "debian-minimal"]), None);
        assert_eq!(nearest("qcow3", ["qcow", "qcow2"]), Some("qcow2"));
        assert_eq!(nearest("debian", ["demo", "debian-minimal"]), Some("debian-minimal"));
    }

    #[test]
    fn a_fault_prints_place_message_and_hint() {
        let fault =
            Fault::new(FaultKind::Config, "unknown key `nme`").at("a.yaml", 3, 5).suggest("nme", ["name"]);
        assert_eq!(fault.to_string(), "a.yaml:3:5: unknown key `nme`\n  hint: did you mean `name`?");
    }
}
