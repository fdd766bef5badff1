//! The disk of a plan, drawn: each image with its partitions, and what is on them. Called by `render` only.

use super::table::aligned;
use crate::layout::{Device, PartitionType, TableLabel, VolumeSize};
use crate::plan::DiskPlan;
use crate::size::{SizeSpec, for_people};

/// Where the layout is from, and how large the image becomes.
pub(super) fn summary(disk: &DiskPlan) -> String {
    let size = match (disk.size.image_size, disk.size.extra_size) {
        (Some(bytes), _) => for_people(bytes),
        (None, Some(extra)) => format!("the tree and {}", for_people(extra)),
        (None, None) => "from the tree".to_owned(),
    };
    format!("{}; size: {size}", disk.source)
}

/// One line for each device.
pub(super) fn drawing(disk: &DiskPlan) -> String {
    let headings = ["", "DEVICE", "SIZE", "TYPE", "FORMAT", "LABEL", "MOUNT POINT"];
    let mut rows = Vec::new();
    for image in &disk.layout.images {
        let table = image.table.as_ref().map_or("-", |table| match table.label {
            TableLabel::Mbr { .. } => "mbr",
            TableLabel::Gpt { .. } => "gpt",
        });
        let size = image.size.map_or(String::new(), for_people);
        let device = Device::Image { image: image.name.clone() };
        rows.push(row(disk, &device, image.name.clone(), size, table.to_owned()));
        for partition in image.table.iter().flat_map(|table| &table.partitions) {
            let size = match partition.size {
                SizeSpec::Bytes(bytes) => for_people(bytes),
                SizeSpec::Percent(percent) => format!("{percent} %"),
            };
            let kind = match &partition.kind {
                PartitionType::Mbr(kind) => format!("0x{kind:02x}"),
                PartitionType::Gpt(kind) => kind.clone(),
            };
            let device = Device::Partition {
                image: image.name.clone(),
                partition: partition.name.clone(),
                number: partition.number,
            };
            rows.push(row(disk, &device, format!("  {} {}", partition.number, partition.name), size, kind));
        }
    }
    for lvm in &disk.layout.lvm {
        for volume in &lvm.logical {
            let size = match &volume.size {
                VolumeSize::Bytes(bytes) => for_people(*bytes),
                VolumeSize::Extents(extents) => extents.clone(),
            };
            let device = Device::LogicalVolume { group: volume.group.clone(), volume: volume.name.clone() };
            rows.push(row(
                disk,
                &device,
                format!("{}/{}", volume.group, volume.name),
                size,
                "lvm".to_owned(),
            ));
        }
    }
    let text = aligned(&headings, &rows, usize::MAX);
    // The first column is the indentation of the header's labels.
    text.lines().map(|line| format!("{:<8}{line}\n", "")).collect()
}

fn row(disk: &DiskPlan, device: &Device, name: String, size: String, kind: String) -> Vec<String> {
    let on_it = disk.layout.filesystems.iter().find(|filesystem| filesystem.device == *device);
    let (format, label, mount) = match on_it {
        Some(filesystem) => {
            let mount = disk.layout.mounts.iter().find(|mount| mount.filesystem == filesystem.name);
            let mount_point = mount.map(|mount| mount.mount_point.clone()).unwrap_or_default();
            (filesystem.fstype.clone(), filesystem.label.clone(), mount_point)
        }
        None => Default::default(),
    };
    vec![String::new(), name, size, kind, format, label, mount]
}
