//! What can be found wrong with the machine before anything is touched, all of it at once, and the cleaning up after dead builds.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::Result;
use dibw_plan::{DiskWriter, Fault, FaultKind, Faults, Plan};
use dibw_sys::work_dir::{self, Cleaned};
use dibw_sys::{lvm, probe};

use crate::artifacts::PUSHERS;
use crate::run::Paths;

/// Whether `plan` can be built on this machine.
///
/// # Errors
/// Everything that is missing, with what to do about it.
pub fn machine(plan: &Plan, paths: &Paths) -> Result<(), Faults> {
    if !probe::is_root() {
        // Nothing else can be found out without.
        return Err(host("building needs root").hint("sudo dibw build ...").into());
    }
    let mut faults = Faults::default();
    for tool in dibw_plan::tools::required_tools(plan) {
        if probe::find_tool(&tool.program).is_none() {
            let package = tool.package.or_else(|| probe::package_of(&tool.program));
            let fault = host(format!("{} is missing: {}", tool.program, tool.reason));
            faults.push(
                package.into_iter().fold(fault, |fault, name| fault.hint(format!("apt-get install {name}"))),
            );
        }
    }
    outputs(plan, &mut faults);
    architecture(&plan.arch, &mut faults);
    kernel(plan, paths, &mut faults);
    directories(plan, &mut faults);
    faults.or(())
}

/// What the outputs need beyond the programs that the plan names.
fn outputs(plan: &Plan, faults: &mut Faults) {
    if plan.push.is_some() && PUSHERS.iter().all(|program| probe::find_tool(program).is_none()) {
        let fault = host(format!("--push needs one of {}", PUSHERS.join(", ")));
        faults.push(fault.hint("apt-get install skopeo"));
    }
    let given = plan.qemu_img_options.as_deref();
    for kind in plan.types.iter().filter(|_| given.is_some() && probe::find_tool("qemu-img").is_some()) {
        let Some(DiskWriter::QemuImg { format, options: Some(options) }) = kind.disk_writer(given) else {
            continue;
        };
        if let Err(error) = probe::disk_format(format, &options) {
            let message = format!("output type {} with the options {options}: {error:#}", kind.name());
            let fault = Fault::new(FaultKind::Usage, message);
            faults.push(fault.hint(format!("qemu-img convert -O {format} -o help lists the options")));
        }
    }
}

/// Debian's architectures, as `std::env::consts::ARCH` and as QEMU's user emulation call them.
const ARCHITECTURES: [(&str, &str, &str); 8] = [
    ("amd64", "x86_64", "x86_64"),
    ("i386", "x86", "i386"),
    ("arm64", "aarch64", "aarch64"),
    ("armhf", "arm", "arm"),
    ("ppc64el", "powerpc64", "ppc64le"),
    ("s390x", "s390x", "s390x"),
    ("riscv64", "riscv64", "riscv64"),
    ("loong64", "loongarch64", "loongarch64"),
];

/// Programs of another architecture run in the target only with user emulation.
fn architecture(wanted: &str, faults: &mut Faults) {
    let Some((_, own, qemu)) = ARCHITECTURES.iter().find(|(name, ..)| *name == wanted) else {
        let known = ARCHITECTURES.iter().map(|(name, ..)| *name);
        faults.push(
            Fault::new(FaultKind::Usage, format!("unknown architecture {wanted}")).suggest(wanted, known),
        );
        return;
    };
    let native = *own == std::env::consts::ARCH || (wanted == "i386" && std::env::consts::ARCH == "x86_64");
    if !native && !Path::new("/proc/sys/fs/binfmt_misc").join(format!("qemu-{qemu}")).exists() {
        let fault = host(format!("this machine can't run programs of {wanted}"));
        faults.push(fault.hint("apt-get install qemu-user-static"));
    }
}

fn kernel(plan: &Plan, paths: &Paths, faults: &mut Faults) {
    let mut need = |found: Result<()>, what: &str, hint: &str| {
        if let Err(error) = found {
            faults.push(host(format!("{what}: {error:#}")).hint(hint));
        }
    };
    need(
        probe::user_namespaces(),
        "user namespaces",
        "sysctl user.max_user_namespaces; in a container run it privileged",
    );
    let base = &paths.work_base;
    let made = std::fs::create_dir_all(base).map_err(anyhow::Error::from);
    need(made, &format!("work directory {}", base.display()), "give another with --work-dir");
    let layers = in_memory(paths).map_or_else(|| probe::idmapped_layers(base), |_| Ok(()));
    let hint = "overlay with idmapped layers needs Linux 5.19 and ext4, xfs or btrfs; give a directory on one with --work-dir";
    need(layers, &format!("layers in {}", base.display()), hint);
    let Some(disk) = &plan.disk else { return };
    need(probe::loop_control(), "loop devices", "modprobe loop; in a container run it privileged");
    if disk.layout.needs_device_mapper() {
        need(
            probe::device_mapper(),
            "LVM",
            "use a layout without lvm, or a machine whose kernel has device-mapper",
        );
        for group in disk.layout.lvm.iter().flat_map(|lvm| &lvm.groups).map(|group| &group.name) {
            let free = match lvm::is_taken(group) {
                true => Err(anyhow::anyhow!("this machine has one of that name")),
                false => Ok(()),
            };
            need(free, &format!("volume group {group}"), "give the one of the image another name");
        }
    }
    for file_system in &disk.layout.filesystems {
        let kind = file_system.fstype.as_str();
        if !matches!(kind, "swap" | "vfat" | "fat") {
            need(
                probe::filesystem(kind),
                &format!("file system {}", file_system.name),
                "use one that this kernel has",
            );
        }
    }
}

