//! Typed elements that do wrong in a whole build: each ends it with a message that names element, hook, reason and the author's line, with the
//! exit code as designed, and leaves nothing behind. Needs root and a wasm toolchain.

use std::fs;
use std::path::Path;

use dibw_tests::dibw::{Dibw, root};
use dibw_tests::plugin::{guest, line_of};

const SOURCE: &str = include_str!("../fixtures/guests/trouble/src/lib.rs");

/// What goes wrong, exit code, the first line of the message, and the mark of the line in the guest that must be named.
const CASES: [(&str, i32, &str, Option<&str>); 6] = [
    (
        "denied",
        3,
        "error: trouble: post-install: target.write `/etc/shadow` refused: `trouble` does not declare target.write /etc/shadow in its needs; \
         `trouble` does not declare target.write_privileged accounts in its needs",
        Some("DENIED"),
    ),
    ("loop", 1, "error: trouble: post-install: time limit of 5 s of its own code reached", Some("LOOP")),
    ("memory", 1, "error: trouble: post-install: memory limit of 64 MiB reached", Some("MEMORY")),
    ("recursion", 1, "error: trouble: post-install: stack limit reached (endless recursion?)", Some("STACK")),
    ("panic", 1, "error: trouble: post-install: panicked at src/lib.rs:PANIC: boom", Some("PANIC")),
    ("error", 1, "error: trouble: post-install: that will not do", None),
];

#[test]
fn each_trouble_ends_the_build_with_the_authors_line() {
    if !root("typed_trouble") {
        return;
    }
    let Some(component) = guest("trouble", Path::new(env!("CARGO_TARGET_TMPDIR"))) else { return };
    let mut dibw = Dibw::new();
    for (what, code, first_line, mark) in CASES {
        dibw = build(dibw, &component, what);
        let ran = dibw.run();
        assert_eq!(ran.code, code, "{what}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{what}");
        let line = mark.map(|mark| line_of(SOURCE, mark).to_string());
        let panic_place = format!("{}:35", line.clone().unwrap_or_default());
        let expected = first_line.replace("PANIC", &panic_place);
        let message: Vec<&str> = ran.stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect();
        assert_eq!(message[0], expected, "{what}: {}", ran.stderr);
        if let Some(line) = line {
            let place =
                message[1].rsplit_once("trouble/src/lib.rs:").map(|(_, place)| place.trim_end_matches(')'));
            let named = place.and_then(|place| place.parse::<usize>().ok());
            let last: usize = line.parse().unwrap();
            // A loop or a call is at times charged to a line above it, but to one of the same function.
            let first = if matches!(what, "denied" | "panic") { last } else { start_of_function(last) };
            assert!(
                named.is_some_and(|named| (first..=last).contains(&named)),
                "{what}: line {last}: {}",
                ran.stderr
            );
        }
        let hints: Vec<&str> =
            message.iter().copied().skip_while(|line| !line.starts_with("  hint: ")).collect();
        let expected: &[&str] = match what {
            "denied" => &[
                "  hint: in the element's needs!: write \"/etc/shadow\";",
                "        in the element's needs!: privileged \"accounts\";",
            ],
            _ => &[],
        };
        assert_eq!(hints, expected, "{what}");
        nothing_is_left(&dibw, what);
    }
    dibw = build(dibw, &component, "nothing");
    drop(dibw.succeed());
    assert!(dibw.dir().join("image.tar").exists());
    nothing_is_left(&dibw, "nothing");
}

/// The line, from 1, where the function around `line` of the guest begins.
fn start_of_function(line: usize) -> usize {
    let before: Vec<&str> = SOURCE.lines().take(line).collect();
    before.iter().rposition(|line| line.starts_with("fn ")).unwrap() + 1
}

fn build(dibw: Dibw, component: &Path, what: &str) -> Dibw {
    let set = format!("trouble.what={what}");
    let fixed = ["build", "--log-format", "plain", "-t", "tar", "-o", "image", "--set", &set, "fake-os"];
    dibw.again().args(fixed).args([component])
}

/// No artifact but of a build that succeeded, and what a failed one was refused, no work files, no mount and no loop device of this build.
fn nothing_is_left(dibw: &Dibw, what: &str) {
    let artifacts: Vec<_> = names(dibw.dir())
        .into_iter()
        .filter(|name| name.contains("image") && name != "image.refused.jsonl")
        .collect();
    if what != "nothing" {
        assert_eq!(artifacts, [""; 0], "{what}");
    }
    assert_eq!(names(&dibw.work_dir()), [""; 0], "{what}");
    let ours = dibw.dir().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&ours), "{what}: {mounts}");
    for device in fs::read_dir("/sys/block").unwrap() {
        let backing = device.unwrap().path().join("loop/backing_file");
        // Only loop devices that are in use have this file.
        let file = fs::read_to_string(backing).unwrap_or_default();
        assert!(!file.contains(&ours), "{what}: {file}");
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
