//! Disk layouts against what diskimage-builder itself was recorded to do with the same configuration (`compat/golden/*.json` beside the
//! tree, or `DIBW_GOLDEN`). Skipped where the recordings are not at hand. What dibw does otherwise, and why, is data at the top.
#![expect(clippy::unwrap_used, reason = "a test that can't read its own data fails")]

use std::collections::BTreeMap;

use dibw_plan::layout::{self, Layout, PartitionType, VolumeSize};
use dibw_tests::recordings::{IMAGE_SIZE, mended, parse, recordings, root_defaults};
use serde_json::Value;

/// (recording, what dibw says instead, why). All but `check` are refused when the layout is read.
const REFUSED: [(&str, &str, &str); 8] = [
    (
        "extra.fiveprim",
        "room for 4 primary partitions: [e] is number 5",
        "9.4: the fifth overwrites the boot signature",
    ),
    (
        "extra.fourplusext",
        "[e] is logical and comes after 4",
        "9.4: the extended entry overwrites the boot signature",
    ),
    ("extra.inttype", "the type of an MBR partition must be a hexadecimal string", "9.4: TypeError"),
    ("extra.nosize", "No size given for partition [root]", "9.4: TypeError in place of the intended message"),
    ("extra.nobasename", "local_loop needs a 'name' or a 'base'", "KeyError in place of a message"),
    ("extra.noname_lvm", "lvm needs a 'name' or a 'base'", "KeyError in place of a message"),
    (
        "fixture.lvm_tree_multiple_partitions",
        "unknown key `fck-passno`",
        "an unknown key is refused; EF00 is no MBR type",
    ),
    (
        "extra.mbrtoobig",
        "partition [root] needs 200 MiB, but 99 MiB",
        "9.4: a partition beyond the image (said by check)",
    ),
];

/// (recording, query, dibw's answer, why).
const ANSWERS: [(&str, &str, &str, &str); 2] = [
    (
        "fixture.gpt_efi",
        "root-label",
        "mkfs_Root Part\n",
        "9.4: KeyError for a root without configured label",
    ),
    (
        "fixture.gpt_efi",
        "fstab",
        "LABEL=mkfs_Root\\040Part / ext4 defaults 0 1\nLABEL=MKFS_ESP /boot/efi vfat defaults 0 1\n",
        "a blank inside a field is escaped, or the line could not be read",
    ),
];

/// The recorded message; what follows is Python's way of writing a dictionary.
fn message(recorded: &Value) -> Option<String> {
    let message = recorded.get("exception").and(recorded["message"].as_str())?;
    Some(message.split(": {").next().unwrap_or_default().to_owned())
}

fn refusal(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(recording, ..)| *recording == name).map(|(_, expected, _)| *expected)
}

#[test]
fn layouts_are_read_as_by_the_original() {
    let (mut flattened, mut refused, mut compared) = (0, 0, 0);
    for (name, golden) in recordings() {
        let mut text = golden["input"].as_str().unwrap().to_owned();
        if let Some(config) = golden["config.json"].as_array() {
            compare_flat(&name, &text, config);
            flattened += 1;
        }
        let init = message(&golden["init"]);
        let graph = golden.get("create_graph").and_then(message);
        let said = refusal(&name).map(str::to_owned).or(init).or(graph);
        if let Some(expected) = said {
            let faults = match parse(&text) {
                Ok(layout) => layout.check(Some(IMAGE_SIZE)),
                Err(faults) => faults,
            };
            assert!(faults.to_string().contains(&expected), "{name}: expected {expected}\n{faults}");
            refused += 1;
        }
        text = mended(&name, &text);
        if let (Some(order), Ok(layout)) = (golden["call_order"].as_array(), parse(&text)) {
            let names: Vec<&str> = layout.order.iter().map(|node| node.name.as_str()).collect();
            assert_eq!(&names, order, "{name}: call order");
            compare_answers(&name, &layout, &golden);
            compare_made(&name, &layout, &golden);
            compared += 1;
        }
    }
    if flattened > 0 {
        assert_eq!(
            (flattened, refused, compared),
            (28, 22, 15),
            "recordings flattened, refused, compared whole"
        );
    }
}

fn compare_flat(name: &str, text: &str, config: &[Value]) {
    let flat =
        layout::flatten(text, "golden", &root_defaults()).unwrap_or_else(|faults| panic!("{name}: {faults}"));
    let sorted = |nodes: Vec<Value>| {
        let mut texts: Vec<String> = nodes.iter().map(Value::to_string).collect();
        texts.sort();
        texts
    };
    let ours = sorted(flat.iter().map(layout::FlatNode::to_json).collect());
    assert_eq!(ours, sorted(config.to_vec()), "{name}: flat configuration");
}

