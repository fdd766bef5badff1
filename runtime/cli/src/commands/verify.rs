//! `dibw verify`: who vouches for these files?

use std::path::PathBuf;

use dibw_plan::{Fault, FaultKind, Faults};
use dibw_signature::{PublicKey, Verifier, verify};

use super::Outcome;
use super::key;
use super::sign::{SUFFIX, Signed, read_signatures};

/// Check the signatures of elements and policies, in PATH.sig; exit 3 when one does not hold
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  dibw verify --key platform-team.pub --key release.pub --signers 2 element.wasm"
)]
pub struct Args {
    /// A public key that is trusted (repeatable)
    #[arg(long, value_name = "PUB", required = true)]
    key: Vec<PathBuf>,
    /// How many different signers each file needs
    #[arg(long, value_name = "N", default_value_t = 1)]
    signers: usize,
    #[command(flatten)]
    signed: Signed,
}

/// Prints the signers of each file.
pub fn run(args: &Args) -> Outcome {
    let keys: Vec<PublicKey> = args.key.iter().map(|file| key::public(file)).collect::<Result<_, _>>()?;
    let trusted: Vec<&dyn Verifier> = keys.iter().map(|key| -> &dyn Verifier { key }).collect();
    let mut faults = Faults::default();
    for path in &args.signed.paths {
        let statement = args.signed.statement(path)?;
        let place = key::beside(path, SUFFIX);
        let Some(file) = read_signatures(&place)? else {
            let message = format!("{}: not signed, there is no {}", path.display(), place.display());
            let hint = format!("dibw sign --key FILE {}", path.display());
            faults.push(Fault::new(FaultKind::Policy, message).hint(hint));
            continue;
        };
        match verify(&statement, &file, &trusted).require(args.signers) {
            Ok(signers) => {
                for signer in signers {
                    println!("{}: {} signed by {signer}", path.display(), statement.kind());
                }
            }
            Err(why) => faults.push(Fault::new(FaultKind::Policy, format!("{}: {why}", path.display()))),
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.into()),
    }
}
