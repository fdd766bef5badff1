//! What reaches the disk: owners, capabilities and whiteouts of layers written by sandboxes and by real root. Needs root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dibw_sys::overlay::TargetTree;
use dibw_sys::sandbox::TargetSource;
use dibw_tests::sandbox_target::{SandboxTarget, record, shell_command};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// Every entry below `dir`: `kind uid:gid mode`.
fn listing(dir: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            let status = fs::symlink_metadata(&path)?;
            let kind = status.file_type();
            let kind = match () {
                () if kind.is_dir() => "dir",
                () if kind.is_symlink() => "link",
                () if kind.is_char_device() && status.rdev() == 0 => "whiteout",
                () if kind.is_file() => "file",
                () => "other",
            };
            let line = format!("{kind} {}:{} {:o}", status.uid(), status.gid(), status.mode() & 0o7777);
            found.insert(path.strip_prefix(dir)?.to_owned(), line);
            if kind == "dir" {
                open.push(path);
            }
        }
    }
    Ok(found)
}

fn expected(lines: &[(&str, &str)]) -> BTreeMap<PathBuf, String> {
    lines.iter().map(|(path, line)| (PathBuf::from(path), (*line).to_owned())).collect()
}

fn xattr(path: &Path, name: &str) -> Result<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::getxattr(path, name, &mut value)?;
    value.truncate(length);
    Ok(value)
}

#[test]
fn a_step_is_an_upper_directory_with_the_images_own_owners() -> Result<()> {
    let test = "a_step_is_an_upper_directory_with_the_images_own_owners";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let script = "mkdir /srv/first; echo 1 > /srv/first/own; echo 2 > /srv/first/given; chown 5:6 /srv/first/given; \
        chmod 4750 /srv/first/given; chown 65534:65535 /srv/first; rm /etc/issue; mv /usr/share/doc /srv/moved; ln -s x /srv/first/link; \
        perl -e 'my ($p,$n,$v)=(\"/srv/first/own\",\"security.capability\",pack(\"VVVVV\",0x02000001,1<<13,0,0,0)); \
        syscall(188,$p,$n,$v,20,0)==0 or die \"setxattr: $!\"'";
    let outcome = target.shell(script)?;
    ensure!(outcome.finished.success(), "{}", outcome.stderr);
    let upper = target.tree.layers()[1].upper.clone();
    let mut found = listing(&upper)?;
    found.retain(|path, _| !path.starts_with("srv/moved"));
    let first = expected(&[
        ("etc", "dir 0:0 755"),
        ("etc/issue", "whiteout 0:0 0"),
        ("srv", "dir 0:0 755"),
        ("srv/first", "dir 65534:65535 755"),
        ("srv/first/own", "file 0:0 644"),
        ("srv/first/given", "file 5:6 4750"),
        ("srv/first/link", "link 0:0 777"),
        ("usr", "dir 0:0 755"),
        ("usr/share", "dir 0:0 755"),
        ("usr/share/doc", "whiteout 0:0 0"),
    ]);
    assert_eq!(found, first);
    // Revision 2, twenty bytes, effective: not revision 3 with the namespace's root in it.
    let capability = xattr(&upper.join("srv/first/own"), "security.capability")?;
    assert_eq!((capability.len(), &capability[..4]), (20, 0x0200_0001u32.to_le_bytes().as_slice()));

    // The second step sees the first, as real root and sandboxed, and has its own directory.
    target.tree.begin_layer("second")?;
    let plain = target.tree.mount_plain()?.to_owned();
    assert!(!plain.join("etc/issue").exists() && plain.join("srv/moved").is_dir());
    assert_eq!(fs::metadata(plain.join("srv/first/given"))?.uid(), 5);
    fs::write(plain.join("srv/first/rooted"), "real root")?;
    let outcome = target
        .shell("cat /srv/first/rooted && rm -r /srv/first && mkdir /srv/first && touch /srv/first/again")?;
    assert_eq!(
        (outcome.stdout.as_str(), outcome.finished.success()),
        ("real root\n", true),
        "{}",
        outcome.stderr
    );
    assert_eq!(fs::read_dir(&plain)?.count(), 0, "still mounted plainly");
    let upper = target.tree.layers()[2].upper.clone();
    let second = expected(&[
        ("srv", "dir 0:0 755"),
        ("srv/first", "dir 0:0 755"),
        ("srv/first/again", "file 0:0 644"),
    ]);
    assert_eq!(listing(&upper)?, second);
    assert_eq!(xattr(&upper.join("srv/first"), "trusted.overlay.opaque")?, b"y");
    assert_eq!(target.shell("ls /srv/first")?.stdout, "again\n");
    Ok(())
}

