//! Owns the `/dev` of a sandbox: a tmpfs with the harmless nodes, terminals of its own, and what was granted by name.
//! Must not know which command it is for. Called by `inside_root` and `outside_root`.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat, stat, symlinkat};
use rustix::mount::MountAttrFlags;

use crate::detached_mount::DetachedMount;
use crate::sandbox::DeviceNode;

/// Character devices every program expects; major 1 and 5 of the kernel's `devices.txt`.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The group `tty`, by which terminals are owned on Debian and everywhere else.
const TTY_GROUP: u32 = 5;

/// Mounts a new `/dev` over `place` and returns its root. `id_base` is the host's id of the sandbox's root, and the
/// caller's own; the umask must be 0.
pub(crate) fn mount_dev(
    place: BorrowedFd<'_>,
    id_base: u32,
    devices: &[DeviceNode],
) -> Result<DetachedMount> {
    let noexec = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let dev = DetachedMount::new("tmpfs", &[("mode", "755"), ("size", "1m")], noexec)?;
    let root = dev.root();
    let device = FileType::CharacterDevice;
    for (name, major, minor) in NODES {
        mknodat(root, name, device, Mode::from_raw_mode(0o666), makedev(major, minor))
            .with_context(|| format!("make /dev/{name}"))?;
    }
    for (name, to) in LINKS {
        symlinkat(to, root, name).with_context(|| format!("link /dev/{name}"))?;
    }
    for node in devices {
        make_node(root, node)?;
    }
    for dir in ["pts", "shm"] {
        mkdirat(root, dir, Mode::from_raw_mode(0o755)).with_context(|| format!("make /dev/{dir}"))?;
    }
    dev.attach(place).context("mount /dev")?;

    let group = (id_base + TTY_GROUP).to_string();
    // A devpts is always an instance of its own (since Linux 4.7).
    let pts = DetachedMount::new("devpts", &[("ptmxmode", "666"), ("mode", "620"), ("gid", &group)], noexec)?;
    let attributes = noexec | MountAttrFlags::MOUNT_ATTR_NODEV;
    let shm = DetachedMount::new("tmpfs", &[("mode", "1777"), ("size", "256m")], attributes)?;
    for (dir, mount) in [("pts", pts), ("shm", shm)] {
        let place = openat(root, dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| format!("open /dev/{dir}"))?;
        mount.attach(place.as_fd()).with_context(|| format!("mount /dev/{dir}"))?;
    }
    Ok(dev)
}

fn make_node(dev: BorrowedFd<'_>, node: &DeviceNode) -> Result<()> {
    let (host, name) = (node.host.display(), &node.name);
    ensure!(
        !name.is_empty() && !name.contains('/') && !name.starts_with('.'),
        "{name:?} can't be a device's name"
    );
    let status = stat(&node.host).with_context(|| format!("stat {host}"))?;
    let kind = FileType::from_raw_mode(status.st_mode);
    ensure!(matches!(kind, FileType::BlockDevice | FileType::CharacterDevice), "{host} is not a device");
    mknodat(dev, name, kind, Mode::from_raw_mode(0o660), status.st_rdev)
        .with_context(|| format!("make /dev/{name}"))
}
