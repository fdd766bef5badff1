//! Copying a file without writing out its holes.
//!
//! Owns the copy. Must not know what the file is. Called by the engine for raw outputs and staging.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};
use rustix::fs::copy_file_range;
use rustix::io::Errno;

use crate::checksum::{Algorithms, Digester, Sums};
use crate::extents::DataExtents;

/// Bytes per read and write where the kernel cannot copy by itself, and per block of a digest.
const BLOCK: u64 = 1 << 20;

/// Bytes copied before it is asked whether to go on: a fraction of a second on any disk.
const AT_ONCE: u64 = 64 << 20;

/// Makes `destination` a copy of the first `length` bytes of `source`, holes staying holes; gives its digests.
///
/// The kernel copies where it can, which shares the blocks on file systems that know how (xfs, btrfs). What
/// `destination` held before is lost. Moves the offset of `source`; both must be regular files. `go_on` is asked again
/// and again, and its error ends it.
///
/// # Errors
/// On any read or write error, when `source` is shorter than `length`, and whatever `go_on` says.
pub fn copy_sparse_while(
    source: &File,
    destination: &File,
    length: u64,
    algorithms: Option<Algorithms>,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Option<Sums>> {
    let mut copy = SparseCopy::start(source, destination, length, algorithms)?;
    while copy.position < length {
        go_on()?;
        copy.up_to(copy.position + AT_ONCE)?;
    }
    copy.finish()
}

/// A sparse copy under way, for callers that do more with the same bytes: what has just been copied is in memory.
pub struct SparseCopy<'files> {
    source: &'files File,
    destination: &'files File,
    length: u64,
    /// All bytes before are copied.
    position: u64,
    extents: DataExtents<'files>,
    /// The data at `position` or, when there is a hole, after it.
    data: Range<u64>,
    digester: Option<Digester>,
}

impl<'files> SparseCopy<'files> {
    /// As [`copy_sparse_while`], with nothing copied yet.
    ///
    /// # Errors
    /// When `source` is shorter than `length`, or `destination` cannot be given its size.
    pub fn start(
        source: &'files File,
        destination: &'files File,
        length: u64,
        algorithms: Option<Algorithms>,
    ) -> Result<Self> {
        let available = source.metadata().context("cannot read the size of the source")?.len();
        if available < length {
            bail!("the source has {available} bytes, fewer than the {length} to copy");
        }
        // Cutting to nothing first is what makes everything not copied read as zeros.
        destination.set_len(0).context("cannot empty the destination")?;
        destination
            .set_len(length)
            .with_context(|| format!("cannot set the destination's size to {length} bytes"))?;
        Ok(SparseCopy {
            source,
            destination,
            length,
            position: 0,
            extents: DataExtents::new(source, length),
            data: 0..0,
            digester: algorithms.map(Digester::start).transpose()?,
        })
    }

    /// Copies all bytes before `end` that are not copied yet.
    ///
    /// # Errors
    /// On any read or write error.
    pub fn up_to(&mut self, end: u64) -> Result<()> {
        let end = end.min(self.length);
        while self.position < end {
            if self.data.end <= self.position {
                let next = self.extents.next().transpose().context("cannot find the data of the source")?;
                self.data = next.unwrap_or(self.length..self.length);
            }
            let hole_end = self.data.start.min(end);
            if let Some(hole) = hole_end.checked_sub(self.position).filter(|hole| *hole > 0) {
                self.digester.as_mut().map_or(Ok(()), |digester| digester.zeros(hole))?;
                self.position = hole_end;
            } else {
                let range = self.position..self.data.end.min(end);
                self.position = range.end;
                copy_range(self.source, self.destination, range.clone())?;
                self.digest(range)?;
            }
        }
        Ok(())
    }

    /// Copies what is left.
    ///
    /// # Errors
    /// On any read or write error.
    pub fn finish(mut self) -> Result<Option<Sums>> {
        self.up_to(self.length)?;
        self.digester.map(Digester::finish).transpose()
    }

