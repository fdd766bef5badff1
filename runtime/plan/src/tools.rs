//! Which programs of the host a plan needs, so that a missing one is told before anything is touched. Knows names only; whether they
//! are there is the engine's question.

use std::collections::BTreeMap;

use crate::output::{DiskWriter, OutputType};
use crate::phase::Side;
use crate::plan::{Action, Plan, Step};

/// A program of the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tool {
    /// Its name, to be found on the path.
    pub program: String,
    /// What needs it, in words.
    pub reason: String,
    /// The Debian package that has it, where it is known.
    pub package: Option<&'static str>,
}

/// Program and Debian package.
const PACKAGES: [(&str, &str); 33] = [
    ("bash", "bash"),
    ("btrfs", "btrfs-progs"),
    ("curl", "curl"),
    ("debootstrap", "debootstrap"),
    ("dnf", "dnf"),
    ("dosfslabel", "dosfstools"),
    ("e2fsck", "e2fsprogs"),
    ("git", "git"),
    ("gpg", "gpg"),
    ("gpgv", "gpgv"),
    ("lvcreate", "lvm2"),
    ("mcopy", "mtools"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.ext2", "e2fsprogs"),
    ("mkfs.ext3", "e2fsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.fat", "dosfstools"),
    ("mkfs.vfat", "dosfstools"),
    ("mkfs.xfs", "xfsprogs"),
    ("mksquashfs", "squashfs-tools"),
    ("mkswap", "util-linux"),
    ("mmdebstrap", "mmdebstrap"),
    ("pigz", "pigz"),
    ("pvcreate", "lvm2"),
    ("python3", "python3"),
    ("qemu-img", "qemu-utils"),
    ("rpm", "rpm"),
    ("rsync", "rsync"),
    ("tar", "tar"),
    ("vgcreate", "lvm2"),
    ("wget", "wget"),
    ("xz", "xz-utils"),
    ("zypper", "zypper"),
];

/// The programs, by name, each once.
pub fn required_tools(plan: &Plan) -> Vec<Tool> {
    let mut needed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut need = |program: &str, reason: String| {
        let reasons = needed.entry(program.to_owned()).or_default();
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    for element in &plan.elements {
        for program in &element.host_tools {
            need(program, format!("element `{}`", element.name));
        }
    }
    let on_host = |step: &Step| step.phase.is_some_and(|phase| phase.side() == Side::Outside);
    if plan.steps.iter().any(|step| matches!(step.action, Action::Script { .. }) && on_host(step)) {
        need("bash", "shell hooks on the host".to_owned());
    }
    if let Some(disk) = &plan.disk {
        for filesystem in &disk.layout.filesystems {
            let kind = &filesystem.fstype;
            for program in programs_of(kind) {
                need(&program, format!("a {kind} file system"));
            }
        }
        if disk.layout.needs_device_mapper() {
            for program in ["pvcreate", "vgcreate", "lvcreate"] {
                need(program, "logical volumes".to_owned());
            }
        }
    }
    for kind in &plan.types {
        let reason = || format!("output type {}", kind.name());
        match (kind, kind.disk_writer(plan.qemu_img_options.as_deref())) {
            (_, Some(DiskWriter::QemuImg { .. })) => need("qemu-img", reason()),
            (OutputType::Squashfs, _) => need("mksquashfs", reason()),
            (OutputType::Tgz, _) => plan.gzip.first().into_iter().for_each(|program| need(program, reason())),
            (_, Some(DiskWriter::Copy | DiskWriter::Qcow2) | None) => {}
        }
    }
    needed
        .into_iter()
        .map(|(program, reasons)| Tool {
            package: PACKAGES.iter().find(|(name, _)| *name == program).map(|(_, package)| *package),
            reason: reasons.join(", "),
            program,
        })
        .collect()
}

/// What makes and fills a file system of that type.
fn programs_of(kind: &str) -> Vec<String> {
    match kind {
        "swap" => vec!["mkswap".to_owned()],
        // There may be no kernel driver: filled with mtools.
        "vfat" | "fat" | "msdos" => vec!["mkfs.vfat".to_owned(), "mcopy".to_owned()],
        other => vec![format!("mkfs.{other}")],
    }
}
