//! Hooks of the classic elements we ship, run one by one in the sandbox on a small Debian 12: what they leave in the target.
//! Needs root, and the Debian mirror once. That whole images of them boot is `tests/boot`'s to show.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use dibw_sys::sandbox::{Bind, BindAccess, BindOwners, Extras, SandboxCommand};
use dibw_tests::sandbox_target::{Outcome, SandboxTarget, shell_command};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// Runs a script in the target that finds our elements in `/tmp/in_target.d`.
fn run(target: &mut SandboxTarget, variables: &[(&str, &str)], script: &str) -> Result<Outcome> {
    let elements = Path::new(env!("CARGO_MANIFEST_DIR")).join("../elements").canonicalize()?;
    let bind = Bind {
        source: elements,
        dest: PathBuf::from("/tmp/in_target.d"),
        access: BindAccess::ReadOnly,
        owners: BindOwners::Foreign,
    };
    let mut command = shell_command(&format!("set -eu; cd /tmp/in_target.d; {script}"));
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    command.env.extend(variables.iter().map(owned).collect::<BTreeMap<_, _>>());
    target.run(&SandboxCommand { extras: Extras { binds: vec![bind], ..Extras::default() }, ..command })
}

/// As [`run`]; the standard output of a script that succeeds.
fn said(target: &mut SandboxTarget, variables: &[(&str, &str)], script: &str) -> Result<String> {
    let outcome = run(target, variables, script)?;
    ensure!(outcome.finished.success(), "{script}: {}{}", outcome.stdout, outcome.stderr);
    Ok(outcome.stdout)
}

#[test]
fn cloud_init_nocloud_writes_a_seed_that_only_root_reads() -> Result<()> {
    let test = "cloud_init_nocloud_writes_a_seed_that_only_root_reads";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let hook = "cloud-init-nocloud/install.d/50-cloud-init-nocloud";
    let show = "cd /var/lib/cloud/seed/nocloud; stat -c '%a %U %n' . *; head -n 99 *";
    let mut variables = [
        ("DIB_CLOUD_INIT_NOCLOUD_INSTANCE_ID", "nocloud"),
        ("DIB_CLOUD_INIT_NOCLOUD_HOSTNAME", ""),
        ("DIB_CLOUD_INIT_NOCLOUD_USER_DATA", ""),
        ("DIB_CLOUD_INIT_NOCLOUD_NETWORK_CONFIG", ""),
    ];
    assert_eq!(
        said(&mut target, &variables, &format!("{hook}; {show}"))?,
        "700 root .\n600 root meta-data\n600 root user-data\n\
         ==> meta-data <==\ninstance-id: nocloud\n\n==> user-data <==\n#cloud-config\n"
    );
    variables[1].1 = "box";
    variables[2].1 = "#cloud-config\nruncmd: [id]";
    variables[3].1 = "version: 2";
    assert_eq!(
        said(&mut target, &variables, &format!("{hook}; {show}"))?,
        "700 root .\n600 root meta-data\n600 root network-config\n600 root user-data\n\
         ==> meta-data <==\ninstance-id: nocloud\nlocal-hostname: box\n\n\
         ==> network-config <==\nversion: 2\n\n==> user-data <==\n#cloud-config\nruncmd: [id]\n"
    );
    Ok(())
}

#[test]
fn debian_build_settings_last_only_for_the_build() -> Result<()> {
    let test = "debian_build_settings_last_only_for_the_build";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let state = "apt-config dump APT::Install-Recommends; cat /etc/dpkg/dpkg.cfg.d/* 2>/dev/null || true; ls /usr/sbin/policy-rc.d 2>/dev/null || true";
    let before = said(&mut target, &[], state)?;
    let during =
        said(&mut target, &[], &format!("debian-minimal/pre-install.d/00-debian-build-settings; {state}"))?;
    for setting in ["APT::Install-Recommends \"false\";", "force-unsafe-io", "/usr/sbin/policy-rc.d"] {
        assert!(during.contains(setting), "{setting} in {during}");
    }
    let after =
        said(&mut target, &[], &format!("debian-minimal/finalise.d/99-debian-build-settings; {state}"))?;
    assert_eq!(after, before);

    // A policy that is not ours outlives the build.
    let foreign = "echo '#!/bin/sh' >/usr/sbin/policy-rc.d; debian-minimal/pre-install.d/00-debian-build-settings; \
                   debian-minimal/finalise.d/99-debian-build-settings; cat /usr/sbin/policy-rc.d";
    assert_eq!(said(&mut target, &[], foreign)?, "#!/bin/sh\n");
    Ok(())
}

