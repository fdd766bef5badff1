//! qcow2 files of `dibw-image`, as QEMU checks and reads them.

mod tools;

use std::os::unix::fs::FileExt;

use dibw_image::qcow2::{self, Compression, Qcow2Options};
use tools::{attempt, empty_file, have, run, sprinkle, text};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const COMPRESSIONS: [Compression; 5] = [
    Compression::None,
    Compression::Zlib { level: 1 },
    Compression::Zlib { level: 6 },
    Compression::Zlib { level: 12 },
    Compression::Zstd { level: 3 },
];

/// Converts a raw file of `length` bytes with data in `parts`, and has QEMU check and compare the result.
fn convert(name: &str, length: u64, parts: &[(u64, usize, u64)], cluster_size: u32) {
    let place = tempfile::tempdir().expect("temporary directory");
    let raw_path = place.path().join("raw");
    let raw = empty_file(&raw_path, length);
    sprinkle(&raw, parts);
    for compression in COMPRESSIONS {
        let path = place.path().join("qcow2");
        let mut out = empty_file(&path, 0);
        // Something left over must not shine through.
        out.write_all_at(&[0xff; 4096], 100_000).expect("write");
        let options = Qcow2Options { compression, threads: 2, cluster_size };
        let stats = qcow2::write(&raw, &mut out, &options).expect("conversion succeeds");
        let case = format!("{name}, {compression:?}");
        assert_eq!(stats.file_bytes, out.metadata().expect("metadata").len(), "{case}");
        let check = run("qemu-img", &["check", "-f", "qcow2", text(&path)]);
        assert!(check.starts_with("No errors were found on the image."), "{case}: {check}");
        let compared =
            run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", text(&raw_path), text(&path)]);
        assert_eq!(compared, "Images are identical.\n", "{case}");
        let info: serde_json::Value =
            serde_json::from_str(&run("qemu-img", &["info", "--output=json", text(&path)])).expect("JSON");
        assert_eq!(info["virtual-size"], length.next_multiple_of(512), "{case}");
        assert_eq!(info["cluster-size"], cluster_size, "{case}");
        let data = &info["format-specific"]["data"];
        assert_eq!(data["compat"], "1.1", "{case}");
        let kind = if matches!(compression, Compression::Zstd { .. }) { "zstd" } else { "zlib" };
        assert_eq!(data["compression-type"], kind, "{case}");
    }
}

#[test]
fn qemu_reads_what_we_write() {
    if !have("qemu-img") {
        return;
    }
    for (name, length, parts) in [
        ("empty", 0, &[][..]),
        ("one byte", 1, &[(0, 1, 256)][..]),
        ("one sector", 512, &[(0, 512, 256)]),
        ("one cluster less a byte", 64 * KIB - 1, &[(0, 65_535, 4)]),
        ("one cluster", 64 * KIB, &[(0, 65_536, 4)]),
        ("one cluster and a byte", 64 * KIB + 1, &[(0, 65_537, 4)]),
        ("all zero", 10 * MIB, &[]),
        ("zeros written out", 10 * MIB, &[(MIB, 3 << 20, 1)]),
        ("dense, compressible", 5 * MIB, &[(0, 5 << 20, 3)]),
        ("dense, incompressible", 5 * MIB, &[(0, 5 << 20, 256)]),
        // Compressible and not, alternating within clusters and batches.
        (
            "mixed",
            30 * MIB + 12_345,
            &[
                (0, 5 << 20, 256),
                (MIB / 2, 100_000, 2),
                (3 * MIB + 10_000, 200_000, 6),
                (7 * MIB, 66_000, 256),
                (7 * MIB + 66_000, 66_000, 2),
                (8 * MIB, 4 << 20, 90),
                (30 * MIB, 12_345, 3),
            ],
        ),
        // Three L2 tables apart, each of which covers 512 MiB.
        (
            "sparse",
            2 * GIB,
            &[
                (100 * MIB, 300_000, 7),
                (512 * MIB - 10, 20, 256),
                (GIB + 5, 70_000, 256),
                (2 * GIB - 1, 1, 256),
            ],
        ),
    ] {
        convert(name, length, parts, 65_536);
    }
}

#[test]
fn qemu_reads_other_cluster_sizes() {
    if !have("qemu-img") {
        return;
    }
    let parts = [(0, 3 << 20, 5), (4 * MIB, 2 << 20, 256), (9 * MIB + 77, 500_000, 2), (40 * MIB, 1000, 256)];
    for cluster_size in [4096, 16_384, 1 << 20, 2 << 20] {
        convert("other cluster size", 41 * MIB + 512, &parts, cluster_size);
    }
}

/// More data than one block of reference counts can count: with small clusters, 2048 clusters of 4 KiB.
#[test]
fn reference_counts_take_several_blocks() {
    if !have("qemu-img") {
        return;
    }
    convert("many reference counts", 20 * MIB, &[(0, 20 << 20, 256)], 4096);
}

/// Text-like data with repetitions as far back as a cluster allows, which only a decoder that resolves distances of
/// more than 4 KiB can read.
#[test]
fn qemu_reads_matches_from_far_back() {
    if !have("qemu-img") {
        return;
    }
    let place = tempfile::tempdir().expect("temporary directory");
    let (raw_path, path) = (place.path().join("raw"), place.path().join("qcow2"));
    let raw = empty_file(&raw_path, 16 * MIB);
    for cluster in 0..256 {
        let unit = tools::noise(30_000, 256, cluster + 1);
        let bytes = [&unit[..], &unit[..], &unit[..5_000]].concat();
        raw.write_all_at(&bytes, cluster * 64 * KIB).expect("write");
    }
    let mut out = empty_file(&path, 0);
    let stats = qcow2::write(&raw, &mut out, &Qcow2Options::default()).expect("conversion succeeds");
    // Only possible with matches 30,000 bytes back.
    assert_eq!((stats.compressed_clusters, stats.plain_clusters), (256, 0));
    assert!(stats.file_bytes < 9 * MIB, "{stats:?}");
    run("qemu-img", &["check", text(&path)]);
    run("qemu-img", &["compare", text(&raw_path), text(&path)]);
}

/// QEMU can also write to our files: allocation next to packed clusters, and their replacement, keep counts right.
#[test]
fn qemu_writes_into_what_we_write() {
    if !have("qemu-img") || !have("qemu-io") {
        return;
    }
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("qcow2");
    let raw = empty_file(&place.path().join("raw"), 16 * MIB);
    sprinkle(&raw, &[(0, 8 << 20, 3), (9 * MIB, 300_000, 256)]);
    let mut out = empty_file(&path, 0);
    qcow2::write(&raw, &mut out, &Qcow2Options::default()).expect("conversion succeeds");
    let (shown, success) = attempt(
        "qemu-io",
        &[
            "-f",
            "qcow2",
            "-c",
            "write -P 5 100k 200k",
            "-c",
            "write -P 6 12M 1M",
            "-c",
            "read -P 5 100k 200k",
            text(&path),
        ],
    );
    assert!(success && !shown.contains("Pattern verification failed"), "{shown}");
    let check = run("qemu-img", &["check", text(&path)]);
    assert!(check.starts_with("No errors were found on the image."), "{check}");
}
