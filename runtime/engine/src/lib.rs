//! Walks a plan: steps, layers, undo, artifacts, events. Talks to the machine only through [`machine::Machine`].
//! Decides nothing that the plan has decided; knows nothing of arguments or terminals. Called by the command line.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod artifacts;
mod attempts;
pub mod audit;
mod beside;
pub mod block_device;
pub mod boot_files;
pub mod boot_loaders;
mod break_points;
pub mod catalogue;
pub mod check;
mod components;
pub mod disk;
pub mod disks;
pub mod downloads;
pub mod element_cache;
pub mod events;
pub mod failure;
pub mod hooks_tree;
pub mod install_tree;
pub mod kernel_files;
pub mod layers;
pub mod lent;
mod library;
pub mod machine;
pub mod network;
pub mod offers;
pub mod packages;
mod packages_ahead;
mod phases;
pub mod real;
pub mod redaction;
pub mod rehearsal;
pub mod report;
pub mod repositories;
pub mod run;
pub mod scripts;
mod step_kinds;
pub mod tables;
pub mod target;
pub mod tidy_target;
mod traffic;
pub mod trials;
pub mod typed;
pub mod usage;

pub use events::{Cached, Event, Events, Level};
pub use failure::Failure;
pub use run::{Artifacts, Caller, Paths, build};
