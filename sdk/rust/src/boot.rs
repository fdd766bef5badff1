//! What `Cx` says of how the image starts (kernel, boot loader), and the mounts and repositories that programs and packages come from.

use std::fmt;

use crate::cx::Cx;
use crate::error::Result;

/// A boot loader that the runtime knows how to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootLoader {
    /// GRUB for BIOS machines.
    GrubPc,
    /// GRUB for EFI machines.
    GrubEfi,
    /// systemd-boot, for EFI machines.
    SystemdBoot,
}

impl BootLoader {
    /// The contract's word, as in `grub-efi`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GrubPc => "grub-pc",
            Self::GrubEfi => "grub-efi",
            Self::SystemdBoot => "systemd-boot",
        }
    }
}

impl fmt::Display for BootLoader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// How the image starts. What is said twice counts once.
impl Cx {
    /// An argument of the image's kernel, as `console` and `ttyS0,115200`. Takes effect with GRUB. Needs `kernel_argument`, and
    /// `unsafe_kernel_argument` beside it for those that weaken the image.
    pub fn kernel_argument(&self, key: impl AsRef<str>, value: impl AsRef<str>) -> Result {
        self.host.add_kernel_argument(key.as_ref(), value.as_ref())
    }

    /// An argument without a value, as `quiet`.
    pub fn kernel_flag(&self, key: impl AsRef<str>) -> Result {
        self.host.add_kernel_argument(key.as_ref(), "")
    }

    /// Loads the module at every boot. Needs `kernel_module`.
    pub fn kernel_module(&self, name: impl AsRef<str>) -> Result {
        self.host.load_kernel_module(name.as_ref())
    }

    /// A kernel setting, set at every boot: `net.ipv4.ip_forward`, `1`. Needs `sysctl`.
    pub fn sysctl(&self, key: impl AsRef<str>, value: impl AsRef<str>) -> Result {
        self.host.set_sysctl(key.as_ref(), value.as_ref())
    }

    /// Installs a boot loader on the image's disk with the target's own installer; in the phase finalise. Needs `bootloader`, and
    /// the package that brings the installer in an earlier phase.
    pub fn bootloader(&self, kind: BootLoader) -> Result {
        self.host.install_bootloader(kind.name())
    }
}

/// What programs and packages of the target find.
impl Cx {
    /// Memory mounted there for the programs that this hook runs after; gone when the hook ends. Needs `mount "tmpfs PATH"`.
    pub fn mount_tmpfs(&self, path: impl AsRef<str>) -> Result {
        self.host.mount("tmpfs", path.as_ref())
    }

    /// A directory of this element that is kept from build to build, mounted there for the programs that this hook runs after.
    /// Needs `mount "cache PATH"`.
    pub fn mount_cache(&self, path: impl AsRef<str>) -> Result {
        self.host.mount("cache", path.as_ref())
    }

    /// The EFI system partition, mounted there for the programs that this hook runs after; `NotFound` when the disk has none or is
    /// not made yet (before finalise). Needs `mount "esp PATH"`.
    pub fn mount_esp(&self, path: impl AsRef<str>) -> Result {
        self.host.mount("esp", path.as_ref())
    }

    /// Adds a package repository of the site's catalogue, with its key, for the transactions of later phases. Needs `repository`.
    pub fn repository(&self, id: impl AsRef<str>) -> Result {
        self.host.add_repository(id.as_ref())
    }
}
