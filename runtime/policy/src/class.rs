//! Privileged path classes: places in the target where a file is run, or believed, as root on every booted image.
//!
//! A write that lands in a class needs the class (`target.write_privileged`) beside a matching `target.write`.
//! Callers: [`crate::requirement`], documentation.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use crate::capability::nearest;
use crate::glob::{Extent, PathGlob};

macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident $name:literal [$($glob:literal),* $(,)?];)*) => {
        /// A privileged path class.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Class { $($(#[$doc])* $variant,)* }

        impl Class {
            /// Every class.
            pub const ALL: &'static [Class] = &[$(Class::$variant,)*];

            /// The name in manifests and policies.
            pub const fn name(self) -> &'static str {
                match self { $(Class::$variant => $name,)* }
            }

            /// The path globs that make up the class.
            pub const fn globs(self) -> &'static [&'static str] {
                match self { $(Class::$variant => &[$($glob),*],)* }
            }
        }
    };
}

classes! {
    /// Libraries and loader configuration: in every program's address space.
    Ldpreload "ldpreload" ["/etc/ld.so.*", "/etc/ld.so.*/**", "/etc/ld-musl-*", "/usr/lib*/**/*.so", "/usr/lib*/**/*.so.*",
        "/lib*/**/*.so", "/lib*/**/*.so.*", "/usr/local/lib*/**/*.so", "/usr/local/lib*/**/*.so.*", "/etc/nsswitch.conf"];
    /// Set-user-id bits. No path: typed elements never set them.
    Setuid "setuid" [];
    /// File capabilities. No path: typed elements have no call for them.
    Filecaps "filecaps" [];
    /// Authentication stacks and polkit rules.
    Pam "pam" ["/etc/pam.conf", "/etc/pam.d", "/etc/pam.d/**", "/usr/lib/pam.d/**", "/etc/security/**", "/etc/polkit-1/**",
        "/usr/share/polkit-1/**", "/etc/doas.conf"];
    /// Who may become root with sudo.
    Sudoers "sudoers" ["/etc/sudoers", "/etc/sudoers.d", "/etc/sudoers.d/**", "/etc/sudo.conf"];
    /// Account databases.
    Accounts "accounts" ["/etc/passwd", "/etc/passwd-", "/etc/shadow", "/etc/shadow-", "/etc/group", "/etc/group-", "/etc/gshadow",
        "/etc/gshadow-", "/etc/subuid", "/etc/subgid", "/usr/lib/sysusers.d/**", "/etc/sysusers.d/**"];
    /// Keys that log in.
    AuthorizedKeys "authorized_keys" ["/root/.ssh", "/root/.ssh/**", "/home/*/.ssh", "/home/*/.ssh/**", "/etc/ssh/authorized_keys*",
        "/etc/ssh/authorized_keys*/**", "/etc/skel/.ssh/**"];
    /// Units, generators, init scripts.
    SystemdUnits "systemd_units" ["/etc/systemd/system", "/etc/systemd/system/**", "/etc/systemd/user/**", "/etc/systemd/system-generators/**",
        "/etc/systemd/*.conf", "/etc/systemd/*.conf.d/**",
        "/usr/lib/systemd/**", "/lib/systemd/**", "/usr/local/lib/systemd/**", "/etc/init.d/**", "/etc/rc*.d/**", "/etc/rc.local",
        "/etc/inittab", "/etc/init/**", "/etc/dbus-1/**", "/usr/share/dbus-1/**", "/etc/tmpfiles.d/**", "/usr/lib/tmpfiles.d/**"];
    /// Timed jobs.
    Cron "cron" ["/etc/cron*", "/etc/cron*/**", "/etc/crontab", "/etc/anacrontab", "/var/spool/cron", "/var/spool/cron/**",
        "/var/spool/at/**"];
    /// Device rules, which run programs.
    Udev "udev" ["/etc/udev/**", "/usr/lib/udev/**", "/lib/udev/**"];
    /// Package sources and package manager configuration (which runs commands).
    AptSources "apt_sources" ["/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/sources.list.d/**", "/etc/apt/apt.conf",
        "/etc/apt/apt.conf.d/**", "/etc/apt/preferences", "/etc/apt/preferences.d/**", "/etc/dpkg/**", "/etc/yum.repos.d/**", "/etc/yum/**",
        "/etc/dnf/**", "/etc/zypp/**", "/etc/pacman.conf", "/etc/pacman.d/**"];
    /// Keys that packages are checked with.
    AptKeys "apt_keys" ["/etc/apt/trusted.gpg", "/etc/apt/trusted.gpg.d/**", "/etc/apt/keyrings/**", "/usr/share/keyrings/**",
        "/etc/pki/rpm-gpg/**"];
    /// What is installed, and scripts that run when that changes.
    PackageDatabase "package_database" ["/var/lib/dpkg", "/var/lib/dpkg/**", "/var/lib/rpm/**", "/usr/lib/sysimage/**"];
    /// Programs that end up in the initramfs.
    InitramfsHooks "initramfs_hooks" ["/etc/initramfs-tools/**", "/usr/share/initramfs-tools/**", "/etc/dracut.conf",
        "/etc/dracut.conf.d/**", "/usr/lib/dracut/**", "/etc/mkinitcpio*", "/etc/mkinitcpio*/**"];
    /// Boot loader and its configuration, kernels.
    Bootloader "bootloader" ["/boot", "/boot/**", "/efi/**", "/etc/default/grub", "/etc/default/grub.d/**", "/etc/grub.d/**",
        "/etc/grub*.cfg", "/etc/kernel/**", "/usr/lib/kernel/**", "/etc/lilo.conf"];
    /// Modules and the commands run when they are loaded.
    KernelModules "kernel_modules" ["/lib/modules/**", "/usr/lib/modules/**", "/etc/modprobe.d/**", "/usr/lib/modprobe.d/**",
        "/lib/modprobe.d/**", "/etc/modules-load.d/**", "/etc/modules"];
    /// Kernel settings and file formats, which can name programs that the kernel runs as root.
    Sysctl "sysctl" ["/etc/sysctl.conf", "/etc/sysctl.d/**", "/usr/lib/sysctl.d/**", "/usr/local/lib/sysctl.d/**", "/etc/binfmt.d/**",
        "/usr/lib/binfmt.d/**"];
    /// Shell start files: run by whoever logs in, root too.
    Profile "profile" ["/etc/profile", "/etc/profile.d/**", "/etc/bash.bashrc", "/etc/bashrc", "/etc/bash/**", "/etc/environment",
        "/etc/environment.d/**", "/etc/zsh/**", "/etc/csh*", "/etc/update-motd.d/**", "/etc/skel/.*", "/root/.*", "/home/*/.*rc",
        "/home/*/.*profile", "/home/*/.*login", "/home/*/.*env", "/etc/X11/Xsession.d/**", "/etc/xdg/autostart/**"];
    /// Scripts that network tools and cloud-init run.
    NetworkHooks "network_hooks" ["/etc/network/if-*.d/**", "/etc/network/interfaces", "/etc/network/interfaces.d/**",
        "/etc/dhcp/**", "/etc/NetworkManager/dispatcher.d/**", "/etc/networkd-dispatcher/**", "/etc/ppp/**"];
    /// What cloud-init does at first boot, as root.
    CloudInit "cloud_init" ["/etc/cloud/**", "/var/lib/cloud/**"];
    /// Directories in root's PATH, and programs' private ones.
    Binpaths "binpaths" ["/bin/**", "/sbin/**", "/usr/bin/**", "/usr/sbin/**", "/usr/local/bin/**", "/usr/local/sbin/**",
        "/usr/libexec/**", "/usr/games/**", "/etc/alternatives/**", "/init", "/sbin/init"];
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if let Some(found) = Class::ALL.iter().find(|c| c.name() == name) {
            return Ok(*found);
        }
        let names: Vec<&str> = Class::ALL.iter().map(|c| c.name()).collect();
        Err(match nearest(name, &names) {
            Some(near) => format!("unknown class `{name}`; did you mean `{near}`?"),
            None => format!("unknown class `{name}`; classes are {}", names.join(", ")),
        })
    }
}

