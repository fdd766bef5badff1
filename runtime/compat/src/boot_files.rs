//! Which of the files in a system's /boot are the kernel and initial ramdisk to boot: the rules of the classic function
//! `select_boot_kernel_initrd`. Called by the engine, which reads the directory. Facts: compat/CONTRACT.md section 6.9.

use std::cmp::Ordering;

use dibw_policy::glob::word_matches;

/// What tells systems apart: a file in /etc.
const MARKS: [(&str, System); 4] = [
    ("redhat-release", System::RedHat),
    ("debian_version", System::Debian),
    ("SuSE-release", System::Suse),
    ("gentoo-release", System::Gentoo),
];

/// A family of systems by how they name their kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum System {
    RedHat,
    Debian,
    Suse,
    Gentoo,
}

impl System {
    /// By the names in its /etc and, for SUSE, `DISTRO_NAME`.
    pub fn of(etc: &[String], distro_name: &str) -> Option<Self> {
        let marked = MARKS.iter().find(|(mark, _)| etc.iter().any(|name| name == mark));
        let suse = (distro_name == "opensuse").then_some(Self::Suse);
        marked.map(|(_, system)| *system).or(suse)
    }
}

/// `DIB_BAREMETAL_KERNEL_PATTERN` and `DIB_BAREMETAL_INITRD_PATTERN`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    /// Of the kernel.
    pub kernel: String,
    /// Of the ramdisk.
    pub ramdisk: String,
}

/// The names of kernel and ramdisk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFiles {
    /// The kernel.
    pub kernel: String,
    /// The initial ramdisk.
    pub ramdisk: String,
}

/// An entry of /boot: its name and, of a link, where it leads.
pub type Entry = (String, Option<String>);

/// The newest kernel and its ramdisk; none when there is no such pair.
pub fn choose(system: Option<System>, boot: &[Entry], patterns: &Patterns) -> Option<BootFiles> {
    let mut names: Vec<&str> = boot.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_by(|left, right| version_order(right, left));
    let newest =
        |fits: &dyn Fn(&str) -> bool| names.iter().find(|name| fits(name)).map(|name| (*name).to_owned());
    if !patterns.kernel.is_empty() && !patterns.ramdisk.is_empty() {
        let matching = |pattern: &str| newest(&|name| word_matches(pattern, name));
        return pair(matching(&patterns.kernel), matching(&patterns.ramdisk));
    }
    match system? {
        System::RedHat => {
            let plain = |name: &str| name.starts_with("vmlinuz") && !name.contains("debug");
            let kernel = newest(&|name| plain(name) && name.contains("PAE")).or_else(|| newest(&plain))?;
            let version = kernel.trim_start_matches("vmlinuz").trim_start_matches('-');
            let ramdisk = format!("initramfs-{version}.img");
            pair(Some(kernel), newest(&|name| name == ramdisk))
        }
        System::Debian => {
            let generic = |start: &'static str| {
                let fits = move |name: &str| name.starts_with(start) && !name.contains(".signed");
                newest(&|name| fits(name) && name.ends_with("generic")).or_else(|| newest(&fits))
            };
            let kernel = generic("vmlinu")?;
            let signed = newest(&|name| {
                name.strip_prefix(&kernel).is_some_and(|rest| matches!(rest, ".signed" | ".efi.signed"))
            });
            pair(signed.or(Some(kernel)), generic("initrd"))
        }
        System::Suse => {
            let behind = |link: &str| boot.iter().find(|(name, _)| name == link)?.1.clone();
            pair(behind("vmlinuz"), behind("initrd"))
        }
        System::Gentoo => {
            pair(newest(&|name| name.starts_with("vmlinuz-")), newest(&|name| name.starts_with("initramfs-")))
        }
    }
}

fn pair(kernel: Option<String>, ramdisk: Option<String>) -> Option<BootFiles> {
    Some(BootFiles { kernel: kernel?, ramdisk: ramdisk? })
}

/// The order of `ls -v`, as far as names of kernels need it: numbers by value, all else by bytes.
fn version_order(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (one, other) = (digits(left), digits(right));
        if one > 0 && other > 0 {
            let value =
                |text: &[u8]| -> Vec<u8> { text.iter().copied().skip_while(|b| *b == b'0').collect() };
            let (a, b) = (value(&left[..one]), value(&right[..other]));
            match a.len().cmp(&b.len()).then(a.cmp(&b)) {
                Ordering::Equal => (left, right) = (&left[one..], &right[other..]),
                unequal => return unequal,
            }
            continue;
        }
        match (left.split_first(), right.split_first()) {
            (Some((a, rest)), Some((b, more))) if a == b => (left, right) = (rest, more),
            _ => return left.cmp(right),
        }
    }
}
