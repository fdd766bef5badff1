//! `dibw key`: keys for signatures; and how the other commands for signatures read them.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dibw_plan::{Fault, FaultKind};
use dibw_signature::{KeyPair, PublicKey};

use super::Outcome;

/// Make and show keys that elements and policies are signed with.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a new key: FILE (private, for you alone) and FILE.pub (public, for policies)
    #[command(
        after_help = "Example:\n  dibw key new platform-team && dibw sign --key platform-team element.wasm"
    )]
    New {
        /// Where the private key goes; no such file may exist
        file: PathBuf,
    },
    /// Print the name of a key and its public half
    #[command(after_help = "Example:\n  dibw key show platform-team.pub")]
    Show {
        /// A private or a public key
        file: PathBuf,
    },
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::New { file } => new(file)?,
        Command::Show { file } => {
            let key = public_half(file)?;
            print!("key {}\n{}", key.id(), key.pem());
        }
    }
    Ok(())
}

fn new(file: &Path) -> anyhow::Result<()> {
    let public = beside(file, ".pub");
    if let Some(known) = [file, &public].into_iter().find(|path| path.exists()) {
        bail!("{} exists already, and a key is never overwritten", known.display());
    }
    let mut seed = [0; 32];
    let mut random = fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    random.read_exact(&mut seed).context("read /dev/urandom")?;
    let pair = KeyPair::generate(&seed);
    write_new(file, 0o600, &pair.private_pem())?;
    write_new(&public, 0o644, &pair.public().pem())?;
    println!("key {}\nprivate  {}\npublic   {}", pair.public().id(), file.display(), public.display());
    Ok(())
}

fn write_new(file: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let mut opened = opened.with_context(|| format!("make {}", file.display()))?;
    opened.write_all(text.as_bytes()).with_context(|| format!("write {}", file.display()))
}

/// `file` with a suffix.
pub fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The private key in `file`, which nobody else may read.
pub fn private(file: &Path) -> Result<KeyPair, Fault> {
    let text = read(file)?;
    // The mode matters of private keys only, so that a public one is told as such.
    if text.contains("PRIVATE KEY") {
        let mode = fs::metadata(file).map_err(|error| unreadable(file, &error))?.mode();
        if mode & 0o077 != 0 {
            let message =
                format!("{}: others may read this private key (mode {:o})", file.display(), mode & 0o777);
            return Err(Fault::new(FaultKind::Config, message).hint(format!("chmod 600 {}", file.display())));
        }
    }
    KeyPair::from_pem(&text).map_err(|why| wrong(file, &why))
}

/// The public key in `file`.
pub fn public(file: &Path) -> Result<PublicKey, Fault> {
    PublicKey::from_pem(&read(file)?).map_err(|why| wrong(file, &why))
}

fn public_half(file: &Path) -> Result<PublicKey, Fault> {
    match read(file)?.contains("PRIVATE KEY") {
        true => private(file).map(|pair| pair.public().clone()),
        false => public(file),
    }
}

fn read(file: &Path) -> Result<String, Fault> {
    fs::read_to_string(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Fault {
    Fault::new(FaultKind::Config, format!("read {}: {error}", file.display()))
}

fn wrong(file: &Path, why: &str) -> Fault {
    Fault::new(FaultKind::Config, format!("{}: {why}", file.display()))
}
