//! Owns lending the layers to a sandbox such that all it reads below the top layer is remembered.
//! Must not know the sandbox. Called by the engine.
//!
//! `work_dir/below/tree` shows all layers but the top one, `work_dir/below/view` shows that tree observed, and the sandbox
//! mounts the top layer over the view. What lands in the top layer is the same as over the layers themselves.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{ACROSS, LayerView, OPTIONS, TargetTree, make_dir, mount_from};
use crate::mounts::Mount;
use crate::observed::ObservedTree;

/// From `layers_dir`, where relative layers begin.
const VIEW: &str = "../below/view";
/// `xino=on`: the files of the view and those of the top layer say that they are on one device, as over the layers
/// themselves; `tar --one-file-system` would leave out all the others.
const OBSERVED: &str = "xino=on";

impl TargetTree {
    /// As [`TargetTree::sandbox_root`], with all that is below the top layer seen through a view, owners shifted by the
    /// sandbox's `id_base` ([`crate::userns::UserNamespace::base`]). Finish the view when the sandbox is gone and before
    /// the layers change.
    ///
    /// # Errors
    /// Those of [`TargetTree::sandbox_root`] and [`ObservedTree::mount`].
    pub fn sandbox_root_observed(&mut self, id_base: u32) -> Result<(LayerView<'_>, ObservedTree)> {
        let (options, observed) = self.observe_below(id_base)?;
        let top = self.layers.last().context("a target without a layer")?;
        let lent = LayerView {
            layers_dir: self.layers_dir.clone(),
            mount_point: self.mount_point.clone(),
            options,
            upper: top.upper.clone(),
            exclusive: PhantomData,
        };
        Ok((lent, observed))
    }

    /// As [`TargetTree::mount_plain`], with all that is below the top layer seen through a view. Unmount the tree before the view is finished.
    ///
    /// # Errors
    /// Those of [`TargetTree::mount_plain`] and [`ObservedTree::mount`].
    pub fn mount_plain_observed(&mut self) -> Result<(&Path, ObservedTree)> {
        let (options, observed) = self.observe_below(0)?;
        mount_from(&self.layers_dir, &self.mount_point, options)?;
        self.mounted = true;
        Ok((&self.mount_point, observed))
    }

    /// Shows all layers but the top one through a view, and says how the top layer is mounted over it.
    fn observe_below(&mut self, id_base: u32) -> Result<(String, ObservedTree)> {
        let (tree, view) = (self.below_dir().join("tree"), self.below_dir().join("view"));
        for path in [&self.below_dir(), &tree, &view] {
            make_dir(path)?;
        }
        self.unmount()?;
        self.ready_top()?;
        self.prepare_mount()?;
        let top = self.layers.last().context("a target without a layer")?;
        let observed = match self.layers.len() {
            // An overlay without an upper layer needs two others; the ground alone is a tree as it is.
            1 => ObservedTree::mount(&self.layers_dir.join("0/upper"), &view, id_base)?,
            _ => {
                let mount = self.mount_below(&tree)?;
                ObservedTree::mount(mount.dir(), &view, id_base)?.with_mount(mount)
            }
        };
        let number = top.id.0;
        let options =
            format!("lowerdir={VIEW},upperdir={number}/upper,workdir={number}/work,{OPTIONS},{OBSERVED}");
        Ok((options, observed))
    }

    /// Mounts all layers but the top one, to be read only.
    fn mount_below(&self, place: &Path) -> Result<Mount> {
        let across = if self.stored.is_empty() { "" } else { ACROSS };
        let options = format!("{},{OPTIONS}{across}", self.lower_option());
        mount_from(&self.layers_dir, place, options)?;
        Ok(Mount::made(place))
    }

    fn below_dir(&self) -> PathBuf {
        self.layers_dir.with_file_name("below")
    }
}
