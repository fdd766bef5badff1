//! Where the partitions of a disk lie, from its MBR with logical partitions or its GPT.
//!
//! Owns reading; the tables are not trusted. Called by the engine.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use anyhow::{Context, Result};

/// Partition types of extended partitions.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// The partition type of the one MBR partition of a GPT disk.
const PROTECTIVE: u8 = 0xee;

/// Links in the chain of extended boot records that are followed.
const MOST_LOGICALS: usize = 128;

/// Entries of a GPT that are read, and the longest that an entry is.
const MOST_ENTRIES: u32 = 1024;
const LONGEST_ENTRY: u32 = 4096;

/// The bytes of every partition that lies within the disk, in the order of the table; the whole disk when there is no table.
///
/// # Errors
/// When the disk can't be read.
pub fn partitions<Disk: Read + Seek>(disk: &mut Disk) -> Result<Vec<Range<u64>>> {
    let end = disk.seek(SeekFrom::End(0)).context("cannot find the end of the disk")?;
    let whole = 0..end;
    let Some(record) = boot_record(disk, 0)? else { return Ok(vec![whole]) };
    let mut found =
        if record.iter().any(|slot| slot.kind == PROTECTIVE) { gpt(disk)? } else { mbr(disk, &record)? };
    found.retain(|range| range.start < range.end && range.end <= end);
    // Without a partition what looks like a boot record is that of a file system.
    if found.is_empty() {
        found.push(whole);
    }
    Ok(found)
}

/// A slot of a boot record, in sectors of 512 bytes.
#[derive(Clone, Copy)]
struct Slot {
    kind: u8,
    start: u64,
    sectors: u64,
}

impl Slot {
    fn bytes(self, base: u64) -> Range<u64> {
        (base + self.start) * 512..(base + self.start + self.sectors) * 512
    }
}

/// The four slots of the boot record in a sector, when there is one.
fn boot_record<Disk: Read + Seek>(disk: &mut Disk, sector: u64) -> Result<Option<[Slot; 4]>> {
    let Some(bytes) = read_at(disk, sector * 512, 512)? else { return Ok(None) };
    if bytes[510..] != [0x55, 0xaa] {
        return Ok(None);
    }
    let slot = |index: usize| {
        let entry = &bytes[446 + 16 * index..462 + 16 * index];
        Slot { kind: entry[4], start: u32_at(entry, 8).into(), sectors: u32_at(entry, 12).into() }
    };
    Ok(Some([slot(0), slot(1), slot(2), slot(3)]))
}

fn mbr<Disk: Read + Seek>(disk: &mut Disk, record: &[Slot; 4]) -> Result<Vec<Range<u64>>> {
    let mut found = Vec::new();
    for slot in record.iter().filter(|slot| slot.kind != 0) {
        if EXTENDED.contains(&slot.kind) {
            logicals(disk, slot.start, &mut found)?;
        } else {
            found.push(slot.bytes(0));
        }
    }
    Ok(found)
}

/// Each record has a partition, relative to itself, and the next record, relative to the first.
fn logicals<Disk: Read + Seek>(disk: &mut Disk, first: u64, found: &mut Vec<Range<u64>>) -> Result<()> {
    let mut here = first;
    for _ in 0..MOST_LOGICALS {
        let Some(record) = boot_record(disk, here)? else { break };
        if record[0].kind != 0 {
            found.push(record[0].bytes(here));
        }
        if !EXTENDED.contains(&record[1].kind) {
            break;
        }
        here = first + record[1].start;
    }
    Ok(())
}

/// The header is in sector 1, whatever a sector is.
fn gpt<Disk: Read + Seek>(disk: &mut Disk) -> Result<Vec<Range<u64>>> {
    for sector in [512, 4096] {
        let Some(header) = read_at(disk, sector, 92)?.filter(|header| header.starts_with(b"EFI PART")) else {
            continue;
        };
        let length = u32_at(&header, 84).clamp(128, LONGEST_ENTRY);
        let count = u32_at(&header, 80).min(MOST_ENTRIES);
        let Some(start) = u64_at(&header, 72).checked_mul(sector) else { break };
        let Some(entries) = read_at(disk, start, (count * length) as usize)? else { break };
        let used = entries.chunks_exact(length as usize).filter(|entry| entry[..16] != [0; 16]);
        let range = |entry: &[u8]| {
            let first = u64_at(entry, 32).checked_mul(sector)?;
            Some(first..u64_at(entry, 40).checked_add(1)?.checked_mul(sector)?)
        };
        return Ok(used.filter_map(range).collect());
    }
    Ok(Vec::new())
}

/// Bytes at a place; none when the disk ends before.
fn read_at<Disk: Read + Seek>(disk: &mut Disk, offset: u64, length: usize) -> Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length];
    let read = disk.seek(SeekFrom::Start(offset)).and_then(|_| disk.read_exact(&mut bytes));
    match read {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read the disk at byte {offset}")),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::table::mbr::{Extended, Logical, MbrPartition, MbrTable};

    #[test]
    fn an_mbr_with_logical_partitions() {
        let mut disk = Cursor::new(vec![0; 20 << 20]);
        let logical = |ebr_start| Logical {
            ebr_start,
            start: ebr_start + 2048,
            sectors: 2048,
            kind: 0x83,
            bootable: false,
        };
        let table = MbrTable {
            disk_id: 1,
            sector_size: 512,
            disk_sectors: 40_960,
            primaries: vec![MbrPartition { bootable: true, kind: 0x83, start: 2048, sectors: 4096 }],
            extended: Some(Extended {
                start: 8192,
                sectors: 20_480,
                logicals: vec![logical(8192), logical(16_384)],
            }),
        };
        crate::table::mbr::write(&mut disk, &table).expect("a table that fits");
        let expected = [(2048, 6144), (10_240, 12_288), (18_432, 20_480)].map(|(a, b)| a * 512..b * 512);
        assert_eq!(partitions(&mut disk).expect("read"), expected);
    }

    #[test]
    fn a_gpt_of_either_sector_size() {
        for sector_size in [512_u32, 4096] {
            let mut disk = Cursor::new(vec![0; 20 << 20]);
            let sectors = (20 << 20) / u64::from(sector_size);
            let partition = |number: u32, first_lba| crate::table::gpt::GptPartition {
                number,
                type_guid: uuid::Uuid::from_u128(7),
                guid: uuid::Uuid::from_u128(u128::from(number)),
                name: String::new(),
                first_lba,
                last_lba: first_lba + 99,
                attributes: 0,
            };
            let table = crate::table::gpt::GptTable {
                disk_guid: uuid::Uuid::from_u128(1),
                sector_size,
                disk_sectors: sectors,
                partitions: vec![partition(1, 2048), partition(2, 4096)],
            };
            crate::table::gpt::write(&mut disk, &table).expect("a table that fits");
            let size = u64::from(sector_size);
            assert_eq!(
                partitions(&mut disk).expect("read"),
                [2048 * size..2148 * size, 4096 * size..4196 * size],
                "{sector_size}"
            );
        }
    }

    #[test]
    fn without_a_table_the_disk_is_one() {
        for length in [4096, 0] {
            let whole = 0..length;
            assert_eq!(partitions(&mut Cursor::new(vec![0; length as usize])).expect("read"), vec![whole]);
        }
    }
}
