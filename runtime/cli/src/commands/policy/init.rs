//! `dibw policy init`: a policy to start from, with comments.

use crate::commands::Outcome;

/// Which one.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  dibw policy init --learning > /etc/dibw/policy.d/site.yaml
  dibw build ... && dibw policy suggest --from image.audit.jsonl")]
pub struct Args {
    #[command(flatten)]
    kind: Kind,
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct Kind {
    /// Nothing but what is listed: signed elements, pinned grants, no shell (the default)
    #[arg(long)]
    locked_down: bool,

    /// Nothing of typed elements is blocked, everything is recorded: to find out what to grant
    #[arg(long)]
    learning: bool,

    /// Shell elements by name, each with its level; exceptions expire
    #[arg(long)]
    migration: bool,
}

const LOCKED_DOWN: &str = include_str!("init/locked_down.yaml");
const LEARNING: &str = include_str!("init/learning.yaml");
const MIGRATION: &str = include_str!("init/migration.yaml");

/// Prints to standard output.
pub fn run(args: &Args) -> Outcome {
    let text = match (args.kind.learning, args.kind.migration) {
        (true, _) => LEARNING,
        (false, true) => MIGRATION,
        (false, false) => LOCKED_DOWN,
    };
    print!("{text}");
    Ok(())
}
