//! Where a file has data and where it has holes.
//!
//! Owns the `SEEK_DATA`/`SEEK_HOLE` walk. Must not know what the bytes mean. Used by the qcow2 writer and by
//! sparse copies.

use std::fs::File;
use std::ops::Range;

use anyhow::{Context, Result};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// The data extents of a file, in order, as byte ranges; what lies between them reads as zeros.
///
/// Moves the file's own offset. A file system that knows no holes reports one extent.
pub struct DataExtents<'file> {
    file: &'file File,
    position: u64,
    end: u64,
}

impl<'file> DataExtents<'file> {
    /// Walks the first `length` bytes of `file`.
    pub fn new(file: &'file File, length: u64) -> Self {
        DataExtents { file, position: 0, end: length }
    }

    fn find(&mut self) -> Result<Option<Range<u64>>> {
        if self.position >= self.end {
            return Ok(None);
        }
        let start = match seek(self.file, SeekFrom::Data(self.position)) {
            Ok(start) => start,
            // No data after this position.
            Err(Errno::NXIO) => return Ok(None),
            // Not every file can tell holes from data; then all of it is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => self.position,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot find data after byte {}", self.position));
            }
        };
        if start >= self.end {
            return Ok(None);
        }
        let end = match seek(self.file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(self.end),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => self.end,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot find a hole after byte {start}"));
            }
        };
        Ok(Some(start..end))
    }
}

impl Iterator for DataExtents<'_> {
    type Item = Result<Range<u64>>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.find();
        // After an error or the last extent the walk is over.
        self.position = match &found {
            Ok(Some(range)) => range.end,
            Ok(None) | Err(_) => self.end,
        };
        found.transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn finds_data_between_holes() {
        const MIB: u64 = 1 << 20;
        let file = tempfile::tempfile().expect("temporary file");
        file.set_len(10 * MIB).expect("set length");
        file.write_all_at(&[7; 4096], 2 * MIB).expect("write");
        file.write_all_at(&[7; 4096], 9 * MIB).expect("write");
        let found: Vec<_> = DataExtents::new(&file, 10 * MIB).collect::<Result<_>>().expect("walk");
        // A file system may round an extent up, never leave written bytes out.
        assert!(found.iter().any(|range| range.contains(&(2 * MIB)) && range.contains(&(2 * MIB + 4095))));
        assert!(found.iter().any(|range| range.contains(&(9 * MIB))));
        assert!(found.iter().all(|range| range.end <= 10 * MIB));
        let cut: Vec<_> = DataExtents::new(&file, 2 * MIB + 100).collect::<Result<_>>().expect("walk");
        assert_eq!(cut.last().map(|range| range.end), Some(2 * MIB + 100));
    }

    #[test]
    fn an_empty_file_has_no_extents() {
        let file = tempfile::tempfile().expect("temporary file");
        assert_eq!(DataExtents::new(&file, 0).count(), 0);
        file.set_len(1 << 30).expect("set length");
        assert_eq!(DataExtents::new(&file, 1 << 30).count(), 0);
    }
}
