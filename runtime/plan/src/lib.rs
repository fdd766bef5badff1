//! The pure middle of dibw: the element model, resolution, phases, variables, packages, the disk layout graph and the Plan.
//! No I/O, no clock, no randomness. Everything that reads input or builds goes through here.
#![forbid(unsafe_code)]

pub mod config;
pub mod digest;
pub mod document;
pub mod element;
pub mod fault;
pub mod layout;
pub mod manifest;
pub mod order;
pub mod output;
pub mod packages;
pub mod phase;
pub mod plan;
pub mod planner;
pub mod reference;
pub mod render;
pub mod request;
pub mod resolve;
pub mod rules;
pub mod size;
pub mod tools;

pub use element::{Catalogue, Element, Typed};
pub use fault::{Fault, FaultKind, Faults, Place};
pub use manifest::Manifest;
pub use output::{DiskWriter, OutputType, Qcow2Compression};
pub use phase::{Phase, Side};
pub use plan::{Action, Confinement, Extra, Plan, Step};
pub use request::{Checksum, NamedText, Request};
