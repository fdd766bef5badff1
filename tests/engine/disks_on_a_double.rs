//! What the engine asks the machine for when it makes a layout, against what diskimage-builder was recorded to run: the same commands, in
//! the same order, and the same bytes of partition tables. Skipped where the recordings are not at hand.

#[path = "../support/recordings.rs"]
mod recordings;

use std::io::Cursor;
use std::path::PathBuf;

use anyhow::{Result, bail};
use dibw_engine::disks::{Disks, FileSystem, Volume};
use dibw_engine::{disk, tables};
use dibw_plan::layout::commands::{self, Command};
use dibw_plan::layout::{Device, Geometry, Layout, Lvm, Places, TableLabel};
use recordings::{IMAGE_SIZE, mended, parse, recordings};
use serde_json::Value;

/// Writes down what each call stands for.
#[derive(Default)]
struct Recorder {
    commands: Vec<Command>,
    table: Option<Geometry>,
    /// The partition whose device was asked for first stands for all.
    partitions: usize,
}

fn words(line: &[&str]) -> Command {
    line.iter().map(|word| (*word).to_owned()).collect()
}

impl Places for Recorder {
    fn device(&self, device: &Device) -> String {
        match device {
            Device::Image { .. } => "/dev/loop7".to_owned(),
            Device::Partition { partition, .. } => self.path(partition),
            Device::LogicalVolume { .. } => {
                format!("/dev/mapper/{}", device.mapper_name().unwrap_or_default())
            }
        }
    }

    fn file(&self, image: &str) -> String {
        format!("BUILD/img/{image}.raw")
    }

    fn mounted_at(&self, mount_point: &str) -> String {
        format!("BUILD/mnt{mount_point}")
    }
}

impl Recorder {
    fn path(&self, name: &str) -> String {
        let placed = self.table.as_ref().and_then(|table| table.partition(name));
        match (placed, name) {
            (Some(placed), _) => format!("/dev/mapper/loop7p{}", placed.number),
            (None, "image0") => "/dev/loop7".to_owned(),
            (None, volume) => format!("/dev/mapper/vg-{volume}"),
        }
    }

    fn run(&mut self, command: Command) {
        self.commands.push(command);
    }
}

impl Disks for Recorder {
    fn create_image(&mut self, _: &str, bytes: u64, _: u32) -> Result<()> {
        assert_eq!(bytes, IMAGE_SIZE);
        Ok(())
    }

    fn write_table(&mut self, _: &str, table: &Geometry) -> Result<()> {
        self.table = Some(table.clone());
        Ok(())
    }

    fn attach(&mut self, device: &str, image: &str, _: u64, bytes: u64, sector_size: u32) -> Result<()> {
        if device == image {
            let sector = sector_size.to_string();
            self.run(words(&["losetup", "--sector-size", &sector, "--show", "-f", &self.file(image)]));
            return Ok(());
        }
        let Some(table) = self.table.clone() else { bail!("a partition without a table") };
        assert_eq!(table.partition(device).map(|placed| placed.length), Some(bytes));
        self.partitions += 1;
        if self.partitions == 1 {
            if let TableLabel::Gpt { .. } = table.label {
                self.run(words(&["sgdisk", "/dev/loop7"]));
            }
            self.run(words(&["sync"]));
        }
        Ok(())
    }

    fn device(&mut self, device: &str) -> Result<PathBuf> {
        Ok(self.path(device).into())
    }

    fn make_volume(&mut self, volume: Volume<'_>) -> Result<()> {
        let command = match volume {
            Volume::Physical(volume) => commands::pvcreate(volume, self),
            Volume::Group(group, lvm) => commands::vgcreate(group, lvm, self),
            Volume::Logical(volume) => commands::lvcreate(volume),
        };
        self.run(command);
        Ok(())
    }

    fn take_down(&mut self, lvm: &Lvm) -> Result<()> {
        self.commands.extend(commands::deactivate(lvm));
        Ok(())
    }