fn directories(plan: &Plan, faults: &mut Faults) {
    let parent = Path::new(&plan.output).parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if !parent.is_dir() {
        let fault =
            Fault::new(FaultKind::Usage, format!("output directory {} does not exist", parent.display()));
        faults.push(fault.hint(format!("mkdir -p {}", parent.display())));
    }
}

fn host(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Host, message)
}

/// Least memory left over for a build that works in memory, in bytes.
const LEAST_MEMORY: u64 = 6 << 30;

/// Bytes of memory for work files: three quarters of what is free, when that is enough for an ordinary image and the kernel can map its ids.
pub(crate) fn in_memory(paths: &Paths) -> Option<u64> {
    if !paths.tmpfs {
        return None;
    }
    let free = probe::free_memory().unwrap_or(0);
    (free >= paths.least_memory.unwrap_or(LEAST_MEMORY) && probe::idmapped_tmpfs().is_ok())
        .then_some(free / 4 * 3)
}

/// Removes the work directories of builds that died.
pub fn clean_dead(paths: &Paths) -> Vec<Cleaned> {
    match work_dir::clean_dead(&paths.work_base) {
        Ok(cleaned) => cleaned,
        Err(error) => {
            tracing::debug!("{}: {error:#}", paths.work_base.display());
            Vec::new()
        }
    }
}

/// One line of `dibw doctor`.
pub struct Finding {
    what: String,
    /// What is wrong, or nothing.
    problem: Option<String>,
    /// Whether no build works without.
    needed: bool,
}

impl Finding {
    fn new(what: impl Into<String>, found: Result<()>, needed: bool) -> Self {
        Self { what: what.into(), problem: found.err().map(|error| format!("{error:#}")), needed }
    }

    /// No build can work here.
    pub fn fatal(&self) -> bool {
        self.needed && self.problem.is_some()
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.problem, self.needed) {
            (None, _) => write!(f, "ok       {}", self.what),
            (Some(problem), true) => write!(f, "MISSING  {}: {problem}", self.what),
            (Some(problem), false) => write!(f, "absent   {}: {problem}", self.what),
        }
    }
}

/// Programs that builds use, and which every build needs.
const TOOLS: [(&str, bool); 11] = [
    ("bash", true),
    ("mmdebstrap", false),
    ("mkfs.ext4", false),
    ("mkfs.xfs", false),
    ("mkfs.btrfs", false),
    ("mkfs.vfat", false),
    ("mcopy", false),
    ("mkswap", false),
    ("mksquashfs", false),
    ("qemu-img", false),
    ("qemu-system-x86_64", false),
];

/// Everything `dibw doctor` looks at.
pub fn examine(work_base: &PathBuf) -> Vec<Finding> {
    let root = if probe::is_root() { Ok(()) } else { Err(anyhow::anyhow!("this is not root")) };
    let made = std::fs::create_dir_all(work_base).map_err(anyhow::Error::from);
    let mut findings = vec![
        Finding::new("root", root, true),
        Finding::new("user namespaces", probe::user_namespaces(), true),
        Finding::new("loop devices (disk images)", probe::loop_control(), true),
        Finding::new(format!("work directory {}", work_base.display()), made, true),
        Finding::new("overlay layers in it", probe::idmapped_layers(work_base), true),
        Finding::new("work in memory (idmapped tmpfs)", probe::idmapped_tmpfs(), false),
        Finding::new("device-mapper (LVM)", probe::device_mapper(), false),
        Finding::new("account of denied system calls", probe::observed_filters(), false),
        Finding::new("Landlock around commands", probe::landlock(), false),
        Finding::new("limits by control groups", probe::control_groups(), false),
    ];
    for kind in ["ext4", "xfs", "btrfs"] {
        findings.push(Finding::new(format!("file system {kind}"), probe::filesystem(kind), false));
    }
    for (program, needed) in TOOLS {
        let found = probe::find_tool(program).map(drop).ok_or_else(|| {
            anyhow::anyhow!("apt-get install {}", probe::package_of(program).unwrap_or(program))
        });
        findings.push(Finding::new(program, found, needed));
    }
    findings
}
