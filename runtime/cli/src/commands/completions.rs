//! `dibw completions`: shell completions on standard output.

use super::Outcome;

/// Print a completion script for a shell.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  dibw completions bash > /etc/bash_completion.d/dibw")]
pub struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

/// Prints to standard output.
pub fn run(args: &Args, command: &mut clap::Command) -> Outcome {
    clap_complete::generate(args.shell, command, "dibw", &mut std::io::stdout());
    Ok(())
}
