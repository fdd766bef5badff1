//! What a user must mend is told before anything is touched, all of it at once, in under a second: `dibw build` as a black box.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use dibw_tests::dibw::{Dibw, root, workspace};

/// The bound of "at once".
const AT_ONCE: Duration = Duration::from_secs(1);

const BAD_DISK: &str = "- local_loop:\n    name: image0\n    sise: 3GiB\n";
const BIG_DISK: &str = "\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: root, size: 4GiB, type: '8300', mkfs: {name: mkfs_root, mount: {mount_point: /}}}
";

/// A `dibw` with a few broken elements and files in `[DIR]`.
fn dibw() -> Dibw {
    let dibw = Dibw::new();
    for (path, text) in [
        ("e/bad-disk/block-device-default.yaml", BAD_DISK),
        ("e/big-disk/block-device-default.yaml", BIG_DISK),
        ("e/whole-disk/block-device-default.yaml", &BIG_DISK.replace("4GiB", "100%")),
        ("e/bad-packages/package-installs.yaml", "vim:\n  phse: install.d\n"),
        ("e/needs-nothing-known/element-deps", "no-such-element\n"),
        ("e/needs-tools/host-tools", "no-such-program\n"),
        ("e/needs-xfs/host-tools", "zypper\n"),
        ("bad-policy.yaml", "api: dibw/policy/v1\ncieling: []\n"),
        ("strict.yaml", "api: dibw/policy/v1\nclassic: {default: deny}\n"),
        ("images.yaml", "- imagename: one\n  elements: [fake-os]\n  typs: [tar]\n"),
        (
            "two-images.yaml",
            "- imagename: one\n  elements: [fake-oss]\n- imagename: two\n  elements: [fake-os]\n  types: [qcow3]\n",
        ),
    ] {
        dibw.file(path, text);
    }
    let elements = dibw.dir().join("e");
    dibw.elements(elements)
}

/// Runs it, checks how long it took and that it left nothing, and gives code and what it said.
fn told(dibw: Dibw, args: &[&str]) -> (i32, String) {
    let dibw = dibw.args(["build"]).args(args);
    let began = Instant::now();
    let ran = dibw.run();
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{args:?} took {took:?}");
    assert_eq!(ran.stdout, "", "{args:?}");
    let left =
        std::fs::read_dir(dibw.dir()).expect("it is there").map(|entry| entry.expect("listed").file_name());
    let mut left: Vec<_> = left.filter(|name| name != "e" && name != "work").collect();
    left.retain(|name| !name.to_string_lossy().ends_with(".yaml"));
    assert!(left.is_empty(), "{args:?} left {left:?}");
    (ran.code, ran.stderr)
}

/// Arguments, and what is said on standard error.
type Case = (&'static [&'static str], &'static str);

#[test]
fn elements_and_types() {
    let cases: [Case; 11] = [
        (
            &[],
            "error: no element is named\n  hint: name at least an operating system: dibw build debian-minimal\n",
        ),
        (&["fake-oss"], "error: Element 'fake-oss' not found\n  hint: did you mean `fake-os`?\n"),
        (&["./nowhere.wasm", "fake-os"], "error: no element at ./nowhere.wasm\n"),
        (
            &["fake-os", "debian-minimal"],
            "error: operating-system: already provided by ['fake-os']\n  hint: `debian-minimal` provides it too; keep one of the two elements\n",
        ),
        (
            &["stubborn", "-n"],
            "error: Please include an operating system element\n  hint: add one of: debian-minimal, fake-os\n",
        ),
        (
            &["fake-os", "needs-nothing-known"],
            "error: Element 'no-such-element' not found (needed by `needs-nothing-known`)\n",
        ),
        (&["-t", "qcow3", "fake-os"], "error: unknown output type `qcow3`\n  hint: did you mean `qcow2`?\n"),
        (
            &["-t", "vmware-esx", "fake-os"],
            "error: unknown output type `vmware-esx`\n  hint: known types: raw, qcow2, vhd, vhdx, vmdk, vdi, vpc, qed, qcow, parallels, tar, tgz, tar.zst, aci, docker, oci, squashfs\n",
        ),
        (
            &["-t", "docker", "fake-os"],
            "error: output type `docker` needs a name for its image\n  hint: --docker-target NAME[:TAG]\n",
        ),
        (
            &["-t", "tar", "fake-os", "--push", "example.com/x"],
            "error: --push sends a container image, and none is made\n  hint: add the output type docker: -t docker --docker-target NAME[:TAG]\n",
        ),
        (&["-a", "amd46", "fake-os"], "error: unknown architecture `amd46`\n  hint: did you mean `amd64`?\n"),
    ];
    for (args, expected) in cases {
        assert_eq!(told(dibw(), args), (2, expected.to_owned()), "{args:?}");
    }
}

