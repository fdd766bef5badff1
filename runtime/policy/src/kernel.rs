//! What an image is told for its kernel and boot loader: which arguments, modules, settings and loaders make sense, and which of
//! them weaken it.
//!
//! Callers: [`crate::requirement`], the host's kernel capability.

use std::fmt;
use std::str::FromStr;

use crate::glob::word_matches;
use crate::subject::escape;

/// A boot loader that the runtime knows how to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BootLoader {
    /// GRUB for BIOS machines.
    GrubPc,
    /// GRUB for EFI machines.
    GrubEfi,
    /// systemd-boot, for EFI machines.
    SystemdBoot,
}

/// Arguments that start another program as root, open a shell, or switch a protection off.
/// Source: kernel-command-line(7), dracut.cmdline(7) and the kernel's admin-guide/kernel-parameters.
const UNSAFE_ARGUMENTS: [&str; 52] = [
    "init",
    "rdinit",
    "initrd",
    "root",
    "rootflags",
    "systemd.debug?shell*",
    "systemd.unit",
    "systemd.wants",
    "systemd.mask",
    "systemd.run*",
    "systemd.setenv",
    "systemd.set_credential*",
    "systemd.import_credentials",
    "systemd.crash_shell",
    "systemd.default_debug_tty",
    "rd.*",
    "break",
    "emergency",
    "rescue",
    "single",
    "s",
    "S",
    "1",
    "-b",
    "apparmor",
    "selinux",
    "enforcing",
    "security",
    "lsm",
    "lockdown",
    "audit",
    "ima*",
    "evm",
    "module.sig_enforce",
    "mitigations",
    "pti",
    "nopti",
    "kpti",
    "nospectre*",
    "spectre*",
    "nosmap",
    "nosmep",
    "nokaslr",
    "l1tf",
    "mds",
    "no_stf_barrier",
    "slub_debug",
    "iommu*",
    "intel_iommu",
    "unprivileged_bpf_disabled",
    "sysctl.*",
    "module_blacklist",
];

/// Settings that name a program which the kernel runs as root. Source: the kernel's admin-guide/sysctl.
const PROGRAM_SETTINGS: [&str; 5] = [
    "kernel.core_pattern",
    "kernel.modprobe",
    "kernel.hotplug",
    "kernel.poweroff_cmd",
    "kernel.usermodehelper*",
];

/// Whether a kernel argument needs `kernel.cmdline_unsafe` too. The kernel reads `-` and `_` alike.
pub(crate) fn is_unsafe_argument(key: &str) -> bool {
    let spelled = key.replace('-', "_");
    UNSAFE_ARGUMENTS
        .iter()
        .any(|rule| word_matches(rule, key) || word_matches(&rule.replace('-', "_"), &spelled))
}

/// Checks an argument: it is written into a boot loader's configuration, where shells read it.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_argument(key: &str, value: &str) -> Result<(), String> {
    let proper = |text: &str, more: &str| {
        text.len() <= 256 && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if key.is_empty() || !proper(key, "_.-") {
        return Err(format!("`{}` is not the name of a kernel argument", escape(key)));
    }
    if !proper(value, "_.,:/=@+%-") {
        return Err(format!(
            "`{}` is not a value of a kernel argument: letters, digits and _.,:/=@+%- only",
            escape(value)
        ));
    }
    Ok(())
}

/// Checks the name of a kernel module.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_module(name: &str) -> Result<(), String> {
    let proper = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if proper && !name.is_empty() && !name.starts_with('-') && name.len() <= 64 {
        Ok(())
    } else {
        Err(format!("`{}` is not the name of a kernel module", escape(name)))
    }
}

/// The name of a setting without the hyphen that says that a failure does not matter (sysctl.d(5)).
pub(crate) fn setting_name(key: &str) -> &str {
    key.strip_prefix('-').unwrap_or(key)
}