    /// From the source, whose pages are in memory now; where the copy shares its blocks its own pages are not.
    fn digest(&mut self, range: Range<u64>) -> Result<()> {
        let Some(digester) = &mut self.digester else { return Ok(()) };
        for part in blocks(range) {
            let mut block = vec![0; (part.end - part.start) as usize];
            read(self.source, &mut block, part.start)?;
            digester.bytes(block)?;
        }
        Ok(())
    }
}

fn copy_range(source: &File, destination: &File, range: Range<u64>) -> Result<()> {
    let Range { start: mut position, end } = range;
    while position < end {
        let (mut from, mut to) = (position, position);
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(source, Some(&mut from), destination, Some(&mut to), wanted) {
            Ok(0) => break,
            Ok(done) => position += done as u64,
            // Not between these two file systems: read and write instead.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot copy at byte {position}")),
        }
    }
    let mut block = Vec::new();
    for part in blocks(position..end) {
        block.resize((part.end - part.start) as usize, 0);
        read(source, &mut block, part.start)?;
        destination
            .write_all_at(&block, part.start)
            .with_context(|| format!("cannot write at byte {}", part.start))?;
    }
    Ok(())
}

fn blocks(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let Range { start, end } = range;
    let count = (end - start).div_ceil(BLOCK);
    (0..count).map(move |number| start + number * BLOCK..end.min(start + (number + 1) * BLOCK))
}

fn read(source: &File, block: &mut [u8], position: u64) -> Result<()> {
    source.read_exact_at(block, position).with_context(|| format!("cannot read at byte {position}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::checksum::sha256_of;

    const MIB: u64 = 1 << 20;

    fn bytes(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().expect("metadata").len() as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        bytes
    }

    #[test]
    fn copies_data_and_keeps_holes() {
        let source = tempfile::tempfile().expect("temporary file");
        let length = 64 * MIB + 5;
        source.set_len(length).expect("set length");
        source.write_all_at(&[1; 5000], 3 * MIB).expect("write");
        source.write_all_at(&vec![3; 3_000_000], 20 * MIB + 7).expect("write");
        source.write_all_at(&[2; 5], 64 * MIB).expect("write");
        let expected = bytes(&source);
        // At once, and in steps that end in holes, within data, and beyond the end.
        for steps in [&[][..], &[MIB], &[3 * MIB + 100, 21 * MIB, 30 * MIB, 30 * MIB, 70 * MIB]] {
            let copy = tempfile::tempfile().expect("temporary file");
            copy.write_all_at(&[9; 5000], 10 * MIB).expect("old content");
            let mut sparse =
                SparseCopy::start(&source, &copy, length, Some(Algorithms::Sha256)).expect("start");
            for end in steps {
                sparse.up_to(*end).expect("copy");
            }
            let sums = sparse.finish().expect("copy").expect("asked for");
            assert!(expected == bytes(&copy), "the copy differs: {steps:?}");
            assert_eq!((sums.sha256, sums.bytes), (sha256_of(&expected), length), "{steps:?}");
            let metadata = copy.metadata().expect("metadata");
            assert_eq!(metadata.len(), length);
            assert!(metadata.blocks() * 512 < 4 * MIB, "the copy is not sparse");
        }
    }

    #[test]
    fn a_copy_ends_when_it_is_told() {
        let (source, copy) = (tempfile::tempfile().expect("file"), tempfile::tempfile().expect("file"));
        source.set_len(10).expect("set length");
        let sums = copy_sparse_while(&source, &copy, 10, None, &mut || Ok(())).expect("copy");
        assert_eq!((sums, bytes(&copy)), (None, vec![0; 10]));
        let error = copy_sparse_while(&source, &copy, 10, None, &mut || bail!("told")).expect_err("told");
        assert_eq!(error.to_string(), "told");
    }

    #[test]
    fn a_short_source_is_refused() {
        let (source, copy) = (tempfile::tempfile().expect("file"), tempfile::tempfile().expect("file"));
        source.set_len(10).expect("set length");
        let error = copy_sparse_while(&source, &copy, 11, None, &mut || Ok(())).expect_err("too short");
        assert_eq!(error.to_string(), "the source has 10 bytes, fewer than the 11 to copy");
    }
}
