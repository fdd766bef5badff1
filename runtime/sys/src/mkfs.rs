//! Owns making and checking file systems on a device with the host's own tools.
//! Must not know where the device comes from or what will be in it. Called by the engine's disk steps.
//!
//! The command lines are those of compat/CONTRACT.md 5.4. What a tool would draw at random or read from the clock is
//! given to it where it lets us, so that equal input makes equal bytes.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::tool;

/// The file systems that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FsKind {
    /// Second extended file system.
    Ext2,
    /// `Ext2` with a journal.
    Ext3,
    /// Fourth extended file system.
    Ext4,
    /// XFS; 300 MiB or more.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// FAT with long names; its width follows from the size unless an option says otherwise.
    Vfat,
    /// Swap space.
    Swap,
}

impl FsKind {
    /// Every kind.
    pub const ALL: [FsKind; 7] =
        [FsKind::Ext2, FsKind::Ext3, FsKind::Ext4, FsKind::Xfs, FsKind::Btrfs, FsKind::Vfat, FsKind::Swap];

    /// The name that `mount -t` and fstab use.
    pub fn name(self) -> &'static str {
        match self {
            FsKind::Ext2 => "ext2",
            FsKind::Ext3 => "ext3",
            FsKind::Ext4 => "ext4",
            FsKind::Xfs => "xfs",
            FsKind::Btrfs => "btrfs",
            FsKind::Vfat => "vfat",
            FsKind::Swap => "swap",
        }
    }
}

impl fmt::Display for FsKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for FsKind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<FsKind> {
        // `fat` is what some layouts write for vfat.
        let name = if name == "fat" { "vfat" } else { name };
        let known = FsKind::ALL.map(FsKind::name).join(" ");
        let found = FsKind::ALL.into_iter().find(|kind| kind.name() == name);
        found.with_context(|| format!("file system {name} is not one of: {known}"))
    }
}

/// What is to be made, beside the device.
#[derive(Debug, Clone, Copy)]
pub struct Format<'a> {
    /// Which file system.
    pub kind: FsKind,
    /// Its label; the caller has checked the length.
    pub label: Option<&'a str>,
    /// Its identity, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`; vfat takes its volume number from the first 8 digits.
    /// Without one the tool draws it at random.
    pub uuid: Option<&'a str>,
    /// The user's options, one argument each; ignored for swap.
    pub options: &'a [String],
    /// The time to write into the file system, in seconds since 1970, for tools that can be told; else the clock.
    pub epoch: Option<u64>,
}

/// The program that makes a kind and the Debian package that has it.
pub fn tool_for(kind: FsKind) -> (&'static str, &'static str) {
    match kind {
        FsKind::Ext2 => ("mkfs.ext2", "e2fsprogs"),
        FsKind::Ext3 => ("mkfs.ext3", "e2fsprogs"),
        FsKind::Ext4 => ("mkfs.ext4", "e2fsprogs"),
        FsKind::Xfs => ("mkfs.xfs", "xfsprogs"),
        FsKind::Btrfs => ("mkfs.btrfs", "btrfs-progs"),
        FsKind::Vfat => ("mkfs.vfat", "dosfstools"),
        FsKind::Swap => ("mkswap", "util-linux"),
    }
}

/// Makes the file system on `device`.
///
/// # Errors
/// When the uuid is malformed or the tool fails (its command line and messages are in the error).
pub fn mkfs(device: &Path, format: &Format<'_>) -> Result<()> {
    let arguments = arguments(format)?;
    let epoch = format.epoch.map(|seconds| seconds.to_string());
    // What libblkid remembers of a loop device that was another file's shortly before: mkfs.btrfs would find its own UUID there.
    let mut variables = vec![("BLKID_FILE", "/dev/null")];
    if let Some(epoch) = &epoch {
        variables.push(("SOURCE_DATE_EPOCH", epoch.as_str()));
        // e2fsprogs before 1.47.1 knows only its own variable.
        variables.push(("E2FSPROGS_FAKE_TIME", epoch.as_str()));
    }
    let device = device.as_os_str().to_owned();
    let arguments = arguments.into_iter().map(Into::into).chain([device]);
    tool::run_with_env(tool_for(format.kind).0, arguments, &variables).map(drop).map_err(|error| {
        let message = format!("{error:#}");
        match format.kind {
            FsKind::Xfs if message.contains("larger than 300MB") => {
                error.context("making xfs (since xfsprogs 5.19 it needs at least 300 MiB)")
            }
            kind => error.context(format!("making {kind}")),
        }
    })
}

