//! Why a hook failed, in words for its author: the panic's message, the limit, the refusal, and the author's own lines.
//!
//! Callers: [`crate::run`] makes one out of what the engine says; the engine prints it.

use std::fmt;

use dibw_plan::{Fault, FaultKind};
use dibw_policy::Denial;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::bindings::dibw::element::types::Error;
use crate::gate::State;
use crate::lent::LentError;
use crate::limits::Limit;

/// One call of the author's code. Prints as `function (file:line)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Demangled.
    pub function: String,
    /// Source file, when the component has line tables.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
}

/// What kind of end it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The code did something impossible (a wild pointer, `unreachable` without a panic message).
    Trap,
    /// The code panicked; the place is the author's.
    Panic {
        /// Source file.
        file: String,
        /// Line, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
    },
    /// A bound was hit.
    Limit(Limit),
    /// The policy refused something and the hook gave up over it: exit code 3.
    Denied(Denial),
    /// The hook returned an error.
    Returned,
    /// The host could not go on (interrupted, audit log, a component that does not fit).
    Host,
}

/// A failed hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFailure {
    /// The element.
    pub element: String,
    /// The phase its hook ran in.
    pub phase: String,
    /// What kind of end it was.
    pub kind: FailureKind,
    /// One sentence; without element and phase.
    pub message: String,
    /// The author's calls, innermost first; those of the SDK and of Rust's library are left out.
    pub frames: Vec<Frame>,
}

/// What the SDK's panic hook reported.
#[derive(Clone, Debug)]
pub(crate) struct PanicNote {
    pub(crate) message: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl HookFailure {
    /// The status of the process: 3 when the policy refused, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        self.to_fault().kind.exit_code()
    }

    /// The same as a fault, with the lines that would allow it as hint.
    pub fn to_fault(&self) -> Fault {
        let mut text = format!("{}: {}: {}", self.element, self.phase, self.message);
        for frame in &self.frames {
            text.push_str(&format!("\n    at {frame}"));
        }
        match &self.kind {
            FailureKind::Denied(denial) if denial.hint.is_empty() => Fault::new(FaultKind::Policy, text),
            FailureKind::Denied(denial) => Fault::new(FaultKind::Policy, text).hint(denial.hint.clone()),
            FailureKind::Trap
            | FailureKind::Panic { .. }
            | FailureKind::Limit(_)
            | FailureKind::Returned
            | FailureKind::Host => Fault::new(FaultKind::Build, text),
        }
    }

    /// From a call that ended in a trap or could not be made.
    pub(crate) fn from_trap(state: &State, error: &wasmtime::Error) -> Self {
        let backtrace = error.downcast_ref::<WasmBacktrace>();
        let frames = backtrace.map(frames_of).unwrap_or_default();
        let (kind, message) = explain(state, error, backtrace);
        HookFailure {
            element: state.effective.element().to_owned(),
            phase: state.phase.clone(),
            kind,
            message,
            frames,
        }
    }

    /// From an error that the hook returned.
    pub(crate) fn from_returned(state: &State, error: &Error) -> Self {
        // The line is known when the error is one that a host function gave to the guest.
        let last = state.last_error.as_ref().filter(|last| last.error == *error);
        let (kind, message) = match error {
            Error::Denied(told) => match state.denials.iter().rev().find(|d| d.subject == told.subject) {
                Some(denial) => (FailureKind::Denied(denial.clone()), denial.to_string()),
                None => {
                    (FailureKind::Returned, format!("{} `{}`: {}", told.capability, told.subject, told.rule))
                }
            },
            Error::NotFound(what) => (FailureKind::Returned, format!("not found: {what}")),
            Error::Invalid(what) | Error::Io(what) | Error::Limit(what) => {
                (FailureKind::Returned, what.clone())
            }
            Error::Exec(failure) => {
                let (argv, code) = (failure.argv.clone(), failure.code);
                let said = LentError::Exec { argv, code, stderr_tail: String::new() }.to_string();
                let tail = failure.stderr_tail.trim_end();
                let text = if tail.is_empty() { said } else { format!("{said}:\n{tail}") };
                (FailureKind::Returned, text)
            }
        };
        // Text that an element made up must not move the cursor.
        let message =
            message.lines().map(dibw_policy::subject::escape_controls).collect::<Vec<_>>().join("\n");
        HookFailure {
            element: state.effective.element().to_owned(),
            phase: state.phase.clone(),
            kind,
            message,
            frames: last.and_then(|last| last.frames.clone()).unwrap_or_default(),
        }
    }
}

impl fmt::Display for HookFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_fault().fmt(f)
    }
}

impl std::error::Error for HookFailure {}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " ({file}:{line})"),
            (Some(file), None) => write!(f, " ({file})"),
            (None, _) => Ok(()),
        }
    }
}

