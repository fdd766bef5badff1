//! `dibw man DIR`: writes the man pages, one per command. Used when packaging.

use std::path::PathBuf;

use anyhow::Context;

use super::Outcome;

/// Write the man pages to a directory.
#[derive(clap::Args)]
pub struct Args {
    /// Where to.
    directory: PathBuf,
}

/// Writes `dibw.1`, `dibw-build.1`, ...
pub fn run(args: &Args, command: clap::Command) -> Outcome {
    std::fs::create_dir_all(&args.directory)
        .and_then(|()| clap_mangen::generate_to(command, &args.directory))
        .with_context(|| format!("writing man pages to {}", args.directory.display()))?;
    Ok(())
}
