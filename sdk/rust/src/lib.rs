//! What the author of a typed element writes against: the `Element` trait, typed configuration, `Cx`, the macros.
//!
//! Owns the author's view of the contract in `sdk/wit`. Must not know the runtime, nor how a capability is granted or refused.
//! Called by elements; `dibw-sdk-testing` stands in for the runtime in native tests.
//!
//! ```
//! use dibw_sdk::prelude::*;
//!
//! /// Says hello at login.
//! #[derive(Config)]
//! struct Hello {
//!     /// Whom to greet.
//!     #[config(default = "world", env = "DIB_HELLO_NAME")]
//!     name: String,
//! }
//!
//! #[hooks]
//! impl Element for Hello {
//!     fn install(&self, cx: &Cx) -> Result {
//!         cx.write("/etc/motd", format!("Hello, {}.\n", self.name))
//!     }
//! }
//!
//! element!(Hello, needs! { write "/etc/motd" });
//! # fn main() { assert!(Hello::MANIFEST.contains(r#""hooks":[{"phase":"install","order":50}]"#)); }
//! ```
//!
//! # What an element cannot do
//!
//! An element is a component without WASI. It has no clock, no randomness, no environment, no arguments, no threads and no sockets, so the same
//! element, configuration and target always give the same result. The standard library compiles, but:
//!
//! | instead of | which | use |
//! |---|---|---|
//! | `std::fs`, `std::path::Path::exists` | fail with `Unsupported` | [`Cx::read`], [`Cx::write`], [`Cx::exists`] |
//! | `std::env::var` | always unset | [`Cx::variable`], or `#[config(env = "DIB_X")]` |
//! | `std::process::Command` | fails with `Unsupported` | [`Cx::run`] |
//! | `std::net` | fails with `Unsupported` | [`Cx::fetch`], packages of the distribution ([`Cx::packages`]) |
//! | `std::time::{Instant, SystemTime}::now` | panic | [`Cx::source_date_epoch`] |
//! | `println!` | writes nowhere | [`Cx::info`], [`Cx::warn`] |
//!
//! A panic ends the build with your message and line.

#![cfg_attr(not(target_family = "wasm"), forbid(unsafe_code))]

extern crate self as dibw_sdk;

mod account;
mod boot;
mod brought;
pub mod config;
mod cx;
mod element;
mod error;
#[doc(hidden)]
pub mod host;
pub mod manifest;
#[cfg(test)]
mod tests;
#[doc(hidden)]
pub mod text;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod wasm;

pub use account::Account;
pub use boot::BootLoader;
pub use brought::Fetch;
pub use config::{Config, ConfigValue, Scalar};
pub use cx::Cx;
pub use dibw_sdk_macros::{Config, ConfigValue, hooks, needs};
pub use element::{Described, Element, Hook, Hooks, Phase, dispatch, dispatch_named};
pub use error::{Error, Result};
pub use host::{FileKind, Output, Stat};
pub use manifest::Need;

/// The SDK's own version, recorded in every manifest.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of the contract (`sdk/wit/v0.1`) that this SDK speaks.
pub const API: &str = "0.1";

/// Everything an element needs: `use dibw_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Account, BootLoader, Config, ConfigValue, Cx, Described, Element, Error, FileKind, Hook, Hooks,
        Output, Phase, Result, Scalar, Stat, element, hooks, needs,
    };
}

/// Used by the macros' output; not part of the interface.
#[doc(hidden)]
pub mod private {
    pub use crate::config::{Kind, Place, absent_or_required, invalid, object, word};
    pub use crate::text::Text;
    pub use serde_json::Value;
}
