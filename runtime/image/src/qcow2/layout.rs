//! Where things lie in a qcow2 file: header, data, tables, reference counts.
//!
//! Owns the file under construction. Must not know how clusters were compressed. Called by `qcow2` alone, with
//! guest clusters in ascending batches.
//!
//! The file grows at its end only. Data goes where the end is; an L2 table follows its data as soon as the guest
//! addresses pass it by, so that one L2 table at a time is in memory; then come the L1 table and the reference
//! counts. Two bytes of memory per host cluster and eight per L2 table are all that grows with the image.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};

use super::{Compression, Stats};

/// Marks an L1 or L2 entry whose cluster has a reference count of exactly one.
const COPIED: u64 = 1 << 63;

/// Marks the L2 entry of a compressed cluster.
const COMPRESSED: u64 = 1 << 62;

/// Bytes of the header, up to and with the compression type.
const HEADER_LENGTH: u32 = 112;

/// The incompatible feature "compression type is not zlib".
const COMPRESSION_TYPE_BIT: u64 = 1 << 3;

/// The header extension that gives names to feature bits.
const FEATURE_NAMES: u32 = 0x6803_f857;

/// Bytes of packed clusters that are gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// QEMU opens no image with a larger L1 table (block/qcow2.h, `QCOW_MAX_L1_SIZE`).
const L1_BYTES: u64 = 32 << 20;

/// A qcow2 file under construction.
pub(super) struct Layout<'out> {
    out: &'out File,
    compression: Compression,
    cluster_bits: u32,
    /// How often each host cluster is used; its length is the number of clusters handed out.
    references: Vec<u16>,
    /// Where the next packed cluster goes, and whether there is such a place.
    packing: Option<u64>,
    /// Packed bytes not written yet, which end at `packing`.
    pending: Vec<u8>,
    l1: Vec<u64>,
    l2: Vec<u64>,
    /// The L1 index that `l2` is for; `None` while `l2` is empty.
    l2_index: Option<usize>,
    stats: Stats,
}

impl<'out> Layout<'out> {
    /// Empties `out` and reserves its first cluster for the header.
    pub(super) fn start(
        out: &'out File,
        compression: Compression,
        cluster_size: u32,
        virtual_bytes: u64,
    ) -> Result<Self> {
        let cluster_bits = cluster_size.trailing_zeros();
        let l2_entries = u64::from(cluster_size) / 8;
        let l1_entries = virtual_bytes.div_ceil(u64::from(cluster_size)).div_ceil(l2_entries);
        if l1_entries * 8 > L1_BYTES {
            bail!("an image of {virtual_bytes} bytes is too large for clusters of {cluster_size} bytes");
        }
        out.set_len(0).context("cannot empty the qcow2 file")?;
        Ok(Layout {
            out,
            compression,
            cluster_bits,
            references: vec![1],
            packing: None,
            pending: Vec::new(),
            // Both fit: the one is bounded above, the other by the cluster size.
            l1: vec![0; l1_entries as usize],
            l2: vec![0; l2_entries as usize],
            l2_index: None,
            stats: Stats { virtual_bytes, ..Stats::default() },
        })
    }

    /// Adds the guest cluster `number` as it is.
    pub(super) fn plain(&mut self, number: u64, bytes: &[u8]) -> Result<()> {
        let offset = self.allocate(1);
        self.write(offset, bytes, "data")?;
        self.stats.plain_clusters += 1;
        self.enter(number, offset | COPIED)
    }

    /// Adds the guest cluster `number`, compressed, right after the compressed one before where possible.
    pub(super) fn compressed(&mut self, number: u64, bytes: &[u8]) -> Result<()> {
        let offset = self.pack(bytes)?;
        let last = offset + bytes.len() as u64 - 1;
        for cluster in offset >> self.cluster_bits..=last >> self.cluster_bits {
            let count = &mut self.references[cluster as usize];
            // No cluster of ours is so large, and none compresses so well, that this many fit into one.
            *count = count.checked_add(1).context("too many compressed clusters share one of the file's")?;
        }
        // The offset takes the low bits of the entry, the number of further sectors touched the rest.
        let size_shift = 62 - (self.cluster_bits - 8);
        let sectors = (last >> 9) - (offset >> 9);
        if offset >> size_shift != 0 {
            bail!("the qcow2 file grows beyond what its cluster size can address");
        }
        self.stats.compressed_clusters += 1;
        self.enter(number, COMPRESSED | sectors << size_shift | offset)
    }

    /// Writes the tables and the header.
    pub(super) fn finish(mut self) -> Result<Stats> {
        self.flush_packed()?;
        self.flush_l2()?;
        let l1_offset = self.write_l1()?;
        let (table_offset, table_clusters) = self.write_references()?;
        let file_bytes = (self.references.len() as u64) << self.cluster_bits;
        // The last cluster may be longer than what was written to it.
        self.out.set_len(file_bytes).context("cannot set the qcow2 file's size")?;
        let header = self.header(l1_offset, table_offset, table_clusters);
        self.write(0, &header, "header")?;
        self.stats.file_bytes = file_bytes;
        Ok(self.stats)
    }

    fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Hands out `count` clusters at the end of the file, each with one reference; gives their offset.
    fn allocate(&mut self, count: usize) -> u64 {
        let first = self.references.len();
        self.references.resize(first + count, 1);
        (first as u64) << self.cluster_bits
    }

    fn write(&self, offset: u64, bytes: &[u8], what: &str) -> Result<()> {
        self.out
            .write_all_at(bytes, offset)
            .with_context(|| format!("cannot write qcow2 {what} of {} bytes at byte {offset}", bytes.len()))
    }

