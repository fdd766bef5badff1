//! `dibw install-links`: diskimage-builder's command names as links to this program.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, bail};

use super::Outcome;

/// Make links to this program under diskimage-builder's command names
#[derive(clap::Args)]
pub struct Args {
    /// Directory for the links; it should come before diskimage-builder's on PATH
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Makes the links; prints them. A file that is no link to dibw is never replaced.
pub fn run(args: &Args) -> Outcome {
    links(&args.directory)?;
    Ok(())
}

fn links(directory: &std::path::Path) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    for (name, _) in crate::names::ALL {
        let link = directory.join(name);
        let context = || format!("link {}", link.display());
        match std::fs::read_link(&link) {
            Ok(to) if to == program => {}
            Ok(to) if to.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"dibw")) => {
                std::fs::remove_file(&link).with_context(context)?;
                symlink(&program, &link).with_context(context)?;
            }
            _ if link.symlink_metadata().is_ok() => {
                bail!("{} exists and is not a link to dibw; remove it first", link.display())
            }
            _ => symlink(&program, &link).with_context(context)?,
        }
        println!("{}", link.display());
    }
    Ok(())
}
