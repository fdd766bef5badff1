//! A layer written over an observed view is the layer that the same command writes over the layers themselves. Needs root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dibw_sys::sandbox::TargetSource;
use dibw_tests::sandbox_target::{SandboxTarget, record, shell_command};
use rustix::fs::XattrFlags;

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// Everything a lower layer can have, made by real root.
const SETUP: &str = "cd srv; mkdir -p gone/sub again/sub moved/sub deep/er; touch gone/sub/x again/sub/x moved/sub/x; \
    echo 1 > file; echo 2 > www; chmod 4640 www; chown 33:65535 www; echo 3 > hard1; ln hard1 hard2; ln -s file link; \
    cp ../bin/true capable; echo 4 > listed; echo 5 > noted; mknod null c 1 3; mkfifo fifo; chown 65534:7 deep/er; \
    truncate -s 1M sparse; echo end >> sparse; touch -d 2001-02-03 file www; echo 6 > \"$(printf 'odd\\n\\377')\"";

/// Changes of all kinds.
const CHANGES: &str = "cd /srv; rm file; rm -r gone; rm -r again; mkdir again; echo 1 > again/new; mv moved elsewhere; \
    echo more >> www; chmod 600 hard1; chmod 755 capable; chmod 600 listed; chown 5:6 noted; chown -h 7 link; \
    touch deep/er/new; echo more >> sparse; chown 8 fifo; mv /usr/share/doc /srv/doc; mv \"$(printf 'odd\\n\\377')\" odd; \
    ln hard2 hard3; mkdir -m 1777 /srv/made; rm -r /etc/cron.d; ln -s x /etc/cron.d; chmod 711 /";

/// An access list: the owner, user 5, the group, the mask, others; entries of tag, permissions and id.
fn access_list() -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1u16, 6u16, u32::MAX), (2, 4, 5), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 4, u32::MAX)]
    {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// All of an upper directory: kind and mode, owners, device, contents or text, time of last change of files that only were
/// copied up, attributes. Not those by which the kernel remembers which file of this very mount an entry comes from.
fn listing(dir: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let status = fs::symlink_metadata(&path)?;
        let contents = match () {
            () if status.is_dir() => String::new(),
            () if status.is_symlink() => format!("{:?}", fs::read_link(&path)?),
            () if status.is_file() => format!("{:?}", fs::read(&path)?),
            () => format!("device {}", status.rdev()),
        };
        let mut names = vec![0; 4096];
        let length = rustix::fs::llistxattr(&path, &mut names)?;
        let mut attributes = BTreeMap::new();
        for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(&path, name, &mut value)?;
            attributes.insert(String::from_utf8_lossy(name).into_owned(), value[..length].to_vec());
        }
        attributes
            .retain(|name, _| !["trusted.overlay.origin", "trusted.overlay.impure"].contains(&name.as_str()));
        let old = if status.mtime() < 1_000_000_000 { status.mtime() } else { 0 };
        let line =
            format!("{:o} {}:{} {old} {contents} {attributes:?}", status.mode(), status.uid(), status.gid());
        if status.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        }
        found.insert(path.strip_prefix(dir)?.to_owned(), line);
    }
    Ok(found)
}

#[test]
fn a_layer_over_a_view_is_the_layer_over_the_layers() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("a_layer_over_a_view_is_the_layer_over_the_layers", PROBE)?
    else {
        return Ok(());
    };
    let root = target.tree.mount_plain()?.to_owned();
    ensure!(Command::new("sh").args(["-ec", SETUP]).current_dir(&root).status()?.success(), "{SETUP}");
    let mut capability = 0x0200_0001u32.to_le_bytes().to_vec();
    capability.extend([0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (path, name, value) in [
        ("srv/capable", "security.capability", capability),
        ("srv/listed", "system.posix_acl_access", access_list()),
        ("srv/noted", "user.note", b"kept".to_vec()),
        ("srv/deep", "trusted.note", b"kept".to_vec()),
    ] {
        rustix::fs::setxattr(root.join(path), name, &value, XattrFlags::empty()).context(path)?;
    }

    target.tree.begin_layer("plain")?;
    let outcome = target.shell(CHANGES)?;
    ensure!(outcome.finished.success(), "{}", outcome.stderr);
    let plain = listing(&target.tree.layers().last().context("a layer")?.upper)?;
    target.tree.discard_top()?;

    target.tree.begin_layer("observed")?;
    let (layers, view) = target.tree.sandbox_root_observed(target.runner.userns().base())?;
    let source = TargetSource::Layers(layers);
    let outcome = record(|on_line| target.runner.inside(&source, &shell_command(CHANGES), on_line))?;
    ensure!(outcome.finished.success(), "{}", outcome.stderr);
    view.finish()?;
    let observed = listing(&target.tree.layers().last().context("a layer")?.upper)?;
    for (path, line) in &plain {
        assert_eq!(observed.get(path), Some(line), "{}", path.display());
    }
    assert_eq!(observed.len(), plain.len());
    // Not an empty comparison.
    let line = |path: &str| plain.get(Path::new(path)).map(String::as_str).unwrap_or_default();
    assert!(line("srv/www").starts_with("100640 33:65535 0 "), "{}", line("srv/www"));
    assert!(line("srv/again").contains("trusted.overlay.opaque"), "{}", line("srv/again"));
    assert!(line("srv/elsewhere").contains("trusted.overlay.redirect"), "{}", line("srv/elsewhere"));
    assert!(line("srv/listed").contains("posix_acl_access"), "{}", line("srv/listed"));
    assert!(line("srv/capable").contains("security.capability"), "{}", line("srv/capable"));

    // Stacked on the layers themselves, it shows what was written.
    target.tree.begin_layer("next")?;
    let shown = target.shell(
        "cd /srv; ls . again elsewhere/sub doc | sort | uniq -c | sort -n | tail -2; cat www; \
        ls /srv/doc | wc -l; test ! -e gone; test ! -e file; readlink /etc/cron.d; stat -c %a /",
    )?;
    let whole = target.shell("ls /srv/doc | wc -l")?.stdout;
    assert!(shown.finished.success() && whole.trim().parse::<u32>()? > 50, "{whole} {}", shown.stderr);
    assert!(shown.stdout.ends_with(&format!("2\nmore\n{whole}x\n711\n")), "{}", shown.stdout);
    Ok(())
}
