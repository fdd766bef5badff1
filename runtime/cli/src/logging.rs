//! Diagnostics on standard error. `DIBW_LOG=debug` shows every command and mount.

use tracing_subscriber::EnvFilter;

/// Starts tracing; `RUST_LOG` syntax in `DIBW_LOG`.
pub fn start() {
    start_at("warn");
}

/// The same, with another level where `DIBW_LOG` says nothing.
pub fn start_at(level: &str) {
    let filter = EnvFilter::try_from_env("DIBW_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
