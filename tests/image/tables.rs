//! Partition tables of `dibw-image`, as sfdisk and sgdisk read them.

mod tools;

use std::path::PathBuf;

use dibw_image::table::gpt::{self, GptPartition, GptTable};
use dibw_image::table::mbr::{self, Extended, Logical, MbrPartition, MbrTable};
use dibw_plan::layout::{TYPE_CODES, type_guid};
use serde_json::{Value, json};
use tempfile::TempDir;
use tools::{attempt, empty_file, have, run, text};
use uuid::Uuid;

const MIB: u64 = 2048;

/// A disk of 64 MiB with this MBR table.
fn mbr_disk(primaries: Vec<MbrPartition>, extended: Option<Extended>) -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("disk");
    let mut disk = empty_file(&path, 64 << 20);
    let table =
        MbrTable { disk_id: 0xdeca_fbad, sector_size: 512, disk_sectors: 64 * MIB, primaries, extended };
    mbr::write(&mut disk, &table).expect("the table is right");
    (place, path)
}

fn gpt_disk(partitions: Vec<GptPartition>) -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("disk");
    let mut disk = empty_file(&path, 64 << 20);
    let disk_guid = Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);
    let table = GptTable { disk_guid, sector_size: 512, disk_sectors: 64 * MIB, partitions };
    gpt::write(&mut disk, &table).expect("the table is right");
    (place, path)
}

/// The table as sfdisk reads it, without the names of device nodes.
fn sfdisk(path: &std::path::Path) -> Value {
    let shown: Value =
        serde_json::from_str(&run("sfdisk", &["--json", text(path)])).expect("sfdisk writes JSON");
    let mut table = shown["partitiontable"].clone();
    let prefix = table["device"].as_str().expect("a device").to_owned();
    for partition in table["partitions"].as_array_mut().map(|list| list.iter_mut()).into_iter().flatten() {
        let node = partition["node"].as_str().expect("a node");
        partition["node"] = json!(node.strip_prefix(&prefix).expect("nodes begin with the device"));
    }
    table.as_object_mut().expect("a table").remove("device");
    table
}

fn primary(kind: u8, bootable: bool, start: u64, sectors: u64) -> MbrPartition {
    MbrPartition { bootable, kind, start, sectors }
}

#[test]
fn sfdisk_reads_primary_partitions() {
    if !have("sfdisk") {
        return;
    }
    let (_place, path) =
        mbr_disk(vec![primary(0x83, true, MIB, 20 * MIB), primary(0x0c, false, 21 * MIB, 43 * MIB)], None);
    assert_eq!(
        sfdisk(&path),
        json!({
            "label": "dos", "id": "0xdecafbad", "unit": "sectors", "sectorsize": 512,
            "partitions": [
                {"node": "1", "start": MIB, "size": 20 * MIB, "type": "83", "bootable": true},
                {"node": "2", "start": 21 * MIB, "size": 43 * MIB, "type": "c"},
            ]
        })
    );
    assert!(run("sfdisk", &["--verify", text(&path)]).contains("No errors detected"));
}

#[test]
fn sfdisk_reads_logical_partitions() {
    if !have("sfdisk") {
        return;
    }
    let logicals = (0..9)
        .map(|index| {
            let ebr_start = (10 + index * 4) * MIB;
            let kind = if index == 3 { 0x82 } else { 0x83 };
            Logical { ebr_start, start: ebr_start + MIB, sectors: 3 * MIB, kind, bootable: index == 1 }
        })
        .collect();
    let extended = Extended { start: 10 * MIB, sectors: 54 * MIB, logicals };
    let (_place, path) = mbr_disk(vec![primary(0x83, false, MIB, 9 * MIB)], Some(extended));
    let table = sfdisk(&path);
    let found = table["partitions"].as_array().expect("partitions");
    assert_eq!(found.len(), 11);
    assert_eq!(found[1], json!({"node": "2", "start": 10 * MIB, "size": 54 * MIB, "type": "f"}));
    assert_eq!(found[2], json!({"node": "5", "start": 11 * MIB, "size": 3 * MIB, "type": "83"}));
    assert_eq!(
        found[3],
        json!({"node": "6", "start": 15 * MIB, "size": 3 * MIB, "type": "83", "bootable": true})
    );
    assert_eq!(found[5], json!({"node": "8", "start": 23 * MIB, "size": 3 * MIB, "type": "82"}));
    assert_eq!(found[10], json!({"node": "13", "start": 43 * MIB, "size": 3 * MIB, "type": "83"}));
    assert!(run("sfdisk", &["--verify", text(&path)]).contains("No errors detected"));
}

#[test]
fn sfdisk_reads_tables_without_partitions() {
    if !have("sfdisk") {
        return;
    }
    let (_place, path) = mbr_disk(vec![], Some(Extended { start: MIB, sectors: MIB, logicals: vec![] }));
    assert_eq!(sfdisk(&path)["partitions"], json!([{"node": "1", "start": MIB, "size": MIB, "type": "f"}]));
    let (_place, path) = mbr_disk(vec![], None);
    assert_eq!(sfdisk(&path)["label"], "dos");
    let (_place, path) = gpt_disk(vec![]);
    assert_eq!(sfdisk(&path)["label"], "gpt");
}