static TABLE: LazyLock<Vec<(Class, Vec<PathGlob>)>> = LazyLock::new(|| {
    let parse = |glob: &&str| PathGlob::parse(glob).expect("a unit test parses every glob of the table");
    Class::ALL.iter().map(|class| (*class, class.globs().iter().map(parse).collect())).collect()
});

/// The classes that a file at `path` (normalised) belongs to.
pub fn classes_of(path: &str) -> Vec<Class> {
    select(|glob| glob.covers(path, Extent::Entry))
}

/// The classes that are touched when the whole tree at `path` is replaced, moved or removed.
pub fn classes_in_tree(path: &str) -> Vec<Class> {
    select(|glob| glob.covers(path, Extent::Entry) || glob.reaches_below(path))
}

fn select(touches: impl Fn(&PathGlob) -> bool) -> Vec<Class> {
    TABLE.iter().filter(|(_, globs)| globs.iter().any(&touches)).map(|(class, _)| *class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_glob_parses_and_every_name_round_trips() {
        assert_eq!(TABLE.len(), Class::ALL.len());
        for class in Class::ALL {
            assert_eq!(class.name().parse::<Class>(), Ok(*class));
        }
    }

    #[test]
    fn where_files_belong() {
        for (path, expected) in [
            ("/etc/motd", vec![]),
            ("/etc/hostname", vec![]),
            ("/etc/sysctl.d/50-x.conf", vec![Class::Sysctl]),
            ("/etc/ssh/sshd_config.d/50-dibw.conf", vec![]),
            ("/etc/cron.d/x", vec![Class::Cron]),
            ("/etc/sudoers.d/x", vec![Class::Sudoers]),
            ("/etc/shadow", vec![Class::Accounts]),
            ("/etc/ld.so.preload", vec![Class::Ldpreload]),
            ("/usr/lib/x86_64-linux-gnu/libc.so.6", vec![Class::Ldpreload]),
            ("/root/.ssh/authorized_keys", vec![Class::AuthorizedKeys]),
            ("/home/debian/.ssh/authorized_keys", vec![Class::AuthorizedKeys]),
            ("/root/.bashrc", vec![Class::Profile]),
            ("/etc/systemd/system/x.service", vec![Class::SystemdUnits]),
            ("/usr/lib/systemd/system/x.service", vec![Class::SystemdUnits]),
            ("/etc/apt/apt.conf.d/99x", vec![Class::AptSources]),
            ("/etc/default/grub.d/50.cfg", vec![Class::Bootloader]),
            ("/usr/local/bin/x", vec![Class::Binpaths]),
            ("/usr/share/doc/x", vec![]),
        ] {
            assert_eq!(classes_of(path), expected, "{path}");
        }
    }

    #[test]
    fn trees_touch_what_is_below() {
        assert!(classes_in_tree("/etc").contains(&Class::Sudoers));
        assert!(classes_in_tree("/etc/sudoers.d").contains(&Class::Sudoers));
        assert_eq!(classes_in_tree("/opt/acme"), vec![]);
        assert_eq!(classes_in_tree("/usr/share/doc"), vec![]);
    }
}
