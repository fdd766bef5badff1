//! `dibw element test`: builds the cases in the `test-elements` directories of elements, each an element itself.
//! Facts: compat/CONTRACT.md sections 2.1 and 8.3.

mod build;
mod cases;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use dibw_plan::{Fault, FaultKind, Faults};

use crate::commands::{End, Outcome};
use build::Verdict;
use cases::Case;

/// Which cases, and how.
#[derive(clap::Args)]
pub struct Args {
    /// Elements or single cases; without any, all on the elements path
    #[arg(value_name = "ELEMENT[/CASE]")]
    names: Vec<String>,

    /// Print the names of the cases and stop
    #[arg(long)]
    list: bool,

    /// How many to build at once
    #[arg(short, long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
}

/// Prints a line for each case to standard output; exit code 1 when one fails.
pub fn run(args: &Args) -> Outcome {
    let path = dibw_engine::catalogue::elements_path()?;
    let cases = chosen(cases::find(&path)?, &args.names)?;
    if args.list {
        for case in &cases {
            println!("{case}");
        }
        return Ok(());
    }
    match run_all(Path::new("/proc/self/exe"), &cases, args.jobs)? {
        0 => Ok(()),
        failed => {
            eprintln!("error: {failed} of {} cases failed", cases.len());
            Err(End::Status(FaultKind::Build.exit_code()))
        }
    }
}

/// Those that are named, in the order of the names; all when none is.
fn chosen(all: Vec<Case>, names: &[String]) -> Result<Vec<Case>, Faults> {
    if names.is_empty() {
        return Ok(all);
    }
    let mut faults = Faults::default();
    let mut cases: Vec<Case> = Vec::new();
    for name in names {
        let named: Vec<&Case> =
            all.iter().filter(|case| case.element == *name || case.to_string() == *name).collect();
        if named.is_empty() {
            let known: Vec<String> = all.iter().map(ToString::to_string).collect();
            let elements = all.iter().map(|case| case.element.as_str());
            let fault = Fault::new(FaultKind::Element, format!("`{name}` has no test element"));
            faults.push(fault.suggest(name, known.iter().map(String::as_str).chain(elements)));
        }
        let more: Vec<Case> = named.into_iter().filter(|case| !cases.contains(case)).cloned().collect();
        cases.extend(more);
    }
    faults.or(cases)
}

/// Builds all with `jobs` at once by `program`, called as `disk-image-create` or `ramdisk-image-create`. Gives how many failed.
fn run_all(program: &Path, cases: &[Case], jobs: NonZeroUsize) -> Result<usize> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Ok(0));
    std::thread::scope(|scope| {
        for _ in 0..jobs.get().min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = build::run(program, case);
                    let mut failed = failed.lock().expect("no thread panics with it");
                    match (&mut *failed, verdict) {
                        (Ok(count), Ok(verdict)) => *count += usize::from(!report(case, &verdict)),
                        (failed, Err(error)) => *failed = Err(error),
                        (Err(_), _) => {}
                    }
                }
            });
        }
    });
    failed.into_inner().expect("no thread panics with it")
}

/// A line for the case, and the end of what it printed when it failed; whether it is well.
fn report(case: &Case, verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Built => println!("ok {case}"),
        Verdict::FailedAsItShould => println!("ok {case} (fails, as it should)"),
        Verdict::Failed { status, output } => {
            println!("FAILED {case} (status {status})");
            for line in output {
                eprintln!("  {line}");
            }
        }
    }
    !matches!(verdict, Verdict::Failed { .. })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn case(name: &str) -> Case {
        Case {
            element: "e".to_owned(),
            name: name.to_owned(),
            directory: PathBuf::from("/elements/e/test-elements"),
            program: "disk-image-create",
            types: "tar".to_owned(),
        }
    }

    #[test]
    fn cases_are_chosen_by_element_or_name() {
        let all = vec![case("a"), case("b"), Case { element: "f".to_owned(), ..case("a") }];
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let shown = |cases: Vec<Case>| cases.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(chosen(all.clone(), &[]).unwrap()), ["e/a", "e/b", "f/a"]);
        assert_eq!(shown(chosen(all.clone(), &names(&["f", "e/b", "f/a"])).unwrap()), ["f/a", "e/b"]);
        let fault = chosen(all, &names(&["e/bb"])).unwrap_err();
        assert_eq!(fault.to_string(), "error: `e/bb` has no test element\n  hint: did you mean `e/b`?");
    }

    /// `sh -c` stands in for the build: `$0` is then the first argument.
    #[test]
    fn a_case_passes_by_its_status_or_by_failing_where_it_said_so() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("dibw-element-test-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let program = directory.join("program");
        let script = "#!/bin/sh\n\
            test \"$ELEMENTS_PATH\" != \"\" || exit 9\n\
            case \"$*\" in\n\
            *good*) exit 0;;\n\
            *meant*) mkdir -p tmp; touch tmp/dib-test-should-fail; TMP_MOUNT_PATH=$PWD sh -c \"$break_cmd\"; exit 7;;\n\
            *) echo one; echo \"args: $*\"; exit 7;;\n\
            esac\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(matches!(build::run(&program, &case("good")).unwrap(), Verdict::Built));
        assert!(matches!(build::run(&program, &case("meant")).unwrap(), Verdict::FailedAsItShould));
        match build::run(&program, &case("bad")).unwrap() {
            Verdict::Failed { status: 7, output } => {
                assert_eq!(output[0], "one");
                assert!(
                    output[1].starts_with("args: -n -t tar -o ") && output[1].ends_with(" e bad"),
                    "{output:?}"
                );
            }
            _ => panic!("it ended with 7"),
        }
        let cases = ["good", "bad", "meant", "worse"].map(case);
        assert_eq!(run_all(&program, &cases, NonZeroUsize::new(3).unwrap()).unwrap(), 2);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
