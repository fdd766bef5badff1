//! The command `dib-block-device` under its own name: a disk made by one process and taken apart by others, with nothing left of it.
//! Needs root and loop devices.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use dibw_sys::{probe, vfat};
use dibw_tests::dibw::program;

const LAYOUT: &str = "\
- local_loop: {name: image0}
- local_loop: {name: data, size: 32MiB, directory: [DIR]/elsewhere, mkfs: {name: mkfs_data, type: ext2, mount: {mount_point: /data}}}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: ESP, type: EF00, size: 40MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {fsck-passno: 2}}}}
      - {name: BSP, type: EF02, size: 8MiB}
      - {name: swap, type: '8200', size: 16MiB, mkfs: {type: swap, mount: {mount_point: none, fstab: {options: sw}}}}
      - {name: root, type: '8300', size: 100%, mkfs: {mount: {mount_point: /, fstab: {options: defaults, fsck-passno: 1}}}}
";

/// A directory with a configuration and its parameters.
struct Scene {
    dir: tempfile::TempDir,
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Scene {
    /// None, with a word, where these tests can't run.
    fn new(layout: &str) -> Option<Self> {
        if !probe::is_root() || probe::loop_control().is_err() {
            eprintln!("skipped: needs root and loop devices");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("dibw-test-").tempdir_in("/var/tmp").expect("a directory");
        symlink(program(), dir.path().join("dib-block-device")).expect("a link");
        let scene = Self { dir };
        fs::write(scene.at("layout.yaml"), layout.replace("[DIR]", &scene.at("").display().to_string()))
            .expect("a file");
        let at = |name: &str| scene.at(name).display().to_string();
        let parameters = format!(
            "config: {}\nimage-dir: {}\nroot-fs-type: ext4\nroot-label: \nmount-base: {}\nbuild-dir: {}\nimage-size: 131072KiB\nroot-fs-opts: '-i 4096'\n",
            at("layout.yaml"),
            at("images"),
            at("build/mnt"),
            at("build")
        );
        fs::write(scene.at("params.yaml"), parameters).expect("a file");
        Some(scene)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(self.at("dib-block-device"));
        command
            .args(arguments)
            .env("DIB_BLOCK_DEVICE_PARAMS_YAML", self.at("params.yaml"))
            .env_remove("DIB_BLOCK_SIZE");
        let output = command.output().expect("it can be started");
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr)
                .replace(&self.at("").display().to_string(), "[DIR]/"),
        }
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        ran.stdout
    }

    fn fail(&self, arguments: &[&str], with: &str) {
        let ran = self.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(with), "{arguments:?}: {}", ran.stderr);
    }

    /// Loop devices and mounts that have to do with the directory.
    fn held(&self) -> Vec<String> {
        let losetup = Command::new("losetup").arg("-a").output().expect("losetup");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let text = String::from_utf8_lossy(&losetup.stdout).into_owned() + &mounts;
        let dir = self.dir.path().display().to_string();
        text.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect()
    }
}

#[test]
fn a_disk_lives_across_processes_and_leaves_nothing() {
    let Some(scene) = Scene::new(LAYOUT) else { return };
    scene.succeed(&["init"]);
    for (symbol, answer) in [
        ("root-label", "cloudimg-rootfs\n"),
        ("root-fstype", "ext4\n"),
        ("boot-label", "\n"),
        ("mount-points", "/data|/boot/efi|none|/\n"),
    ] {
        assert_eq!(scene.succeed(&["getval", symbol]), answer, "{symbol}");
    }
    scene.fail(&["getval", "image-path"], "State dump not found");
    scene.succeed(&["create"]);
    // Two images, four partitions; root, data and the staging of the EFI system partition.
    assert_eq!(scene.held().len(), 6 + 3, "{:#?}", scene.held());
    assert_eq!(
        scene.succeed(&["getval", "image-path"]),
        format!("{}\n", scene.at("images/image0.raw").display())
    );
    assert!(scene.at("elsewhere/data.raw").exists());
    let device = scene.succeed(&["getval", "image-block-device"]);
    assert!(device.starts_with("/dev/loop"), "{device}");
    let devices = scene.succeed(&["getval", "image-block-devices"]);
    let names: Vec<&str> =
        devices.split_whitespace().map(|word| word.split('=').next().unwrap_or_default()).collect();
    assert_eq!(names, ["[image0]", "[data]", "[ESP]", "[BSP]", "[swap]", "[root]"]);
    assert!(devices.starts_with(&format!(" [image0]={}  [data]=", device.trim())), "{devices}");
    scene.fail(&["create"], "the disk is there already");
    assert_eq!(scene.held().len(), 6 + 3, "asking changed nothing");
    scene.succeed(&["writefstab"]);
    let fstab = fs::read_to_string(scene.at("build/built/etc/fstab")).expect("the fstab");
    let expected = "LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=MKFS_ESP /boot/efi vfat defaults 0 2\nLABEL=mkfs_swap none swap sw 0 0\n";
    assert_eq!(fstab, expected);
    fs::create_dir(scene.at("build/mnt/boot/efi/EFI")).expect("a directory");
    for file in ["boot/efi/EFI/loader", "data/file", "file"] {
        fs::write(scene.at("build/mnt").join(file), file).expect("a file");
    }
    scene.succeed(&["umount"]);
    assert_eq!(scene.held(), Vec::<String>::new());
    scene.succeed(&["umount"]);
    assert!(fs::read_dir(scene.at("build/mnt")).expect("a directory").next().is_none());
    let image = fs::read(scene.at("images/image0.raw")).expect("the image");
    fs::write(scene.at("esp"), &image[1 << 20..41 << 20]).expect("a file");
    assert_eq!(vfat::read(&scene.at("esp"), "/EFI/loader").expect("it was written"), b"boot/efi/EFI/loader");
    scene.succeed(&["cleanup"]);
    assert!(!scene.at("build/states/block-device").exists());
    assert!(scene.at("images/image0.raw").exists());
    scene.fail(&["cleanup"], "State dump not found");
}

