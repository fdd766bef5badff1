//! The commands a layout stands for, its `state.json` and the answers from it, against what diskimage-builder was recorded to run and to
//! write. Where dibw differs is said at each place.

use std::collections::BTreeMap;

use dibw_plan::layout::commands::{self, Command};
use dibw_plan::layout::{Device, Layout, Places, State};
use dibw_tests::recordings::{IMAGE_SIZE, mended, parse, recordings};
use serde_json::Value;

/// The places of the recordings.
struct Recorded;

impl Places for Recorded {
    fn device(&self, device: &Device) -> String {
        match device {
            Device::Image { .. } => "/dev/loop7".to_owned(),
            // dibw has a loop device for each partition; the recordings have device-mapper's.
            Device::Partition { number, .. } => format!("/dev/mapper/loop7p{number}"),
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

/// Commands of a recording, without those that make device-mapper devices for partitions.
fn recorded(value: &Value) -> Vec<Command> {
    let commands = value["cmds"].as_array().cloned().unwrap_or_default();
    let words = |command: &Value| {
        let words = command.as_array().cloned().unwrap_or_default();
        words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect::<Command>()
    };
    let ours = |command: &Command| !matches!(command[0].as_str(), "kpartx" | "dmsetup");
    // The code of a type is the same number with and without `0x`.
    let plain = |command: Command| command.into_iter().map(|word| word.replace(":0x", ":")).collect();
    commands.iter().map(words).filter(ours).map(plain).collect()
}

/// Ours, with the UUIDs that were drawn when the recording was made.
fn with_their_uuids(text: &str, layout: &Layout, state: &Value) -> String {
    layout.filesystems.iter().fold(text.to_owned(), |text, made| {
        match state["filesys"][&made.name]["uuid"].as_str() {
            Some(theirs) => text.replace(&made.uuid, theirs),
            None => text,
        }
    })
}

fn as_recorded(commands: Vec<Command>, layout: &Layout, state: &Value) -> Vec<Command> {
    let word = |word: String| with_their_uuids(&word, layout, state);
    commands.into_iter().map(|command| command.into_iter().map(word).collect()).collect()
}

/// Recordings of layouts that dibw makes, as it reads them.
fn comparable() -> Vec<(String, Layout, Value)> {
    let mut found = Vec::new();
    for (name, golden) in recordings() {
        let text = mended(&name, golden["input"].as_str().unwrap_or_default());
        let layout = parse(&text).ok();
        let fits = |layout: &Layout| layout.resolve_geometry(IMAGE_SIZE).is_ok();
        let made = golden["create"]["rc"] == 0;
        found.extend(layout.filter(|layout| made && fits(layout)).map(|layout| (name, layout, golden)));
    }
    assert!(found.is_empty() || found.len() == 13, "{}", found.len());
    found
}

#[test]
fn the_commands_are_those_of_the_original() {
    for (name, layout, golden) in comparable() {
        let state = &golden["state.json"];
        let geometries = layout.resolve_geometry(IMAGE_SIZE).expect("it was tried");
        let create = as_recorded(commands::create(&layout, &geometries, &Recorded), &layout, state);
        assert_eq!(create, recorded(&golden["create"]), "{name}: create");
        assert_eq!(commands::umount(&layout, &Recorded), recorded(&golden["umount"]), "{name}: umount");
        assert_eq!(commands::cleanup(&layout), recorded(&golden["cleanup"]), "{name}: cleanup");
    }
}

#[test]
fn the_state_and_its_answers_are_those_of_the_original() {
    for (name, layout, golden) in comparable() {
        let theirs = &golden["state.json"];
        let state = State::new(&layout, layout.nodes().len(), &Recorded);
        let ours = with_their_uuids(&state.to_json().to_string(), &layout, theirs);
        let mut ours: Value = serde_json::from_str(&ours).expect("JSON");
        // A root in no fstab: an empty mapping is not written.
        ours.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        assert_eq!(&ours, theirs, "{name}: state.json");
        let answers = [
            ("image-path", state.image("image0").unwrap_or_default().to_owned()),
            ("image-block-device", state.device("image0").unwrap_or_default().to_owned()),
            ("image-block-devices", state.block_devices(&layout)),
        ];
        for (symbol, answer) in answers {
            let theirs = golden[format!("getval2 {symbol}")]["stdout"].as_str();
            assert_eq!(Some(format!("{answer}\n").as_str()), theirs, "{name}: getval {symbol}");
        }
    }
}

/// A volume group over two partitions, thin and thick volumes.
const VOLUMES: &str = "\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions: [{name: a, size: 2GiB, type: 8E00}, {name: b, size: 2GiB, type: 8E00}]
- lvm:
    name: lvm
    pvs: [{name: pa, base: a, options: ['--force']}, {name: pb, base: b}]
    vgs: [{name: my-vg, base: [pa, pb], options: ['--clustered', 'n']}]
    lvs:
      - {name: pool, base: my-vg, size: 2800MiB, type: thin-pool}
      - {name: root, base: my-vg, size: 1GiB, type: thin, thin-pool: pool}
      - {name: rest, base: my-vg, extents: 50%FREE, options: [-y]}
- mkfs: {name: mkfs_root, base: root, type: xfs, mount: {mount_point: /}}
";

fn lines(commands: &[Command]) -> Vec<String> {
    commands.iter().map(|command| command.join(" ")).collect()
}

#[test]
fn volumes_are_made_and_taken_down() {
    let layout = parse(VOLUMES).expect("a layout");
    let geometries = layout.resolve_geometry(5 << 30).expect("it fits");
    let made = lines(&commands::create(&layout, &geometries, &Recorded));
    assert_eq!(
        made[3..8],
        [
            "pvcreate /dev/mapper/loop7p1 --force",
            "pvcreate /dev/mapper/loop7p2",
            "vgcreate my-vg /dev/mapper/loop7p1 /dev/mapper/loop7p2 --clustered n",
            "lvcreate --name pool --type thin-pool -L 2936012800B my-vg",
            "lvcreate --name root --type thin --thin-pool pool -V 1073741824B my-vg",
        ]
    );
    assert_eq!(made[8], "lvcreate --name rest -l 50%FREE -y my-vg");
    // The name that device-mapper gives: dashes inside names are doubled.
    assert!(made[9].ends_with(" -q /dev/mapper/my--vg-root"), "{}", made[9]);
    let down = lines(&commands::umount(&layout, &Recorded));
    assert_eq!(
        down[3..],
        [
            "lvchange -an /dev/my-vg/pool",
            "lvchange -an /dev/my-vg/root",
            "lvchange -an /dev/my-vg/rest",
            "vgchange -an my-vg",
            "udevadm settle",
            "losetup -d /dev/loop7",
        ]
    );
}

#[test]
fn a_rollback_gives_back_what_was_made_last_first() {
    let layout = parse(VOLUMES).expect("a layout");
    let nodes = layout.nodes().len();
    let back: BTreeMap<usize, Vec<String>> =
        (0..=nodes).map(|done| (done, lines(&commands::rollback(&layout, done, &Recorded)))).collect();
    assert_eq!(back[&0], Vec::<String>::new());
    assert_eq!(back[&1], ["losetup -d /dev/loop7"]);
    assert_eq!(
        back[&nodes],
        [
            "umount BUILD/mnt/",
            "lvchange --activate n /dev/my-vg/rest",
            "lvremove --yes /dev/my-vg/rest",
            "lvchange --activate n /dev/my-vg/root",
            "lvremove --yes /dev/my-vg/root",
            "lvchange --activate n /dev/my-vg/pool",
            "lvremove --yes /dev/my-vg/pool",
            "vgremove --yes --force my-vg",
            "losetup -d /dev/loop7",
        ]
    );
    for done in 1..=nodes {
        // One node more adds to the front and changes nothing else.
        assert!(back[&done].ends_with(&back[&(done - 1)]), "{done}");
    }
}

#[test]
fn a_state_half_made_says_what_is_there() {
    let layout = parse(VOLUMES).expect("a layout");
    let state = State::new(&layout, 2, &Recorded);
    assert_eq!(
        state.block_devices(&layout),
        " [image0]=/dev/loop7  [a]=/dev/mapper/loop7p1  [b]=/dev/mapper/loop7p2 "
    );
    assert!(!state.has_group("my-vg"));
    assert_eq!(state.mounted_at("/"), None);
    let whole = State::new(&layout, layout.nodes().len(), &Recorded);
    assert!(whole.has_group("my-vg"));
    assert_eq!(whole.mounted_at("/"), Some("BUILD/mnt/"));
    let again = State::parse(&whole.to_json().to_string());
    assert_eq!(again, Ok(whole));
    assert!(State::parse("[]").is_err());
    assert!(State::parse("{").is_err());
}
