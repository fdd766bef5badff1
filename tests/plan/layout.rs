//! Disk layouts as users write them: each folder of `tests/fixtures/layout` holds a `layout.yaml` and, in `expected.txt`, all that dibw
//! makes of it. `DIBW_BLESS=1` writes the expectations anew; read the difference before keeping it.
#![expect(clippy::unwrap_used, reason = "a test that can't read its own data fails")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use dibw_plan::layout::{self, Layout, LayoutParameters, RootDefaults, SizeRules};

const GIB: u64 = 1 << 30;

fn read(text: &str, seed: &str) -> Result<Layout, dibw_plan::Faults> {
    let root = RootDefaults {
        fstype: String::from("ext4"),
        label: None,
        opts: String::from(" -O  ^metadata_csum "),
        ext4_opts: layout::ext4_opts(64, None),
    };
    let parameters =
        LayoutParameters { file: "layout.yaml", root: &root, sector_size: None, seed: seed.as_bytes() };
    layout::parse(text, &parameters)
}

/// Everything there is to say about a layout, on an image of 8 GiB.
fn describe(text: &str) -> String {
    let layout = match read(text, "seed") {
        Ok(layout) => layout,
        Err(faults) => return format!("{faults}\n"),
    };
    let mut out = String::new();
    let json = serde_json::to_string_pretty(&layout).unwrap();
    assert_eq!(
        serde_json::from_str::<Layout>(&json).unwrap(),
        layout,
        "a layout survives being written and read"
    );
    writeln!(out, "{json}").unwrap();
    writeln!(out, "root {:?} {:?}", layout.root_label(), layout.root_fstype()).unwrap();
    writeln!(out, "boot {:?}", layout.boot_label()).unwrap();
    writeln!(out, "mount points {:?}", layout.mount_points()).unwrap();
    writeln!(out, "device-mapper {}", layout.needs_device_mapper()).unwrap();
    write!(out, "fstab\n{}", layout.fstab()).unwrap();
    let minimum = layout.minimum_size();
    writeln!(out, "minimum size {} MiB", minimum >> 20).unwrap();
    if layout.images.iter().all(|image| image.size.is_none()) {
        assert!(layout.resolve_geometry(minimum).is_ok(), "the minimum is enough");
        assert!(layout.resolve_geometry(minimum - (1 << 20)).is_err(), "less than the minimum is not enough");
    }
    let rules = SizeRules { journal_mib: 64, ..SizeRules::default() };
    writeln!(out, "image size for a tree of 600 MiB: {} KiB", layout.image_size(600 << 10, &rules) >> 10)
        .unwrap();
    match layout.resolve_geometry(8 * GIB) {
        Ok(geometries) => {
            for geometry in geometries {
                writeln!(out, "geometry of {} ({} MiB)", geometry.image, geometry.image_size >> 20).unwrap();
                for place in &geometry.partitions {
                    let (name, number, ebr) = (&place.name, place.number, place.ebr);
                    writeln!(
                        out,
                        "  {number} {name} start {} length {} ebr {ebr:?}",
                        place.start, place.length
                    )
                    .unwrap();
                }
                writeln!(out, "  {:?}", geometry.extended).unwrap();
            }
        }
        Err(faults) => writeln!(out, "geometry\n{faults}").unwrap(),
    }
    writeln!(out, "check\n{}", layout.check(Some(8 * GIB))).unwrap();
    out
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/layout");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

#[test]
fn layouts_mean_what_is_expected() {
    let mut different = Vec::new();
    for case in cases() {
        let text = fs::read_to_string(case.join("layout.yaml")).unwrap();
        let actual = describe(&text);
        let expected = case.join("expected.txt");
        if std::env::var_os("DIBW_BLESS").is_some() {
            fs::write(&expected, &actual).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != actual {
            different.push(format!("{}:\n{actual}", expected.display()));
        }
    }
    assert_eq!(different, Vec::<String>::new(), "run with DIBW_BLESS=1 and look at `git diff`");
}

#[test]
fn the_same_seed_makes_the_same_identifiers_and_another_makes_others() {
    let text = fs::read_to_string(cases()[0].parent().unwrap().join("gpt-hybrid/layout.yaml")).unwrap();
    assert_eq!(read(&text, "a").unwrap(), read(&text, "a").unwrap());
    assert_ne!(read(&text, "a").unwrap(), read(&text, "b").unwrap());
}

#[test]
fn a_disk_too_small_names_the_partition_and_the_sizes() {
    let text = "- local_loop: {name: d}\n- partitioning: {base: d, label: gpt, partitions: [{name: esp, size: 550MiB}, {name: root, size: 100%}]}\n";
    let layout = read(text, "seed").unwrap();
    let message = layout.resolve_geometry(300 << 20).unwrap_err().to_string();
    assert_eq!(
        message,
        "error: layout.yaml:2:52: layout larger than the image: partition [esp] needs 550 MiB, but 298 MiB of the 300 MiB of image \
         [d] are left for it\n  hint: an image of at least 553 MiB is needed for this layout"
    );
    assert!(layout.resolve_geometry(layout.minimum_size()).is_ok());
    let message = layout.resolve_geometry(layout.minimum_size() - 1).unwrap_err().to_string();
    assert!(
        message.contains("nothing of the 553.00 MiB of image [d] is left for partition [root]"),
        "{message}"
    );
}

#[test]
fn an_mbr_ends_at_32_bits_of_sectors() {
    let text = "- local_loop: {name: d}\n- partitioning: {base: d, label: mbr, partitions: [{name: root, size: 100%, flags: [primary]}]}\n";
    let layout = read(text, "seed").unwrap();
    assert!(layout.resolve_geometry(2 << 40).is_ok());
    let message = layout.resolve_geometry(3 << 40).unwrap_err().to_string();
    assert!(message.contains("an MBR can't describe partitions beyond 2048 GiB"), "{message}");
}

#[test]
fn the_sector_size_of_the_environment_wins() {
    let parameters = LayoutParameters {
        file: "f",
        root: &RootDefaults::default(),
        sector_size: Some(4096),
        seed: b"seed",
    };
    let layout = layout::parse("- local_loop: {name: d, block_size: 512}\n", &parameters).unwrap();
    assert_eq!(layout.images[0].sector_size, 4096);
}

#[test]
fn the_fallback_is_a_file_system_on_the_whole_image() {
    let layout = read(layout::FALLBACK, "seed").unwrap();
    assert!(layout.check(Some(GIB)).is_empty());
    assert_eq!(layout.fstab(), "LABEL=cloudimg-rootfs / ext4 defaults 0 1\n");
    let opts = ["-i", "4096", "-J", "size=64", "-O", "^metadata_csum"];
    assert_eq!(layout.filesystems[0].opts, opts);
}
