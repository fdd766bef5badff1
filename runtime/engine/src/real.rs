//! The machine as it is: [`Machine`] done with `dibw-sys`. Everything taken is held here and given back by `release`.

mod disk;
mod downloads;
mod observation;
mod outside;

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dibw_plan::Confinement;
use dibw_plan::layout::{Geometry, Lvm, VolumeGroup};
use dibw_policy::Resources;
use dibw_sys::confined::Level;
use dibw_sys::copy_tree::copy_tree;
use dibw_sys::full::is_full;
use dibw_sys::limits::Limits;
use dibw_sys::loops::LoopIdentity;
use dibw_sys::mounts::{Mount, unmount};
use dibw_sys::observed::{ObservedTree, Reads};
use dibw_sys::overlay::TargetTree;
use dibw_sys::process::{Finished, Status, ToolCommand};
use dibw_sys::runner::Runner;
use dibw_sys::sandbox::{
    Bind, BindAccess, BindOwners, DeviceNode, Extras, Input, Network, SandboxCommand, Sysfs, TargetSource,
};
use dibw_sys::signals;
use dibw_sys::tree_walk::tree_usage;
use dibw_sys::watch::Attempt;
use dibw_sys::work_dir::{Outlives, WorkDir};

pub use self::disk::{Disk, DiskPlaces};
use crate::disks::{Disks, FileSystem, Volume};
use crate::machine::{Ending, Full, HostTool, Inside, Machine, OnBytes, OnLine, Outside, Stream};
use crate::run::Paths;

/// Parts of the directory to build in: `/tmp` of hooks on the host, what they left mounted, and what they wrote beside the artifacts.
const TMP: &str = "tmp";
const TMP_WORK: &str = "tmp-work";
const KEPT: &str = "hook-mounts";
const UPPER: &str = "beside";
const CAPTURE_WORK: &str = "beside-work";

/// This machine.
pub struct RealMachine {
    runner: Runner,
    tree: TargetTree,
    disk: Disk,
    /// The mount of the disk where the target was before it moved there: hooks know it by one path.
    moved: Option<Mount>,
    /// What hooks on the host left mounted in the target: the path there, and where it is kept.
    hook_mounts: Vec<(String, PathBuf)>,
    /// Memory for typed hooks.
    memory: Vec<Mount>,
    /// Where downloads are kept.
    downloads: PathBuf,
    build_dir: PathBuf,
    /// What each command may use.
    limits: Limits,
    /// What commands tried and were denied, until somebody asks.
    attempts: Vec<Attempt>,
    /// What was read while it was observed, until somebody asks.
    reads: Option<Reads>,
    /// Everything is observed, not only commands that ask for it.
    observing: bool,
    /// Through which the target is mounted.
    view: Option<ObservedTree>,
    /// Last: everything else lies in it.
    work: Option<WorkDir>,
}

impl RealMachine {
    /// Makes a work directory, in memory where that is wanted and possible. `classic`: for one of diskimage-builder's commands.
    ///
    /// # Errors
    /// When this machine can't hold layers or make a user namespace.
    pub fn new(paths: &Paths, classic: bool, resources: &Resources) -> Result<Self> {
        crate::check::clean_dead(paths);
        let base = &paths.work_base;
        std::fs::create_dir_all(base).with_context(|| format!("making {}", base.display()))?;
        let work = WorkDir::create(base, crate::check::in_memory(paths))?;
        let build_dir = work.path();
        let tree = TargetTree::new(&build_dir)?;
        for part in [TMP, TMP_WORK, KEPT, UPPER, CAPTURE_WORK] {
            let directory = build_dir.join(part);
            std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
        }
        make_sticky(&build_dir.join(TMP))?;
        let places = DiskPlaces {
            images: build_dir.join("images"),
            root: build_dir.join("disk"),
            staging: build_dir.join("staging"),
            kernel_vfat: classic,
            ..DiskPlaces::default()
        };
        Ok(Self {
            runner: Runner::new()?,
            tree,
            disk: Disk::new(places),
            moved: None,
            hook_mounts: Vec::new(),
            memory: Vec::new(),
            downloads: paths.cache.join("downloads"),
            build_dir,
            limits: limits(resources)?,
            attempts: Vec::new(),
            reads: None,
            observing: false,
            view: None,
            work: Some(work),
        })
    }

    fn disk_root(&self) -> PathBuf {
        self.build_dir.join("disk")
    }

