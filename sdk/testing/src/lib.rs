//! Tests of typed elements without building an image: the hooks run natively against an in-memory target.
//!
//! Owns the stand-in for the runtime. What it allows is decided by `dibw-policy`, as in the runtime, so what passes here is not refused there.
//! Must not know the runtime. Called by the `#[cfg(test)]` modules of elements.
//!
//! ```
//! use dibw_sdk::prelude::*;
//! use dibw_sdk_testing::Mock;
//!
//! /// Says hello.
//! #[derive(Config)]
//! struct Hello { name: String }
//!
//! #[hooks]
//! impl Element for Hello {
//!     fn install(&self, cx: &Cx) -> Result {
//!         cx.packages(["figlet"])?;
//!         cx.write("/etc/motd", format!("Hello, {}.\n", self.name))
//!     }
//! }
//!
//! element!(Hello, needs! { package "figlet"; write "/etc/motd" });
//!
//! # fn main() {
//! let mock = Mock::strict(Hello::MANIFEST);
//! mock.run::<Hello>(Phase::Install, r#"{"name": "world"}"#).unwrap();
//! assert_eq!(
//!     mock.snapshot(),
//!     "allow packages.install figlet\nallow target.write /etc/motd\n--- /etc/motd 0644\nHello, world.\n"
//! );
//! mock.assert_all_used();
//! # }
//! ```

#![forbid(unsafe_code)]

mod answers;
mod gate;
mod mock;
#[cfg(test)]
mod tests;
mod tree;
mod urls;

pub use mock::{Mock, Unit};
