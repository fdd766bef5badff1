//! Owns the target as a stack of layers: every step writes into a directory of its own, and the target is what they show
//! together.
//! Must not know steps, nor which layers are worth keeping. Called by the engine; sandboxes mount the same layers
//! themselves (`inside_root`).
//!
//! `work_dir/layers/N/upper` holds what layer N changed (a plain overlay upper directory), `layers/N/work` is the kernel's
//! while N is the top, `layers/0` is the empty ground, `work_dir/mnt` is where the whole is mounted.

mod observed_root;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{MountFlags, mount};
use rustix::thread::UnshareFlags;

use crate::loops::Access;
use crate::mounts::{self, Mount};
use crate::root_identity::RootIdentity;
use crate::spec::RootSpec;
use crate::supervise::unshare;

/// mount(2) takes one page of options, with its NUL. At 10 to 11 bytes a layer that is some 380 of them; the kernel itself
/// stops at 500.
const OPTIONS_ROOM: usize = 4095;

/// `volatile`: nobody waits for the disk, at fsync or unmount; a crash throws the layer away anyway.
/// `redirect_dir=on`: directories can be renamed, as on any file system. `metacopy=off`: layers hold whole files.
/// `index=off`, `uuid=off`: nothing in a layer ties it to this file system or to the layers below.
const OPTIONS: &str = "volatile,redirect_dir=on,metacopy=off,index=off,uuid=off";

/// Stored layers lie on another file system; still all files are to have one device number, for `tar --one-file-system` and the like.
const ACROSS: &str = ",xino=on";

/// The number of a layer, from 1, never used twice in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerId(u32);

/// One layer of a [`TargetTree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its number.
    pub id: LayerId,
    /// The name it was begun with.
    pub name: String,
    /// What it changed: files, whiteouts, opaque directories.
    pub upper: PathBuf,
}

/// The target under construction.
#[derive(Debug)]
pub struct TargetTree {
    layers_dir: PathBuf,
    mount_point: PathBuf,
    layers: Vec<Layer>,
    /// Stored layers, mounted where this tree's own would be.
    stored: BTreeMap<LayerId, Mount>,
    /// Layers that nothing may come into any more: stored ones, and those that were ended.
    ended: BTreeSet<LayerId>,
    last_number: u32,
    mounted: bool,
}

/// The layers lent to a sandbox. While it lives the tree can't be mounted elsewhere: the kernel does not defend an upper
/// directory against two mounts.
#[derive(Debug)]
pub struct LayerView<'a> {
    layers_dir: PathBuf,
    mount_point: PathBuf,
    options: String,
    upper: PathBuf,
    exclusive: PhantomData<&'a mut TargetTree>,
}

impl TargetTree {
    /// An empty tree in `work_dir`, an existing directory whose file system can hold overlay layers and be idmapped
    /// (ext4, xfs, btrfs; tmpfs from Linux 6.3).
    ///
    /// # Errors
    /// When its directories can't be made.
    pub fn new(work_dir: &Path) -> Result<Self> {
        let work_dir =
            work_dir.canonicalize().with_context(|| format!("work directory {}", work_dir.display()))?;
        let (layers_dir, mount_point) = (work_dir.join("layers"), work_dir.join("mnt"));
        make_dir(&layers_dir)?;
        make_dir(&mount_point)?;
        make_dir(&layers_dir.join("0"))?;
        let ground = layers_dir.join("0/upper");
        make_dir(&ground)?;
        RootIdentity::fresh().apply(&ground)?;
        Ok(Self {
            layers_dir,
            mount_point,
            layers: Vec::new(),
            stored: BTreeMap::new(),
            ended: BTreeSet::new(),
            last_number: 0,
            mounted: false,
        })
    }

    /// Puts a new empty layer on top, which takes all changes from now on. A previous top that changed nothing goes away,
    /// so that the stack stays short. The tree is unmounted.
    ///
    /// # Errors
    /// I/O errors, and [`TargetTree::unmount`]'s.
    pub fn begin_layer(&mut self, name: &str) -> Result<LayerId> {
        self.unmount()?;
        self.close_top()?;
        let below =
            self.layers.last().map_or_else(|| self.layers_dir.join("0/upper"), |layer| layer.upper.clone());
        self.last_number += 1;
        let id = LayerId(self.last_number);
        let dir = self.layer_dir(id);
        let upper = dir.join("upper");
        for path in [&dir, &upper, &dir.join("work")] {
            make_dir(path)?;
        }
        // What `/` is comes from the topmost directory alone.
        RootIdentity::of(&below)?.apply(&upper)?;
        self.layers.push(Layer { id, name: name.to_owned(), upper });
        Ok(id)
    }

