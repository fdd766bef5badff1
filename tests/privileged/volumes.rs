//! Logical volumes on real loop devices. Where the kernel has no device-mapper, `lvcreate` fails for real, after `pvcreate` and `vgcreate`
//! worked: then everything must be given back. Needs root, loop devices and lvm2.

use std::path::Path;
use std::process::Command;

use dibw_engine::disk;
use dibw_engine::real::{Disk, DiskPlaces};
use dibw_plan::layout::{self, LayoutParameters, RootDefaults};
use dibw_sys::probe;

const LAYOUT: &str = "\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions: [{name: a, size: 60MiB, type: 8E00}, {name: b, size: 60MiB, type: 8E00}]
- lvm:
    name: lvm
    pvs: [{name: pa, base: a, options: ['--force']}, {name: pb, base: b}]
    vgs: [{name: dibw-test-volumes, base: [pa, pb]}]
    lvs: [{name: root, base: dibw-test-volumes, size: 50M}, {name: rest, base: dibw-test-volumes, extents: 100%FREE}]
- mkfs: {name: mkfs_root, base: root, type: ext2, mount: {mount_point: /}}
- mkfs: {name: mkfs_rest, base: rest, type: ext2, mount: {mount_point: /rest}}
";

/// Loop devices on files below a directory.
fn loops(below: &Path) -> Vec<String> {
    let listed = Command::new("losetup").args(["-a"]).output().expect("losetup");
    let all = String::from_utf8_lossy(&listed.stdout).into_owned();
    let below = below.display().to_string();
    all.lines().filter(|line| line.contains(&below)).map(str::to_owned).collect()
}

#[test]
fn volumes_are_made_and_everything_is_given_back() {
    if !probe::is_root() || probe::loop_control().is_err() || probe::find_tool("vgcreate").is_none() {
        eprintln!("skipped: needs root, loop devices and lvm2");
        return;
    }
    let place = tempfile::tempdir_in("/var/tmp").expect("a temporary directory");
    let at = |name: &str| place.path().join(name);
    let root = RootDefaults::default();
    let parameters = LayoutParameters { file: "layout", root: &root, sector_size: None, seed: b"volumes" };
    let layout = layout::parse(LAYOUT, &parameters).expect("a layout");
    let places = DiskPlaces { images: at("i"), root: at("m"), staging: at("s"), ..DiskPlaces::default() };
    let mut disk = Disk::new(places);
    let size = 130 << 20;
    let made = layout.nodes().into_iter().try_for_each(|node| disk::make(&mut disk, node, size, None));
    assert_eq!(loops(place.path()).len(), 3);
    match made {
        Ok(()) => {
            disk.take_apart(&layout).expect("nothing is busy");
            assert!(disk.is_idle());
        }
        Err(failure) => {
            assert!(probe::device_mapper().is_err(), "{failure}");
            assert!(failure.message.contains("making volume root"), "{failure}");
            assert!(failure.causes.join("\n").contains("lvcreate --config"), "{failure}");
            let errors: Vec<String> = disk.release().iter().map(|error| format!("{error:#}")).collect();
            assert_eq!(errors, Vec::<String>::new());
            let groups = Command::new("vgs").output().expect("vgs");
            assert!(!String::from_utf8_lossy(&groups.stdout).contains("dibw-test-volumes"));
        }
    }
    assert_eq!(loops(place.path()), Vec::<String>::new());
    disk.delete_images().expect("the image is ours");
    assert!(!at("i/image0.raw").exists());
}
