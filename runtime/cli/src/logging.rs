//! Diagnostics on standard error. `DIBW_LOG=debug` shows every command and mount.

use tracing_subscriber::EnvFilter;

/// Starts tracing; `RUST_LOG` syntax in `DIBW_LOG`.
pub fn start() {
    let filter = EnvFilter::try_from_env("DIBW_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
