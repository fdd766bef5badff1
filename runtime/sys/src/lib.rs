//! dibw-sys

pub mod artifact;
mod busy;
pub mod calendar;
pub mod copy_tree;
pub mod filter;
pub mod full;
#[doc(hidden)]
pub mod fuzzing;
mod idmap_trial;
mod in_root;
pub mod loops;
pub mod lvm;
pub mod mkfs;
pub mod mounts;
pub mod probe;
mod target_changes;
pub mod target_files;
pub mod target_trees;
pub mod tool;
pub mod tree_walk;
pub mod vfat;
pub mod work_dir;

mod channel;
pub mod confined;
mod detached_mount;
pub mod entry;
mod init;
mod inside_root;
mod kept_mounts;
mod launch;
mod lines;
mod loopback;
mod minimal_dev;
mod outside_root;
pub mod overlay;
mod privileges;
pub mod process;
mod root_identity;
pub mod runner;
pub mod sandbox;
pub mod signals;
mod spec;
pub mod supervise;
pub mod userns;
