//! The command `element-info`: the elements that a set of elements expands to. Facts: compat/CONTRACT.md sections 2.4 to 2.6 and 3.3.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use dibw_plan::{Faults, resolve};

/// Print the elements that elements expand to, dependencies first.
///
/// Elements are searched for in ELEMENTS_PATH, then among those that dibw ships.
#[derive(Parser)]
#[command(name = "element-info", infer_long_args = true, max_term_width = 110)]
struct Args {
    /// Print IMAGE_ELEMENT, IMAGE_ELEMENT_YAML and the function get_image_element_array for bash to evaluate
    #[arg(short, long)]
    env: bool,

    /// Names of elements
    #[arg(required = true, value_name = "ELEMENT")]
    elements: Vec<String>,
}

/// Runs it.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let args = match super::parse::<Args>("element-info", arguments) {
        Ok(args) => args,
        Err(code) => return code,
    };
    super::end_with_the_reader();
    match print(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(faults) => {
            eprintln!("{faults}");
            ExitCode::FAILURE
        }
    }
}

fn print(args: &Args) -> Result<(), Faults> {
    let path = dibw_engine::catalogue::elements_path()?;
    for (new, old) in dibw_engine::catalogue::overrides(&path) {
        eprintln!("WARNING element-info [-] Element <{}> overrides <{}>", new.display(), old.display());
    }
    let catalogue = dibw_engine::catalogue::read(&path, &[])?;
    let names = resolve::expand(&args.elements, &catalogue)?;
    if args.env {
        print!("{}", dibw_compat::element_exports::bash(&names, &catalogue));
    } else {
        println!("{}", names.join(" "));
    }
    Ok(())
}
