//! What a half or wholly made layout looks like from outside: diskimage-builder's `state.json` (compat/CONTRACT.md 5.5) and the answers
//! that are read from it. Pure: the text is the caller's to write. Called by the engine.

use serde_json::{Map, Value, json};

use super::nodes::LayoutNode;
use super::volumes::LogicalVolume;
use super::{Device, Layout};

/// Where things are on this machine.
pub trait Places {
    /// The path of a block device.
    fn device(&self, device: &Device) -> String;
    /// The file of an image.
    fn file(&self, image: &str) -> String;
    /// Where a mount point of the image is reached.
    fn mounted_at(&self, mount_point: &str) -> String;
}

/// The state of a layout, part of which may be made.
#[derive(Debug, Clone, PartialEq)]
pub struct State(Value);

impl State {
    /// With the first `done` of [`Layout::nodes`] made.
    pub fn new(layout: &Layout, done: usize, places: &dyn Places) -> Self {
        let mut state = Value::Object(Map::new());
        state["sorted_mount_points"] =
            layout.mounts.iter().map(|mount| json!([mount.mount_point, mount.name])).collect();
        state["fs_labels"] = labels(layout);
        let nodes = layout.nodes();
        for node in nodes.iter().take(done) {
            add(&mut state, *node, places);
        }
        if done >= nodes.len() {
            add_swap(&mut state, layout);
            add_fstab(&mut state, layout);
        }
        Self(state)
    }

    /// From the text of a `state.json`.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn parse(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(state @ Value::Object(_)) => Ok(Self(state)),
            Ok(_) => Err("it is no JSON object".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The text of a `state.json`.
    pub fn to_json(&self) -> &Value {
        &self.0
    }

    /// The path of a block device, by name.
    pub fn device(&self, name: &str) -> Option<&str> {
        self.0["blockdev"][name]["device"].as_str()
    }

    /// The file of an image, by name.
    pub fn image(&self, name: &str) -> Option<&str> {
        self.0["blockdev"][name]["image"].as_str()
    }

    /// Whether a volume group was made.
    pub fn has_group(&self, name: &str) -> bool {
        !self.0["vgs"][name].is_null()
    }

    /// Where a file system is mounted, by mount point.
    pub fn mounted_at(&self, mount_point: &str) -> Option<&str> {
        self.0["mount"][mount_point]["path"].as_str().filter(|path| *path != "none")
    }

    /// All block devices in the order they are made, as `IMAGE_BLOCK_DEVICES` has them: the inside of a bash array.
    pub fn block_devices(&self, layout: &Layout) -> String {
        let names = layout.order.iter().map(|node| node.name.as_str());
        let devices = names.filter_map(|name| Some(format!(" [{name}]={} ", self.device(name)?)));
        devices.collect()
    }
}

/// In the order of the configuration; file systems themselves are kept in the order they are made.
fn labels(layout: &Layout) -> Value {
    let mut filesystems: Vec<_> = layout.filesystems.iter().collect();
    filesystems.sort_by_key(|filesystem| (filesystem.place.line, filesystem.place.column));
    filesystems.into_iter().map(|filesystem| filesystem.label.as_str()).collect()
}

fn add(state: &mut Value, node: LayoutNode<'_>, places: &dyn Places) {
    match node {
        LayoutNode::Image(image) => {
            let device = places.device(&Device::Image { image: image.name.clone() });
            state["blockdev"][&image.name] = json!({"device": device, "image": places.file(&image.name)});
        }
        LayoutNode::Partitions(image) => {
            for partition in image.table.iter().flat_map(|table| &table.partitions) {
                let (number, name) = (partition.number, &partition.name);
                let device = Device::Partition { image: image.name.clone(), partition: name.clone(), number };
                state["blockdev"][name] = json!({"device": places.device(&device)});
            }
        }
        LayoutNode::Lvm(_) => {}
        LayoutNode::PhysicalVolume(volume) => {
            let device = places.device(&volume.device);
            state["pvs"][&volume.name] = json!({"opts": list(&volume.options), "device": device});
        }
        LayoutNode::VolumeGroup(group, _) => {
            state["vgs"][&group.name] = json!({"opts": list(&group.options), "devices": group.members});
        }
        LayoutNode::LogicalVolume(volume) => {
            state["blockdev"][&volume.name] = logical_volume(volume, places);
        }
        LayoutNode::Filesystem(made) => {
            state["filesys"][&made.name] = json!({
                "uuid": made.uuid,
                "label": made.label,
                "fstype": made.fstype,
                "opts": if made.is_swap() { Value::Null } else { list(&made.opts) },
                "device": places.device(&made.device),
            });
        }
        LayoutNode::Mount(mount, filesystem) => {
            let path = places.mounted_at(&mount.mount_point);
            add_mount(state, &mount.mount_point, &mount.name, &filesystem.name, &path);
        }
    }
}

fn logical_volume(volume: &LogicalVolume, places: &dyn Places) -> Value {
    let device = Device::LogicalVolume { group: volume.group.clone(), volume: volume.name.clone() };
    let extents = match &volume.size {
        super::VolumeSize::Bytes(_) => None,
        super::VolumeSize::Extents(extents) => Some(extents),
    };
    json!({
        "vgs": volume.group,
        "size": volume.size_as_written,
        "extents": extents,
        "opts": list(&volume.options),
        "device": places.device(&device),
    })
}

fn add_mount(state: &mut Value, mount_point: &str, name: &str, base: &str, path: &str) {
    state["mount"][mount_point] = json!({"name": name, "base": base, "path": path});
    match &mut state["mount_order"] {
        Value::Array(order) => order.push(mount_point.into()),
        order => *order = json!([mount_point]),
    }
}

/// Swap space is never mounted, but the fstab names it: it is written down like a mount.
fn add_swap(state: &mut Value, layout: &Layout) {
    for mount in layout.mounts.iter().filter(|mount| mount.mount_point == "none") {
        add_mount(state, "none", &mount.name, &mount.filesystem, "none");
    }
}

fn add_fstab(state: &mut Value, layout: &Layout) {
    for entry in &layout.fstab {
        state["fstab"][&entry.mount] = json!({
            "name": entry.name,
            "base": entry.mount,
            "options": entry.options,
            "dump-freq": entry.dump_freq,
            "fsck-passno": entry.fsck_passno,
        });
    }
}

/// What was not given is null.
fn list(options: &[String]) -> Value {
    if options.is_empty() { Value::Null } else { options.into() }
}
