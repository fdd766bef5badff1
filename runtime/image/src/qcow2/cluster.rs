//! Reading guest clusters and making them as small as they get.
//!
//! Owns what a worker thread does. Must not know where clusters go in the file. Called by `qcow2` alone.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, anyhow};

use super::Compression;

/// Consecutive guest clusters for one worker.
pub(super) struct Batch {
    /// The number of the first.
    pub(super) first: u64,
    /// How many.
    pub(super) count: u64,
}

/// A guest cluster that is not all zeros.
pub(super) enum Cluster {
    /// Compressed, and smaller for it.
    Compressed(Vec<u8>),
    /// As the guest sees it, a whole cluster long.
    Plain(Vec<u8>),
}

/// One worker's state.
pub(super) struct Encoder {
    raw: File,
    raw_bytes: u64,
    cluster_size: usize,
    /// A batch as read, zero beyond the end of the raw file. Kept from batch to batch.
    read: Vec<u8>,
    /// Room for one compressed cluster.
    room: Vec<u8>,
    compressor: Compressor,
}

enum Compressor {
    None,
    Deflate(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    /// An encoder of the first `raw_bytes` bytes of `raw`.
    pub(super) fn new(
        raw: File,
        raw_bytes: u64,
        cluster_size: u64,
        compression: Compression,
    ) -> Result<Self> {
        let compressor = match compression {
            Compression::None => Compressor::None,
            Compression::Zlib { level } => {
                let level =
                    i32::try_from(level).ok().and_then(|level| libdeflater::CompressionLvl::new(level).ok());
                Compressor::Deflate(libdeflater::Compressor::new(level.context("no such zlib level")?))
            }
            Compression::Zstd { level } => {
                Compressor::Zstd(zstd::bulk::Compressor::new(level).context("cannot set up zstd")?)
            }
        };
        let cluster_size = usize::try_from(cluster_size).context("the cluster size is too large")?;
        Ok(Encoder {
            raw,
            raw_bytes,
            cluster_size,
            read: Vec::new(),
            room: vec![0; cluster_size - 1],
            compressor,
        })
    }

    /// The clusters of `batch` that are not all zeros, with their numbers.
    pub(super) fn encode(&mut self, batch: Batch) -> Result<Vec<(u64, Cluster)>> {
        let start = batch.first * self.cluster_size as u64;
        let wanted = usize::try_from(batch.count).context("a batch is too large")? * self.cluster_size;
        let available = usize::try_from(self.raw_bytes - start).unwrap_or(usize::MAX).min(wanted);
        self.read.resize(wanted, 0);
        self.raw
            .read_exact_at(&mut self.read[..available], start)
            .with_context(|| format!("cannot read the raw image at byte {start}"))?;
        self.read[available..].fill(0);

        let mut clusters = Vec::new();
        for (number, bytes) in (batch.first..).zip(self.read.chunks_exact(self.cluster_size)) {
            if is_zero(bytes) {
                continue;
            }
            let cluster = match compress(&mut self.compressor, bytes, &mut self.room)? {
                Some(length) => Cluster::Compressed(self.room[..length].to_vec()),
                None => Cluster::Plain(bytes.to_vec()),
            };
            clusters.push((number, cluster));
        }
        Ok(clusters)
    }
}

/// Compresses into `room`, which is smaller than a cluster; `None` when the result does not fit.
fn compress(compressor: &mut Compressor, bytes: &[u8], room: &mut [u8]) -> Result<Option<usize>> {
    match compressor {
        Compressor::None => Ok(None),
        Compressor::Deflate(deflate) => match deflate.deflate_compress(bytes, room) {
            Ok(length) => Ok(Some(length)),
            Err(libdeflater::CompressionError::InsufficientSpace) => Ok(None),
        },
        Compressor::Zstd(zstd) => match zstd.context_mut().compress2(room, bytes) {
            Ok(length) => Ok(Some(length)),
            Err(code) if zstd::zstd_safe::get_error_name(code) == DESTINATION_TOO_SMALL => Ok(None),
            Err(code) => Err(anyhow!("zstd: {}", zstd::zstd_safe::get_error_name(code))),
        },
    }
}

/// How zstd names its error `dstSize_tooSmall` (lib/common/error_private.c); the crate hands out names alone.
const DESTINATION_TOO_SMALL: &str = "Destination buffer is too small";

/// Whether all bytes are zero. Blocks, because a test at every byte would keep the compiler from using wide
/// registers, and a test at the end alone would read all of a cluster that starts with data.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_told_from_nearly_zero() {
        let mut bytes = vec![0; 65_536];
        assert!(is_zero(&bytes));
        for position in [0, 255, 256, 40_000, 65_535] {
            bytes[position] = 1;
            assert!(!is_zero(&bytes));
            bytes[position] = 0;
        }
    }

    #[test]
    fn what_does_not_shrink_is_kept_plain() {
        let mut state = 7_u32;
        let noise: Vec<u8> = (0..65_536)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        for compression in [Compression::Zlib { level: 6 }, Compression::Zstd { level: 3 }] {
            let file = tempfile::tempfile().expect("temporary file");
            file.write_all_at(&noise, 0).expect("write");
            file.write_all_at(&[5; 10], 2 * 65_536).expect("write");
            let mut encoder = Encoder::new(file, 2 * 65_536 + 10, 65_536, compression).expect("encoder");
            let clusters = encoder.encode(Batch { first: 0, count: 3 }).expect("encode");
            let kinds: Vec<_> = clusters
                .iter()
                .map(|(number, cluster)| (*number, matches!(cluster, Cluster::Plain(_))))
                .collect();
            assert_eq!(kinds, [(0, true), (2, false)]);
        }
    }
}
