//! `dibw version`: which dibw this is and what it speaks.

use super::Outcome;

/// Print the version, the element API versions it speaks and the formats it writes.
#[derive(clap::Args)]
pub struct Args {}

/// Prints to standard output.
pub fn run(_: &Args) -> Outcome {
    println!("dibw {}", env!("CARGO_PKG_VERSION"));
    println!("element api {}", dibw_plan::manifest::API);
    println!("outputs     {}", dibw_plan::OutputType::ALL.map(dibw_plan::OutputType::name).join(" "));
    Ok(())
}
