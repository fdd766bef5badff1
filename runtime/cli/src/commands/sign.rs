//! `dibw sign`: vouch for elements and policies.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use dibw_plan::{Fault, FaultKind};
use dibw_signature::{Kind, SignatureFile, Statement};

use super::Outcome;
use super::key;

/// Sign elements and policies: a signature goes to PATH.sig, beside those of other signers
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  dibw sign --key platform-team element.wasm\n  dibw sign --key platform-team /etc/dibw/policy.d/prod.yaml"
)]
pub struct Args {
    /// The private key; `dibw key new` makes one
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    signed: Signed,
}

/// What is signed or verified.
#[derive(clap::Args)]
pub struct Signed {
    /// What the files are: element or policy [default: element for .wasm, policy for .yaml]
    #[arg(long = "as", value_name = "KIND")]
    kind: Option<Kind>,
    /// The files
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Signs each file.
pub fn run(args: &Args) -> Outcome {
    let pair = key::private(&args.key)?;
    for path in &args.signed.paths {
        let statement = args.signed.statement(path)?;
        let place = key::beside(path, SUFFIX);
        let mut file = read_signatures(&place)?.unwrap_or_default();
        file.add(pair.sign(&statement));
        replace(&place, &file.text())?;
        println!("{}: signed as {} by key {}", path.display(), statement.kind(), pair.public().id());
    }
    Ok(())
}

/// What the name of a signature file ends with.
pub const SUFFIX: &str = ".sig";

impl Signed {
    /// What a signature of `path` says.
    pub fn statement(&self, path: &Path) -> Result<Statement, Fault> {
        let by_name = || match path.extension()?.to_str()? {
            "wasm" => Some(Kind::Element),
            "yaml" | "yml" => Some(Kind::Policy),
            _ => None,
        };
        let kind = self.kind.or_else(by_name).ok_or_else(|| {
            Fault::new(
                FaultKind::Usage,
                format!("{}: neither .wasm nor .yaml, so what is it?", path.display()),
            )
            .hint("--as element, or --as policy")
        })?;
        let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
        Ok(Statement::about(kind, &bytes))
    }
}

/// The signatures in `place`, if it is there.
pub fn read_signatures(place: &Path) -> Result<Option<SignatureFile>, Fault> {
    match fs::read(place) {
        Ok(text) => SignatureFile::parse(&text)
            .map(Some)
            .map_err(|why| Fault::new(FaultKind::Config, format!("{}: {why}", place.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(place, &error)),
    }
}

/// Writes the file whole or not at all.
fn replace(place: &Path, text: &str) -> anyhow::Result<()> {
    let new = key::beside(place, ".new");
    fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, place).with_context(|| format!("rename {} to {}", new.display(), place.display()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(FaultKind::Config, format!("read {}: {error}", path.display()))
}
