//! How wasmtime is set up: what a guest may be made of, how it is interrupted, where compiled code is kept.
//!
//! Why Cranelift is the only compiler: docs/decisions/0007-cranelift-only.md. Callers: [`crate::run`].

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use wasmtime::{Cache, CacheConfig, Config, Engine, WasmBacktraceDetails};

/// Stack of the guest's calls, in bytes (SANDBOX.md section 5.6).
const STACK: usize = 512 * 1024;

/// An engine; compiled code is kept in `cache` when one is given.
pub(crate) fn engine(cache: Option<&Path>) -> Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK);
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config.parallel_compilation(true);
    // Nothing that Rust does not emit: less compiler to trust. Vector code stays, rustc may make use of it.
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    config.wasm_tail_call(false);
    config.wasm_relaxed_simd(false);
    config.wasm_custom_page_sizes(false);
    config.wasm_wide_arithmetic(false);
    if let Some(directory) = cache {
        private_directory(directory)?;
        let mut kept = CacheConfig::new();
        kept.with_directory(directory);
        let kept = Cache::new(kept).map_err(|e| anyhow!("compile cache {}: {e:#}", directory.display()))?;
        config.cache(Some(kept));
    }
    Engine::new(&config).map_err(|e| anyhow!("wasmtime cannot be set up: {e:#}"))
}

/// What lies in the cache is run as native code, so nobody else may write there.
fn private_directory(directory: &Path) -> Result<()> {
    let shown = directory.display();
    if !directory.is_absolute() {
        bail!("compile cache {shown} is not an absolute path");
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("creating {shown}"))?;
    let found = fs::symlink_metadata(directory).with_context(|| format!("looking at {shown}"))?;
    let own = fs::metadata("/proc/self").context("looking at /proc/self")?.uid();
    if !found.is_dir() || found.uid() != own || found.permissions().mode() & 0o077 != 0 {
        bail!(
            "compile cache {shown} must be a directory of user {own} with mode 0700: what is in it is run as native code"
        );
    }
    Ok(())
}