    /// Finds a place for compressed bytes and queues them to be written there.
    fn pack(&mut self, bytes: &[u8]) -> Result<u64> {
        let end_of_file = (self.references.len() as u64) << self.cluster_bits;
        let length = bytes.len() as u64;
        let fits = |place: u64| {
            // Bytes left in the cluster that is being filled; none at a boundary, where the next would be needed.
            let left = place.next_multiple_of(self.cluster_size()) - place;
            length <= left || place + left == end_of_file
        };
        let offset = match self.packing.filter(|place| fits(*place)) {
            Some(place) => place,
            None => {
                self.flush_packed()?;
                end_of_file
            }
        };
        while (self.references.len() as u64) << self.cluster_bits < offset + length {
            // Counted when the bytes are entered, not as a cluster of its own.
            self.references.push(0);
        }
        if self.pending.len() >= WRITE_BYTES {
            self.flush_packed()?;
        }
        self.pending.extend_from_slice(bytes);
        self.packing = Some(offset + length);
        Ok(offset)
    }

    fn flush_packed(&mut self) -> Result<()> {
        if let Some(end) = self.packing {
            self.write(end - self.pending.len() as u64, &self.pending, "compressed data")?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Notes where a guest cluster is. Passing to another L2 table writes the one before.
    fn enter(&mut self, number: u64, entry: u64) -> Result<()> {
        let per_table = self.l2.len() as u64;
        let index = (number / per_table) as usize;
        if self.l2_index != Some(index) {
            self.flush_l2()?;
            self.l2_index = Some(index);
        }
        self.l2[(number % per_table) as usize] = entry;
        Ok(())
    }

    fn flush_l2(&mut self) -> Result<()> {
        if let Some(index) = self.l2_index.take() {
            if self.l1[index] != 0 {
                bail!("guest clusters came out of order: L2 table {index} is already written");
            }
            let offset = self.allocate(1);
            self.write(offset, &big_endian(&self.l2), "L2 table")?;
            self.l1[index] = offset | COPIED;
            self.l2.fill(0);
        }
        Ok(())
    }

    fn write_l1(&mut self) -> Result<u64> {
        let bytes = big_endian(&self.l1);
        let clusters = (bytes.len() as u64).div_ceil(self.cluster_size());
        let offset = self.allocate(clusters as usize);
        self.write(offset, &bytes, "L1 table")?;
        Ok(offset)
    }

    /// Writes the reference counts, which also count themselves. Gives the table's offset and clusters.
    fn write_references(&mut self) -> Result<(u64, u32)> {
        let per_block = self.cluster_size() / 2;
        let per_table = self.cluster_size() / 8;
        let used = self.references.len() as u64;
        let (mut blocks, mut tables) = (0, 0);
        // Blocks and table take clusters that need counts, too; each round adds few, so this settles at once.
        loop {
            let needed = (used + blocks + tables).div_ceil(per_block);
            if (needed, needed.div_ceil(per_table)) == (blocks, tables) {
                break;
            }
            (blocks, tables) = (needed, needed.div_ceil(per_table));
        }
        let first_block = self.allocate(blocks as usize);
        let table = self.allocate(tables as usize);
        let bits = self.cluster_bits;
        let offsets: Vec<u64> = (0..blocks).map(|block| first_block + (block << bits)).collect();
        let mut block_bytes = Vec::with_capacity(1 << bits);
        for (offset, counts) in offsets.iter().zip(self.references.chunks(per_block as usize)) {
            block_bytes.clear();
            block_bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
            self.write(*offset, &block_bytes, "reference counts")?;
        }
        self.write(table, &big_endian(&offsets), "reference count table")?;
        Ok((table, u32::try_from(tables).context("the reference count table is too large")?))
    }

    fn header(&self, l1_offset: u64, table_offset: u64, table_clusters: u32) -> Vec<u8> {
        let (features, compression_type) = match self.compression {
            Compression::None | Compression::Zlib { .. } => (0, 0),
            Compression::Zstd { .. } => (COMPRESSION_TYPE_BIT, 1),
        };
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(b"QFI\xfb");
        bytes.extend(3_u32.to_be_bytes());
        // No backing file: offset and length.
        bytes.extend([0; 12]);
        bytes.extend(self.cluster_bits.to_be_bytes());
        bytes.extend(self.stats.virtual_bytes.to_be_bytes());
        // No encryption.
        bytes.extend([0; 4]);
        // At most 32 MiB / 8, checked at the start.
        bytes.extend((self.l1.len() as u32).to_be_bytes());
        bytes.extend(l1_offset.to_be_bytes());
        bytes.extend(table_offset.to_be_bytes());
        bytes.extend(table_clusters.to_be_bytes());
        // No snapshots: number and offset.
        bytes.extend([0; 12]);
        bytes.extend(features.to_be_bytes());
        // No compatible and no autoclear features.
        bytes.extend([0; 16]);
        // Reference counts of 2^4 bits.
        bytes.extend(4_u32.to_be_bytes());
        bytes.extend(HEADER_LENGTH.to_be_bytes());
        bytes.extend([compression_type, 0, 0, 0, 0, 0, 0, 0]);
        if features != 0 {
            // So that a reader too old for zstd can say what it lacks.
            let mut name = [0; 48];
            name[1] = 3;
            name[2..18].copy_from_slice(b"compression type");
            bytes.extend(FEATURE_NAMES.to_be_bytes());
            bytes.extend((name.len() as u32).to_be_bytes());
            bytes.extend(name);
        }
        // End of the extensions.
        bytes.extend([0; 8]);
        bytes
    }
}

fn big_endian(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}