    /// Puts a layer on top that was stored earlier: the directory `tree`, which is only read. The tree is unmounted.
    ///
    /// # Errors
    /// I/O errors, and [`TargetTree::unmount`]'s.
    pub fn stack(&mut self, name: &str, tree: &Path) -> Result<()> {
        self.unmount()?;
        self.close_top()?;
        self.last_number += 1;
        let id = LayerId(self.last_number);
        let dir = self.layer_dir(id);
        let upper = dir.join("upper");
        for path in [&dir, &upper] {
            make_dir(path)?;
        }
        self.stored.insert(id, Mount::bind(tree, &upper, Access::ReadOnly)?);
        self.ended.insert(id);
        self.layers.push(Layer { id, name: name.to_owned(), upper });
        Ok(())
    }

    /// Ends the top layer: nothing comes into it any more, later changes land in a new one. Gives its directory, or none when it changed
    /// nothing and is gone, or was ended before.
    ///
    /// # Errors
    /// I/O errors, and [`TargetTree::unmount`]'s.
    pub fn end_layer(&mut self) -> Result<Option<PathBuf>> {
        self.unmount()?;
        let top = self.layers.last().map(|layer| layer.id).filter(|top| !self.ended.contains(top));
        self.close_top()?;
        let kept = self.layers.last().filter(|layer| Some(layer.id) == top);
        self.ended.extend(top);
        Ok(kept.map(|layer| layer.upper.clone()))
    }

    /// All layers, lowest first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Mounts the tree for steps that run as real root, and returns where. Device nodes and setuid work in it.
    ///
    /// # Errors
    /// No layer was begun, or the kernel refuses.
    pub fn mount_plain(&mut self) -> Result<&Path> {
        if !self.mounted {
            self.ready_top()?;
            let options = self.prepare_mount()?;
            mount_from(&self.layers_dir, &self.mount_point, options)?;
            self.mounted = true;
            let flags = statvfs(&self.mount_point).context("statvfs of the target")?.f_flag;
            ensure!(
                !flags.contains(StatVfsMountFlags::RDONLY),
                "{} is read-only",
                self.mount_point.display()
            );
        }
        Ok(&self.mount_point)
    }

    /// Where the tree is, or would be, mounted.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Unmounts the tree, if it is mounted.
    ///
    /// # Errors
    /// Somebody still uses it; the message says who.
    pub fn unmount(&mut self) -> Result<()> {
        if self.mounted {
            mounts::unmount(&self.mount_point)?;
            self.mounted = false;
        }
        Ok(())
    }

    /// Throws the top layer away with all its changes. The tree is unmounted.
    ///
    /// # Errors
    /// I/O errors, and [`TargetTree::unmount`]'s.
    pub fn discard_top(&mut self) -> Result<()> {
        self.unmount()?;
        let Some(top) = self.layers.pop() else { return Ok(()) };
        if let Some(stored) = self.stored.remove(&top.id) {
            stored.unmount()?;
        }
        let dir = self.layer_dir(top.id);
        remove_dir(&dir)
    }

    /// Throws all layers away, once the tree lives elsewhere. The tree is unmounted.
    ///
    /// # Errors
    /// I/O errors, and [`TargetTree::unmount`]'s.
    pub fn discard_all(&mut self) -> Result<()> {
        while !self.layers.is_empty() {
            self.discard_top()?;
        }
        Ok(())
    }

