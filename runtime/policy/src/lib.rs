//! What an element may do, decided in one place.
//!
//! Owns: the vocabulary of capabilities, the needs of manifests, policy files, and [`decide()`], the one function that
//! answers whether an operation is allowed. Pure: no file, clock or environment is read here.
//! Must not know: wasmtime, the target's files, how an operation is carried out.
//! Callers: the wasm host before every effect, the SDK's mock host, the plan (early refusals) and `dibw policy explain`.
#![forbid(unsafe_code)]

pub mod account;
pub mod address;
pub mod audit;
pub mod capability;
pub mod class;
pub mod confinement;
pub mod decide;
pub mod effective;
pub mod file;
pub mod glob;
pub mod grant;
pub mod need;
pub mod operation;
pub mod path;
pub mod policy;
pub mod requirement;
pub mod subject;
pub mod variable;
pub mod yaml;

pub use address::{AddressClass, Cidr};
pub use audit::Record;
pub use capability::{Capability, ServiceAction};
pub use class::Class;
pub use confinement::{Level, Side, confinement_of};
pub use decide::{Decision, Denial, decide};
pub use effective::Effective;
pub use grant::Grant;
pub use need::Need;
pub use operation::Operation;
pub use policy::{Mode, Policy, PolicyFault};
