//! The command `dib-lint`: checks a tree of elements. Facts: compat/CONTRACT.md section 3.5.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use dibw_compat::lint::Exclusions;

use crate::lint::{Report, Tree};

/// Check the elements below ELEMENTS_DIR and the shell library in LIB_DIR.
///
/// Checks are switched off for all files by `ignore = KEY...` in section [dib-lint] of ./tox.ini, for a file by a line
/// `# dib-lint: disable=KEY...` in it. Keys: executable indent sete setu setpipefail dibdebugtrace safe_sudo which
/// tabindent newline mddocs.
#[derive(Parser)]
#[command(name = "dib-lint", max_term_width = 110)]
struct Args {
    /// Directory whose directories are elements
    #[arg(long, env = "ELEMENTS_DIR", value_name = "DIR", default_value = "diskimage_builder/elements")]
    elements_dir: PathBuf,

    /// Directory of a shell library; only looked at when it is there
    #[arg(long, env = "LIB_DIR", value_name = "DIR", default_value = "diskimage_builder/lib")]
    lib_dir: PathBuf,
}

/// Runs it: 0 when nothing was found, else 1.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let args = match super::parse::<Args>("dib-lint", arguments) {
        Ok(args) => args,
        Err(code) => return code,
    };
    super::end_with_the_reader();
    match lint(args) {
        Ok(report) => {
            report.print();
            let clean = report.findings.is_empty();
            println!("{}", if clean { "PASS" } else { "*** FAIL: Some tests failed!" });
            ExitCode::from(u8::from(!clean))
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn lint(args: Args) -> Result<Report> {
    let here = std::env::current_dir().context("the current directory")?;
    println!("Running dib-lint in {}", here.display());
    ensure!(
        args.elements_dir.is_dir(),
        "{} is not a directory\n  hint: set ELEMENTS_DIR to the directory that holds the elements",
        args.elements_dir.display()
    );
    let mut trees = vec![Tree::Elements(args.elements_dir)];
    if args.lib_dir.is_dir() {
        trees.push(Tree::Library(args.lib_dir));
    }
    let report = crate::lint::run(&trees, &exclusions()?)?;
    println!("Checked {} files", report.files);
    Ok(report)
}

/// Those of `tox.ini` in the current directory.
pub fn exclusions() -> Result<Exclusions> {
    match std::fs::read_to_string("tox.ini") {
        Ok(text) => Ok(Exclusions::of_tox(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Exclusions::default()),
        Err(error) => Err(error).context("reading tox.ini"),
    }
}
