//! Downloads for elements, and the proxy through which classic hooks reach the network.
//!
//! Owns: [`Fetcher`] (one download, every hop put to the caller first), [`Store`] and [`FirstUse`] (what was downloaded, by
//! content), [`Client`] and [`helper`] (a download made in another process), [`proxy`] (HTTP forward proxy).
//! It has no policy of its own: each connection is put to a callback, with the addresses it would go to, before it is made;
//! and it goes to those addresses and no others. Must not know: capabilities, elements, how processes are started
//! (`dibw-sys` does that). Callers: the engine.
#![forbid(unsafe_code)]

mod client;
mod error;
mod fetcher;
pub mod helper;
mod obtain;
pub mod proxy;
mod proxy_settings;
mod request;
mod resolve;
mod store;
mod transport;
mod wire;

pub use client::Client;
pub use error::{FetchError, FetchErrorKind};
pub use fetcher::Fetcher;
pub use obtain::{Check, Obtained, obtain};
pub use proxy_settings::ProxySettings;
pub use request::{FetchRequest, Fetched, Hop};
pub use resolve::{Resolver, SystemResolver};
pub use store::{FirstUse, Incoming, Store};
