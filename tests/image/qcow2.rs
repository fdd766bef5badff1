//! qcow2 files of `dibw-image`, as QEMU checks and reads them.

mod tools;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use dibw_image::checksum::{Algorithms, of_file};
use dibw_image::qcow2::{self, Compression, Qcow2Options};
use dibw_image::sparse::SparseCopy;
use tools::{attempt, empty_file, have, run, sprinkle, text};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const COMPRESSIONS: [Compression; 6] = [
    Compression::None,
    Compression::Zlib { level: 1 },
    Compression::Zlib { level: 6 },
    Compression::Zlib { level: 12 },
    Compression::Zstd { level: 1 },
    Compression::Zstd { level: 3 },
];

/// Converts a raw file of `length` bytes with data in `parts`, and has QEMU check the result and compare it with its own.
fn convert(name: &str, length: u64, parts: &[(u64, usize, u64)], cluster_size: u32) {
    let place = tempfile::tempdir().expect("temporary directory");
    let raw_path = place.path().join("raw");
    let raw = empty_file(&raw_path, length);
    sprinkle(&raw, parts);
    let theirs = place.path().join("theirs");
    run("qemu-img", &["convert", "-c", "-f", "raw", "-O", "qcow2", text(&raw_path), text(&theirs)]);
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
        run("qemu-img", &["compare", "-f", "qcow2", "-F", "qcow2", text(&theirs), text(&path)]);
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
        ("an odd size, incompressible", 3 * MIB + 777, &[(0, (3 << 20) + 777, 256)]),
        ("data at both ends of a hole", 40 * MIB + 513, &[(0, 70_000, 4), (40 * MIB + 500, 13, 256)]),
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

/// A sparse copy in the same pass, and the digests of both, are what they are alone.
#[test]
fn a_raw_copy_in_the_same_pass() {
    if !have("sha256sum") {
        return;
    }
    for (name, length, parts) in [
        ("empty", 0, &[][..]),
        ("all zero", 3 * MIB + 5, &[]),
        ("dense", 2 * MIB + 5, &[(0, (2 << 20) + 5, 7)]),
        ("holes", 12 * MIB, &[(4096, 10, 256), (3 * MIB, 1 << 20, 3), (9 * MIB + 999, 100_000, 256)]),
    ] {
        let place = tempfile::tempdir().expect("temporary directory");
        let [raw_path, copy_path, path] = ["raw", "copy", "qcow2"].map(|name| place.path().join(name));
        let raw = empty_file(&raw_path, length);
        sprinkle(&raw, parts);
        for compression in [Compression::None, Compression::Zlib { level: 1 }, Compression::Zstd { level: 1 }]
        {
            let case = format!("{name}, {compression:?}");
            let options = Qcow2Options { compression, threads: 2, ..Qcow2Options::default() };
            let mut alone = tempfile::tempfile().expect("temporary file");
            let stats = qcow2::write(&raw, &mut alone, &options).expect("conversion succeeds");
            let (copied, mut out) = (empty_file(&copy_path, 0), empty_file(&path, 0));
            let mut copy =
                SparseCopy::start(&raw, &copied, length, Some(Algorithms::Sha256)).expect("it starts");
            let both = qcow2::write_while(&raw, &mut out, &options, &mut |end| copy.up_to(end));
            assert_eq!(both.expect("conversion succeeds"), stats, "{case}");
            let sum_of_copy = copy.finish().expect("the copy succeeds").expect("asked for").sha256;
            let sum = of_file(&out, Algorithms::Sha256).expect("digest").sha256;
            assert_eq!(of_file(&alone, Algorithms::Sha256).expect("digest").sha256, sum, "{case}");
            for (path, sum) in [(&copy_path, &sum_of_copy), (&raw_path, &sum_of_copy), (&path, &sum)] {
                assert!(run("sha256sum", &[text(path)]).starts_with(sum), "{case}: {}", text(path));
            }
            let room = |file: &File| file.metadata().expect("metadata").blocks();
            assert!(room(&copied) <= room(&raw) + 64, "{case}: the copy is not sparse");
        }
    }
}

/// What QEMU makes of the same data is no smaller by more than 3 %.
#[test]
fn as_small_as_what_qemu_writes() {
    if !have("qemu-img") {
        return;
    }
    let place = tempfile::tempdir().expect("temporary directory");
    let [raw_path, path] = ["raw", "qcow2"].map(|name| place.path().join(name));
    let raw = empty_file(&raw_path, 24 * MIB);
    // A program, text and noise, as images have them.
    let mut program = std::fs::read(std::env::current_exe().expect("it has a path")).expect("read");
    program.truncate(16 << 20);
    raw.write_all_at(&program, 0).expect("write");
    let text_of_code = concat!(include_str!("qcow2.rs"), include_str!("../../Cargo.lock"));
    raw.write_all_at(text_of_code.as_bytes(), 17 * MIB).expect("write");
    raw.write_all_at(&tools::noise(2 << 20, 256, 7), 18 * MIB).expect("write");
    for (compression, kind) in [
        (Qcow2Options::default().compression, "compression_type=zlib"),
        (Compression::Zstd { level: 3 }, "compression_type=zstd"),
    ] {
        let mut out = tempfile::tempfile().expect("temporary file");
        let options = Qcow2Options { compression, threads: 2, ..Qcow2Options::default() };
        let ours = qcow2::write(&raw, &mut out, &options).expect("conversion succeeds").file_bytes;
        run(
            "qemu-img",
            &["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", kind, text(&raw_path), text(&path)],
        );
        let theirs = std::fs::metadata(&path).expect("metadata").len();
        assert!(ours * 100 <= theirs * 103, "{kind}: {ours} and {theirs} bytes");
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
