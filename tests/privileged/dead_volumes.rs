//! What a killed build leaves of LVM: its volume group keeps loop devices attached, and whoever cleans up takes it down, but only where
//! the devices still are what the build had. Needs root, loop devices and lvm2.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use dibw_sys::loops::{Access, LoopDevice};
use dibw_sys::work_dir::{self, Outlives, WorkDir};
use dibw_sys::{lvm, probe};

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn image(at: &Path) -> Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(at)?;
    file.set_len(40 << 20)?;
    Ok(file)
}

#[test]
fn the_volume_group_of_a_dead_build_is_taken_down() -> Result<()> {
    if !probe::is_root() || probe::loop_control().is_err() || probe::find_tool("vgcreate").is_none() {
        eprintln!("skipped: needs root, loop devices and lvm2");
        return Ok(());
    }
    let base = tempfile::tempdir_in("/var/tmp")?;
    let mut work = WorkDir::create(base.path(), None)?;
    let file = image(&work.path().join("image0.raw"))?;
    let device = LoopDevice::attach(&file, 0, 0, 512, Access::ReadWrite)?;
    let path = device.path().to_owned();
    let name = "dibw-test-dead".to_owned();
    work.record(Outlives::VolumeGroup { name, devices: vec![device.identity()] })?;
    let devices = [path.clone()];
    lvm::run(&words(&format!("pvcreate {}", path.display())), &devices)?;
    lvm::run(&words(&format!("vgcreate dibw-test-dead {}", path.display())), &devices)?;
    // An active volume would keep it attached, which this kernel may not have.
    device.keep()?;
    let directory = work.keep();
    let cleaned = work_dir::clean_dead(base.path())?;
    let [cleaned] = cleaned.as_slice() else { panic!("{cleaned:?}") };
    assert_eq!(cleaned.left, None);
    assert_eq!(cleaned.done[0], "deactivated volume group dibw-test-dead");
    assert!(!directory.exists());
    let free = LoopDevice::of_file(&path, &file)?;
    assert!(free.is_none(), "{free:?}");
    Ok(())
}

#[test]
fn a_device_that_shows_something_else_by_now_is_left_alone() -> Result<()> {
    if !probe::is_root() || probe::loop_control().is_err() {
        eprintln!("skipped: needs root and loop devices");
        return Ok(());
    }
    let base = tempfile::tempdir_in("/var/tmp")?;
    let gone = LoopDevice::attach(&image(&base.path().join("gone"))?, 0, 0, 512, Access::ReadWrite)?;
    let identity = gone.identity();
    assert!(identity.find()?.is_some());
    gone.detach()?;
    assert!(identity.find()?.is_none());
    let mut work = WorkDir::create(base.path(), None)?;
    work.record(Outlives::VolumeGroup { name: "not-ours".to_owned(), devices: vec![identity] })?;
    work.keep();
    // A process that the other test starts has a copy of the lock until it has become its program.
    let mut cleaned = Vec::new();
    for _ in 0..100 {
        cleaned = work_dir::clean_dead(base.path())?;
        if !cleaned.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let cleaned = cleaned.first().context("a dead directory")?;
    assert_eq!(cleaned.left, None);
    assert_eq!(cleaned.done.len(), 1, "{:?}", cleaned.done);
    Ok(())
}
