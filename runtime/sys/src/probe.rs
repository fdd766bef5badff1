//! Owns finding out what this machine offers: programs, kernel features, space, memory.
//! Must not decide whether that is enough. Called by the engine's `check()` and by `dibw doctor`.
//!
//! Every probe takes well under 50 ms and leaves nothing. What can be tried is tried: a version number says little
//! about what a container's filter lets through.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::idmap_trial::{self, idmap_mount};
use crate::tool::TOOL_PATH;

/// Programs that a build may need and the Debian packages that have them.
const PACKAGES: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("btrfs", "btrfs-progs"),
    ("curl", "curl"),
    ("dpkg", "dpkg"),
    ("e2fsck", "e2fsprogs"),
    ("fsck.vfat", "dosfstools"),
    ("git", "git"),
    ("grub-install", "grub2-common"),
    ("grub-mkimage", "grub-common"),
    ("lvcreate", "lvm2"),
    ("mcopy", "mtools"),
    ("mdir", "mtools"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.ext2", "e2fsprogs"),
    ("mkfs.ext3", "e2fsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.vfat", "dosfstools"),
    ("mkfs.xfs", "xfsprogs"),
    ("mksquashfs", "squashfs-tools"),
    ("mkswap", "util-linux"),
    ("mmd", "mtools"),
    ("mmdebstrap", "mmdebstrap"),
    ("mtype", "mtools"),
    ("pvcreate", "lvm2"),
    ("qemu-img", "qemu-utils"),
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("tar", "tar"),
    ("vgcreate", "lvm2"),
    ("xfs_repair", "xfsprogs"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// What tells one start of this machine from the next; empty where the kernel does not say.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// A program that is needed and not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingTool {
    /// Its name.
    pub program: String,
    /// The Debian package that has it, if we know.
    pub package: Option<&'static str>,
}

/// Which of `programs` are not installed where tools are looked for ([`TOOL_PATH`]), in the given order.
pub fn tools(programs: &[&str]) -> Vec<MissingTool> {
    let missing = programs.iter().filter(|program| find_tool(program).is_none());
    missing
        .map(|program| MissingTool { program: (*program).to_owned(), package: package_of(program) })
        .collect()
}

/// Where a program is.
pub fn find_tool(program: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    TOOL_PATH.split(':').map(|dir| Path::new(dir).join(program)).find(runs)
}

/// The Debian package that has a program, for those that a build may need.
pub fn package_of(program: &str) -> Option<&'static str> {
    let at = PACKAGES.binary_search_by_key(&program, |(name, _)| name).ok()?;
    Some(PACKAGES[at].1)
}

/// Whether qemu-img can make an image of `format` with these options (the text after `-o`): it makes a small one in memory.
///
/// # Errors
/// What it says against them.
pub fn disk_format(format: &str, options: &str) -> Result<()> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let image = File::from(rustix::fs::memfd_create("image", flags).context("memfd_create")?);
    let path = crate::artifact::path_of(&image);
    let args = ["create", "-q", "-f", format, "-o", options].map(std::ffi::OsStr::new);
    let size = std::ffi::OsStr::new("16M");
    crate::tool::run("qemu-img", args.into_iter().chain([path.as_os_str(), size])).map(drop)
}

/// Whether we act as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether the kernel has (or can load) the file system `name`.
///
/// # Errors
/// When it has not, or we may not ask.
pub fn filesystem(name: &str) -> Result<()> {
    match rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) => Ok(()),
        Err(Errno::NODEV) => bail!("the kernel has no {name}"),
        Err(errno) => Err(errno).with_context(|| format!("asking the kernel for {name}")),
    }
}