#[test]
fn empty_layers_go_and_the_root_keeps_its_mode() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("empty_layers_go_and_the_root_keeps_its_mode", PROBE)? else {
        return Ok(());
    };
    target.shell("touch /x; rm /x")?;
    for name in ["a", "b", "c"] {
        target.tree.begin_layer(name)?;
    }
    let names = |tree: &TargetTree| tree.layers().iter().map(|layer| layer.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&target.tree), ["base", "c"]);
    target.shell("chmod 1701 /; chown 3:4 /")?;
    target.tree.begin_layer("d")?;
    assert_eq!(names(&target.tree), ["base", "c", "d"]);
    assert_eq!(target.shell("stat -c '%a %u:%g' /")?.stdout, "1701 3:4\n");
    let status = fs::metadata(target.tree.mount_plain()?)?;
    assert_eq!((status.mode() & 0o7777, status.uid(), status.gid()), (0o1701, 3, 4));
    Ok(())
}

#[test]
fn hundreds_of_layers_fit_and_too_many_are_refused() -> Result<()> {
    let test = "hundreds_of_layers_fit_and_too_many_are_refused";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let mut added = 0;
    let refused = loop {
        target.tree.begin_layer("one of many")?;
        let upper = target.tree.layers().last().context("a layer")?.upper.clone();
        fs::write(upper.join(format!("file-{added}")), "")?;
        added += 1;
        if added == 300 {
            assert_eq!(target.shell("ls / | grep -c ^file-")?.stdout, "300\n");
        }
        if added >= 300
            && let Err(error) = target.tree.sandbox_root()
        {
            break format!("{error:#}");
        }
    };
    assert_eq!(refused, format!("the target has {} layers, more than fit into a mount", added + 1));
    assert!(added > 370, "only {added}");
    Ok(())
}

#[test]
fn a_mounted_tree_is_mapped_with_what_is_mounted_below_it() -> Result<()> {
    let test = "a_mounted_tree_is_mapped_with_what_is_mounted_below_it";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    // A real file system tree, as in finalise: a copy of the target with another file system on /boot.
    let tree = target.dir.path().join("final");
    let staging = target.dir.path().join("staging");
    fs::create_dir(&staging)?;
    let copied = Command::new("cp").arg("-a").arg(target.tree.mount_plain()?).arg(&tree).status()?;
    ensure!(copied.success(), "cp");
    target.tree.unmount()?;
    let boot =
        dibw_sys::mounts::Mount::bind(&staging, &tree.join("boot"), dibw_sys::loops::Access::ReadWrite)?;
    let command = shell_command(
        "touch /boot/kernel /srv/file; chown 7:8 /boot/kernel; stat -c %u:%g /boot /boot/kernel; mount -t tmpfs x /mnt",
    );
    let outcome = record(|on_line| target.runner.inside(&TargetSource::Tree(&tree), &command, on_line))?;
    assert_eq!(outcome.stdout, "0:0\n7:8\n", "{}", outcome.stderr);
    boot.unmount()?;
    let written = fs::metadata(staging.join("kernel"))?;
    assert_eq!((written.uid(), written.gid()), (7, 8));
    assert_eq!(fs::metadata(tree.join("srv/file"))?.uid(), 0);
    Ok(())
}

#[test]
fn a_hostile_tree_is_refused_not_followed() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("a_hostile_tree_is_refused_not_followed", PROBE)? else {
        return Ok(());
    };
    let upper = target.tree.layers()[1].upper.clone();
    let outside = target.dir.path().join("outside");
    fs::create_dir(&outside)?;
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o755))?;
    std::os::unix::fs::symlink(&outside, upper.join("dev"))?;
    let message = format!("{:#}", target.shell("true").expect_err("a link for /dev"));
    assert!(message.contains("the target has no directory /dev"), "{message}");
    assert_eq!(fs::read_dir(&outside)?.count(), 0);
    Ok(())
}
