//! `disk-image-create` with classic elements, on a tiny operating system of the host's programs: where hooks run and what they see, what
//! they may change, exit status, break points, Nodepool's call. Real loops, mounts and namespaces: nothing of them may be left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use dibw_tests::dibw::{Dibw, fixtures, program, root};

const PHASES: [&str; 10] = [
    "root",
    "extra-data",
    "pre-install",
    "install",
    "post-install",
    "post-root",
    "block-device",
    "pre-finalise",
    "finalise",
    "cleanup",
];

/// Every phase has this hook: it tells what it sees, and fails where `FAIL` says.
const PROBE: &str = r#"#!/bin/bash
set -eu
phase=$(basename "$(dirname "$0")" .d)
echo "PROBE $phase cwd=$(pwd) root=${TARGET_ROOT:+set} type=${DIB_DEFAULT_INSTALLTYPE:-none} size=${DIB_IMAGE_SIZE:-none} device=${IMAGE_BLOCK_DEVICE:+set}"
echo "PROBE $phase umask=$(umask) id=$(sudo id -u) secret=${SECRET_OF_CALLER:-none} path=${PATH%%:*}"
if [ "${FAIL:-}" = "$phase" ]; then exit 42; fi
"#;

/// A hook that changes the hooks tree, leaves a mount in the target, and writes beside the image.
const CHANGES: &str = r#"#!/bin/bash
set -eu
printf '#!/bin/bash\necho "PROBE added"; echo from-target > /var/cache/shared/made\n' > "$TMP_HOOKS_PATH/install.d/10-added"
chmod +x "$TMP_HOOKS_PATH/install.d/10-added"
rm "$TMP_HOOKS_PATH/install.d/90-removed"
mkdir -p "$TMP_MOUNT_PATH/var/cache/shared" "$DIB_IMAGE_CACHE/shared"
mount --bind "$DIB_IMAGE_CACHE/shared" "$TMP_MOUNT_PATH/var/cache/shared"
mkdir -p "$IMAGE_NAME.d"
echo manifest > "$IMAGE_NAME.d/manifest"
echo kernel > "$IMAGE_NAME.vmlinuz"
ln -s /etc/shadow "$IMAGE_NAME.link"
echo other > "$(dirname "$IMAGE_NAME")/elsewhere"
eval declare -A elements="($(get_image_element_array))"
[ -d "${elements[fake-os]}" ]
chroot "$TMP_MOUNT_PATH" sh -c 'cat /proc/self/stat > /dev/null'
! (die "the end") 2> /dev/null
"#;

/// The directory with the element, and the classic command in it.
fn prepared() -> Dibw {
    let dibw = Dibw::new();
    let hook = |path: &str, text: &str| {
        let file = dibw.file(&format!("elements/probe/{path}"), text);
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("a mode can be set");
    };
    for phase in PHASES {
        hook(&format!("{phase}.d/50-probe"), PROBE);
    }
    hook("extra-data.d/60-changes", CHANGES);
    hook("install.d/90-removed", "#!/bin/bash\nexit 9\n");
    hook("install.d/20-no-interpreter", "echo PROBE without interpreter\n");
    hook("install.d/30-not.selected", "#!/bin/bash\nexit 9\n");
    dibw.file("elements/probe/element-deps", "fake-os\n");
    dibw
}

/// What a run gave: exit code and log.
fn run(dibw: &Dibw, arguments: &[&str], variables: &[(&str, &str)], input: Option<&str>) -> (i32, String) {
    let path = format!("{}:{}", dibw.dir().join("elements").display(), fixtures().display());
    let mut command = Command::new(program());
    command.arg0("disk-image-create").args(["-n"]).args(arguments).arg("probe").current_dir(dibw.dir());
    command.env("ELEMENTS_PATH", path).env("TMPDIR", dibw.work_dir());
    command.env("DIB_IMAGE_CACHE", dibw.dir().join("cache")).env("DIB_LOCKFILES", dibw.dir().join("locks"));
    command.env("SECRET_OF_CALLER", "seen").envs(variables.iter().copied());
    command.stdin(input.map_or(Stdio::null(), |text| {
        fs::File::open(dibw.file("input", text)).expect("it was just written").into()
    }));
    fs::create_dir_all(dibw.work_dir()).expect("a directory can be made");
    let output = command.output().expect("the program can be started");
    let log = [output.stdout, output.stderr].concat();
    (output.status.code().expect("it exits"), String::from_utf8_lossy(&log).into_owned())
}