#[test]
fn our_mbr_is_what_sfdisk_writes() {
    if !have("sfdisk") {
        return;
    }
    let (place, path) =
        mbr_disk(vec![primary(0x83, true, MIB, 20 * MIB), primary(0x0c, false, 21 * MIB, 43 * MIB)], None);
    let theirs = place.path().join("theirs");
    empty_file(&theirs, 64 << 20);
    let script = "label: dos\nlabel-id: 0xdecafbad\nstart=2048, size=40960, type=83, bootable\nstart=43008, size=88064, type=c\n";
    let script_path = place.path().join("script");
    std::fs::write(&script_path, script).expect("write");
    run("sh", &["-c", &format!("sfdisk -q {} < {}", theirs.display(), script_path.display())]);
    let (ours, theirs) = (std::fs::read(&path).expect("read"), std::fs::read(&theirs).expect("read"));
    // All of it, CHS addresses too.
    assert_eq!(ours[440..512], theirs[440..512]);
}

fn partitions() -> Vec<GptPartition> {
    let partition =
        |number: u32, code: &str, name: &str, first: u64, last: u64, attributes: u64| GptPartition {
            number,
            type_guid: type_guid(code).expect("a known code"),
            guid: Uuid::from_u128(0xaaaa_bbbb_cccc_4ddd_8eee_0000_0000_0000 + u128::from(number)),
            name: name.into(),
            first_lba: first,
            last_lba: last,
            attributes,
        };
    vec![
        partition(1, "EF00", "ESP", MIB, 11 * MIB - 1, 0),
        partition(2, "EF02", "BSP", 11 * MIB, 12 * MIB - 1, 1 << 2),
        partition(7, "8300", "Wurzel \u{e4}\u{1f600}", 12 * MIB, 64 * MIB - 34, 0),
    ]
}

#[test]
fn sfdisk_and_sgdisk_read_a_gpt() {
    if !have("sfdisk") || !have("sgdisk") {
        return;
    }
    let (_place, path) = gpt_disk(partitions());
    assert_eq!(
        sfdisk(&path),
        json!({
            "label": "gpt", "id": "01234567-89AB-4DEF-8123-456789ABCDEF", "unit": "sectors", "sectorsize": 512,
            "firstlba": 34, "lastlba": 131_038,
            "partitions": [
                {
                    "node": "1", "start": MIB, "size": 10 * MIB, "name": "ESP",
                    "type": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "uuid": "AAAABBBB-CCCC-4DDD-8EEE-000000000001",
                },
                {
                    "node": "2", "start": 11 * MIB, "size": MIB, "name": "BSP", "attrs": "LegacyBIOSBootable",
                    "type": "21686148-6449-6E6F-744E-656564454649", "uuid": "AAAABBBB-CCCC-4DDD-8EEE-000000000002",
                },
                {
                    "node": "7", "start": 12 * MIB, "size": 52 * MIB - 33, "name": "Wurzel \u{e4}\u{1f600}",
                    "type": "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "uuid": "AAAABBBB-CCCC-4DDD-8EEE-000000000007",
                },
            ]
        })
    );
    assert!(run("sfdisk", &["--verify", text(&path)]).contains("No errors detected"));
    let verified = run("sgdisk", &["-v", text(&path)]);
    assert!(verified.contains("No problems found"), "{verified}");
}

#[test]
fn the_backup_alone_restores_a_gpt() {
    if !have("sgdisk") || !have("sfdisk") {
        return;
    }
    use std::os::unix::fs::FileExt;
    let (_place, path) = gpt_disk(partitions());
    let before = sfdisk(&path);
    let disk = std::fs::File::options().write(true).open(&path).expect("open");
    disk.write_all_at(&[0; 33 * 512], 512).expect("destroy the primary copy");
    // Any change makes sgdisk rewrite both copies from the backup.
    let (shown, success) = attempt("sgdisk", &["-e", text(&path)]);
    assert!(success, "{shown}");
    assert_eq!(sfdisk(&path)["partitions"], before["partitions"]);
    assert!(run("sgdisk", &["-v", text(&path)]).contains("No problems found"));
}

#[test]
fn type_codes_are_those_of_sgdisk() {
    if !have("sgdisk") {
        return;
    }
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("disk");
    empty_file(&path, 64 << 20);
    let path = text(&path);
    // As many partitions as there are codes, so that one call sets and one call shows them all.
    let codes: Vec<_> = TYPE_CODES.iter().zip(1..).collect();
    assert!(codes.len() <= 128);
    let mut set = vec!["-o".to_owned(), "-a".into(), "1".into()];
    for ((code, _), number) in &codes {
        set.extend([
            "-n".into(),
            format!("{number}:{0}:{0}", 2047 + number),
            "-t".into(),
            format!("{number}:{code:04x}"),
        ]);
    }
    set.push(path.into());
    run("sgdisk", &set.iter().map(String::as_str).collect::<Vec<_>>());
    for ((code, guid), number) in codes {
        let shown = run("sgdisk", &["-i", &number.to_string(), path]);
        let line = shown.lines().find_map(|line| line.strip_prefix("Partition GUID code: ")).expect("a type");
        let found = line.split(' ').next().expect("a word").to_lowercase();
        assert_eq!(found, guid.to_string(), "{code:04x}");
    }
}
