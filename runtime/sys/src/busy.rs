//! Owns the answer to "who holds this file system or device?", for error messages.
//! Must not change anything. Called by `mounts` and `loops` after a bounded wait ran out.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{major, makedev, minor};

/// What a busy thing is known by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Held {
    /// A mounted file system, by its device number.
    FileSystem(u64),
    /// A block device, by its own number.
    BlockDevice(u64),
}

/// Processes (`name (pid): how`) and mounts that hold `held`, as far as `/proc` shows them; at most ten lines.
pub(crate) fn holders(held: Held) -> Vec<String> {
    let mut found = Vec::new();
    if let Held::BlockDevice(device) = held {
        found.extend(mounts_of(device));
    }
    let Ok(processes) = fs::read_dir("/proc") else { return found };
    let mut pids: Vec<u32> =
        processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        let process = Path::new("/proc").join(pid.to_string());
        if let Some(how) = hold_of(&process, held) {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            found.push(format!("{} ({pid}): {how}", name.trim_end()));
        }
        if found.len() >= 10 {
            break;
        }
    }
    found
}

/// As [`holders`], as the end of an error message.
pub(crate) fn held_by(held: Held) -> String {
    let found = holders(held);
    if found.is_empty() {
        return "held by nothing that /proc shows (a mount in another namespace, or the kernel)".to_owned();
    }
    format!("held by {}", found.join(", "))
}

/// The first way in which a process holds it. Processes end while being read, so what cannot be read holds nothing.
fn hold_of(process: &Path, held: Held) -> Option<String> {
    let holds = |path: &Path| {
        fs::metadata(path).is_ok_and(|meta| match held {
            Held::FileSystem(device) => meta.dev() == device,
            Held::BlockDevice(device) => meta.file_type().is_block_device() && meta.rdev() == device,
        })
    };
    for link in ["root", "cwd", "exe"] {
        if holds(&process.join(link)) {
            return Some(link.to_owned());
        }
    }
    for fd in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
        if holds(&fd.path()) {
            let target = fs::read_link(fd.path()).unwrap_or_default();
            return Some(format!("has {} open", target.display()));
        }
    }
    let Held::FileSystem(device) = held else { return None };
    let maps = fs::read_to_string(process.join("maps")).unwrap_or_default();
    maps.lines().find_map(|line| {
        // address perms offset dev inode path
        let mut fields = line.split_ascii_whitespace();
        let (high, low) = fields.nth(3)?.split_once(':')?;
        let mapped = makedev(u32::from_str_radix(high, 16).ok()?, u32::from_str_radix(low, 16).ok()?);
        (mapped == device).then(|| format!("maps {}", fields.nth(1).unwrap_or("a file")))
    })
}

/// Where a block device is mounted in our own mount namespace.
fn mounts_of(device: u64) -> Vec<String> {
    let number = format!("{}:{}", major(device), minor(device));
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let at = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields.get(2) == Some(&number.as_str()))
            .then(|| format!("the mount at {}", fields.get(4).unwrap_or(&"?")))
    };
    table.lines().filter_map(at).collect()
}
