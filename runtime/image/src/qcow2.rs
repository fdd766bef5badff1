//! Writing qcow2 images, compressed on several threads; reading them back is [`read`].
//!
//! Owns the conversion of a raw file into a qcow2 file of version 3. Must not know who asked, nor the names of the
//! files. Called by the engine.
//!
//! Format: QEMU, docs/interop/qcow2.rst. Of it we write what a fresh image needs: no backing file, no snapshots,
//! no encryption. Guest clusters are read, looked at for zeros and compressed by the workers; this thread alone
//! decides where they go, in the order of the guest's addresses, so the bytes do not depend on the threads.
//!
//! On deflate windows: QEMU compresses with a window of 4 KiB and opens its decoder with the same. That decoder is
//! given a whole cluster's room and decodes it in one call, and then zlib (and zlib-ng) resolve distances within
//! the output itself, not in the window; the format document sets no limit. So libdeflate's 32 KiB distances are
//! fine, and smaller. `tests/image/qcow2.rs` has QEMU read them back.

mod cluster;
mod layout;
pub mod read;

use std::fs::File;

use anyhow::{Context, Result, bail};

use self::cluster::{Batch, Cluster, Encoder};
use self::layout::Layout;
use crate::extents::DataExtents;
use crate::workers::Workers;

/// Guest clusters handed to a worker at once, in bytes: large enough that queues cost nothing.
const BATCH_BYTES: u64 = 512 << 10;

/// The most workers that are started. A lane holds five batches at worst, so that with clusters no larger than a
/// batch all of them stay below 64 MiB; and one writer has trouble keeping up with more.
const MOST_THREADS: usize = 24;

/// How guest clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all; only zero clusters are left out.
    None,
    /// deflate, which every reader of qcow2 understands.
    Zlib {
        /// 1 (fast) to 12 (small), as libdeflate counts.
        level: u32,
    },
    /// zstd, which needs QEMU 5.1 or newer.
    Zstd {
        /// 1 (fast) to 22 (small).
        level: i32,
    },
}

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qcow2Options {
    /// How guest clusters are compressed.
    pub compression: Compression,
    /// Worker threads; at least one is started and at most 24.
    pub threads: usize,
    /// Bytes per cluster: a power of two from 4 KiB to 2 MiB. QEMU's own default is 65536.
    pub cluster_size: u32,
}