fn assert_clean(dibw: &Dibw) {
    let directory = dibw.dir().display().to_string();
    let loops = Command::new("losetup").args(["--list", "--output", "BACK-FILE"]).output().expect("losetup");
    assert!(!String::from_utf8_lossy(&loops.stdout).contains(&directory), "loop devices are left");
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc is there");
    assert!(!mounts.contains(&directory), "mounts: {mounts}");
    let left = fs::read_dir(dibw.work_dir()).expect("it was made").count();
    assert_eq!(left, 0, "work files are left");
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn hooks_see_what_they_always_saw() {
    if !root("hooks_see_what_they_always_saw") {
        return;
    }
    let dibw = prepared();
    let (code, log) = run(&dibw, &["-t", "raw", "-o", "image", "--image-size", "1"], &[], None);
    assert_eq!(code, 0, "{log}");
    assert_clean(&dibw);
    let said = |line: &str| assert!(log.contains(line), "{line} is not in:\n{log}");
    let here = dibw.dir().display();
    for (phase, cwd, target_root, kind, size, device) in [
        ("root", true, "set", "none", "1", ""),
        ("extra-data", true, "", "source", "1", ""),
        ("pre-install", false, "", "source", "1", ""),
        ("install", false, "", "source", "1", ""),
        ("post-install", false, "", "source", "1", ""),
        ("post-root", true, "", "source", "1", ""),
        ("block-device", true, "", "source", "1048576", ""),
        ("pre-finalise", true, "", "source", "1048576", "set"),
        ("finalise", false, "", "source", "1048576", "set"),
        ("cleanup", true, "set", "source", "1048576", "set"),
    ] {
        let cwd = if cwd { here.to_string() } else { "/".to_owned() };
        said(&format!(
            "PROBE {phase} cwd={cwd} root={target_root} type={kind} size={size} device={device}\n"
        ));
        said(&format!("PROBE {phase} umask=0022 id=0 secret=seen"));
    }
    said("dib-run-parts Running /tmp/in_target.d/install.d/10-added");
    said("PROBE added");
    said("PROBE without interpreter");
    said("PROFILING");
    said("Image file image.raw created...");
    said("Build completed successfully");
    assert!(log.contains(" | diskimage-builder version 3.43.0"), "{log}");
    assert_eq!(text(&dibw.dir().join("cache/shared/made")), "from-target\n");
    assert_eq!(text(&dibw.dir().join("image.d/manifest")), "manifest\n");
    assert_eq!(text(&dibw.dir().join("image.vmlinuz")), "kernel\n");
    // Links stay behind, and so does what is not named after the image.
    assert!(!dibw.dir().join("image.link").exists() && !dibw.dir().join("elsewhere").exists());
    assert!(!dibw.dir().join("image.raw.sha256").exists(), "checksums are written on request only");
}

#[test]
fn the_status_is_that_of_the_hook() {
    if !root("the_status_is_that_of_the_hook") {
        return;
    }
    let dibw = prepared();
    for phase in PHASES {
        let (code, log) = run(&dibw, &["-t", "raw"], &[("FAIL", phase)], None);
        // The output of block-device hooks always went through a pipe, which swallows their status.
        assert_eq!(code, if phase == "block-device" { 1 } else { 42 }, "{phase}: {log}");
        assert!(log.contains(&format!("error: {phase}.d/50-probe of element probe failed")), "{log}");
        assert!(!dibw.dir().join("image.raw").exists() && !dibw.dir().join("image.d").exists(), "{phase}");
        assert_clean(&dibw);
    }
}

#[test]
fn break_points_open_shells() {
    if !root("break_points_open_shells") {
        return;
    }
    let dibw = prepared();
    let shell = "echo \"SHELL in $(pwd)\"\nexit 0\n";
    for (point, side) in [
        ("before-extra-data", "outside"),
        ("after-extra-data", "outside"),
        ("before-install", "inside"),
        ("after-install", "inside"),
        ("before-finalise", "inside"),
        ("after-cleanup", "outside"),
    ] {
        let (code, log) = run(&dibw, &["-t", "tar"], &[("break", point)], Some(shell));
        assert_eq!(code, 0, "{point}: {log}");
        assert!(log.contains(&format!("At stage {point}\n")), "{log}");
        let directory = if side == "inside" { "/".to_owned() } else { dibw.dir().display().to_string() };
        assert!(log.contains(&format!("SHELL in {directory}\n")), "{point}: {log}");
        assert!(log.contains("Resuming"), "{log}");
    }
    for (outside, directory) in [("", "/".to_owned()), ("1", dibw.dir().display().to_string())] {
        let variables = [
            ("break", "after-error"),
            ("break_cmd", "echo \"COMMAND in $(pwd)\""),
            ("break_outside_target", outside),
            ("FAIL", "install"),
        ];
        let (code, log) = run(&dibw, &["-t", "tar"], &variables, None);
        assert_eq!(code, 42, "{log}");
        assert!(log.contains(&format!("COMMAND in {directory}\n")), "{log}");
    }
    assert_clean(&dibw);
}

#[test]
fn nodepool_calls() {
    if !root("nodepool_calls") {
        return;
    }
    let dibw = prepared();
    let output = dibw.dir().join("images/fake-0123abcd").display().to_string();
    fs::create_dir(dibw.dir().join("images")).expect("a directory can be made");
    for types in ["qcow2,raw", "raw,qcow2"] {
        let arguments =
            ["-x", "-t", types, "--checksum", "--no-tmpfs", "--qemu-img-options", "compat=1.1", "-o"];
        let arguments = [&arguments[..], &[&output]].concat();
        let variables =
            [("DIB_RELEASE", ""), ("DIB_IMAGE_NAME", "fake"), ("DIB_IMAGE_FILENAME", output.as_str())];
        let (code, log) = run(&dibw, &arguments, &variables, None);
        assert_eq!(code, 0, "{log}");
        assert_clean(&dibw);
        let mut names: Vec<String> = fs::read_dir(dibw.dir().join("images"))
            .expect("it is there")
            .map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let names: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("fake-0123abcd.")).collect();
        let expected = ["d", "qcow2", "qcow2.md5", "qcow2.sha256", "raw", "raw.md5", "raw.sha256", "vmlinuz"];
        assert_eq!(names, expected, "{log}");
        for kind in ["qcow2", "raw"] {
            let checked = Command::new("sha256sum").arg("-c").arg(format!("{output}.{kind}.sha256")).status();
            assert!(checked.expect("sha256sum").success(), "{kind}");
        }
        assert!(
            dibw.dir().join("images/fake-0123abcd.d/plan.json").exists(),
            "records are in the manifests' directory"
        );
        fs::remove_dir_all(dibw.dir().join("images")).expect("it can be removed");
        fs::create_dir(dibw.dir().join("images")).expect("a directory can be made");
    }
}
