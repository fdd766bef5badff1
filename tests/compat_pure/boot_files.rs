//! Which kernel and ramdisk are booted, against compat/CONTRACT.md 6.9.

use dibw_compat::boot_files::{Entry, Patterns, System, choose};

fn entries(names: &[&str]) -> Vec<Entry> {
    let entry = |name: &&str| match name.split_once(" -> ") {
        Some((name, target)) => (name.to_owned(), Some(target.to_owned())),
        None => ((*name).to_owned(), None),
    };
    names.iter().map(entry).collect()
}

#[test]
fn the_newest_pair_of_each_family() {
    for (system, names, expected) in [
        (
            System::Debian,
            vec![
                "vmlinuz-6.1.0-9-amd64",
                "vmlinuz-6.1.0-10-amd64",
                "initrd.img-6.1.0-9-amd64",
                "initrd.img-6.1.0-10-amd64",
                "config-6.1.0-10-amd64",
            ],
            Some(("vmlinuz-6.1.0-10-amd64", "initrd.img-6.1.0-10-amd64")),
        ),
        (
            System::Debian,
            vec![
                "vmlinuz-5.15.0-9-generic",
                "vmlinuz-6.0.0-lowlatency",
                "initrd.img-5.15.0-9-generic",
                "initrd.img-6.0.0-lowlatency",
            ],
            Some(("vmlinuz-5.15.0-9-generic", "initrd.img-5.15.0-9-generic")),
        ),
        (
            System::Debian,
            vec!["vmlinuz-5.4-generic", "vmlinuz-5.4-generic.efi.signed", "initrd.img-5.4-generic"],
            Some(("vmlinuz-5.4-generic.efi.signed", "initrd.img-5.4-generic")),
        ),
        (System::Debian, vec!["vmlinux-6.1", "initrd.img-6.1"], Some(("vmlinux-6.1", "initrd.img-6.1"))),
        (System::Debian, vec!["vmlinuz-6.1"], None),
        (
            System::RedHat,
            vec![
                "vmlinuz-5.9.1",
                "vmlinuz-5.14.0",
                "vmlinuz-6.0.0+debug",
                "initramfs-5.14.0.img",
                "initramfs-5.9.1.img",
                "initramfs-5.14.0kdump.img",
            ],
            Some(("vmlinuz-5.14.0", "initramfs-5.14.0.img")),
        ),
        (
            System::RedHat,
            vec!["vmlinuz-2.6.32.PAE", "vmlinuz-3.0", "initramfs-2.6.32.PAE.img", "initramfs-3.0.img"],
            Some(("vmlinuz-2.6.32.PAE", "initramfs-2.6.32.PAE.img")),
        ),
        (System::RedHat, vec!["vmlinuz-5.9.1", "initramfs-5.9.0.img"], None),
        (
            System::Suse,
            vec![
                "vmlinuz -> vmlinuz-6.4-default",
                "initrd -> initrd-6.4-default",
                "vmlinuz-6.4-default",
                "initrd-6.4-default",
            ],
            Some(("vmlinuz-6.4-default", "initrd-6.4-default")),
        ),
        (
            System::Gentoo,
            vec!["vmlinuz-6.6.9-gentoo", "vmlinuz-6.6.13-gentoo", "initramfs-6.6.13-gentoo.img"],
            Some(("vmlinuz-6.6.13-gentoo", "initramfs-6.6.13-gentoo.img")),
        ),
    ] {
        let chosen = choose(Some(system), &entries(&names), &Patterns::default());
        let chosen = chosen.as_ref().map(|files| (files.kernel.as_str(), files.ramdisk.as_str()));
        assert_eq!(chosen, expected, "{system:?} {names:?}");
    }
}

#[test]
fn patterns_go_before_families() {
    let boot = entries(&["kernel-9", "kernel-10", "ram-10.img", "vmlinuz-1", "initrd-1"]);
    let patterns = |kernel: &str, ramdisk: &str| Patterns { kernel: kernel.into(), ramdisk: ramdisk.into() };
    let chosen = choose(None, &boot, &patterns("kernel-*", "ram-*")).expect("both match");
    assert_eq!((chosen.kernel.as_str(), chosen.ramdisk.as_str()), ("kernel-10", "ram-10.img"));
    assert_eq!(choose(None, &boot, &patterns("kernel-*", "nothing*")), None);
    // One of them alone counts for nothing.
    let chosen = choose(Some(System::Debian), &boot, &patterns("kernel-*", "")).expect("Debian's own");
    assert_eq!(chosen.kernel, "vmlinuz-1");
}

#[test]
fn systems_are_known_by_etc() {
    for (etc, distro, expected) in [
        ("debian_version", "", Some(System::Debian)),
        ("redhat-release", "", Some(System::RedHat)),
        ("SuSE-release", "", Some(System::Suse)),
        ("gentoo-release", "", Some(System::Gentoo)),
        ("os-release", "opensuse", Some(System::Suse)),
        ("os-release", "", None),
    ] {
        assert_eq!(System::of(&["fstab".to_owned(), etc.to_owned()], distro), expected, "{etc} {distro}");
    }
}