    fn extras(&self, command: &Inside) -> Extras {
        let device = |path: &Path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            DeviceNode { host: path.to_path_buf(), name }
        };
        let devices = match command.image_devices {
            true => self.disk.devices().iter().map(|path| device(path)).collect(),
            false => Vec::new(),
        };
        let bind = |access| {
            move |(source, dest): &(PathBuf, String)| Bind {
                source: source.clone(),
                dest: dest.into(),
                access,
                owners: BindOwners::Mapped,
            }
        };
        let read_only = command.read_only.iter().map(bind(BindAccess::ReadOnly));
        let read_write = command.read_write.iter().map(bind(BindAccess::ReadWrite));
        Extras {
            network: network(command.network),
            netns: command.netns.clone(),
            sysfs: Sysfs::Absent,
            devices,
            binds: read_only.chain(self.hook_binds()).chain(read_write).collect(),
            ..Extras::default()
        }
    }

    /// Takes the disk away from where hooks know the target; it stays mounted where it was made.
    fn uncover_disk(&mut self) -> Result<()> {
        self.moved.take().map_or(Ok(()), Mount::detach)
    }

    /// What hooks on the host mounted is there in the target too.
    fn hook_binds(&self) -> impl Iterator<Item = Bind> + '_ {
        self.hook_mounts.iter().map(|(path, place)| Bind {
            source: place.clone(),
            dest: path.into(),
            access: BindAccess::ReadWrite,
            owners: BindOwners::MappedIfPossible,
        })
    }

    /// Prepares the target for a command and has it run.
    fn enter(&mut self, command: &Inside, run: &mut Run<'_>) -> Result<Ending> {
        let sandboxed = SandboxCommand {
            argv: command.argv.clone(),
            env: command.env.clone(),
            cwd: "/".into(),
            stdin: match (command.interactive, command.stdin.is_empty()) {
                (true, _) => Input::Terminal,
                (false, true) => Input::Null,
                (false, false) => Input::Bytes(command.stdin.clone()),
            },
            timeout: command.timeout,
            extras: self.extras(command),
            limits: self.limits.clone(),
        };
        let finished = match &self.moved {
            Some(mount) => run(&self.runner, &TargetSource::Tree(mount.dir()), &sandboxed),
            None if self.is_observed(command) => {
                self.end_view()?;
                let (view, observed) = self.tree.sandbox_root_observed(self.runner.id_base())?;
                let finished = run(&self.runner, &TargetSource::Layers(view), &sandboxed);
                let reads = observed.finish()?;
                self.reads = Some(self.reads.take().unwrap_or_else(Reads::none).and(reads));
                finished
            }
            None => {
                if command.discard {
                    self.tree.begin_layer("discarded")?;
                }
                let view = self.tree.sandbox_root()?;
                let finished = run(&self.runner, &TargetSource::Layers(view), &sandboxed);
                if command.discard {
                    self.tree.discard_top()?;
                }
                finished
            }
        };
        finished.map(|finished| self.ended(finished))
    }

    /// How a command ended; what it was denied is remembered.
    fn ended(&mut self, finished: Finished) -> Ending {
        self.attempts.extend(finished.attempts.iter().cloned());
        ending(finished)
    }
}

/// Runs a command in a target that is ready.
type Run<'a> = dyn FnMut(&Runner, &TargetSource<'_>, &SandboxCommand) -> Result<Finished> + 'a;

impl Machine for RealMachine {
    fn begin_layer(&mut self, name: &str) -> Result<()> {
        self.end_view()?;
        match self.moved {
            // The file systems of the image are there; their changes have no layers.
            Some(_) => Ok(()),
            None => self.tree.begin_layer(name).map(drop),
        }
    }

    fn restart_layer(&mut self, name: &str) -> Result<()> {
        self.end_view()?;
        if self.moved.is_none() {
            self.tree.discard_top()?;
        }
        self.begin_layer(name)
    }

    fn stack_layer(&mut self, name: &str, tree: &Path) -> Result<()> {
        self.tree.stack(name, tree)
    }

    fn end_layer(&mut self) -> Result<Option<PathBuf>> {
        self.end_view()?;
        self.tree.end_layer()
    }

    fn observe(&mut self) {
        if self.moved.is_none() && self.hook_mounts.is_empty() && dibw_sys::observed::is_possible() {
            self.observing = true;
            self.reads = Some(Reads::none());
        }
    }

    fn take_reads(&mut self) -> Result<Option<Reads>> {
        self.end_view()?;
        self.observing = false;
        Ok(self.reads.take())
    }

    fn has_hook_mounts(&self) -> bool {
        !self.hook_mounts.is_empty()
    }

    fn layers(&self) -> Vec<(usize, PathBuf)> {
        let number = |name: &str| name.split('-').next().and_then(|number| number.parse().ok());
        let layers = self.tree.layers().iter();
        layers.filter_map(|layer| Some((number(&layer.name)?, layer.upper.clone()))).collect()
    }

