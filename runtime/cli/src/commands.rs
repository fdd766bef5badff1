//! The subcommands, one file each, and the way from their results to exit codes.

mod audit;
mod boot;
pub mod build;
mod cache;
mod completions;
mod doctor;
mod element;
mod install_links;
pub mod key;
mod lock;
mod man;
mod plan;
mod plugin;
mod policy;
mod shell;
pub mod sign;
mod verify;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use dibw_engine::Failure;
use dibw_plan::{Fault, FaultKind, Faults};

/// Builds disk images from elements: shell hooks and sandboxed WebAssembly components, mixed freely.
#[derive(Parser)]
#[command(name = "dibw", version, max_term_width = 110, after_help = EXAMPLES)]
struct Dibw {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  dibw build -o my-image debian-minimal vm block-device-gpt    build my-image.qcow2
  dibw build --set hostname.name=web1 debian-minimal vm hostname
  dibw plan debian-minimal vm                                  what would be done, and with which rights
  dibw boot my-image.qcow2 --expect login:                     boot it in QEMU
  dibw element list                                            what can be built from
  dibw policy explain motd target.write /etc/motd              may it, and which rule says so

Exit codes: 0 ok, 1 build failed, 2 usage or configuration, 3 refused by policy, 130 interrupted.";

#[derive(Subcommand)]
enum Command {
    Build(build::Args),
    Plan(plan::Args),
    Shell(shell::Args),
    Cache(cache::Args),
    Element(element::Args),
    Plugin(plugin::Args),
    Policy(policy::Args),
    Audit(audit::Args),
    Lock(lock::Args),
    Boot(boot::Args),
    Key(key::Args),
    Sign(sign::Args),
    Verify(verify::Args),
    Doctor(doctor::Args),
    InstallLinks(install_links::Args),
    Version(version::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Man(man::Args),
}

/// How a command ends other than well.
pub enum End {
    /// The user must mend something.
    Faults(Faults),
    /// A build failed.
    Failure(Box<Failure>),
    /// This status, with everything said already.
    Status(u8),
}

impl From<Faults> for End {
    fn from(faults: Faults) -> Self {
        Self::Faults(faults)
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Faults(fault.into())
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<anyhow::Error> for End {
    fn from(error: anyhow::Error) -> Self {
        Failure::from(error).into()
    }
}

/// What a subcommand returns.
pub type Outcome = Result<(), End>;

/// Parses the command line, runs the subcommand and gives the exit code.
pub fn run() -> ExitCode {
    let dibw = Dibw::parse();
    crate::logging::start();
    if matches!(
        dibw.command,
        Command::Plan(_)
            | Command::Element(_)
            | Command::Policy(_)
            | Command::Audit(_)
            | Command::Cache(_)
            | Command::Version(_)
            | Command::Completions(_)
    ) && let Err(error) = dibw_sys::signals::end_with_the_reader()
    {
        tracing::debug!("{error:#}");
    }
    let outcome = match dibw.command {
        Command::Build(args) => build::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Shell(args) => shell::run(&args),
        Command::Cache(args) => cache::run(&args),
        Command::Element(args) => element::run(&args),
        Command::Plugin(args) => plugin::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Lock(args) => lock::run(&args),
        Command::Boot(args) => boot::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::InstallLinks(args) => install_links::run(&args),
        Command::Version(args) => version::run(&args),
        Command::Completions(args) => completions::run(&args, &mut Dibw::command()),
        Command::Man(args) => man::run(&args, Dibw::command()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Status(code)) => ExitCode::from(code),
        Err(End::Faults(faults)) => {
            eprintln!("{faults}");
            ExitCode::from(faults.exit_code().max(FaultKind::Build.exit_code()))
        }
        Err(End::Failure(failure)) => {
            eprintln!("{failure}");
            ExitCode::from(failure.kind.exit_code())
        }
    }
}