/// Checks a kernel setting, as sysctl.d(5) spells it with dots; a hyphen first means that a failure does not matter.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_setting(key: &str, value: &str) -> Result<(), String> {
    let name = setting_name(key);
    let proper = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let labels = name.contains('.') && name.split('.').all(|label| !label.is_empty());
    if !proper || !labels || name.len() > 128 || name.starts_with('-') {
        return Err(format!(
            "`{}` is not the name of a kernel setting like net.ipv4.ip_forward",
            escape(key)
        ));
    }
    if value.len() > 1024 || !value.chars().all(|c| c.is_ascii_graphic() || " \t".contains(c)) {
        return Err(format!("`{}` is not a value of a kernel setting", escape(value)));
    }
    Ok(())
}

/// Why a setting is never written, if so.
pub(crate) fn refuse_setting(key: &str) -> Option<String> {
    PROGRAM_SETTINGS
        .iter()
        .any(|rule| word_matches(rule, key))
        .then(|| format!("`{key}` names a program that the kernel runs as root"))
}

impl BootLoader {
    /// Every boot loader.
    pub const ALL: [BootLoader; 3] = [BootLoader::GrubPc, BootLoader::GrubEfi, BootLoader::SystemdBoot];

    /// The word in needs and policies.
    pub const fn name(self) -> &'static str {
        match self {
            BootLoader::GrubPc => "grub-pc",
            BootLoader::GrubEfi => "grub-efi",
            BootLoader::SystemdBoot => "systemd-boot",
        }
    }
}

impl fmt::Display for BootLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BootLoader {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        BootLoader::ALL
            .into_iter()
            .find(|kind| kind.name() == word)
            .ok_or_else(|| format!("`{}` is not one of grub-pc, grub-efi, systemd-boot", escape(word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        for (key, value) in
            [("quiet", ""), ("console", "ttyS0,115200n8"), ("net.ifnames", "0"), ("usbcore.quirks", "1:2:k")]
        {
            assert_eq!(check_argument(key, value), Ok(()), "{key}");
            assert!(!is_unsafe_argument(key), "{key}");
        }
        for (key, value) in [
            ("", ""),
            ("a b", ""),
            ("a", "b c"),
            ("a", "$(x)"),
            ("a", "`x`"),
            ("a", "\"x\""),
            ("a\n", ""),
            ("a", "x;y"),
        ] {
            assert!(check_argument(key, value).is_err(), "{key}={value}");
        }
        for key in [
            "init",
            "systemd.debug-shell",
            "systemd.debug_shell",
            "apparmor",
            "mitigations",
            "rd.break",
            "single",
            "module.sig-enforce",
        ] {
            assert!(is_unsafe_argument(key), "{key}");
        }
    }

    #[test]
    fn modules() {
        for (name, proper) in [
            ("br_netfilter", true),
            ("nf-conntrack", true),
            ("", false),
            ("-r", false),
            ("a b", false),
            ("a/b", false),
        ] {
            assert_eq!(check_module(name).is_ok(), proper, "{name}");
        }
        assert!(check_module(&"a".repeat(64)).is_ok() && check_module(&"a".repeat(65)).is_err());
    }

    #[test]
    fn settings() {
        for (key, value, proper) in [
            ("net.ipv4.ip_forward", "1", true),
            ("net.ipv4.ip_local_port_range", "1024\t65000", true),
            ("net", "1", false),
            ("net..x", "1", false),
            (".net", "1", false),
            ("-net.x", "1", true),
            ("--net.x", "1", false),
            ("-.x", "1", false),
            ("net.x y", "1", false),
            ("net.x", "1\nkernel.core_pattern=|/x", false),
            ("net/ipv4", "1", false),
        ] {
            assert_eq!(check_setting(key, value).is_ok(), proper, "{key}");
        }
        assert!(check_setting(&format!("a.{}", "b".repeat(126)), &"1".repeat(1024)).is_ok());
        assert!(check_setting(&format!("a.{}", "b".repeat(127)), "1").is_err());
        assert!(check_setting("a.b", &"1".repeat(1025)).is_err());
        assert!(
            refuse_setting("kernel.core_pattern").is_some() && refuse_setting("kernel.modprobe").is_some()
        );
        assert_eq!(refuse_setting("kernel.core_uses_pid"), None);
    }
}