#[test]
fn unknown_keys_have_file_line_and_the_nearest_known_key() {
    let cases: [Case; 5] = [
        (
            &["fake-os", "bad-disk"],
            "error: [DIR]/e/bad-disk/block-device-default.yaml:3:5: unknown key `sise` in local_loop\n  hint: did you mean `size`?\n",
        ),
        (
            &["fake-os", "--block-device", "e/bad-disk/block-device-default.yaml"],
            "error: e/bad-disk/block-device-default.yaml:3:5: unknown key `sise` in local_loop\n  hint: did you mean `size`?\n",
        ),
        (
            &["fake-os", "bad-packages"],
            "error: [DIR]/e/bad-packages/package-installs.yaml:2:3: unknown key `phse`\n  hint: did you mean `phase`?\n",
        ),
        (
            &["--config", "images.yaml"],
            "error: images.yaml:3:3: unknown key `typs`\n  hint: did you mean `types`?\n",
        ),
        (
            &["fake-os", "--policy", "bad-policy.yaml"],
            "error: bad-policy.yaml:2: unknown key `cieling`\n  hint: did you mean `ceiling`?\n",
        ),
    ];
    for (args, expected) in cases {
        assert_eq!(told(dibw(), args), (2, expected.to_owned()), "{args:?}");
    }
}

#[test]
fn all_problems_at_once() {
    let args = ["fake-os", "bad-packages", "bad-disk", "-t", "qcow3", "--set", "nobody.text=1"];
    let expected = "\
error: unknown output type `qcow3`
  hint: did you mean `qcow2`?
error: settings for `nobody`, which is not an element of this image
  hint: add `nobody` to the elements
error: [DIR]/e/bad-packages/package-installs.yaml:2:3: unknown key `phse`
  hint: did you mean `phase`?
error: [DIR]/e/bad-disk/block-device-default.yaml:3:5: unknown key `sise` in local_loop
  hint: did you mean `size`?
";
    assert_eq!(told(dibw(), &args), (2, expected.to_owned()));
    let expected = "\
error: Element 'fake-oss' not found
  hint: did you mean `fake-os`?
error: unknown output type `qcow3`
  hint: did you mean `qcow2`?
";
    assert_eq!(told(dibw(), &["--config", "two-images.yaml"]), (2, expected.to_owned()));
    let args = ["--set", "nodot=1", "--set", "motd.text", "--image-size", "lots", "--policy", "nowhere.yaml"];
    let expected = "\
error: --image-size lots: unit_str [lots] not known
  hint: sizes look like 4GiB, 3500MiB or 4
error: --set nodot=1: this is not ELEMENT.KEY=VALUE
  hint: for example --set hostname.name=web1
error: --set motd.text: this is not ELEMENT.KEY=VALUE
  hint: for example --set hostname.name=web1
error: cannot read nowhere.yaml: No such file or directory (os error 2)
";
    assert_eq!(told(dibw(), &args), (2, expected.to_owned()));
}

#[test]
fn a_layout_larger_than_the_image() {
    let (code, told) = told(dibw(), &["fake-os", "big-disk", "--image-size", "2GiB"]);
    let start = "error: [DIR]/e/big-disk/block-device-default.yaml:6:";
    assert_eq!(code, 2);
    assert!(told.starts_with(start) && told.contains(": layout larger than the image"), "{told}");
}

#[test]
fn a_partition_too_small_for_its_file_system() {
    let (code, told) = told(dibw(), &["fake-os", "whole-disk", "--image-size", "100MiB"]);
    assert_eq!(code, 2);
    let message = "file system [mkfs_root] has room of 98 MiB, and ext4 needs at least 128 MiB";
    assert!(told.contains(message), "{told}");
}

#[test]
fn a_policy_that_refuses_has_a_code_of_its_own() {
    let (code, told) = told(dibw(), &["fake-os", "-n", "--policy", "strict.yaml"]);
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("fake-os"), "{told}");
}

#[test]
fn without_root() {
    let entered_by_others =
        |dir: &Path| dir.metadata().is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    if !workspace().ancestors().all(entered_by_others) {
        println!("skipped: without_root: nobody can't enter {}", workspace().display());
        return;
    }
    let expected = "error: building needs root\n  hint: sudo dibw build ...\n";
    assert_eq!(told(dibw().as_nobody(), &["fake-os"]), (2, expected.to_owned()));
}

#[test]
fn missing_programs_of_the_host() {
    if !root("missing_programs_of_the_host") {
        return;
    }
    let expected = "\
error: no-such-program is missing: element `needs-tools`
error: zypper is missing: element `needs-xfs`
  hint: apt-get install zypper
error: output directory nowhere does not exist
  hint: mkdir -p nowhere
";
    let args = ["fake-os", "needs-tools", "needs-xfs", "-o", "nowhere/image"];
    assert_eq!(told(dibw(), &args), (2, expected.to_owned()));
}

/// With the plugins that are shipped, where they have been built.
#[test]
fn settings_of_typed_elements() {
    let plugin = workspace().join("plugins/target/elements/motd.wasm");
    if !plugin.exists() {
        eprintln!("skipped: settings_of_typed_elements (plugins are not built: dibw plugin build plugins)");
        return;
    }
    let cases: [Case; 3] = [
        (
            &["fake-os", "motd", "--set", "motd.txt=hello"],
            "error: unknown setting motd.txt\n  hint: did you mean `text`?\n",
        ),
        (
            &["fake-os", "motd", "--set", "mtd.text=hello"],
            "error: settings for `mtd`, which is not an element of this image\n  hint: did you mean `motd`?\n",
        ),
        (
            &["fake-os", "--set", "fake-os.text=hello"],
            "error: `fake-os` has no settings: it is a shell element\n  hint: shell elements are configured by variables (DIB_...)\n",
        ),
    ];
    for (args, expected) in cases {
        assert_eq!(told(dibw(), args), (2, expected.to_owned()), "{args:?}");
    }
}
