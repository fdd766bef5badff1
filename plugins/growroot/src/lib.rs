//! The element `growroot`: the root partition and file system grow to the size of the disk that the machine has.

use dibw_sdk::prelude::*;

const SCRIPT: &str = "/usr/lib/dibw/growroot";
const UNIT: &str = "dibw-growroot.service";

/// Grows the root file system to the size of its disk, at every boot.
#[derive(Config)]
struct Growroot;

#[hooks]
impl Element for Growroot {
    fn install(&self, cx: &Cx) -> Result {
        // growpart reads and writes partition tables with sfdisk, which is in fdisk on Debian.
        match cx.distro().as_str() {
            "debian" | "ubuntu" => cx.packages(["cloud-guest-utils", "fdisk"])?,
            _ => cx.packages(["cloud-utils-growpart"])?,
        }
        match cx.root_fstype().as_str() {
            "xfs" => cx.packages(["xfsprogs"]),
            "btrfs" => cx.packages(["btrfs-progs"]),
            _ => cx.packages(["e2fsprogs"]),
        }
    }

    fn post_install(&self, cx: &Cx) -> Result {
        cx.write_mode(SCRIPT, include_str!("../files/growroot"), 0o755)?;
        cx.write(format!("/etc/systemd/system/{UNIT}"), include_str!("../files/dibw-growroot.service"))?;
        cx.enable(UNIT)
    }
}

element!(
    Growroot,
    needs! {
        package "cloud-guest-utils", "fdisk", "cloud-utils-growpart", "xfsprogs", "btrfs-progs", "e2fsprogs";
        write "/usr/lib/dibw/growroot", "/etc/systemd/system/dibw-growroot.service";
        privileged systemd_units;
        enable "dibw-growroot.service";
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use dibw_sdk_testing::{Mock, Unit};

    #[test]
    fn installs_what_the_distribution_and_the_file_system_need() {
        let cases = [
            ("debian", "ext4", vec!["cloud-guest-utils", "fdisk", "e2fsprogs"]),
            ("ubuntu", "xfs", vec!["cloud-guest-utils", "fdisk", "xfsprogs"]),
            ("fedora", "btrfs", vec!["cloud-utils-growpart", "btrfs-progs"]),
        ];
        for (distro, fstype, expected) in cases {
            let mock = Mock::strict(Growroot::MANIFEST).fact("distro", distro).fact("root-fstype", fstype);
            mock.run::<Growroot>(Phase::Install, "{}").unwrap();
            assert_eq!(mock.packages(), expected, "{distro} {fstype}");
        }
    }

    #[test]
    fn the_unit_runs_the_script() {
        let mock = Mock::strict(Growroot::MANIFEST);
        mock.run::<Growroot>(Phase::PostInstall, "{}").unwrap();
        let unit = mock.file("/etc/systemd/system/dibw-growroot.service").unwrap();
        assert!(unit.contains(&format!("ExecStart={SCRIPT}\n")), "{unit}");
        assert!(mock.file(SCRIPT).unwrap().starts_with("#!/bin/sh\n"));
        assert_eq!(mock.mode(SCRIPT), Some(0o755));
        assert_eq!(mock.unit(UNIT), Some(Unit::Enabled));
    }

    #[test]
    fn every_need_is_used() {
        let mock = Mock::strict(Growroot::MANIFEST);
        for (distro, fstype) in [("debian", "ext4"), ("ubuntu", "xfs"), ("fedora", "btrfs")] {
            mock.clone()
                .fact("distro", distro)
                .fact("root-fstype", fstype)
                .run_all::<Growroot>("{}")
                .unwrap();
        }
        mock.assert_all_used();
    }

    #[test]
    fn has_no_settings() {
        let error =
            Mock::strict(Growroot::MANIFEST).run::<Growroot>(Phase::Install, r#"{"size": 1}"#).unwrap_err();
        assert_eq!(error, Error::invalid("unknown key `size`; there are no settings"));
    }
}
