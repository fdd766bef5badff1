//! The shell functions of the classic elements' library, where no privilege is needed: which kernel a target boots, defaults, merged hooks,
//! break points, saved images.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Result;
use dibw_tests::library::{LibraryBash, write};

/// A target: its marker file in etc, the files in boot, variables, and the kernel and ramdisk that are to be found.
type Target = (&'static str, &'static [&'static str], &'static str, &'static str);

const TARGETS: &[Target] = &[
    (
        "etc/debian_version",
        &[
            "vmlinuz-6.1.0-9-amd64",
            "vmlinuz-6.1.0-10-amd64",
            "initrd.img-6.1.0-9-amd64",
            "initrd.img-6.1.0-10-amd64",
        ],
        "",
        "vmlinuz-6.1.0-10-amd64 initrd.img-6.1.0-10-amd64",
    ),
    (
        "etc/debian_version",
        &[
            "vmlinuz-5.4.0-9-generic",
            "vmlinuz-6.8.0-1-aws",
            "initrd.img-5.4.0-9-generic",
            "initrd.img-6.8.0-1-aws",
        ],
        "",
        "vmlinuz-5.4.0-9-generic initrd.img-5.4.0-9-generic",
    ),
    (
        "etc/debian_version",
        &[
            "vmlinuz-5.4.0-9-generic",
            "vmlinuz-6.8.0-1-aws",
            "initrd.img-5.4.0-9-generic",
            "initrd.img-6.8.0-1-aws",
        ],
        "DIB_BAREMETAL_KERNEL_PATTERN='vmlinuz*aws' DIB_BAREMETAL_INITRD_PATTERN='initrd*'",
        "vmlinuz-6.8.0-1-aws initrd.img-6.8.0-1-aws",
    ),
    (
        "etc/redhat-release",
        &[
            "vmlinuz-4.18.0-9.el8.x86_64",
            "vmlinuz-4.18.0-80.el8.x86_64",
            "vmlinuz-0-rescue-abc",
            "vmlinuz-4.18.0-99.el8.x86_64+debug",
            "initramfs-4.18.0-9.el8.x86_64.img",
            "initramfs-4.18.0-80.el8.x86_64.img",
        ],
        "",
        "vmlinuz-4.18.0-80.el8.x86_64 initramfs-4.18.0-80.el8.x86_64.img",
    ),
    (
        "etc/redhat-release",
        &[
            "vmlinuz-3.9-1.i686",
            "vmlinuz-3.8-1.i686.PAE",
            "initramfs-3.9-1.i686.img",
            "initramfs-3.8-1.i686.PAE.img",
        ],
        "",
        "vmlinuz-3.8-1.i686.PAE initramfs-3.8-1.i686.PAE.img",
    ),
    (
        "etc/SuSE-release",
        &[
            "vmlinuz-5.3-1-default",
            "initrd-5.3-1-default",
            "vmlinuz>vmlinuz-5.3-1-default",
            "initrd>initrd-5.3-1-default",
        ],
        "",
        "vmlinuz-5.3-1-default initrd-5.3-1-default",
    ),
    (
        "etc/os-release",
        &["vmlinuz-6-default", "initrd-6-default", "vmlinuz>vmlinuz-6-default", "initrd>initrd-6-default"],
        "DISTRO_NAME=opensuse",
        "vmlinuz-6-default initrd-6-default",
    ),
    (
        "etc/gentoo-release",
        &[
            "vmlinuz-6.1.9-gentoo",
            "vmlinuz-6.1.10-gentoo",
            "initramfs-6.1.9-gentoo.img",
            "initramfs-6.1.10-gentoo.img",
        ],
        "",
        "vmlinuz-6.1.10-gentoo initramfs-6.1.10-gentoo.img",
    ),
];

/// A target's tree: its files in boot, `link>target` for a link.
fn make_target(root: &Path, marker: &str, boot: &[&str]) -> Result<()> {
    write(&root.join(marker), "", 0o644)?;
    for name in boot {
        match name.split_once('>') {
            Some((link, target)) => symlink(target, root.join("boot").join(link))?,
            None => write(&root.join("boot").join(name), "", 0o644)?,
        }
    }
    Ok(())
}

#[test]
fn the_newest_kernel_of_each_distribution_is_found() -> Result<()> {
    let bash = LibraryBash::new()?;
    for (index, (marker, boot, variables, found)) in TARGETS.iter().enumerate() {
        let root = bash.dir.path().join(format!("target-{index}"));
        make_target(&root, marker, boot)?;
        // img-functions alone: elements copy it into the target without the rest.
        let script = format!(
            "{variables}\nsource $_LIB/img-functions; select_boot_kernel_initrd {root}\n\
             [ $TARGET_ROOT = {root} ]; [ $BOOTDIR = {root}/boot ]; echo $KERNEL $RAMDISK",
            root = root.display()
        );
        assert_eq!(bash.says(&script)?, format!("{found}\n"), "{boot:?}");
    }
    Ok(())
}

#[test]
fn a_signed_kernel_is_booted_with_its_own_ramdisk() -> Result<()> {
    let bash = LibraryBash::new()?;
    let root = bash.dir.path().join("target");
    let boot = [
        "vmlinuz-5.4.0-9-generic",
        "vmlinuz-5.4.0-9-generic.efi.signed",
        "vmlinuz-6.8.0-10-generic",
        "initrd.img-5.4.0-9-generic",
        "initrd.img-6.8.0-10-generic",
    ];
    make_target(&root, "etc/debian_version", &boot)?;
    // A line of shell would run if the file were sourced.
    let version = "DIB_SIGNED_KERNEL_VERSION=5.4.0-9-generic.efi.signed\ntouch sourced\n";
    write(&root.join("dib-signed-kernel-version"), version, 0o644)?;
    let script =
        "source $_LIB/img-functions; select_boot_kernel_initrd target 2>/dev/null; echo $KERNEL $RAMDISK; ls";
    assert_eq!(
        bash.says(script)?,
        "vmlinuz-5.4.0-9-generic.efi.signed initrd.img-5.4.0-9-generic\nlib\ntarget\n"
    );
    Ok(())
}

#[test]
fn a_target_without_a_known_system_or_a_kernel_is_an_error() -> Result<()> {
    let bash = LibraryBash::new()?;
    make_target(&bash.dir.path().join("unknown"), "etc/os-release", &["vmlinuz-1", "initrd-1"])?;
    make_target(&bash.dir.path().join("empty"), "etc/debian_version", &[])?;
    for (root, message) in [
        ("unknown", "ERROR: Unable to detect operating system in unknown\n"),
        ("empty", "ERROR: no kernel or no initial ramdisk in empty/boot (kernel '', ramdisk '')\n"),
    ] {
        let script = format!("source $_LIB/img-functions; select_boot_kernel_initrd {root}");
        let failed = bash.command(&script).output()?;
        assert_eq!(failed.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&failed.stderr), message);
    }
    Ok(())
}

#[test]
fn defaults_keep_what_the_caller_set_and_may_be_sourced_twice() -> Result<()> {
    let bash = LibraryBash::new()?;
    let source = "source $_LIB/common-defaults; source $_LIB/img-defaults; source $_LIB/ramdisk-defaults";
    let show = "echo $DIB_NO_TMPFS $DIB_MIN_TMPFS $FS_TYPE $IMAGE_TYPE $IMAGE_NAME $ELEMENTS_PATH $RAMDISK_ELEMENT [$MODULE_ROOT]";
    assert_eq!(
        bash.says(&format!("export ELEMENTS_PATH=/e; {source}; {source}; {show}"))?,
        "1 1 ext4 qcow2 image /e ramdisk []\n"
    );
    assert_eq!(
        bash.says(&format!(
            "export ELEMENTS_PATH=/e DIB_NO_TMPFS=0 DIB_MIN_TMPFS=3 FS_TYPE=xfs DIB_MODULE_ROOT=/m; {source}; {show}"
        ))?,
        "0 3 xfs qcow2 image /e ramdisk [/m]\n"
    );
    Ok(())
}

#[test]
fn hooks_of_elements_are_merged_and_a_second_of_a_name_is_named() -> Result<()> {
    let bash = LibraryBash::new()?;
    let elements = bash.dir.path().join("elements");
    for (file, text) in [
        ("one/root.d/10-a", "#!/bin/bash\necho one\n"),
        ("one/static/etc/a", ""),
        ("one/tests/t", ""),
        ("one/pkg-map", ""),
        ("two/root.d/20-b", "#!/bin/bash\necho two\n"),
        ("two/static/etc/b", ""),
        ("three/root.d/20-b", ""),
    ] {
        write(&elements.join(file), text, 0o755)?;
    }
    let start = "function get_image_element_array() { for e in one two three; do echo -n \"[$e]=$PWD/elements/$e \"; done; }\n\
        export TMP_HOOKS_PATH=$PWD/hooks; source $_LIB/common-functions\n";
    let merged = bash.says(&format!(
        "{start} IMAGE_ELEMENT='one two' run_d root 2>/dev/null; cd hooks; find . -type f | LC_ALL=C sort"
    ))?;
    assert_eq!(
        merged.lines().skip(1).collect::<Vec<_>>(),
        ["one", "two", "./pkg-map", "./root.d/10-a", "./root.d/20-b", "./static/etc/a", "./static/etc/b"]
    );
    let failed =
        bash.command(&format!("rm -r hooks; {start} IMAGE_ELEMENT='two three' run_d root")).output()?;
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(said, "ERROR: There is a duplicated hook in your elements: three/root.d/20-b\n");
    Ok(())
}

#[test]
fn break_points_run_a_line_of_shell() -> Result<()> {
    let bash = LibraryBash::new()?;
    write(&bash.dir.path().join("hooks/root.d/10-a"), "#!/bin/bash\necho hook\n", 0o755)?;
    let script = "source $_LIB/common-functions; TMP_HOOKS_PATH=$PWD/hooks; break=x,before-root\n\
        break_cmd='echo at $TMP_HOOKS_PATH || true'; run_d root 2>&1 | grep -v '^dib-run-parts\\|^Running'";
    assert_eq!(
        bash.says(script)?,
        format!(
            "Starting debug shell. Exit to resume building.\nAt stage before-root\nat {}\nResuming\nhook\n",
            bash.dir.path().join("hooks").display()
        )
    );
    Ok(())
}

#[test]
fn an_image_that_has_the_name_already_is_kept_and_sums_are_written() -> Result<()> {
    let bash = LibraryBash::new()?;
    let script = "source $_LIB/common-functions; source $_LIB/img-functions; echo old >out.raw; echo sum >out.raw.md5\n\
        touch -d 2020-01-02T03:04:05 out.raw; echo new >image; export DIB_CHECKSUM=sha256 IMAGE_TYPE=raw\n\
        TMP_IMAGE_PATH=image compress_and_save_image out.raw; cat out.raw; sha256sum -c out.raw.sha256; rm -r lib; ls";
    assert_eq!(
        bash.says(script)?,
        "Image file out.raw created...\nnew\nout.raw: OK\n\
         out-2020.01.02-03.04.05.raw\nout-2020.01.02-03.04.05.raw.md5\nout.raw\nout.raw.sha256\n"
    );
    Ok(())
}