    fn target(&mut self) -> Result<PathBuf> {
        match &self.moved {
            Some(mount) => Ok(mount.dir().to_path_buf()),
            None if self.observing => {
                if self.view.is_none() {
                    self.view = Some(self.tree.mount_plain_observed()?.1);
                }
                Ok(self.tree.mount_point().to_path_buf())
            }
            None => self.tree.mount_plain().map(Path::to_path_buf),
        }
    }

    fn inside(&mut self, command: &Inside, on_line: &mut OnLine<'_>) -> Result<Ending> {
        self.enter(command, &mut |runner, target, command| {
            runner.inside(target, command, &mut |stream, line| on_line(from_sys(stream), line))
        })
    }

    fn inside_exact(&mut self, command: &Inside, on_bytes: &mut OnBytes<'_>) -> Result<Ending> {
        self.enter(command, &mut |runner, target, command| {
            runner.inside_exact(target, command, &mut |stream, bytes| on_bytes(from_sys(stream), bytes))
        })
    }

    fn outside(&mut self, command: &Outside, on_line: &mut OnLine<'_>) -> Result<Ending> {
        let on_line = &mut |stream, line: &str| on_line(from_sys(stream), line);
        match command.confinement {
            Confinement::Strict => self.outside_strict(command, on_line),
            Confinement::Confined => self.outside_confined(command, Level::Confined, on_line),
            Confinement::Host => self.outside_confined(command, Level::Host, on_line),
            other => bail!("a command on the host can't be confined as {other:?}"),
        }
    }

    fn take_attempts(&mut self) -> Vec<Attempt> {
        std::mem::take(&mut self.attempts)
    }

    fn drop_hook_mounts(&mut self) -> Result<()> {
        while let Some((_, place)) = self.hook_mounts.pop() {
            unmount(&place)?;
        }
        Ok(())
    }

    fn captured(&self, directory: &Path) -> PathBuf {
        self.build_dir.join(if is_tmp(directory) { TMP } else { UPPER })
    }

    fn tool(&mut self, tool: &HostTool, on_line: &mut OnLine<'_>) -> Result<Ending> {
        let (program, args) = tool.argv.split_first().context("a tool without a name")?;
        let command = ToolCommand {
            program: program.into(),
            args: args.iter().map(Into::into).collect(),
            env: tool.env.clone(),
            timeout: tool.timeout,
            ..ToolCommand::default()
        };
        command.run(&mut |stream, line| on_line(from_sys(stream), line)).map(ending)
    }

    fn usage(&mut self) -> Result<u64> {
        let root = self.target()?;
        Ok(tree_usage(&root)?.bytes)
    }

    fn move_target_to_disk(&mut self) -> Result<()> {
        let root = self.disk_root();
        self.drop_hook_mounts()?;
        let from = self.tree.mount_plain()?.to_path_buf();
        copy_tree(&from, &root, &[], &mut |_| match signals::interrupted() {
            Some(_) => bail!("interrupted"),
            None => Ok(()),
        })?;
        self.tree.unmount()?;
        self.tree.discard_all()?;
        self.moved = Some(Mount::bind_all(&root, &from)?);
        Ok(())
    }

    fn tmpfs(&mut self, bytes: u64) -> Result<PathBuf> {
        let directory = self.build_dir.join(format!("memory-{}", self.memory.len()));
        std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
        let options = format!("size={bytes},mode=0755,nosuid,nodev");
        self.memory.push(Mount::new(Path::new("tmpfs"), &directory, "tmpfs", &options)?);
        Ok(directory)
    }

    fn drop_tmpfs(&mut self) -> Result<()> {
        while let Some(mount) = self.memory.pop() {
            mount.unmount()?;
        }
        Ok(())
    }

    fn mounted_at(&self, mount_point: &str) -> Option<PathBuf> {
        self.disk.mounted_dir(mount_point).map(Path::to_path_buf)
    }

    fn image(&mut self, name: &str) -> Result<File> {
        let file = self.disk.image(name)?;
        file.try_clone().with_context(|| format!("image {name}"))
    }

    fn release(&mut self) -> Vec<anyhow::Error> {
        // A further signal must not break the unwinding.
        let _shield = signals::Shield::raise();
        let mut errors: Vec<anyhow::Error> = self.uncover_disk().err().into_iter().collect();
        errors.extend(self.end_view().err());
        errors.extend(self.drop_tmpfs().err());
        errors.extend(self.disk.release());
        errors.extend(self.drop_hook_mounts().err());
        errors.extend(self.tree.discard_all().err());
        errors.extend(self.work.take().and_then(|work| work.remove().err()));
        errors
    }

