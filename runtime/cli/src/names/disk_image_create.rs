//! The commands `disk-image-create` and `ramdisk-image-create`: their arguments and variables become a Request, which is planned and
//! built like any other. Only the log and the exit status are theirs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dibw_compat::image_create::{self, Asked, Build, Name, VERSION};
use dibw_engine::{Caller, Failure, Paths};
use dibw_plan::{Fault, FaultKind, Faults, Plan};

use super::as_root;
use crate::arguments::{elements_path_variable, host_arch, read_named};
use crate::classic_log::Log;
use crate::commands::build::{absolute, died};
use crate::layers;

/// Makes a disk image.
pub fn disk(arguments: Vec<OsString>) -> ExitCode {
    run(Name::Disk, arguments)
}

/// Makes a ramdisk.
pub fn ramdisk(arguments: Vec<OsString>) -> ExitCode {
    run(Name::Ramdisk, arguments)
}

/// Where builds work unless TMPDIR says otherwise, and where compiled components are kept.
const WORK_BASE: &str = "/var/lib/dibw/work";
const CACHE: &str = "/var/cache/dibw";

fn run(name: Name, arguments: Vec<OsString>) -> ExitCode {
    crate::logging::start();
    let given = arguments.clone();
    let build = match asked(name, arguments) {
        Ok(Asked::Help) => {
            print!("{}", image_create::usage(name));
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Version) => {
            println!("{VERSION}");
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Build(build)) => *build,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = as_root::become_root(name.text(), &given) {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    let log = build.logfile.as_deref().map(Path::new);
    if let Some(file) = log {
        println!("Output logs going to: {}", file.display());
    }
    let log = match Log::open(log, build.quiet, !build.no_timestamp) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    ExitCode::from(make(build, log))
}

fn asked(name: Name, arguments: Vec<OsString>) -> Result<Asked, Faults> {
    let text = |word: OsString| {
        word.into_string().map_err(|word| {
            Faults::from(Fault::new(FaultKind::Usage, format!("{} is not UTF-8", word.display())))
        })
    };
    let arguments: Vec<String> = arguments.into_iter().map(text).collect::<Result<_, _>>()?;
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    image_create::parse(name, &arguments, &environment, &host_arch())
}

/// Plans, checks and builds; gives the exit status.
fn make(mut build: Build, log: Log) -> u8 {
    log.say(&format!("diskimage-builder version {VERSION} (dibw {})", env!("CARGO_PKG_VERSION")));
    let planned = planned(&mut build, &log).and_then(|plan| {
        let paths = paths(&build)?;
        dibw_engine::check::machine(&plan, &paths)?;
        Ok((plan, paths))
    });
    match planned {
        Ok((plan, paths)) => execute(&build, &plan, &paths, log),
        Err(faults) => {
            log.say(&faults.to_string());
            if build.quiet {
                eprintln!("{faults}");
            }
            1
        }
    }
}

fn planned(build: &mut Build, log: &Log) -> Result<Plan, Faults> {
    if build.request.elements.is_empty() {
        let message = "ERROR: At least one distribution root element must be specified";
        return Err(Fault::new(FaultKind::Usage, message).into());
    }
    if let Some(file) = &build.block_device_file {
        build.request.block_device = Some(read_named(Path::new(file), FaultKind::Layout)?);
    }
    if let Some(file) =
        build.aci_manifest_file.take().filter(|_| build.request.types.iter().any(|kind| kind == "aci"))
    {
        build.request.aci_manifest = Some(read_named(Path::new(&file), FaultKind::Usage)?);
    }
    let path = dibw_engine::catalogue::elements_path()?;
    let given = build.environment.get("ELEMENTS_PATH").cloned().unwrap_or_default();
    let own = |element: &Path| {
        given.split(':').any(|entry| element.parent() == Path::new(entry).canonicalize().ok().as_deref())
    };
    // Whoever puts elements before those that dibw ships wants just that.
    for (new, old) in dibw_engine::catalogue::overrides(&path).iter().filter(|(_, old)| own(old)) {
        log.say(&format!("WARNING element-info [-] Element {} overrides {}", new.display(), old.display()));
    }
    let mut catalogue = dibw_engine::catalogue::read(&path, &[])?;
    build.environment.extend([elements_path_variable(&path)]);
    let named = dibw_plan::resolve::assemble(&build.request, &catalogue);
    log.say(&format!("Building elements: {}", named.join(" ")));
    let policy = crate::policy_files::in_force(None)?;
    crate::signers::note(&mut catalogue, &policy)?;
    let plan = dibw_plan::planner::plan(&build.request, &catalogue, &policy, &[])?;
    let names: Vec<&str> = plan.elements.iter().map(|element| element.name.as_str()).collect();
    log.say(&format!("Expanded element dependencies to: {}", names.join(" ")));
    Ok(plan)
}

fn paths(build: &Build) -> Result<Paths, Faults> {
    let path = |text: &str| -> Result<PathBuf, Faults> {
        absolute(Path::new(text)).map_err(|error| Fault::new(FaultKind::Usage, format!("{error:#}")).into())
    };
    Ok(Paths {
        work_base: path(build.temporary.as_deref().unwrap_or(WORK_BASE))?,
        cache: path(CACHE)?,
        tmpfs: build.tmpfs,
        least_memory: Some((build.min_tmpfs * 2.0 * f64::from(1 << 30)) as u64),
        image_cache: Some(path(&build.image_cache)?),
        lockfiles: Some(path(&build.lockfiles)?),
        layers: wants_layers(&build.environment).then(|| layers::settings(Path::new(CACHE))),
    })
}

/// Whoever calls a classic command counts on what the mirrors have now: layers are used only when asked for.
fn wants_layers(environment: &BTreeMap<String, String>) -> bool {
    environment.get("DIBW_LAYERS").is_some_and(|wanted| wanted == "1")
}

/// The build in namespaces of its own, and the status that it comes to.
fn execute(build: &Build, plan: &Plan, paths: &Paths, log: Log) -> u8 {
    let log = std::rc::Rc::new(log);
    let supervised = dibw_sys::supervise::run_build(|| {
        let caller =
            Caller { variables: build.environment.clone(), owner: as_root::owner(), ..Caller::default() };
        match dibw_engine::build(plan, paths, &caller, log.clone()) {
            Ok(_) => 0,
            Err(failure) => {
                report(&log, build.quiet, &failure);
                status_of(&failure)
            }
        }
    });
    dibw_engine::check::clean_dead(paths);
    match supervised {
        // A signal killed what builds; otherwise it has said everything itself.
        Ok(status @ 0..=128 | status @ INTERRUPTED) => u8::try_from(status).unwrap_or(1),
        Ok(status) => {
            report(&log, build.quiet, &died(status));
            1
        }
        Err(error) => {
            report(&log, build.quiet, &Failure::from(error));
            1
        }
    }
}

/// 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// The failing hook's own, else 1.
fn status_of(failure: &Failure) -> i32 {
    match failure.kind {
        FaultKind::Interrupted => INTERRUPTED,
        _ => failure.status.filter(|status| (1..=128).contains(status)).unwrap_or(1),
    }
}

/// Into the log, and where the log is not shown, to standard error too.
fn report(log: &Log, quiet: bool, failure: &Failure) {
    log.say(&failure.to_string());
    if quiet {
        eprintln!("{failure}");
    }
}