impl Default for Qcow2Options {
    /// deflate at level 2: 2 % smaller than `qemu-img convert -c` for less than a third of its processor time, as measured on a root file
    /// system of 750 MB; level 4 is 1.3 % smaller still and takes half as long again, level 1 is 2 % larger than qemu-img's.
    fn default() -> Self {
        Qcow2Options { compression: Compression::Zlib { level: 2 }, threads: 1, cluster_size: 65_536 }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// The size of the disk the guest sees, in bytes.
    pub virtual_bytes: u64,
    /// The size of the qcow2 file, in bytes.
    pub file_bytes: u64,
    /// Guest clusters stored compressed.
    pub compressed_clusters: u64,
    /// Guest clusters stored as they are.
    pub plain_clusters: u64,
    /// Guest clusters left out because they are zero, holes of the raw file included.
    pub zero_clusters: u64,
}

/// Writes the contents of the regular file `raw` to `out` as qcow2. What `out` held before is lost.
///
/// A size that is no multiple of 512 bytes is rounded up, as QEMU does. Moves the offset of `raw`.
///
/// # Errors
/// When an option is out of range, the image is too large for its cluster size, or reading or writing fails; then
/// `out` holds nothing useful.
pub fn write(raw: &File, out: &mut File, options: &Qcow2Options) -> Result<Stats> {
    write_while(raw, out, options, &mut |_| Ok(()))
}

/// As [`write()`], telling `go_on` again and again up to which of the guest's bytes the raw image is read next; its error
/// ends it. What reads the raw image there (a copy, say) spares both a second pass over the disk.
///
/// # Errors
/// As [`write()`], and whatever `go_on` says.
pub fn write_while(
    raw: &File,
    out: &mut File,
    options: &Qcow2Options,
    go_on: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Stats> {
    check(options)?;
    let cluster_size = u64::from(options.cluster_size);
    let raw_bytes = raw.metadata().context("cannot read the size of the raw image")?.len();
    let virtual_bytes = raw_bytes.next_multiple_of(512);

    // 1. Workers, each with a compressor and a descriptor of its own.
    let mut workers = Workers::start(options.threads.min(MOST_THREADS), || {
        let raw = raw.try_clone().context("cannot duplicate the raw image's descriptor")?;
        let mut encoder = Encoder::new(raw, raw_bytes, cluster_size, options.compression)?;
        Ok(move |batch: Batch| encoder.encode(batch))
    })?;

    // 2. Guest clusters that may hold data go out, and come back in order.
    let mut layout = Layout::start(out, options.compression, options.cluster_size, virtual_bytes)?;
    for batch in batches(raw, raw_bytes, cluster_size) {
        let batch = batch?;
        go_on((batch.first + batch.count) * cluster_size)?;
        if workers.is_full() {
            place(&mut layout, workers.take()?)?;
        }
        workers.submit(batch)?;
    }
    while let Some(done) = workers.take()? {
        place(&mut layout, Some(done))?;
    }

    // 3. Tables and header, last: a file cut short is no qcow2 image.
    let mut stats = layout.finish()?;
    let clusters = virtual_bytes.div_ceil(cluster_size);
    stats.zero_clusters = clusters - stats.compressed_clusters - stats.plain_clusters;
    Ok(stats)
}

fn check(options: &Qcow2Options) -> Result<()> {
    if !options.cluster_size.is_power_of_two() || !(4096..=2 << 20).contains(&options.cluster_size) {
        bail!("the cluster size must be a power of two from 4096 to 2097152, not {}", options.cluster_size);
    }
    match options.compression {
        Compression::Zlib { level } if !(1..=12).contains(&level) => {
            bail!("zlib has the levels 1 to 12, not {level}")
        }
        Compression::Zstd { level } if !(1..=22).contains(&level) => {
            bail!("zstd has the levels 1 to 22, not {level}")
        }
        _ => Ok(()),
    }
}

/// The runs of guest clusters that touch data, each once, in order, cut into batches. None reaches into a second L2 table: a batch is placed
/// with its plain clusters last, and a table is written when the next one begins.
fn batches(raw: &File, raw_bytes: u64, cluster_size: u64) -> impl Iterator<Item = Result<Batch>> {
    let per_batch = (BATCH_BYTES / cluster_size).max(1);
    // An L2 table is one cluster of entries of 8 bytes.
    let per_table = cluster_size / 8;
    let mut extents = DataExtents::new(raw, raw_bytes);
    let (mut next, mut end) = (0, 0);
    std::iter::from_fn(move || {
        while next >= end {
            match extents.next()? {
                // Two extents may touch the same cluster: it went out with the first.
                Ok(extent) => {
                    next = (extent.start / cluster_size).max(next);
                    end = extent.end.div_ceil(cluster_size);
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let count = per_batch.min(end - next).min(per_table - next % per_table);
        let batch = Batch { first: next, count };
        next += count;
        Some(Ok(batch))
    })
}

/// Puts the clusters of one batch into the file: compressed ones first, so that plain ones, which must be aligned,
/// interrupt the packing once in a batch at most.
fn place(layout: &mut Layout, done: Option<Result<Vec<(u64, Cluster)>>>) -> Result<()> {
    let Some(clusters) = done else { return Ok(()) };
    let (packed, plain): (Vec<_>, Vec<_>) =
        clusters?.into_iter().partition(|(_, cluster)| matches!(cluster, Cluster::Compressed(_)));
    for (number, cluster) in packed.into_iter().chain(plain) {
        match cluster {
            Cluster::Compressed(bytes) => layout.compressed(number, &bytes)?,
            Cluster::Plain(bytes) => layout.plain(number, &bytes)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn converted(raw: &File, options: &Qcow2Options) -> (Vec<u8>, Stats) {
        let mut out = tempfile::tempfile().expect("temporary file");
        let stats = write(raw, &mut out, options).expect("convert");
        let mut bytes = vec![0; out.metadata().expect("metadata").len() as usize];
        out.read_exact_at(&mut bytes, 0).expect("read");
        (bytes, stats)
    }

    #[test]
    fn an_empty_image_has_a_header_and_tables() {
        let raw = tempfile::tempfile().expect("temporary file");
        let (bytes, stats) = converted(&raw, &Qcow2Options::default());
        assert_eq!(bytes[..8], [b'Q', b'F', b'I', 0xfb, 0, 0, 0, 3]);
        assert_eq!(stats, Stats { file_bytes: bytes.len() as u64, ..Stats::default() });
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_threads() {
        let raw = tempfile::tempfile().expect("temporary file");
        raw.set_len(40 << 20).expect("set length");
        let mut state = 1_u32;
        for offset in [0, 3 << 20, (30 << 20) + 777] {
            let noise: Vec<u8> = (0..3_000_000_u32)
                .map(|index| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if index / 100_000 % 2 == 0 { (state >> 24) as u8 } else { (state >> 29) as u8 }
                })
                .collect();
            raw.write_all_at(&noise, offset).expect("write");
        }
        for compression in [Compression::None, Compression::Zlib { level: 1 }, Compression::Zstd { level: 1 }]
        {
            let outputs = [1, 2, 6].map(|threads| {
                converted(&raw, &Qcow2Options { compression, threads, ..Qcow2Options::default() })
            });
            assert!(outputs[0] == outputs[1] && outputs[1] == outputs[2], "{compression:?}");
            let stats = outputs[0].1;
            assert_eq!(stats.virtual_bytes, 40 << 20);
            assert!(stats.plain_clusters > 0 && stats.zero_clusters > 400);
            assert_eq!(stats.compressed_clusters > 0, compression != Compression::None);
        }
    }

    #[test]
    fn clusters_of_two_kinds_may_meet_where_an_l2_table_ends() {
        let raw = tempfile::tempfile().expect("temporary file");
        let mut state = 1_u32;
        // Clusters of 4 KiB, 512 in a table; every other one is noise, and nothing begins where a batch would be even.
        for number in 3..2000_u64 {
            let bytes: Vec<u8> = (0..4096)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if number % 2 == 0 { (state >> 24) as u8 } else { 7 }
                })
                .collect();
            raw.write_all_at(&bytes, number * 4096).expect("write");
        }
        let options =
            Qcow2Options { cluster_size: 4096, threads: 2, compression: Compression::Zlib { level: 1 } };
        let (_, stats) = converted(&raw, &options);
        assert_eq!((stats.compressed_clusters, stats.plain_clusters), (999, 998));
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let raw = tempfile::tempfile().expect("temporary file");
        let mut out = tempfile::tempfile().expect("temporary file");
        for (compression, cluster_size) in [
            (Compression::None, 0),
            (Compression::None, 65_535),
            (Compression::None, 2048),
            (Compression::None, 4 << 20),
            (Compression::Zlib { level: 0 }, 65_536),
            (Compression::Zlib { level: 13 }, 65_536),
            (Compression::Zstd { level: 0 }, 65_536),
            (Compression::Zstd { level: 23 }, 65_536),
        ] {
            let options = Qcow2Options { compression, threads: 1, cluster_size };
            assert!(write(&raw, &mut out, &options).is_err(), "{options:?}");
        }
    }
}