#[test]
fn delete_removes_the_images_of_a_disk_in_use() {
    let Some(scene) = Scene::new(LAYOUT) else { return };
    scene.succeed(&["init"]);
    scene.succeed(&["create"]);
    scene.succeed(&["delete"]);
    assert_eq!(scene.held(), Vec::<String>::new());
    assert!(!scene.at("images/image0.raw").exists() && !scene.at("elsewhere/data.raw").exists());
    scene.fail(&["delete"], "State dump not found");
}

#[test]
fn a_create_that_fails_gives_everything_back() {
    let layout = "\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
      - {name: root, flags: [boot, primary], size: 60MiB, mkfs: {mount: {mount_point: /}}}
      - {name: var, size: 40MiB, mkfs: {type: ext4, opts: '-O no-such-feature', mount: {mount_point: /var}}}
";
    let Some(scene) = Scene::new(layout) else { return };
    scene.succeed(&["init"]);
    scene.fail(&["create"], "no-such-feature");
    assert_eq!(scene.held(), Vec::<String>::new());
    assert!(!scene.at("images/image0.raw").exists());
    assert!(!scene.at("build/mnt").exists());
    scene.fail(&["getval", "image-path"], "State dump not found");
    scene.succeed(&["umount"]);
    // What had been there before stays.
    fs::create_dir_all(scene.at("images")).expect("a directory");
    fs::write(scene.at("images/image0.raw"), "mine").expect("a file");
    scene.fail(&["create"], "image0.raw");
    assert_eq!(fs::read_to_string(scene.at("images/image0.raw")).expect("it stays"), "mine");
}

#[test]
fn volumes_need_device_mapper() {
    let layout = "\
- local_loop: {name: image0, size: 200MiB}
- lvm:
    name: lvm
    pvs: [{name: pv, base: image0}]
    vgs: [{name: dibw-test-command, base: [pv]}]
    lvs: [{name: root, base: dibw-test-command, size: 100MiB}]
- mkfs: {name: mkfs_root, base: root, mount: {mount_point: /}}
";
    let Some(scene) = Scene::new(layout) else { return };
    scene.succeed(&["init"]);
    if probe::device_mapper().is_ok() {
        scene.succeed(&["create"]);
        let devices = scene.succeed(&["getval", "image-block-devices"]);
        assert!(devices.ends_with("  [root]=/dev/mapper/dibw--test--command-root \n"), "{devices}");
        scene.succeed(&["umount"]);
        scene.succeed(&["cleanup"]);
    } else {
        scene.fail(&["create"], "the kernel has no device-mapper");
        assert!(!scene.at("images/image0.raw").exists());
    }
    assert_eq!(scene.held(), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let Some(scene) = Scene::new(
        "- local_loop: {name: d}\n- partitioning: {base: d, label: gpt, partitions: [{name: p, size: 1MiB, type: 1234}]}\n",
    ) else {
        return;
    };
    scene.fail(&["getval", "root-label"], "there is no configuration");
    scene.fail(&["init"], "[DIR]/layout.yaml:2:80: [1234] is no known type of a GPT partition");
    scene.fail(&["getval", "colour"], "ERROR dib-block-device [-] Invalid symbol [colour] for getval");
    scene.fail(&["--params", "/none", "init"], "/none does not exist");
    assert_eq!(scene.run(&["umount"]).code, Some(0));
    assert_eq!(scene.run(&["paint"]).code, Some(2));
    let without = Command::new(scene.at("dib-block-device"))
        .arg("init")
        .env_remove("DIB_BLOCK_DEVICE_PARAMS_YAML")
        .output();
    assert_eq!(without.expect("it runs").status.code(), Some(2));
}