/// Everything on the command line but the device.
fn arguments(format: &Format<'_>) -> Result<Vec<String>> {
    if let Some(uuid) = format.uuid {
        check_uuid(uuid)?;
    }
    let mut arguments = format.options.to_vec();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
    let (label, uuid) = (format.label, format.uuid);
    match format.kind {
        FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => {
            label.inspect(|label| add(&["-L", label]));
            uuid.inspect(|uuid| add(&["-U", uuid]));
            add(&["-q"]);
            if let Some(uuid) = uuid {
                add_extended_option(&mut arguments, &format!("hash_seed={uuid}"));
            }
        }
        FsKind::Xfs => {
            label.inspect(|label| add(&["-L", label]));
            uuid.inspect(|uuid| add(&["-m", &format!("uuid={uuid}")]));
            add(&["-q"]);
        }
        FsKind::Btrfs => {
            label.inspect(|label| add(&["-L", label]));
            uuid.inspect(|uuid| add(&["-U", uuid]));
            add(&["-q"]);
        }
        FsKind::Vfat => {
            label.inspect(|label| add(&["-n", label]));
            // Before `-i`: it fixes the label's time, but would fix the volume number too.
            uuid.inspect(|uuid| add(&["--invariant", "-i", &uuid[..8]]));
        }
        FsKind::Swap => {
            arguments.clear();
            let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
            label.inspect(|label| add(&["-L", label]));
            uuid.inspect(|uuid| add(&["-U", uuid]));
        }
    }
    Ok(arguments)
}

/// mke2fs heeds only its last `-E`, so ours must join the user's.
fn add_extended_option(arguments: &mut Vec<String>, option: &str) {
    let Some(at) = arguments.iter().rposition(|argument| argument.starts_with("-E")) else {
        arguments.extend(["-E".to_owned(), option.to_owned()]);
        return;
    };
    let at = if arguments[at] == "-E" && at + 1 < arguments.len() { at + 1 } else { at };
    if !arguments[at].contains("hash_seed=") {
        arguments[at] = format!("{},{option}", arguments[at]);
    }
}

fn check_uuid(uuid: &str) -> Result<()> {
    let groups: Vec<&str> = uuid.split('-').collect();
    let shaped = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    ensure!(shaped, "`{uuid}` is not a uuid");
    Ok(())
}

/// Checks the unmounted file system on `device` without writing to it.
///
/// # Errors
/// When the checker finds anything, with what it said.
pub fn fsck(kind: FsKind, device: &Path) -> Result<()> {
    let (program, words): (&str, &[&str]) = match kind {
        FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => ("e2fsck", &["-fn"]),
        FsKind::Xfs => ("xfs_repair", &["-n"]),
        FsKind::Btrfs => ("btrfs", &["check", "--readonly"]),
        FsKind::Vfat => ("fsck.vfat", &["-n"]),
        FsKind::Swap => return check_swap(device),
    };
    let words = words.iter().map(|word| Path::new(word).as_os_str()).chain([device.as_os_str()]);
    tool::run(program, words).map(drop).with_context(|| format!("checking {kind}"))
}

/// No tool checks swap space; its signature ends the first page (`union swap_header` in `linux/swap.h`), whose size
/// depends on the machine.
fn check_swap(device: &Path) -> Result<()> {
    const PAGE_SIZES: [u64; 3] = [4096, 16384, 65536];
    let file = File::open(device).with_context(|| device.display().to_string())?;
    let mut signature = [0; 10];
    for size in PAGE_SIZES {
        file.read_exact_at(&mut signature, size - 10).with_context(|| device.display().to_string())?;
        if &signature == b"SWAPSPACE2" {
            return Ok(());
        }
    }
    bail!("{}: no swap space there", device.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    fn line(kind: FsKind, options: &[&str]) -> String {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let format = Format { kind, label: Some("L"), uuid: Some(UUID), options: &options, epoch: None };
        arguments(&format).unwrap().join(" ")
    }

    #[test]
    fn command_lines() {
        let cases: &[(FsKind, &[&str], &str)] = &[
            (FsKind::Ext4, &["-i", "4096"], "-i 4096 -L L -U UUID -q -E hash_seed=UUID"),
            (FsKind::Ext4, &["-E", "resize=9"], "-E resize=9,hash_seed=UUID -L L -U UUID -q"),
            (FsKind::Ext2, &["-Eresize=9"], "-Eresize=9,hash_seed=UUID -L L -U UUID -q"),
            (FsKind::Ext3, &["-E", "hash_seed=x"], "-E hash_seed=x -L L -U UUID -q"),
            (FsKind::Xfs, &["-n", "ftype=1"], "-n ftype=1 -L L -m uuid=UUID -q"),
            (FsKind::Btrfs, &[], "-L L -U UUID -q"),
            (FsKind::Vfat, &["-F", "32"], "-F 32 -n L --invariant -i 01234567"),
            (FsKind::Swap, &["-ignored"], "-L L -U UUID"),
        ];
        for (kind, options, expected) in cases {
            assert_eq!(line(*kind, options), expected.replace("UUID", UUID), "{kind} {options:?}");
        }
    }

    #[test]
    fn bad_uuids_are_refused() {
        for uuid in
            ["", "0123", "01234567-89ab-cdef-0123-456789abcdeg", "-rf", "0123456789abcdef0123456789abcdef"]
        {
            assert!(check_uuid(uuid).is_err(), "{uuid}");
        }
    }

    #[test]
    fn names_round_trip() {
        for kind in FsKind::ALL {
            assert_eq!(kind.name().parse::<FsKind>().unwrap(), kind);
        }
        assert_eq!("fat".parse::<FsKind>().unwrap(), FsKind::Vfat);
        assert_eq!(
            "ntfs".parse::<FsKind>().unwrap_err().to_string(),
            "file system ntfs is not one of: ext2 ext3 ext4 xfs btrfs vfat swap"
        );
    }
}