    fn make_file_system(&mut self, device: &str, wanted: &FileSystem) -> Result<()> {
        let (device, label) = (self.path(device), wanted.label.as_str());
        let uuid = wanted.uuid.as_deref().unwrap_or_default();
        let mut line = match wanted.kind.as_str() {
            "swap" => words(&["mkswap"]),
            kind => words(&["mkfs", "-t", kind]),
        };
        line.extend(wanted.options.iter().cloned());
        line.extend(match wanted.kind.as_str() {
            "swap" => words(&["-L", label, "-U", uuid]),
            "vfat" => words(&["-n", label]),
            "xfs" => words(&["-L", label, "-m", &format!("uuid={uuid}"), "-q"]),
            _ => words(&["-L", label, "-U", uuid, "-q"]),
        });
        line.push(device);
        self.run(line);
        Ok(())
    }

    fn mount(&mut self, device: &str, _: &str, mount_point: &str) -> Result<()> {
        let (device, path) = (self.path(device), self.mounted_at(mount_point));
        self.run(words(&["mkdir", "-p", &path]));
        self.run(words(&["mount", &device, &path]));
        Ok(())
    }

    fn unmount(&mut self, mount_point: &str) -> Result<()> {
        self.run(words(&["umount", &self.mounted_at(mount_point)]));
        Ok(())
    }

    fn detach(&mut self, device: &str) -> Result<()> {
        if device == "image0" {
            self.run(words(&["losetup", "-d", "/dev/loop7"]));
        }
        Ok(())
    }
}

/// Commands of a recording, without those for device-mapper's partitions, without the arguments of sgdisk (the plan's tests compare
/// them), and without what goes before an umount.
fn recorded(value: &Value) -> Vec<Command> {
    let commands = value["cmds"].as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for command in commands {
        let line: Command = command
            .as_array()
            .unwrap_or(&Vec::new())
            .iter()
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect();
        match line[0].as_str() {
            "kpartx" | "dmsetup" | "fstrim" => {}
            "sgdisk" => found.push(line[..2].to_vec()),
            _ => found.push(line),
        }
    }
    found
}

fn comparable() -> Vec<(String, Layout, Value)> {
    let mut found = Vec::new();
    for (name, golden) in recordings() {
        let text = mended(&name, golden["input"].as_str().unwrap_or_default());
        let Ok(layout) = parse(&text) else { continue };
        if golden["create"]["rc"] == 0 && layout.resolve_geometry(IMAGE_SIZE).is_ok() {
            found.push((name, layout, golden));
        }
    }
    found
}

#[test]
fn the_engine_asks_for_what_the_original_runs() {
    for (name, layout, golden) in comparable() {
        let mut recorder = Recorder::default();
        for node in layout.nodes() {
            disk::make(&mut recorder, node, IMAGE_SIZE, None)
                .unwrap_or_else(|failure| panic!("{name}: {failure}"));
        }
        let theirs = &golden["state.json"]["filesys"];
        let uuid = |word: String| {
            let made = layout.filesystems.iter().find(|made| word.ends_with(&made.uuid));
            let recorded = made.and_then(|made| Some((&made.uuid, theirs[&made.name]["uuid"].as_str()?)));
            recorded.map_or(word.clone(), |(ours, theirs)| word.replace(ours, theirs))
        };
        let made: Vec<Command> =
            recorder.commands.drain(..).map(|line| line.into_iter().map(uuid).collect()).collect();
        assert_eq!(made, recorded(&golden["create"]), "{name}: create");
        for node in layout.nodes().into_iter().rev() {
            disk::take_apart(&mut recorder, node).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        }
        let apart: Vec<Command> =
            recorded(&golden["umount"]).into_iter().filter(|line| line[0] != "sync").collect();
        assert_eq!(recorder.commands, apart, "{name}: umount");
    }
}

