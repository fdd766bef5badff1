//! Names of accounts, packages, units and what sites name, and which accounts have root's powers.
//!
//! Callers: [`crate::requirement`].

use crate::subject::escape;

/// Members of these groups are root, or can become it, or can read the raw disk.
const POWERFUL_GROUPS: [&str; 22] = [
    "root",
    "sudo",
    "wheel",
    "admin",
    "adm",
    "docker",
    "lxd",
    "incus",
    "incus-admin",
    "libvirt",
    "kvm",
    "disk",
    "shadow",
    "kmem",
    "staff",
    "systemd-journal",
    "podman",
    "ssl-cert",
    "sys",
    "bin",
    "daemon",
    "lp",
];

/// Whether being in the group gives root's powers.
pub fn is_powerful_group(name: &str) -> bool {
    POWERFUL_GROUPS.contains(&name)
}

/// Checks the name of an account or group (what `useradd` of Debian and Fedora both take).
///
/// # Errors
/// Says what is wrong with it.
pub fn check_account(name: &str) -> Result<(), String> {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c));
    if starts && rest && name.len() <= 32 {
        Ok(())
    } else {
        Err(format!("`{}` is not an account name", escape(name)))
    }
}

/// Checks a package name: never an option, a file or an address; no suffix that turns one request into another
/// (apt reads `name-` as "remove" and `name+` as "install").
///
/// # Errors
/// Says what is wrong with it.
pub fn check_package(name: &str) -> Result<(), String> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || "+-._:~=@".contains(c));
    let turned = name.ends_with('-') || (name.ends_with('+') && !name.ends_with("++"));
    if starts && rest && !turned && name.len() <= 200 {
        Ok(())
    } else {
        Err(format!("`{}` is not a package name", escape(name)))
    }
}

/// Checks a name that the site or dibw gives to something: an input, a secret, a repository, a format.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_label(name: &str) -> Result<(), String> {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c));
    if starts && rest && name.len() <= 64 {
        Ok(())
    } else {
        Err(format!("`{}` is not a name: lower-case letters, digits, dots, `_` and `-`", escape(name)))
    }
}

/// Checks a unit name: a file name with one of systemd's suffixes, or none.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_unit(name: &str) -> Result<(), String> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || ":_.@\\-".contains(c));
    if starts && rest && !name.contains("..") && name.len() <= 255 {
        Ok(())
    } else {
        Err(format!("`{}` is not a unit name", escape(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["debian", "_apt", "www-data", "a.b"] {
            assert_eq!(check_account(name), Ok(()));
        }
        for name in ["", "-x", "Root", "a:b", "a\nroot::0:0", "a b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
            assert!(check_account(name).is_err(), "{name}");
        }
        for name in ["curl", "g++", "libc6:amd64", "linux-image-6.1=6.1-1", "0ad"] {
            assert_eq!(check_package(name), Ok(()));
        }
        for name in ["", "-o", "./x.deb", "http://x", "curl-", "curl+", "a b", "$(x)"] {
            assert!(check_package(name).is_err(), "{name}");
        }
        for name in ["site-ca", "qcow2", "tar.zst", &"a".repeat(64)] {
            assert_eq!(check_label(name), Ok(()));
        }
        for name in ["", "-a", "A", "a b", "a/b", "a*", &"a".repeat(65)] {
            assert!(check_label(name).is_err(), "{name}");
        }
        for name in ["ssh.service", "serial-getty@ttyS0.service", "dev-disk-by\\x2dlabel.device"] {
            assert_eq!(check_unit(name), Ok(()));
        }
        for name in ["", "../x", "--now", "a/b.service", "a b"] {
            assert!(check_unit(name).is_err(), "{name}");
        }
    }
}
