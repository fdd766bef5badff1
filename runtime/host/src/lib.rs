//! Typed elements: WebAssembly components loaded, limited, granted and run.
//!
//! Owns: wasmtime, the contract of `sdk/wit`, the limits on guests, and the gate through which each of their requests goes.
//! Must not know: how the machine is changed (everything it can do is lent to it, [`Lent`]) nor how policies are written (`dibw-policy`).
//! Callers: the engine, `dibw plugin`, `dibw-sdk-testing`.
#![forbid(unsafe_code)]

mod bindings;
mod capabilities;
mod component;
mod componentize;
mod engine;
mod failure;
mod gate;
mod lent;
mod limits;
pub mod plugin_build;
mod run;
mod wasi;

pub use component::{Inspection, LARGEST, MANIFEST_SECTION, inspect, read_file, read_manifest};
pub use componentize::{componentize, pack};
pub use failure::{FailureKind, Frame, HookFailure};
pub use lent::{
    Account, Download, Expected, FileStat, Follow, GroupKind, Header, Judge, Lend, Lent, LentError, LogLevel,
    Output, Sudo, Verdict,
};
pub use limits::{Limit, Limits};
pub use run::{HookCall, HookOutcome, Host, LoadedElement, Usage};
pub use wasi::WASI_SAYS;
