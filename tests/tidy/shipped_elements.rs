//! The classic elements we ship keep the rules for elements: described, well-formed, no two with the same hook, and their environment
//! files give hooks what the READMEs say. No root, no network.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dibw_plan::layout::{self, LayoutParameters, RootDefaults};

/// Elements, what the user set, a variable, its value.
type EnvironmentCase = (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);

const SHIPPED: [&str; 9] = [
    "base",
    "block-device-efi",
    "block-device-gpt",
    "block-device-mbr",
    "bootloader",
    "cloud-init",
    "cloud-init-nocloud",
    "debian-minimal",
    "vm",
];

#[test]
fn every_element_is_described() {
    let found: Vec<_> = element_directories().iter().map(|path| file_name(path)).collect();
    assert_eq!(found, SHIPPED);
    for name in SHIPPED {
        let readme = read(&elements().join(name).join("README.md"));
        assert!(readme.starts_with(&format!("# {name}\n\n")), "{name}/README.md does not open with its name");
    }
}

#[test]
fn every_hook_is_well_formed_and_no_two_have_the_same_name() {
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let mut broken = Vec::new();
    for hook in hooks() {
        let element =
            hook.strip_prefix(elements()).unwrap().iter().next().unwrap().to_string_lossy().into_owned();
        let (phase, name) = (file_name(hook.parent().unwrap()), file_name(&hook));
        let shown = format!("{element}/{phase}/{name}");
        if let Some(other) = owners.insert(format!("{phase}/{name}"), element.clone())
            // Of the layouts an image has one.
            && !(element.starts_with("block-device-") && other.starts_with("block-device-"))
        {
            broken.push(format!("{shown}: {other} has the same"));
        }
        let executable = fs::metadata(&hook).unwrap().permissions().mode() & 0o111 != 0;
        if phase == "environment.d" {
            if executable || !name.ends_with(".bash") {
                broken.push(format!("{shown}: is sourced, so it is not executable and ends in .bash"));
            }
            continue;
        }
        let text = read(&hook);
        if !executable || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            broken.push(format!("{shown}: would be ignored"));
        }
        if !text.starts_with("#!/bin/bash\n# ") {
            broken.push(format!("{shown}: does not open with its interpreter and what it does"));
        }
        for line in
            ["if [ \"${DIB_DEBUG_TRACE:-0}\" -gt 0 ]; then\n    set -x\nfi\n", "\nset -eu -o pipefail\n"]
        {
            if !text.contains(line) {
                broken.push(format!("{shown}: lacks {line:?}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn shellcheck_finds_nothing() {
    if Command::new("shellcheck").arg("--version").output().is_err() {
        eprintln!("SKIPPED shellcheck_finds_nothing: needs shellcheck");
        return;
    }
    let output =
        Command::new("shellcheck").args(["--shell=bash", "--format=gcc"]).args(hooks()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn layouts_leave_the_type_of_the_root_file_system_to_the_user() {
    let cases = [("block-device-mbr", "/"), ("block-device-gpt", "/"), ("block-device-efi", "/ /boot/efi")];
    for (element, mount_points) in cases {
        for (fstype, label) in
            [("ext4", "cloudimg-rootfs"), ("xfs", "img-rootfs"), ("btrfs", "cloudimg-rootfs")]
        {
            let file = elements().join(element).join("block-device-default.yaml");
            let root = RootDefaults {
                fstype: fstype.to_owned(),
                label: None,
                opts: String::new(),
                ext4_opts: String::new(),
            };
            let parameters =
                LayoutParameters { file: "layout", root: &root, sector_size: None, seed: b"seed" };
            let layout = layout::parse(&read(&file), &parameters)
                .unwrap_or_else(|faults| panic!("{element}: {faults:?}"));
            let found = (layout.root_fstype(), layout.root_label(), layout.warnings.len());
            assert_eq!(found, (Some(fstype), Some(label), 0), "{element}");
            let mut mounted = layout.mount_points();
            mounted.sort_unstable();
            assert_eq!(mounted.join(" "), mount_points, "{element}");
        }
    }
}

#[test]
fn environment_files_give_hooks_what_the_readmes_say() {
    let sources = "default:deb http://deb.debian.org/debian bookworm main\n\
                   updates:deb http://deb.debian.org/debian bookworm-updates main\n\
                   security:deb http://deb.debian.org/debian-security bookworm-security main";
    let cases: [EnvironmentCase; 18] = [
        ("debian-minimal", &[], "DIB_RELEASE", "bookworm"),
        ("debian-minimal", &[], "DISTRO_NAME", "debian"),
        ("debian-minimal", &[], "DIB_INIT_SYSTEM", "systemd"),
        ("debian-minimal", &[], "EFI_BOOT_DIR", "EFI/debian"),
        ("debian-minimal", &[], "DIB_APT_SOURCES_CONF", sources),
        (
            "debian-minimal",
            &[("DIB_APT_SOURCES_CONF", "x:deb http://m s c")],
            "DIB_APT_SOURCES_CONF",
            "x:deb http://m s c",
        ),
        (
            "debian-minimal",
            &[
                ("DIB_RELEASE", "sid"),
                ("DIB_DEBIAN_COMPONENTS", "main,contrib"),
                ("DIB_DISTRIBUTION_MIRROR", "http://m/debian"),
            ],
            "DIB_APT_SOURCES_CONF",
            "default:deb http://m/debian sid main contrib",
        ),
        (
            "debian-minimal",
            &[("DIB_DEBIAN_DISTRIBUTION_MIRROR", "http://own"), ("DIB_DISTRIBUTION_MIRROR", "http://all")],
            "DIB_DISTRIBUTION_MIRROR",
            "http://own",
        ),
        ("vm", &[], "DIB_VM_KERNEL", "generic"),
        ("bootloader", &[], "DIB_BOOTLOADER_VIRTUAL_TERMINAL", "tty0"),
        ("bootloader", &[("DIB_BOOTLOADER_VIRTUAL_TERMINAL", "")], "DIB_BOOTLOADER_VIRTUAL_TERMINAL", ""),
        ("bootloader", &[], "DIB_BOOTLOADER_DEFAULT_CMDLINE", "nofb nomodeset gfxpayload=text"),
        ("bootloader", &[], "DIB_BLOCK_DEVICE", ""),
        ("block-device-mbr", &[], "DIB_BLOCK_DEVICE", "mbr"),
        ("block-device-efi", &[], "DIB_BLOCK_DEVICE", "efi"),
        ("cloud-init", &[], "DIB_CLOUD_INIT_DATASOURCES", ""),
        ("cloud-init-nocloud cloud-init", &[], "DIB_CLOUD_INIT_DATASOURCES", "NoCloud"),
        ("base", &[], "DIB_AVOID_PACKAGES_UPDATE", "0"),
    ];
    for (names, set, variable, expected) in cases {
        let mut files: Vec<PathBuf> =
            names.split(' ').flat_map(|name| listing(&elements().join(name).join("environment.d"))).collect();
        files.sort_by_key(|file| file_name(file));
        let script = "name=$1; shift; for file in \"$@\"; do . \"$file\"; done; printenv \"$name\"";
        let mut bash = Command::new("/bin/bash");
        bash.args(["-eu", "-o", "pipefail", "-c", script, "bash", variable]).args(files);
        bash.env_clear().env("PATH", "/usr/bin:/bin").envs(set.iter().copied());
        let output = bash.output().unwrap();
        assert!(output.status.success(), "{names}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{expected}\n"),
            "{names} {variable} with {set:?}"
        );
    }
}

fn elements() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../elements").canonicalize().expect("the elements we ship")
}

fn element_directories() -> Vec<PathBuf> {
    listing(&elements()).into_iter().filter(|path| path.is_dir()).collect()
}

/// Everything in directories called `*.d`, sourced or run.
fn hooks() -> Vec<PathBuf> {
    let phases = element_directories().into_iter().flat_map(|element| listing(&element));
    phases
        .filter(|path| path.is_dir() && file_name(path).ends_with(".d"))
        .flat_map(|phase| listing(&phase))
        .collect()
}

fn listing(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .expect("a readable directory")
        .map(|entry| entry.expect("a readable entry").path())
        .collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