    fn work_dir(&self) -> &Path {
        &self.build_dir
    }

    fn full(&self) -> Option<Full> {
        let in_memory = self.work.as_ref().is_some_and(WorkDir::in_memory);
        // A file system of the image first: it can be full where the work directory is not.
        if self.disk.mount_points().any(is_full) {
            return Some(Full::Image);
        }
        let base = || self.build_dir.ancestors().nth(2).unwrap_or(&self.build_dir).to_path_buf();
        is_full(&self.build_dir).then(|| if in_memory { Full::Memory } else { Full::WorkDirectory(base()) })
    }

    fn note_passing_file(&mut self, file: &Path) -> Result<()> {
        self.work.as_mut().map_or(Ok(()), |work| work.record(Outlives::File(file.to_path_buf())))
    }

    fn interrupted(&self) -> bool {
        signals::interrupted().is_some()
    }
}

impl Disks for RealMachine {
    fn create_image(&mut self, name: &str, bytes: u64, sector_size: u32) -> Result<()> {
        self.disk.create_image(name, bytes, sector_size)
    }

    fn write_table(&mut self, image: &str, geometry: &Geometry) -> Result<()> {
        self.disk.write_table(image, geometry)
    }

    fn attach(&mut self, device: &str, image: &str, offset: u64, bytes: u64, sector_size: u32) -> Result<()> {
        self.disk.attach(device, image, offset, bytes, sector_size)
    }

    fn device(&mut self, device: &str) -> Result<PathBuf> {
        Disks::device(&mut self.disk, device)
    }

    fn make_volume(&mut self, volume: Volume<'_>) -> Result<()> {
        // An active group outlives us, and keeps our loop devices attached.
        if let (Volume::Group(group, lvm), Some(work)) = (volume, &mut self.work) {
            work.record(outliving(group, self.disk.below(group, lvm)))?;
        }
        self.disk.make_volume(volume)
    }

    fn take_down(&mut self, lvm: &Lvm) -> Result<()> {
        let groups: Vec<Outlives> =
            lvm.groups.iter().map(|group| outliving(group, self.disk.below(group, lvm))).collect();
        self.disk.take_down(lvm)?;
        let Some(work) = &mut self.work else { return Ok(()) };
        groups.iter().try_for_each(|group| work.forget(group))
    }

    fn make_file_system(&mut self, device: &str, file_system: &FileSystem) -> Result<()> {
        self.disk.make_file_system(device, file_system)
    }

    fn mount(&mut self, device: &str, kind: &str, mount_point: &str) -> Result<()> {
        self.disk.mount(device, kind, mount_point)
    }

    fn unmount(&mut self, mount_point: &str) -> Result<()> {
        self.uncover_disk()?;
        self.disk.unmount(mount_point)
    }

    fn detach(&mut self, device: &str) -> Result<()> {
        self.disk.detach(device)
    }
}

fn outliving(group: &VolumeGroup, devices: Vec<LoopIdentity>) -> Outlives {
    Outlives::VolumeGroup { name: group.name.clone(), devices }
}

/// What each command may use: as much as is usual, or less where the policy says so.
fn limits(resources: &Resources) -> Result<Limits> {
    let usual = Limits::usual()?;
    Ok(Limits {
        memory: resources.memory.into_iter().chain(usual.memory).min(),
        processes: resources.pids.into_iter().chain(usual.processes).min(),
        disk: resources.disk,
        ..usual
    })
}

fn network(wanted: bool) -> Network {
    if wanted { Network::Host } else { Network::None }
}
fn from_sys(stream: dibw_sys::process::Stream) -> Stream {
    match stream {
        dibw_sys::process::Stream::Stdout => Stream::Stdout,
        dibw_sys::process::Stream::Stderr => Stream::Stderr,
    }
}

fn ending(finished: Finished) -> Ending {
    match finished.status {
        Status::Exited(code) => Ending::Exited(code),
        Status::Signalled(signal) => Ending::Signalled(signal),
        Status::TimedOut => Ending::TimedOut,
        Status::Interrupted => Ending::Interrupted,
        Status::Exceeded(exceeded) => Ending::Exceeded(exceeded),
    }
}

/// Hooks have a `/tmp` of their own, which catches what they write.
fn is_tmp(directory: &Path) -> bool {
    directory == Path::new("/tmp")
}

/// As `/tmp` is: for everybody, but nobody removes the files of others.
fn make_sticky(directory: &Path) -> Result<()> {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o1777))
        .with_context(|| format!("permissions of {}", directory.display()))
}
