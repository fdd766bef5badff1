//! Reading qcow2 images back: versions 2 and 3, clusters plain, zero or compressed with deflate or zstd.
//!
//! Owns the way from guest clusters to bytes of the file. Images with a backing file, an external data file or encryption are refused.
//! The image is not trusted: every number of it is checked before it is used. Called by the engine.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};

/// What a qcow2 file begins with.
const MAGIC: [u8; 4] = *b"QFI\xfb";

/// The low bits of L1 and L2 entries that are an offset (docs/interop/qcow2.rst).
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

const COMPRESSED: u64 = 1 << 62;

/// The bit of a standard L2 entry for a cluster that reads as zeros.
const ZERO: u64 = 1;

/// Incompatible features that do not matter to a reader: dirty reference counts; and the compression type.
const KNOWN_FEATURES: u64 = 1 | 1 << 3;

/// QEMU opens no image with a larger L1 table.
const MOST_L1_ENTRIES: u64 = (32 << 20) / 8;

/// Whether the file begins as a qcow2 image does.
///
/// # Errors
/// When it can't be read.
pub fn is_qcow2(image: &File) -> Result<bool> {
    let mut start = [0; 4];
    let read = image.read_at(&mut start, 0).context("cannot read the start of the image")?;
    Ok(read == start.len() && start == MAGIC)
}

/// Writes the guest's disk to `raw`, which is empty and stays sparse where the guest has zeros. Gives the size of the disk in bytes.
///
/// # Errors
/// When the image has features that are not read here or is damaged, and when reading or writing fails.
pub fn to_raw(image: &File, raw: &File) -> Result<u64> {
    let header = Header::read(image)?;
    raw.set_len(header.size).context("cannot set the size of the raw image")?;
    let per_table = header.cluster() / 8;
    let l1 = table(image, header.l1_offset, header.l1_entries).context("the L1 table")?;
    let mut bytes = vec![0; header.cluster() as usize];
    for (index, entry) in (0..).zip(l1) {
        let offset = entry & OFFSET_MASK;
        let first = index * per_table * header.cluster();
        if offset == 0 || first >= header.size {
            continue;
        }
        let l2 = table(image, offset, per_table).context("an L2 table")?;
        for (number, entry) in (0..).zip(l2) {
            let guest = first + number * header.cluster();
            if guest >= header.size {
                break;
            }
            if header.load(image, entry, &mut bytes).with_context(|| format!("the cluster at {guest}"))? {
                let length = (header.size - guest).min(header.cluster()) as usize;
                raw.write_all_at(&bytes[..length], guest).context("cannot write the raw image")?;
            }
        }
    }
    Ok(header.size)
}

/// What of the header matters.
struct Header {
    cluster_bits: u32,
    size: u64,
    l1_entries: u64,
    l1_offset: u64,
    zstd: bool,
}

impl Header {
    fn read(image: &File) -> Result<Self> {
        let mut bytes = [0; 105];
        image.read_exact_at(&mut bytes[..72], 0).context("cannot read the qcow2 header")?;
        let u32_at =
            |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at =
            |bytes: &[u8], at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        ensure!(bytes[..4] == MAGIC, "this is not qcow2");
        let version = u32_at(&bytes, 4);
        ensure!(matches!(version, 2 | 3), "qcow2 version {version} is not read here");
        ensure!(u64_at(&bytes, 8) == 0, "it has a backing file; join the two with qemu-img convert");
        ensure!(u32_at(&bytes, 32) == 0, "it is encrypted");
        let mut zstd = false;
        if version == 3 {
            image.read_exact_at(&mut bytes[72..104], 72).context("cannot read the qcow2 header")?;
            let features = u64_at(&bytes, 72);
            ensure!(features & !KNOWN_FEATURES == 0, "it has features that are not read here: {features:#x}");
            if features & (1 << 3) != 0 {
                image.read_exact_at(&mut bytes[104..], 104).context("cannot read the compression type")?;
                ensure!(bytes[104] == 1, "compression type {} is not read here", bytes[104]);
                zstd = true;
            }
        }
        let header = Self {
            cluster_bits: u32_at(&bytes, 20),
            size: u64_at(&bytes, 24),
            l1_entries: u64::from(u32_at(&bytes, 36)),
            l1_offset: u64_at(&bytes, 40),
            zstd,
        };
        ensure!((9..=21).contains(&header.cluster_bits), "clusters of 2^{} bytes", header.cluster_bits);
        ensure!(header.l1_entries <= MOST_L1_ENTRIES, "its L1 table is too large");
        ensure!(header.size <= i64::MAX as u64, "a disk of {} bytes", header.size);
        Ok(header)
    }

    fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Reads the cluster of an L2 entry; false when it is all zeros.
    fn load(&self, image: &File, entry: u64, bytes: &mut [u8]) -> Result<bool> {
        if entry & COMPRESSED != 0 {
            self.unpack(image, entry, bytes)?;
            return Ok(true);
        }
        let offset = entry & OFFSET_MASK;
        if offset == 0 || entry & ZERO != 0 {
            return Ok(false);
        }
        image.read_exact_at(bytes, offset).context("cannot read it")?;
        Ok(true)
    }

    /// The entry holds where the packed bytes begin, and how many sectors beside the first they touch.
    fn unpack(&self, image: &File, entry: u64, bytes: &mut [u8]) -> Result<()> {
        let shift = 62 - (self.cluster_bits - 8);
        let offset = entry & ((1 << shift) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> shift;
        let length = ((sectors + 1) * 512 - offset % 512) as usize;
        let mut packed = vec![0; length];
        let mut filled = 0;
        // The last sector may end after the file.
        while filled < length {
            match image.read_at(&mut packed[filled..], offset + filled as u64).context("cannot read it")? {
                0 => break,
                read => filled += read,
            }
        }
        packed.truncate(filled);
        if self.zstd {
            let mut decoder = zstd::stream::read::Decoder::new(packed.as_slice())?.single_frame();
            decoder.read_exact(bytes).context("its zstd data is damaged")
        } else {
            match libdeflater::Decompressor::new().deflate_decompress(&packed, bytes) {
                Ok(written) if written == bytes.len() => Ok(()),
                Ok(_) | Err(_) => bail!("its deflate data is damaged"),
            }
        }
    }
}

fn table(image: &File, offset: u64, entries: u64) -> Result<Vec<u64>> {
    let mut bytes = vec![0; (entries * 8) as usize];
    image.read_exact_at(&mut bytes, offset).with_context(|| format!("cannot read {entries} entries"))?;
    Ok(bytes
        .chunks_exact(8)
        .map(|entry| u64::from_be_bytes(entry.try_into().expect("eight bytes")))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qcow2::{Compression, Qcow2Options, write};

    #[test]
    fn what_was_written_is_read_back() {
        let raw = tempfile::tempfile().expect("temporary file");
        raw.set_len((9 << 20) + 512).expect("set length");
        let text: Vec<u8> = (0..200_000_u32).map(|index| (index / 7) as u8).collect();
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let noise: Vec<u8> = (0..150_000).map(|_| noise()).collect();
        raw.write_all_at(&text, 70_000).expect("write");
        raw.write_all_at(&noise, 5 << 20).expect("write");
        raw.write_all_at(b"the end", (9 << 20) + 505).expect("write");
        let content = |file: &File| {
            let mut bytes = vec![0; file.metadata().expect("metadata").len() as usize];
            file.read_exact_at(&mut bytes, 0).expect("read");
            bytes
        };
        for compression in [Compression::None, Compression::Zlib { level: 4 }, Compression::Zstd { level: 3 }]
        {
            for cluster_size in [4096, 65_536, 2 << 20] {
                let mut image = tempfile::tempfile().expect("temporary file");
                write(&raw, &mut image, &Qcow2Options { compression, threads: 1, cluster_size })
                    .expect("convert");
                assert!(is_qcow2(&image).expect("read"));
                let back = tempfile::tempfile().expect("temporary file");
                assert_eq!(to_raw(&image, &back).expect("convert back"), (9 << 20) + 512);
                assert!(content(&raw) == content(&back), "{compression:?} {cluster_size}");
            }
        }
        assert!(!is_qcow2(&raw).expect("read"));
    }

    #[test]
    fn what_is_cut_short_is_damaged() {
        let image = tempfile::tempfile().expect("temporary file");
        let raw = tempfile::tempfile().expect("temporary file");
        assert!(to_raw(&image, &raw).is_err());
        image.write_all_at(b"QFI\xfb\0\0\0\x03", 0).expect("write");
        image.set_len(200).expect("set length");
        assert!(to_raw(&image, &raw).is_err());
    }
}