#[test]
fn a_system_that_was_just_made_of_the_newest_packages_is_not_upgraded() -> Result<()> {
    let test = "a_system_that_was_just_made_of_the_newest_packages_is_not_upgraded";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    // As debian-minimal leaves it; apt-get only says what it was asked for.
    let made = "mkdir -p /tmp/bin /var/lib/apt/lists/partial; cd /var/lib/apt/lists; touch -d '+1 second' partial; touch dibw-newest; \
                printf '#!/bin/sh\\nfor word; do :; done; echo $word\\n' >/tmp/bin/apt-get; chmod +x /tmp/bin/apt-get; PATH=/tmp/bin:$PATH";
    let upgrade = "dist-upgrade\n";
    for (then, expected) in [
        ("true", "base: the system was just made of the newest packages\n"),
        ("rm dibw-newest", upgrade),
        ("sleep 0.1; mkdir -p /etc/apt/preferences.d; touch /etc/apt/preferences.d/pin", upgrade),
        (
            "rm -f /etc/apt/preferences.d/pin; touch -d '+2 seconds' /etc/apt/sources.list",
            "update\ndist-upgrade\n",
        ),
        ("touch -d '-2 hours' /etc/apt/sources.list partial", "update\ndist-upgrade\n"),
    ] {
        let script = format!(
            "{made}; {then}; cd /tmp/in_target.d; base/pre-install.d/03-base-upgrade; ls /var/lib/apt/lists/dibw* 2>/dev/null || true"
        );
        assert_eq!(said(&mut target, &[("DIB_AVOID_PACKAGES_UPDATE", "0")], &script)?, expected, "{then}");
    }
    Ok(())
}

#[test]
fn the_initramfs_is_made_once_unless_another_is_needed() -> Result<()> {
    let test = "the_initramfs_is_made_once_unless_another_is_needed";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let variables = [("DIB_VM_KERNEL", "generic"), ("DIB_ROOT_FSTYPE", "xfs")];
    let put_off = "update-initramfs: put off by the element vm\n";
    let made = "made -c -k all\n";
    // What a package brings, where dpkg's diversion puts it, and asks for.
    let package = "printf '#!/bin/sh\\necho made \"$@\"\\n' >/usr/sbin/update-initramfs.dibw; \
                   chmod +x /usr/sbin/update-initramfs.dibw; update-initramfs -u";
    let asked_again = format!("{put_off}{made}{put_off}{made}");
    let changed_after = format!("{put_off}{made}{made}");
    for (before, between, expected) in [
        (package, "true", format!("{put_off}{made}")),
        (package, "update-initramfs -u", asked_again),
        (package, "echo 'blacklist floppy' >/etc/modprobe.d/floppy.conf", changed_after.clone()),
        (package, "rm /etc/modprobe.d/floppy.conf", changed_after),
        ("true", package, format!("{put_off}{made}")),
        // Without initramfs-tools nothing of the detour stays.
        ("true", "true", String::new()),
    ] {
        let script = format!(
            "mkdir -p /etc/modprobe.d; rm -f /usr/sbin/update-initramfs; vm/pre-install.d/20-vm-initramfs; \
             grep -v '^#' /etc/initramfs-tools/conf.d/dibw-vm; {before}; vm/install.d/98-vm-initramfs; {between}; \
             vm/post-install.d/96-vm-initramfs-back; vm/post-install.d/97-vm-initramfs; \
             ls -d /usr/sbin/update-initramfs.dibw /var/lib/dibw* 2>/dev/null || true; dpkg-divert --list '*initramfs*'"
        );
        let expected = format!("MODULES=most\nFSTYPE=xfs\n{expected}");
        assert_eq!(said(&mut target, &variables, &script)?, expected, "{before} | {between}");
    }
    Ok(())
}

#[test]
fn an_image_without_kernel_or_initramfs_is_refused() -> Result<()> {
    let test = "an_image_without_kernel_or_initramfs_is_refused";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let variables = [("DIB_VM_KERNEL", "none")];
    for (step, expected) in [
        ("true", "vm: there is no kernel in /boot (DIB_VM_KERNEL=none)\n"),
        ("touch /boot/vmlinuz-6", "vm: there is no initramfs in /boot for /boot/vmlinuz-6\n"),
        ("touch /boot/initrd.img-6", ""),
    ] {
        let outcome = run(&mut target, &variables, &format!("{step}; vm/finalise.d/40-vm-kernel"))?;
        assert_eq!((outcome.stderr.as_str(), outcome.finished.success()), (expected, expected.is_empty()));
    }
    Ok(())
}

#[test]
fn no_identity_and_no_traces_of_the_build_stay() -> Result<()> {
    let test = "no_identity_and_no_traces_of_the_build_stay";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let script = "mkdir -p /var/lib/systemd /var/lib/dbus /var/log/journal/x; echo abc | tee /etc/machine-id /var/lib/dbus/machine-id >/dev/null; \
                  touch /var/lib/systemd/random-seed /var/log/a.1 /var/log/b.gz /var/log/kept.log /var/tmp/x /root/.bash_history /etc/passwd-; \
                  vm/finalise.d/90-vm-first-boot; base/finalise.d/95-base-clean; \
                  stat -c '%s %a' /etc/machine-id; \
                  ls -d /var/lib/systemd/random-seed /var/lib/dbus/machine-id /var/log/a.1 /var/log/b.gz /var/log/journal/x /var/log/kept.log \
                  /var/tmp/x /root/.bash_history /etc/passwd- 2>/dev/null || true";
    assert_eq!(said(&mut target, &[], script)?, "0 444\n/var/log/kept.log\n");
    Ok(())
}

#[test]
fn the_bootloader_says_what_it_lacks() -> Result<()> {
    let test = "the_bootloader_says_what_it_lacks";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let variables = [("ARCH", "amd64"), ("DIB_BLOCK_DEVICE", "gpt"), ("IMAGE_BLOCK_DEVICE", "")];
    let outcome = run(&mut target, &variables, "bootloader/finalise.d/50-bootloader")?;
    assert_eq!(outcome.stderr, "bootloader: the image has no block device; name a block-device element\n");
    Ok(())
}
