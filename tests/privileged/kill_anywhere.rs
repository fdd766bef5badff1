//! Builds that are killed or interrupted at instants spread over their length leave nothing, and the next build works. The work is
//! done by the script `kill-anywhere`, which people also run by hand; here are its arguments. Needs root.

use std::process::Command;

use dibw_tests::dibw::{fixtures, program, root, workspace};

/// One run of the script: the signal, at how many instants, with which further options.
struct Case {
    signal: &'static str,
    instants: u32,
    options: &'static [&'static str],
}

/// Outputs that mksquashfs and qemu-img write.
const FOREIGN: &[&str] = &["--types", "squashfs,vmdk", "--next-build", "end"];

/// All in one test: two at a time would spoil each other's timing.
#[test]
fn a_build_can_end_at_any_instant() {
    if !root("a_build_can_end_at_any_instant") {
        return;
    }
    let full = std::env::var_os("DIBW_TEST_FULL").is_some_and(|value| !value.is_empty());
    let cases = [
        Case { signal: "KILL", instants: 30, options: &[] },
        Case { signal: "INT", instants: if full { 30 } else { 8 }, options: &["--no-tmpfs"] },
        Case { signal: "TERM", instants: if full { 30 } else { 3 }, options: &["--types", "tar.zst,raw"] },
        // Programs of others write these outputs, and slowly.
        Case { signal: "KILL", instants: if full { 30 } else { 3 }, options: FOREIGN },
        Case { signal: "INT", instants: if full { 30 } else { 3 }, options: FOREIGN },
        // Layers and outputs of the builds before.
        Case { signal: "KILL", instants: if full { 30 } else { 6 }, options: &["--layers"] },
        Case { signal: "INT", instants: if full { 30 } else { 6 }, options: &["--layers"] },
        Case {
            signal: "KILL",
            instants: if full { 30 } else { 3 },
            options: &["--no-tmpfs", "--victim", "outer"],
        },
    ];
    for Case { signal, instants, options } in cases {
        let mut command = Command::new(workspace().join("tests/privileged/kill-anywhere"));
        command.args(["--signal", signal, "--instants", &instants.to_string()]).args(options);
        command.arg("--elements").arg(fixtures()).args(["fake-os", "stubborn", "block-device-gpt"]);
        command.env("DIBW_BIN", program()).env("ELEMENTS_PATH", workspace().join("elements"));
        let output = command.output().expect("bash runs the script");
        let said = String::from_utf8_lossy(&output.stdout);
        eprintln!("{said}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "SIG{signal} {options:?}:\n{said}\n{errors}");
    }
}