fn explain(
    state: &State,
    error: &wasmtime::Error,
    backtrace: Option<&WasmBacktrace>,
) -> (FailureKind, String) {
    let limit = |limit: Limit| (FailureKind::Limit(limit), limit.to_string());
    if let Some(hit) = error.downcast_ref::<Limit>() {
        return limit(*hit);
    }
    if let Some(LentError::Fatal(what)) = error.downcast_ref::<LentError>() {
        return (FailureKind::Host, what.clone());
    }
    if let Some(note) = &state.panic {
        let PanicNote { message, file, line, column } = note.clone();
        let text = format!("panicked at {file}:{line}:{column}: {message}");
        return (FailureKind::Panic { file, line, column }, text);
    }
    if let Some(hit) = state.limiter.hit {
        return limit(hit);
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return (FailureKind::Host, format!("it ended itself with exit({}); a hook returns", exit.0));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => limit(Limit::Stack),
        // A Rust guest's own stack lies below its data: running off its end is an access out of bounds, with one function over and over.
        Some(Trap::MemoryOutOfBounds) if backtrace.is_some_and(repeats) => limit(Limit::Stack),
        Some(trap) => (FailureKind::Trap, trap.to_string()),
        // wasmtime has no type for this one: see `hostcall_fuel` in its source.
        None if format!("{error:#}").contains("too much data is being copied") => {
            limit(Limit::Copy(state.copy_bytes()))
        }
        // Nor for these: see `bump_resource_counts` in its source.
        None if format!("{error:#}").contains("resource limit exceeded") => limit(Limit::Parts),
        None => (FailureKind::Host, error.root_cause().to_string()),
    }
}

fn repeats(backtrace: &WasmBacktrace) -> bool {
    let frames = backtrace.frames();
    frames
        .iter()
        .any(|frame| frames.iter().filter(|other| other.func_index() == frame.func_index()).count() >= 5)
}

/// The author's frames of a backtrace, innermost first. When line tables are missing, all functions with a name.
pub(crate) fn frames_of(backtrace: &WasmBacktrace) -> Vec<Frame> {
    let mut frames = Vec::new();
    for info in backtrace.frames() {
        if info.symbols().is_empty() {
            frames.extend(info.func_name().map(|name| Frame {
                function: demangle(name),
                file: None,
                line: None,
            }));
        }
        for symbol in info.symbols() {
            let name = symbol.name().or(info.func_name()).unwrap_or("<unknown>");
            let (function, file) = (demangle(name), symbol.file().map(str::to_owned));
            frames.push(Frame { function, file, line: symbol.line() });
        }
    }
    frames.retain(is_authors);
    // Endless recursion is one line, not twenty.
    frames.dedup();
    frames.truncate(8);
    frames
}

fn demangle(name: &str) -> String {
    dibw_policy::subject::escape(&format!("{:#}", rustc_demangle::demangle(name)))
}

/// Whether a frame is neither Rust's library, nor the SDK, nor glue that the macros made.
fn is_authors(frame: &Frame) -> bool {
    const LIBRARIES: [&str; 14] = [
        "core::",
        "std::",
        "alloc::",
        "dibw_sdk::",
        "wit_bindgen::",
        "dlmalloc::",
        "panic_abort::",
        "hashbrown::",
        "serde::",
        "serde_json::",
        "serde_core::",
        "compiler_builtins::",
        "__",
        "rust_",
    ];
    let name = frame.function.trim_start_matches(['<', '&']);
    let library = LIBRARIES.iter().any(|prefix| name.starts_with(prefix)) || name.starts_with("cabi_");
    let glue = name.contains("dibw:element/") || name.contains("::exports::dibw::") || name == "export_run";
    let source = frame.file.as_deref().unwrap_or_default();
    let foreign = [
        "/rustc/",
        "/library/core/",
        "/library/std/",
        "/library/alloc/",
        "/rust-src/",
        "sdk/rust/src/",
        "dibw-sdk/src/",
    ];
    !library && !glue && !foreign.iter().any(|part| source.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_authors_frames_are_kept() {
        for (function, file, kept) in [
            ("hostname::Hostname::install", Some("src/lib.rs"), true),
            ("<hostname::Hostname as dibw_sdk::element::Element>::install", None, true),
            ("core::result::unwrap_failed", None, false),
            ("<alloc::vec::Vec<u8> as core::clone::Clone>::clone", None, false),
            ("hostname::_::exports::dibw::element::lifecycle", None, false),
            ("dibw_sdk::cx::Cx::write", None, false),
            ("anything", Some("/rustc/abc/library/std/src/x.rs"), false),
            ("dibw:element/lifecycle@0.1.0#run", None, false),
            ("__rust_start_panic", None, false),
        ] {
            let frame = Frame { function: function.to_owned(), file: file.map(str::to_owned), line: None };
            assert_eq!(is_authors(&frame), kept, "{function}");
        }
    }
}