fn compare_answers(name: &str, layout: &Layout, golden: &Value) {
    let answers = [
        ("root-label", layout.root_label().unwrap_or_default().to_owned() + "\n"),
        ("root-fstype", layout.root_fstype().unwrap_or_default().to_owned() + "\n"),
        ("boot-label", layout.boot_label().unwrap_or_default().to_owned() + "\n"),
        ("mount-points", layout.mount_points().join("|") + "\n"),
        ("fstab", layout.fstab()),
    ];
    for (query, ours) in answers {
        let other = ANSWERS.iter().find(|(recording, asked, ..)| *recording == name && *asked == query);
        let theirs = match (other, query) {
            (Some((_, _, answer, _)), _) => answer,
            // When the recorded run died half-way its fstab says nothing.
            (None, "fstab") if golden["create"]["rc"] != 0 => continue,
            (None, "fstab") => golden["fstab"].as_str().unwrap(),
            (None, _) => golden[format!("getval {query}")]["stdout"].as_str().unwrap(),
        };
        assert_eq!(ours, theirs, "{name}: {query}");
    }
}

/// What was made on the disk: partitions, file systems, volumes.
fn compare_made(name: &str, layout: &Layout, golden: &Value) {
    if golden["create"]["rc"] != 0 || refusal(name).is_some() {
        return;
    }
    let commands: Vec<Vec<&str>> = golden["create"]["cmds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|command| command.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect())
        .collect();
    let geometries = layout.resolve_geometry(IMAGE_SIZE).unwrap_or_else(|faults| panic!("{name}: {faults}"));
    let mut partx = Vec::new();
    let mut sgdisk = vec![String::from("sgdisk"), String::from("/dev/loop7")];
    for geometry in &geometries {
        let sectors = |start: u64, length: u64| format!("{} {}", start / 512, (start + length) / 512 - 1);
        for place in &geometry.partitions {
            match &place.kind {
                PartitionType::Mbr(kind) => {
                    let mark = if place.bootable { "0x80" } else { "0x0" };
                    let extent = sectors(place.start, place.length);
                    partx.push((place.number, format!("{} {extent} {kind:#x} {mark} dos\n", place.number)));
                }
                PartitionType::Gpt(kind) => {
                    let number = place.number;
                    let code = if kind == "4100" { "0x4100" } else { kind };
                    sgdisk.extend(["-n", &format!("{number}:0:+{}M", place.length >> 20)].map(str::to_owned));
                    sgdisk.extend(["-t", &format!("{number}:{code}")].map(str::to_owned));
                    sgdisk.extend(["-c", &format!("{number}:{}", place.name)].map(str::to_owned));
                }
            }
        }
        if let Some(extended) = geometry.extended {
            let extent = sectors(extended.start, extended.length);
            partx.push((extended.number, format!("{} {extent} 0xf 0x0 dos\n", extended.number)));
        }
    }
    partx.sort();
    let partx: String = partx.into_iter().map(|(_, line)| line).collect();
    assert_eq!(partx, golden["partx"].as_str().unwrap_or_default(), "{name}: MBR partitions");
    match commands.iter().find(|command| command[0] == "sgdisk") {
        Some(command) => assert_eq!(&sgdisk, command, "{name}: GPT partitions"),
        None => assert_eq!(sgdisk.len(), 2, "{name}: no GPT"),
    }
    compare_filesystems(name, layout, &golden["state.json"]);
    let volumes: Vec<(&str, &VolumeSize)> = layout
        .lvm
        .iter()
        .flat_map(|lvm| &lvm.logical)
        .map(|volume| (volume.name.as_str(), &volume.size))
        .collect();
    let made: Vec<&Vec<&str>> = commands.iter().filter(|command| command[0] == "lvcreate").collect();
    assert_eq!(volumes.len(), made.len(), "{name}: logical volumes");
    for ((volume, size), command) in volumes.into_iter().zip(made) {
        let size = match size {
            VolumeSize::Bytes(bytes) => format!("-L {bytes}B"),
            VolumeSize::Extents(extents) => format!("-l {extents}"),
        };
        assert_eq!(command.join(" "), format!("lvcreate --name {volume} {size} vg"), "{name}");
    }
}

fn compare_filesystems(name: &str, layout: &Layout, state: &Value) {
    let theirs = state["filesys"].as_object().unwrap();
    let ours: BTreeMap<&str, _> = layout.filesystems.iter().map(|made| (made.name.as_str(), made)).collect();
    assert_eq!(ours.len(), theirs.len(), "{name}: file systems");
    for (node, made) in ours {
        let recorded = &theirs[node];
        assert_eq!(made.label, recorded["label"].as_str().unwrap(), "{name}: {node}");
        assert_eq!(made.fstype, recorded["fstype"].as_str().unwrap(), "{name}: {node}");
        let opts: Vec<&str> = recorded["opts"]
            .as_array()
            .map(|opts| opts.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        assert_eq!(made.opts, opts, "{name}: {node}");
        let uuid = recorded["uuid"].as_str().unwrap();
        // Generated ones were replaced in the recordings.
        if !uuid.starts_with("00000000-") {
            assert_eq!(made.uuid, uuid, "{name}: {node}");
        }
    }
    let mounts: Vec<&str> = layout.mounts.iter().map(|mount| mount.mount_point.as_str()).collect();
    assert_eq!(&mounts, state["mount_order"].as_array().unwrap(), "{name}: mount order");
}
