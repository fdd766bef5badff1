//! Copying a file without writing out its holes.
//!
//! Owns the copy. Must not know what the file is. Called by the engine for raw outputs and staging.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};
use rustix::fs::copy_file_range;
use rustix::io::Errno;

use crate::extents::DataExtents;

/// Bytes per read and write where the kernel cannot copy by itself.
const BLOCK: usize = 1 << 20;

/// Bytes copied before it is asked whether to go on: a fraction of a second on any disk.
const AT_ONCE: u64 = 64 << 20;

/// Makes `destination` a copy of the first `length` bytes of `source`, holes staying holes.
///
/// The kernel copies where it can, which shares the blocks on file systems that know how (xfs, btrfs). What
/// `destination` held before is lost. Returns the number of bytes that had to be copied. Moves the offset of
/// `source`; both must be regular files.
///
/// # Errors
/// On any read or write error, and when `source` is shorter than `length`.
pub fn copy_sparse(source: &File, destination: &File, length: u64) -> Result<u64> {
    copy_sparse_while(source, destination, length, &mut || Ok(()))
}

/// As [`copy_sparse`], asking `go_on` again and again, whose error ends it.
///
/// # Errors
/// As [`copy_sparse`], and whatever `go_on` says.
pub fn copy_sparse_while(
    source: &File,
    destination: &File,
    length: u64,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<u64> {
    let available = source.metadata().context("cannot read the size of the source")?.len();
    if available < length {
        bail!("the source has {available} bytes, fewer than the {length} to copy");
    }
    // Cutting to nothing first is what makes everything not copied read as zeros.
    destination.set_len(0).context("cannot empty the destination")?;
    destination
        .set_len(length)
        .with_context(|| format!("cannot set the destination's size to {length} bytes"))?;
    let mut copied = 0;
    for extent in DataExtents::new(source, length) {
        let extent = extent.context("cannot find the data of the source")?;
        copied += extent.end - extent.start;
        let mut start = extent.start;
        while start < extent.end {
            go_on()?;
            let end = extent.end.min(start + AT_ONCE);
            copy_range(source, destination, start, end)?;
            start = end;
        }
    }
    Ok(copied)
}

fn copy_range(source: &File, destination: &File, start: u64, end: u64) -> Result<()> {
    let mut position = start;
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
    let mut block = vec![0; BLOCK];
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(BLOCK).min(BLOCK);
        let part = &mut block[..wanted];
        source.read_exact_at(part, position).with_context(|| format!("cannot read at byte {position}"))?;
        destination
            .write_all_at(part, position)
            .with_context(|| format!("cannot write at byte {position}"))?;
        position += wanted as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn copies_data_and_keeps_holes() {
        let source = tempfile::tempfile().expect("temporary file");
        source.set_len(64 * MIB + 5).expect("set length");
        source.write_all_at(&[1; 5000], 3 * MIB).expect("write");
        source.write_all_at(&[2; 5], 64 * MIB).expect("write");
        let copy = tempfile::tempfile().expect("temporary file");
        copy.write_all_at(&[9; 5000], 10 * MIB).expect("old content");
        copy_sparse(&source, &copy, 64 * MIB + 5).expect("copy");
        let mut expected = vec![0; (64 * MIB + 5) as usize];
        let mut found = expected.clone();
        source.read_exact_at(&mut expected, 0).expect("read");
        copy.read_exact_at(&mut found, 0).expect("read");
        assert!(expected == found, "the copy differs");
        let metadata = copy.metadata().expect("metadata");
        assert_eq!(metadata.len(), 64 * MIB + 5);
        assert!(metadata.blocks() * 512 < MIB, "the copy is not sparse");
    }

    #[test]
    fn a_short_source_is_refused() {
        let (source, copy) = (tempfile::tempfile().expect("file"), tempfile::tempfile().expect("file"));
        source.set_len(10).expect("set length");
        let error = copy_sparse(&source, &copy, 11).expect_err("too short");
        assert_eq!(error.to_string(), "the source has 10 bytes, fewer than the 11 to copy");
    }
}