#[test]
fn partition_tables_have_the_bytes_of_the_original() {
    for (name, layout, golden) in comparable() {
        let geometries = layout.resolve_geometry(IMAGE_SIZE).expect("it was tried");
        let Some(geometry) = geometries.iter().find(|table| matches!(table.label, TableLabel::Mbr { .. }))
        else {
            continue;
        };
        let mut disk = Cursor::new(Vec::new());
        tables::write(&mut disk, geometry).expect("a table");
        let ours: String = disk.get_ref()[446..512].iter().map(|byte| format!("{byte:02x}")).collect();
        let theirs = golden["mbr_446_512"].as_str().expect("bytes");
        // 9.4: its CHS addresses are for 254 heads, and wrong from sector 64 k on. Nothing reads them.
        assert_eq!(without_chs(&ours), without_chs(theirs), "{name}");
    }
}

/// The hexadecimal digits of four entries and the signature, with the two CHS addresses of each entry left out.
fn without_chs(digits: &str) -> String {
    let keep = |index: usize| index >= 64 || !matches!(index % 16, 1..=3 | 5..=7);
    let pairs = (0..digits.len() / 2).filter(|index| keep(*index));
    pairs.map(|index| &digits[index * 2..index * 2 + 2]).collect()
}

/// An MBR on 1 GiB whose partitions have 10 MiB each.
fn listing(partitions: &str) -> Option<String> {
    let text = format!(
        "- local_loop: {{name: image0}}\n- partitioning: {{base: image0, label: mbr, partitions: [{partitions}]}}\n"
    );
    let layout = parse(&text).unwrap_or_else(|faults| panic!("{text}{faults}"));
    let geometries = layout.resolve_geometry(1 << 30).expect("it fits");
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(1 << 30).expect("a sparse file");
    tables::write(&mut file, &geometries[0]).expect("a table");
    let arguments = ["-o", "NR,START,END,TYPE,FLAGS,SCHEME", "-g", "-b", "-"];
    let listed = std::process::Command::new("partx").args(arguments).arg(file.path()).output().ok()?;
    let lines = String::from_utf8_lossy(&listed.stdout).into_owned();
    Some(lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect())
}

#[test]
fn partx_reads_the_tables_that_are_written() {
    let step = 20_480 + 2048;
    let row =
        |number: u64, start: u64, kind: &str| format!("{number} {start} {} {kind} 0x0 dos\n", start + 20_479);
    let logicals = |count: u64, first: u64| -> String {
        (0..count).map(|index| row(5 + index, first + index * step, "0x83")).collect()
    };
    let primaries: String = (0..3).map(|index| row(1 + index, 2048 + index * 20_480, "0x83")).collect();
    let partition = |name: u64, more: &str| format!("{{name: p{name}, size: 10MiB{more}}}, ");
    let many = |count: u64, first: u64, more: &str| -> String {
        (first..first + count).map(|name| partition(name, more)).collect()
    };
    let primary = ", flags: [primary]";
    for (partitions, expected) in [
        (partition(0, ""), format!("1 2048 2097151 0xf 0x0 dos\n{}", logicals(1, 4096))),
        (many(45, 0, ""), format!("1 2048 2097151 0xf 0x0 dos\n{}", logicals(45, 4096))),
        (many(3, 0, primary), primaries.clone()),
        (
            many(3, 0, primary) + &many(7, 3, ""),
            format!("{primaries}4 63488 2097151 0xf 0x0 dos\n{}", logicals(7, 65_536)),
        ),
        (partition(0, ", type: '0x0c', flags: [primary]"), row(1, 2048, "0xc")),
        (partition(0, ", flags: [primary, boot]"), row(1, 2048, "0x83").replace("0x0 ", "0x80 ")),
        (String::new(), String::new()),
    ] {
        match listing(&partitions) {
            Some(listed) => assert_eq!(listed, expected, "{partitions}"),
            None => eprintln!("skipped: partx is not installed"),
        }
    }
}