    /// Lends the layers to a sandbox; the tree is unmounted first.
    ///
    /// # Errors
    /// No layer was begun, too many layers, and [`TargetTree::unmount`]'s.
    pub fn sandbox_root(&mut self) -> Result<LayerView<'_>> {
        self.unmount()?;
        self.ready_top()?;
        let options = self.prepare_mount()?;
        let top = self.layers.last().context("a target without a layer")?;
        let upper = top.upper.clone();
        Ok(LayerView {
            layers_dir: self.layers_dir.clone(),
            mount_point: self.mount_point.clone(),
            options,
            upper,
            exclusive: PhantomData,
        })
    }

    /// The work directory of a finished top layer has no more use, nor has a layer without changes.
    fn close_top(&mut self) -> Result<()> {
        let Some(top) = self.layers.last() else { return Ok(()) };
        if self.ended.contains(&top.id) {
            return Ok(());
        }
        let below = self.layers.len().checked_sub(2).map(|index| &self.layers[index].upper);
        let below = below.map_or_else(|| self.layers_dir.join("0/upper"), PathBuf::clone);
        let empty = fs::read_dir(&top.upper).with_context(|| cannot("read", &top.upper))?.next().is_none()
            && RootIdentity::of(&top.upper)?.same_but_for_time(&RootIdentity::of(&below)?);
        let dir = self.layer_dir(top.id);
        let useless = if empty { dir } else { dir.join("work") };
        remove_dir(&useless)?;
        if empty {
            self.layers.pop();
        }
        Ok(())
    }

    /// Sees to it that the top layer is one that can be written to.
    fn ready_top(&mut self) -> Result<()> {
        match self.layers.last().is_some_and(|top| self.ended.contains(&top.id)) {
            true => self.begin_layer("on top").map(drop),
            false => Ok(()),
        }
    }

    /// The mount options, and a work directory the kernel accepts.
    fn prepare_mount(&self) -> Result<String> {
        let Some(top) = self.layers.last() else { bail!("the target has no layer yet") };
        let number = top.id.0;
        let mut options =
            format!("{},upperdir={number}/upper,workdir={number}/work,{OPTIONS}", self.lower_option());
        if !self.stored.is_empty() {
            options.push_str(ACROSS);
        }
        if options.len() > OPTIONS_ROOM {
            bail!("the target has {} layers, more than fit into a mount", self.layers.len());
        }
        // After a volatile mount the kernel finds its mark there and refuses: data might have been lost in a crash. There
        // was none, since we are alive.
        let work = self.layer_dir(top.id).join("work");
        remove_dir(&work)?;
        make_dir(&work)?;
        Ok(options)
    }

    /// What is below the top layer, highest first, as a mount option.
    fn lower_option(&self) -> String {
        let mut option = String::from("lowerdir=");
        for layer in self.layers.iter().rev().skip(1) {
            option.push_str(&format!("{}/upper:", layer.id.0));
        }
        option.push_str("0/upper");
        option
    }

    fn layer_dir(&self, id: LayerId) -> PathBuf {
        self.layers_dir.join(id.0.to_string())
    }
}

impl Drop for TargetTree {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            tracing::warn!("{error:#}");
        }
    }
}

impl LayerView<'_> {
    /// Where what is written lands.
    pub(crate) fn upper(&self) -> &Path {
        &self.upper
    }

    pub(crate) fn spec(&self) -> RootSpec {
        RootSpec::Overlay {
            layers_dir: self.layers_dir.clone(),
            options: self.options.clone(),
            mount_point: self.mount_point.clone(),
        }
    }
}

/// Mounts with options relative to `layers_dir`. A working directory belongs to a whole process, so a thread with one of
/// its own does it.
fn mount_from(layers_dir: &Path, mount_point: &Path, options: String) -> Result<()> {
    let options = std::ffi::CString::new(options).context("overlay options")?;
    let work = || {
        unshare(UnshareFlags::FS).context("a working directory of its own")?;
        rustix::process::chdir(layers_dir).with_context(|| cannot("enter", layers_dir))?;
        mount("overlay", mount_point, "overlay", MountFlags::NOATIME, options.as_c_str())
            .with_context(|| format!("mount the layers on {} ({options:?})", mount_point.display()))
    };
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| bail!("the thread that mounts {} panicked", mount_point.display()))
}

/// Makes a directory unless it is there, 0755 whatever the umask; the sandbox's user must be able to pass through.
fn make_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        answer => answer.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755))),
    }
    .with_context(|| cannot("make", path))
}

/// Removes a directory with all it holds. A layer below one that was thrown away has lost its work directory before.
fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        answer => answer.with_context(|| cannot("remove", path)),
    }
}

fn cannot(verb: &str, path: &Path) -> String {
    format!("{verb} {}", path.display())
}
