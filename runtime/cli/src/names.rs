//! diskimage-builder's commands: this program under their names (`dibw install-links`), with their options, messages and exit codes.
//! Each translates into what `dibw` itself does. Facts: compat/CONTRACT.md sections 1, 3 and 4.

mod as_root;
mod dib_block_device;
mod dib_lint;
mod disk_image_create;
mod disk_image_get_kernel;
mod diskimage_builder;
mod element_info;

pub use dib_lint::exclusions as lint_exclusions;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// A command: its arguments without the name.
type Command = fn(Vec<OsString>) -> ExitCode;

/// Every name, and what it runs.
pub const ALL: [(&str, Command); 7] = [
    ("disk-image-create", disk_image_create::disk),
    ("ramdisk-image-create", disk_image_create::ramdisk),
    ("diskimage-builder", diskimage_builder::run),
    ("element-info", element_info::run),
    ("dib-block-device", dib_block_device::run),
    ("dib-lint", dib_lint::run),
    ("disk-image-get-kernel", disk_image_get_kernel::run),
];

/// Runs the command that this program was called as, if it is one of these.
pub fn run() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let called = arguments.next()?;
    if std::env::args_os().nth(1).is_some_and(|word| word == as_root::WORD) {
        let Err(error) = as_root::resume(&arguments.skip(1).collect::<Vec<_>>());
        eprintln!("{error:#}");
        return Some(ExitCode::FAILURE);
    }
    let name = Path::new(&called).file_name()?.to_str()?;
    let (_, command) = ALL.iter().find(|(known, _)| *known == name)?;
    Some(command(arguments.collect()))
}

/// The arguments of a command, or the exit code after its help or a message: 0 or 2.
fn parse<A: clap::Parser>(name: &str, arguments: Vec<OsString>) -> Result<A, ExitCode> {
    let matches = matches(A::command(), name, arguments)?;
    A::from_arg_matches(&matches).map_err(refuse)
}

fn matches(
    command: clap::Command,
    name: &str,
    arguments: Vec<OsString>,
) -> Result<clap::ArgMatches, ExitCode> {
    command.try_get_matches_from(std::iter::once(OsString::from(name)).chain(arguments)).map_err(refuse)
}

/// Help goes to standard output, a mistake to standard error.
fn refuse(error: clap::Error) -> ExitCode {
    if let Err(error) = error.print() {
        tracing::debug!("{error}");
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// For commands that only print: they end with their reader (`element-info ... | head`).
fn end_with_the_reader() {
    if let Err(error) = dibw_sys::signals::end_with_the_reader() {
        tracing::debug!("{error:#}");
    }
}
