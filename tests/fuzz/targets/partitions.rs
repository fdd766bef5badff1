//! Partition tables of any content: the partitions that are found lie within the disk.
#![no_main]

use std::io::Cursor;

use dibw_image::table::read::partitions;
use libfuzzer_sys::fuzz_target;

/// The input is spread over the sectors that tables point to; the marks that readers look for are put where the first byte says.
fn disk(choice: u8, bytes: &[u8]) -> Vec<u8> {
    let mut disk = bytes.to_vec();
    disk.resize(disk.len().max(1024), 0);
    if choice & 1 == 0 {
        for sector in disk.chunks_exact_mut(512) {
            sector[510..].copy_from_slice(&[0x55, 0xaa]);
        }
    }
    if choice & 2 == 0 {
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[450] = 0xee;
        disk[512..520].copy_from_slice(b"EFI PART");
    }
    disk
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let disk = disk(*choice, bytes);
    let end = disk.len() as u64;
    let found = partitions(&mut Cursor::new(disk)).expect("a disk in memory can be read");
    assert!(!found.is_empty());
    assert!(found.iter().all(|range| range.start < range.end && range.end <= end), "{found:?}");
});
