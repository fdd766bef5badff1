//! The part of the lender that deals with how the image starts, and with what its programs find mounted.

use std::path::PathBuf;
use std::time::Duration;

use dibw_host::{Lend, LentError};
use dibw_plan::Phase;
use dibw_plan::manifest::is_element_name;
use dibw_policy::{BootLoader, MountKind};
use dibw_sys::tree_walk::tree_usage;

use super::{Lender, io};
use crate::boot_loaders::installer;
use crate::element_cache::MountedCache;
use crate::kernel_files::{KernelSettings, write_in_place};
use crate::machine::Inside;

/// Most bytes in memory for one hook.
const TMPFS: u64 = 1 << 30;

/// Most bytes in a mounted cache; one that has grown beyond is emptied.
const MOUNTED_CACHE: u64 = 4 << 30;

/// Longest time an installer may take.
const INSTALLER_TIME: Duration = Duration::from_secs(600);

/// Something that the programs of a hook find mounted.
#[derive(Debug)]
pub struct HookMount {
    /// On the host.
    pub source: PathBuf,
    /// In the target.
    pub path: String,
}

/// The cache that is mounted, once it is.
#[derive(Debug, Default)]
pub enum CacheMount {
    /// Not asked for yet.
    #[default]
    Absent,
    /// The element's own.
    Kept(MountedCache),
    /// Another build has that one: an empty directory in its place, gone with the build.
    Passing(PathBuf),
}

impl Lender {
    pub(super) fn mount_in_target(&mut self, kind: MountKind, path: &str) -> Lend<()> {
        if self.mounts.iter().any(|mount| mount.path == path) {
            return Err(LentError::Invalid(format!("something is to be mounted at {path} already")));
        }
        let source = match kind {
            MountKind::Tmpfs => self.machine.borrow_mut().tmpfs(TMPFS).map_err(|error| io(&error))?,
            MountKind::Cache => self.cache_directory()?,
            MountKind::Esp => self.esp()?.1,
        };
        self.mounts.push(HookMount { source, path: path.to_owned() });
        Ok(())
    }

    fn cache_directory(&mut self) -> Lend<PathBuf> {
        if matches!(self.cache_mount, CacheMount::Absent) {
            self.cache_mount = match self.cache.mounted().map_err(|error| io(&error))? {
                Some(own) => CacheMount::Kept(own),
                None => {
                    let directory =
                        self.machine.borrow().work_dir().join("passing-caches").join(&self.element);
                    std::fs::create_dir_all(&directory)
                        .map_err(|error| LentError::Io(format!("making {}: {error}", directory.display())))?;
                    CacheMount::Passing(directory)
                }
            };
        }
        match &self.cache_mount {
            CacheMount::Kept(own) => Ok(own.directory.clone()),
            CacheMount::Passing(directory) => Ok(directory.clone()),
            CacheMount::Absent => Err(LentError::Io("the cache cannot be mounted".to_owned())),
        }
    }

    /// After a program: a cache that has grown too large is no cache any more.
    pub(super) fn bound_cache(&self) -> Lend<()> {
        let CacheMount::Kept(own) = &self.cache_mount else { return Ok(()) };
        let bytes = tree_usage(&own.directory).map_err(|error| io(&error))?.bytes;
        if bytes <= MOUNTED_CACHE {
            return Ok(());
        }
        let emptied =
            std::fs::remove_dir_all(&own.directory).and_then(|()| std::fs::create_dir(&own.directory));
        emptied.map_err(|error| LentError::Io(format!("emptying {}: {error}", own.directory.display())))?;
        Err(LentError::Limit(format!(
            "the mounted cache has {bytes} bytes, more than {MOUNTED_CACHE}; it was emptied"
        )))
    }

    /// The EFI system partition of the disk: its mount point in the image, and where that is mounted now.
    fn esp(&self) -> Lend<(String, PathBuf)> {
        let point = self.esp.clone().ok_or_else(|| {
            LentError::NotFound(
                "the disk has no EFI system partition; use block-device-efi or a layout with one".to_owned(),
            )
        })?;
        let mounted = self.machine.borrow().mounted_at(&point);
        let place = mounted.ok_or_else(|| {
            LentError::NotFound(format!(
                "the EFI system partition ({point}) is mounted from pre-finalise on, not before"
            ))
        })?;
        Ok((point, place))
    }

    /// Notes a setting of the kernel and writes its file anew.
    pub(super) fn kernel_file(
        &mut self,
        change: impl FnOnce(&mut KernelSettings, &str) -> (String, String),
    ) -> Lend<()> {
        if !is_element_name(&self.element) {
            let why = format!(
                "`{}` cannot be part of a file's name: lower case letters, digits and hyphens can",
                self.element
            );
            return Err(LentError::Invalid(why));
        }
        let (path, text) = {
            let mut all = self.kernel.borrow_mut();
            change(all.entry(self.element.clone()).or_default(), &self.element)
        };
        let files = self.files()?;
        write_in_place(&files, &path, text.as_bytes(), 0o644).map_err(|error| io(&error))
    }

    pub(super) fn install_loader(&mut self, kind: BootLoader) -> Lend<()> {
        if self.phase != Phase::Finalise {
            let why =
                format!("{kind} can't be installed in {}: there is a disk in finalise only", self.phase);
            return Err(LentError::Invalid(why));
        }
        let Some(disk) = self.disk.clone() else {
            let what = "the image has no disk; ask for an output type that is one".to_owned();
            return Err(LentError::NotFound(what));
        };
        let installer = installer(kind);
        let esp = if installer.esp { self.esp()?.0 } else { String::new() };
        let files = self.files()?;
        for (path, package) in installer.needs {
            if !files.exists(path).map_err(|error| io(&error))? {
                let what = format!(
                    "{path} of the target, which {kind} is installed with; install the package {package} first"
                );
                return Err(LentError::NotFound(what));
            }
        }
        let argv = ["sh", "-c", installer.script, kind.name(), &disk, &esp].map(str::to_owned).to_vec();
        let command = Inside { image_devices: true, ..self.command(&argv, &[], INSTALLER_TIME) };
        self.run_command(&command).map(drop)
    }
}
