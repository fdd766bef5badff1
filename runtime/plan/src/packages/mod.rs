//! Packages as data: who asks for what (`installs`), what it is called where (`map`), what one transaction comes to (`transaction`),
//! and how a package manager is told (`manager`). Service names (`services`) are mapped by the same distribution facts.

mod distribution;
mod installs;
pub mod manager;
mod map;
mod services;
mod transaction;

pub use installs::{parse_installs, parse_list};
pub use map::PackageMap;
pub use services::{ServiceMap, merge_services, services_text};
pub use transaction::{
    Comparison, Condition, Intent, PackageRequest, Transaction, is_removal, resolve_transaction,
};
