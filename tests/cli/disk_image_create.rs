//! `disk-image-create` and `ramdisk-image-create` before anything is built: help, version, wrong arguments, wrong settings. No rights needed.

use std::os::unix::process::CommandExt;
use std::process::Command;

use dibw_tests::dibw::{Dibw, fixtures, program};

/// Exit code, standard output, standard error.
fn called(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let dibw = Dibw::new();
    let mut command = Command::new(program());
    command.arg0(name).args(arguments).current_dir(dibw.dir());
    command.env("ELEMENTS_PATH", fixtures()).env("DIB_NO_TIMESTAMP", "1");
    let output = command.envs(variables.iter().copied()).output().expect("the program can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("it exits"), text(&output.stdout), text(&output.stderr))
}

#[test]
fn help_and_version() {
    for name in ["disk-image-create", "ramdisk-image-create"] {
        assert_eq!(called(name, &["--version"], &[]), (0, "3.43.0\n".to_owned(), String::new()));
        for option in ["-h", "--help", "--hel"] {
            let (code, out, said) = called(name, &[option], &[]);
            assert_eq!((code, said.as_str()), (0, ""), "{option}");
            assert!(
                out.starts_with(&format!("Usage: {name} ")) && out.contains("--qemu-img-options"),
                "{out}"
            );
        }
    }
}

#[test]
fn wrong_arguments() {
    for (arguments, message) in [
        (&["--frobnicate"][..], "disk-image-create: unrecognized option '--frobnicate'"),
        (&["-q", "debian"], "disk-image-create: invalid option -- 'q'"),
        (&["debian", "-o"], "disk-image-create: option requires an argument -- 'o'"),
        (&["--image", "3"], "option '--image' is ambiguous"),
        (&["--image-size", "much", "debian"], "DIB_IMAGE_SIZE: `much` is not a number"),
    ] {
        let (code, out, said) = called("disk-image-create", arguments, &[]);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}");
        assert!(said.contains(message) && said.contains("hint:"), "{arguments:?}: {said}");
    }
}

#[test]
fn what_can_be_known_is_said_at_once() {
    for (arguments, variables, message) in [
        (&[][..], &[][..], "ERROR: At least one distribution root element must be specified"),
        (&["nothing-there"], &[], "Element 'nothing-there' not found"),
        (&["-n", "-t", "frob", "fake-os"], &[], "unknown output type `frob`"),
        (&["-n", "-t", "docker", "fake-os"], &[], "docker-target"),
        (&["-n", "fake-os"], &[("DIB_BLOCK_DEVICE_CONFIG", "file:///nowhere.yaml")], "/nowhere.yaml"),
        (&["-n", "fake-os"], &[("OVERWRITE_OLD_IMAGE", "yes")], "OVERWRITE_OLD_IMAGE: `yes` is not a number"),
    ] {
        let (code, out, said) = called("disk-image-create", arguments, variables);
        assert_eq!(code, 1, "{arguments:?}: {out}{said}");
        assert!(format!("{out}{said}").contains(message), "{arguments:?}: {out}{said}");
    }
}

#[test]
fn a_log_file_takes_the_place_of_standard_output() {
    let dibw = Dibw::new();
    let log = dibw.dir().join("log").display().to_string();
    let (code, out, said) = called("disk-image-create", &["--logfile", &log, "nothing-there"], &[]);
    assert_eq!(code, 1);
    assert_eq!(out, format!("Output logs going to: {log}\n"));
    assert!(said.contains("Element 'nothing-there' not found"), "{said}");
    let written = std::fs::read_to_string(log).expect("it was written");
    assert!(written.contains(" | diskimage-builder version 3.43.0"), "{written}");
}
