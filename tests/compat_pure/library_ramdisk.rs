//! The ramdisk functions of the classic elements' library: what is in a ramdisk and in which order its /init runs. The root that the ramdisk
//! is made of is the machine's own; busybox is a script that lists names where the real one packs.

use anyhow::Result;
use dibw_tests::library::{LibraryBash, write};

/// As the elements `ramdisk` and `ramdisk-base` set it up, but for the paths.
const BUILD: &str = "cpio() { cat; }; cd $_LIB/..\n\
    export MODULE_ROOT=$PWD/root; for f in common img ramdisk; do source $_LIB/$f-defaults; done\n\
    MODULE_ROOT=$PWD/root; for f in common img ramdisk; do source $_LIB/$f-functions; done\n\
    export TMP_DIR=$PWD TMP_HOOKS_PATH=$PWD/hooks; KERNEL_VERSION=$(find_kernel_version)\n\
    MODULE_DIR=$MODULE_ROOT/lib/modules/$KERNEL_VERSION FIRMWARE_DIR=$MODULE_ROOT/lib/firmware LIB_UDEV=$PWD/root/lib/udev\n\
    INIT=$PWD/scripts/init FUNCTIONS_D=$PWD/scripts/d BUSYBOX=$PWD/busybox\n\
    mk_build_dir >/dev/null; export TMP_MOUNT_PATH=$TMP_BUILD_DIR/mnt; mkdir $TMP_MOUNT_PATH; TMP_HOOKS_PATH=$PWD/hooks\n";

fn prepared() -> Result<LibraryBash> {
    let bash = LibraryBash::new()?;
    for (path, text, mode) in [
        ("busybox", "#!/bin/sh\ncase $1 in --list) printf 'true\\nls\\n' ;; cpio) cat ;; esac\n", 0o755),
        ("root/boot/vmlinuz-6.9-1", "", 0o644),
        ("root/boot/vmlinuz-6.10-1", "", 0o644),
        ("root/lib/modules/6.9-1/modules.dep", "", 0o644),
        ("root/lib/modules/6.10-1/modules.dep", "", 0o644),
        ("root/lib/modules/6.11-no-kernel/modules.dep", "", 0o644),
        ("root/lib/modules/6.10-1/kernel/drivers/video/fbdev/vgafb.ko.xz", "", 0o644),
        ("root/lib/modules/6.10-1/kernel/drivers/video/backlight.ko.xz", "", 0o644),
        ("root/lib/firmware/card.bin", "", 0o644),
        ("root/lib/udev/rules.d/50-a.rules", "", 0o644),
        ("scripts/init", "#!/bin/bash\nsource /functions\n", 0o644),
        ("scripts/init-end", "reboot\n", 0o644),
        ("scripts/d/functions", "", 0o644),
        // No newline at the end, as some elements have it.
        ("hooks/init.d/20-b", "second", 0o644),
        ("hooks/init.d/10-a", "first\n", 0o644),
        ("hooks/init.d/100-c", "between\n", 0o644),
        ("hooks/udev.d/60-disks.rules", "", 0o644),
        ("hooks/binary-deps.d/a", "true\n", 0o644),
        ("hooks/ramdisk-install.d/50-a", "#!/bin/bash\necho x >$TMP_MOUNT_PATH/installed\n", 0o755),
    ] {
        write(&bash.dir.path().join(path), text, mode)?;
    }
    Ok(bash)
}

#[test]
fn a_ramdisk_has_every_part_that_elements_name() -> Result<()> {
    let bash = prepared()?;
    let archive = bash.says(&format!(
        "{BUILD}create_ramdisk_base; populate_lib; populate_busybox; populate_init; populate_udev\n\
         run_d ramdisk-install >/dev/null 2>&1; finalise_image; save_image out >/dev/null; trap EXIT\n\
         gzip -dc out; [ -x $TMP_MOUNT_PATH/bin/bash ]; [ ! -L $TMP_MOUNT_PATH/bin/true ]\n\
         [ $(readlink $TMP_MOUNT_PATH/bin/ls) = busybox ]; [ -e $TMP_MOUNT_PATH/usr/sbin/true ]"
    ))?;
    let names: Vec<_> = archive.lines().collect();
    for name in [
        "./init",
        "./functions",
        "./installed",
        "./bin/busybox",
        "./bin/ls",
        "./bin/true",
        "./bin/bash",
        "./sbin",
        "./lib/modules/6.10-1/modules.dep",
        "./lib/firmware/card.bin",
        "./lib/udev/rules.d/50-a.rules",
        "./etc/udev/rules.d/60-disks.rules",
        "./proc",
        "./dev",
    ] {
        assert!(names.contains(&name), "{name} in {archive}");
    }
    assert!(names.iter().any(|name| name.contains("libc.so")), "{archive}");
    assert!(archive.contains("backlight.ko") && !archive.contains("vgafb.ko"), "{archive}");
    assert!(!archive.contains("6.9-1"), "{archive}");
    Ok(())
}

/// dracut-ramdisk takes only /init and its functions, and makes the ramdisk itself.
#[test]
fn init_is_head_parts_and_end_and_needs_nothing_else() -> Result<()> {
    let bash = prepared()?;
    let init =
        bash.says(&format!("{BUILD}populate_init; cat $TMP_MOUNT_PATH/init; cd $TMP_MOUNT_PATH; ls"))?;
    let parts: Vec<_> = init.lines().filter(|line| !line.is_empty()).collect();
    let expected =
        ["#!/bin/bash", "source /functions", "first", "between", "second", "reboot", "functions", "init"];
    assert_eq!(parts, expected);
    Ok(())
}

#[test]
fn what_is_missing_is_named() -> Result<()> {
    let bash = prepared()?;
    for (script, message) in [
        (
            "MODULE_DIR=/nowhere; populate_lib",
            "ERROR: no kernel modules at /nowhere; set DIB_KERNEL_VERSION or DIB_MODULE_ROOT\n",
        ),
        (
            "MODULE_ROOT=/nowhere; find_kernel_version",
            "ERROR: no kernel in /nowhere/boot has modules in /nowhere/lib/modules; install one, or set DIB_KERNEL_VERSION\n",
        ),
        (
            "echo no-such-program >hooks/binary-deps.d/b; populate_busybox",
            "ERROR: no-such-program, which binary-deps.d asks for, is not found in PATH\n",
        ),
    ] {
        let failed = bash.command(&format!("{BUILD}{script}")).output()?;
        assert_eq!(failed.status.code(), Some(1), "{script}");
        assert_eq!(String::from_utf8_lossy(&failed.stderr), message);
    }
    Ok(())
}
