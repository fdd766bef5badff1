//! A guest written in Rust with the SDK, built as an author builds it: every failure names the author's line.
//! Needs a wasm toolchain; without one it says so and passes, unless `DIBW_REQUIRE_WASM` is set.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its guest fails")]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use dibw_host::plugin_build::{Machine, NoToolchain, Options, build};
use dibw_host::{FailureKind, HookFailure, Host, Limit, Limits, LoadedElement};
use dibw_policy::{Effective, Identity, Policy};
use support::{Double, call};

/// Builds the guest outside the source tree.
fn trouble() -> Option<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let fixture = here.join("tests/fixtures/guests/trouble");
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("trouble");
    fs::create_dir_all(scratch.join("src")).unwrap();
    let manifest = fs::read_to_string(fixture.join("Cargo.toml")).unwrap();
    let sdk = here.join("sdk/rust").display().to_string();
    fs::write(scratch.join("Cargo.toml"), manifest.replace("@SDK@", &sdk)).unwrap();
    fs::copy(fixture.join("src/lib.rs"), scratch.join("src/lib.rs")).unwrap();
    // The versions that the shipped plugins are locked to are the ones that are certainly at hand.
    fs::copy(here.join("plugins/Cargo.lock"), scratch.join("Cargo.lock")).unwrap();
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    match build(&scratch, &Options::default(), &Machine::of_process(root), &mut |_| ()) {
        Ok(built) => Some(fs::read(&built[0].component).unwrap()),
        Err(error)
            if error.downcast_ref::<NoToolchain>().is_some()
                && env::var_os("DIBW_REQUIRE_WASM").is_none() =>
        {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}

fn run(host: &Host, loaded: &LoadedElement, what: &str) -> (Result<(), HookFailure>, Vec<String>) {
    let limits = Limits { guest_time: Duration::from_millis(500), ..Limits::default() };
    let needs = &loaded.manifest().needs;
    let mut asked = call(&[], limits, Double::default());
    asked.effective = Effective::new(&Identity::named("trouble"), needs, &Policy::default(), &[]);
    asked.phase = "post-install".to_owned();
    asked.config_json = format!(r#"{{"what":"{what}"}}"#);
    let outcome = host.run_hook(loaded, asked);
    let lent: Box<dyn std::any::Any> = outcome.lent;
    (outcome.result, lent.downcast::<Double>().unwrap().done)
}

/// The line of the guest's source that bears a mark.
fn line_of(mark: &str) -> u32 {
    let source = include_str!("../fixtures/guests/trouble/src/lib.rs");
    let at = source.lines().position(|line| line.ends_with(&format!("// {mark}"))).unwrap();
    u32::try_from(at).unwrap() + 1
}

#[test]
fn every_failure_names_the_authors_line() {
    let Some(bytes) = trouble() else {
        return;
    };
    let host = Host::without_cache().unwrap();
    let loaded = host.load(&bytes).unwrap();

    let cases = [
        ("denied", "DENIED", 3, "target.write `/etc/shadow` refused: "),
        ("loop", "LOOP", 1, "time limit of 0.5 s of its own code reached"),
        ("memory", "MEMORY", 1, "memory limit of 64 MiB reached"),
        ("recursion", "STACK", 1, "stack limit reached (endless recursion?)"),
        ("panic", "PANIC", 1, "panicked at src/lib.rs:"),
    ];
    for (what, mark, status, said) in cases {
        let failure = run(&host, &loaded, what).0.unwrap_err();
        println!("{failure}\n");
        assert_eq!((failure.element.as_str(), failure.phase.as_str()), ("trouble", "post-install"));
        assert!(failure.message.starts_with(said), "{failure}");
        assert_eq!(failure.exit_code(), status, "{failure}");
        let line = line_of(mark);
        let named = failure.frames.iter().any(|frame| {
            frame.line == Some(line) && frame.file.as_deref().is_some_and(|file| file.ends_with("src/lib.rs"))
        });
        // A loop or a call is sometimes charged to the line it is in, so the function will do for all but these.
        if ["DENIED", "PANIC"].contains(&mark) {
            assert!(named, "{mark} at line {line}: {failure}");
        }
        assert!(failure.frames.iter().any(|frame| frame.file.is_some() && frame.line.is_some()), "{failure}");
        let theirs = |frame: &dibw_host::Frame| {
            frame.file.as_deref().is_some_and(|file| file.ends_with("trouble/src/lib.rs"))
        };
        assert!(failure.frames.iter().all(theirs), "only the author's frames: {failure}");
        if let FailureKind::Panic { line: panicked, .. } = failure.kind {
            assert_eq!(panicked, line);
        }
    }
    let stack = run(&host, &loaded, "recursion").0.unwrap_err();
    assert_eq!(stack.kind, FailureKind::Limit(Limit::Stack));
    assert_eq!(run(&host, &loaded, "nothing"), (Ok(()), vec!["write /etc/motd 1 bytes 644".to_owned()]));
}
