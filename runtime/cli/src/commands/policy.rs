//! `dibw policy`: check, explain and test policies without a build. Deciding is `dibw-policy`'s; here it is read and printed.

mod check;
mod diff;
mod explain;
mod init;
mod suggest;
mod test;

use super::Outcome;

/// Look at policies: check them, ask what they decide and why, test, compare and write them.
#[derive(clap::Args)]
#[command(after_help = "The site's policy is in /etc/dibw/policy.d/*.yaml; docs/policy.md has the format.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Check policy files for mistakes, dangerous combinations and how exposed they leave the site
    Check(check::Args),
    /// Ask whether an element may do something, and show what every gate says and what would allow it
    Explain(explain::Args),
    /// Run tests of a policy: what it must allow and refuse
    Test(test::Args),
    /// Propose the narrowest grants that cover what a recorded build asked for
    Suggest(suggest::Args),
    /// Show what a new policy hands out that an old one did not
    Diff(diff::Args),
    /// Print a policy to start from
    Init(init::Args),
}

/// Prints to standard output.
pub fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Test(args) => test::run(args),
        Command::Suggest(args) => suggest::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Init(args) => init::run(args),
    }
}
