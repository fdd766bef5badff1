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
pub mod check;
pub mod class;
pub mod confinement;
pub mod decide;
pub mod difference;
pub mod effective;
pub mod explanation;
pub mod file;
pub mod fix;
pub mod glob;
pub mod grant;
pub mod hazard;
pub mod identity;
pub mod kernel;
pub mod lock;
pub mod mount;
pub mod need;
pub mod never;
pub mod operation;
pub mod path;
pub mod policy;
pub mod question;
pub mod requirement;
pub mod resources;
pub mod settings;
pub mod size;
pub mod subject;
pub mod suggest;
pub mod trial;
pub mod trust;
pub mod url;
pub mod variable;
pub mod yaml;

pub use address::{AddressClass, Cidr};
pub use audit::{Chain, Circumstance, Record};
pub use capability::{Capability, ServiceAction};
pub use class::Class;
pub use confinement::{Cage, Level, Side, confinement_of};
pub use decide::{Decision, Denial, decide, explain, explain_right};
pub use effective::Effective;
pub use explanation::{Answer, Explanation, Gate, Place, Verdict};
pub use file::PolicyFile;
pub use fix::Fix;
pub use grant::Grant;
pub use identity::{Identity, Pin};
pub use kernel::BootLoader;
pub use mount::MountKind;
pub use need::Need;
pub use operation::{Access, Operation};
pub use policy::{Mode, Policy, PolicyFault};
pub use question::Question;
pub use resources::Resources;
pub use trust::{Admission, admit};
pub use url::Checksum;