/// The file systems that the kernel has loaded, sorted; [`filesystem`] also knows those it could load.
///
/// # Errors
/// When /proc is not mounted.
pub fn filesystems() -> Result<Vec<String>> {
    let table = std::fs::read_to_string("/proc/filesystems").context("/proc/filesystems")?;
    let mut names: Vec<String> =
        table.lines().filter_map(|line| line.split('\t').nth(1)).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// Whether loop devices can be had.
///
/// # Errors
/// When they cannot.
pub fn loop_control() -> Result<()> {
    File::open("/dev/loop-control").map(drop).context("/dev/loop-control")
}

/// Whether the kernel has device-mapper, which LVM needs.
///
/// # Errors
/// When it has not.
pub fn device_mapper() -> Result<()> {
    let table = std::fs::read_to_string("/proc/misc").context("/proc/misc")?;
    if table.lines().any(|line| line.split_ascii_whitespace().nth(1) == Some("device-mapper")) {
        return Ok(());
    }
    bail!("the kernel has no device-mapper")
}

/// Whether user namespaces with 65536 ids can be made.
///
/// # Errors
/// When they cannot.
pub fn user_namespaces() -> Result<()> {
    idmap_trial::mapped_namespace().map(drop)
}

/// Whether a tmpfs can be mounted with mapped ids.
///
/// # Errors
/// When it cannot (it can since Linux 6.3).
pub fn idmapped_tmpfs() -> Result<()> {
    let namespace = idmap_trial::mapped_namespace()?;
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context("tmpfs")?;
    rustix::mount::fsconfig_create(&context).context("tmpfs")?;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    idmap_mount(mount.context("tmpfs")?.as_fd(), namespace.as_fd()).context("mapping the ids of a tmpfs")
}

/// Whether layers in `dir` can be used in a sandbox: an overlay whose directories lie on an idmapped mount, written to
/// by the mapped root.
///
/// # Errors
/// With the step that failed.
pub fn idmapped_layers(dir: &Path) -> Result<()> {
    idmap_trial::try_layers(dir)
}

/// Whether the system calls that a cage denies can be accounted; they are denied in any case.
///
/// # Errors
/// When they cannot.
pub fn observed_filters() -> Result<()> {
    crate::seccomp::available()
}

/// Whether commands get a Landlock domain, and all of it.
///
/// # Errors
/// What the kernel lacks.
pub fn landlock() -> Result<()> {
    crate::domain::available()
}

/// Whether memory, processes and processor time of commands can be limited.
///
/// # Errors
/// With the names of the controllers that there are none of.
pub fn control_groups() -> Result<()> {
    let missing = crate::cgroup::Groups::find()?.missing();
    ensure!(missing.is_empty(), "no control groups for: {}", missing.join(", "));
    Ok(())
}

/// Bytes that we may still write on the file system of `path`.
///
/// # Errors
/// When `path` does not exist.
pub fn free_space(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path).with_context(|| path.display().to_string())?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Bytes of memory that can be used without swapping.
///
/// # Errors
/// When /proc is not mounted.
pub fn free_memory() -> Result<u64> {
    memory("MemAvailable:")
}

/// Bytes of memory that the machine has.
///
/// # Errors
/// When /proc is not mounted.
pub fn total_memory() -> Result<u64> {
    memory("MemTotal:")
}

fn memory(name: &str) -> Result<u64> {
    let table = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let line = table.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.with_context(|| format!("/proc/meminfo has no {name}"))?.trim().trim_end_matches(" kB");
    let kib: u64 = kib.parse().with_context(|| format!("/proc/meminfo: {name}"))?;
    Ok(kib * 1024)
}

/// The nearest directory above (or at) `path` that other users, and so root of a user namespace, cannot pass through.
///
/// # Errors
/// When `path` does not exist.
pub fn impassable(path: &Path) -> Result<Option<PathBuf>> {
    let path = path.canonicalize().with_context(|| path.display().to_string())?;
    for dir in path.ancestors() {
        let meta = std::fs::metadata(dir).with_context(|| dir.display().to_string())?;
        if meta.is_dir() && meta.permissions().mode() & 0o001 == 0 {
            return Ok(Some(dir.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_table_is_sorted_for_its_search() {
        assert!(PACKAGES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(package_of("qemu-img"), Some("qemu-utils"));
        assert_eq!(package_of("qemu-system-x86_64"), Some("qemu-system-x86"));
        assert_eq!(package_of("none-such"), None);
    }

    #[test]
    fn missing_tools_are_named_with_their_package() {
        assert_eq!(find_tool("sh"), Some(PathBuf::from("/usr/bin/sh")));
        let expected = MissingTool { program: "none-such".to_owned(), package: None };
        assert_eq!(tools(&["sh", "none-such"]), [expected]);
    }
}
