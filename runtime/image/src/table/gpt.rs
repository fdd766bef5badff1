//! The GUID partition table.
//!
//! Owns the protective MBR, both headers and both arrays of entries. Must not know how GUIDs were chosen: they
//! arrive in the input, so that the same plan gives the same bytes. Called by the engine.
//!
//! Layout: UEFI specification 2.10, chapter 5.

use std::io::{Seek, Write};

use anyhow::{Result, bail};
use uuid::Uuid;

use super::{Area, check_areas, check_sector_size, mbr, write_at};

/// Entries in the array; the specification asks for 16 KiB at least, and all tools write exactly that.
const ENTRIES: u32 = 128;

/// Bytes per entry.
const ENTRY_SIZE: u32 = 128;

/// Bytes of a header that its checksum covers.
const HEADER_SIZE: u32 = 92;

/// UTF-16 units that a partition's name may have.
const NAME_UNITS: usize = 36;

/// A whole GUID partition table. All positions are sectors of `sector_size` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GptTable {
    /// The disk's own GUID.
    pub disk_guid: Uuid,
    /// Bytes per sector.
    pub sector_size: u32,
    /// Sectors of the disk.
    pub disk_sectors: u64,
    /// The partitions, in any order.
    pub partitions: Vec<GptPartition>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GptPartition {
    /// Its number, 1 to 128.
    pub number: u32,
    /// What it is for; which one is the caller's knowledge.
    pub type_guid: Uuid,
    /// Its own GUID, which Linux shows as PARTUUID.
    pub guid: Uuid,
    /// Its name, 36 UTF-16 units at most.
    pub name: String,
    /// Its first sector.
    pub first_lba: u64,
    /// Its last sector, inclusive.
    pub last_lba: u64,
    /// The attribute bits of the specification's table 5.7.
    pub attributes: u64,
}

/// The sectors partitions may use, first and last inclusive, on a disk of this geometry.
///
/// # Errors
/// When the disk is too small for a table.
pub fn usable_sectors(sector_size: u32, disk_sectors: u64) -> Result<(u64, u64)> {
    check_sector_size(sector_size)?;
    let array = array_sectors(sector_size);
    // Protective MBR, header, array, at least one usable sector, array, header.
    if disk_sectors < 2 * array + 4 {
        bail!("a disk of {disk_sectors} sectors is too small for a GPT, which needs {}", 2 * array + 4);
    }
    Ok((2 + array, disk_sectors - array - 2))
}

/// Writes the protective MBR and both copies of the table to `disk`; bytes 0 to 440 stay as they are.
///
/// # Errors
/// When partitions overlap, leave the usable area, share a number or GUID, or have too long a name; nothing is
/// written then. When writing fails.
pub fn write<Disk: Write + Seek>(disk: &mut Disk, table: &GptTable) -> Result<()> {
    check(table)?;
    let sector_size = u64::from(table.sector_size);
    let last = table.disk_sectors - 1;
    let entries = entries(&table.partitions);
    // The backup first and sector 0 last: a reader that sees the protective MBR finds all the rest.
    let backup_array = last - array_sectors(table.sector_size);
    write_at(disk, backup_array * sector_size, &entries, "backup GPT entries")?;
    write_at(disk, last * sector_size, &header(table, &entries, last, 1, backup_array), "backup GPT header")?;
    write_at(disk, 2 * sector_size, &entries, "GPT entries")?;
    write_at(disk, sector_size, &header(table, &entries, 1, last, 2), "GPT header")?;
    write_at(disk, 440, &protective_mbr(last), "protective MBR")
}

fn array_sectors(sector_size: u32) -> u64 {
    u64::from((ENTRIES * ENTRY_SIZE).div_ceil(sector_size))
}

fn check(table: &GptTable) -> Result<()> {
    let (first, last) = usable_sectors(table.sector_size, table.disk_sectors)?;
    let mut areas = Vec::new();
    for (index, partition) in table.partitions.iter().enumerate() {
        let number = partition.number;
        if !(1..=ENTRIES).contains(&number) {
            bail!("a GPT has the partition numbers 1 to {ENTRIES}, not {number}");
        }
        let units = partition.name.encode_utf16().count();
        if units > NAME_UNITS {
            bail!(
                "the name '{}' of partition {number} has {units} UTF-16 units; a GPT has room for {NAME_UNITS}",
                partition.name
            );
        }
        if partition.type_guid.is_nil() {
            bail!("partition {number} has the type GUID that means unused");
        }
        if partition.last_lba < partition.first_lba {
            bail!("partition {number} ends before it starts");
        }
        for other in &table.partitions[..index] {
            if other.number == number {
                bail!("two partitions have the number {number}");
            }
            if other.guid == partition.guid {
                bail!("partitions {} and {number} have the same GUID {}", other.number, other.guid);
            }
        }
        areas.push(Area {
            name: format!("partition {number}"),
            start: partition.first_lba,
            // Saturation only at a length no disk has, which the check for the end then refuses.
            sectors: (partition.last_lba - partition.first_lba).saturating_add(1),
        });
    }
    check_areas(areas, first, last + 1)
}

fn entries(partitions: &[GptPartition]) -> Vec<u8> {
    let mut bytes = vec![0; (ENTRIES * ENTRY_SIZE) as usize];
    for partition in partitions {
        let entry = &mut bytes[((partition.number - 1) * ENTRY_SIZE) as usize..][..ENTRY_SIZE as usize];
        entry[0..16].copy_from_slice(&partition.type_guid.to_bytes_le());
        entry[16..32].copy_from_slice(&partition.guid.to_bytes_le());
        entry[32..40].copy_from_slice(&partition.first_lba.to_le_bytes());
        entry[40..48].copy_from_slice(&partition.last_lba.to_le_bytes());
        entry[48..56].copy_from_slice(&partition.attributes.to_le_bytes());
        for (unit, place) in partition.name.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
    }
    bytes
}

/// A header that lies in sector `own`, with its twin in sector `other` and its entries from sector `array`.
fn header(table: &GptTable, entries: &[u8], own: u64, other: u64, array: u64) -> Vec<u8> {
    let array_length = array_sectors(table.sector_size);
    let mut bytes = vec![0; table.sector_size as usize];
    bytes[0..8].copy_from_slice(b"EFI PART");
    // Revision 1.0, which every version of the specification still uses.
    bytes[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    bytes[12..16].copy_from_slice(&HEADER_SIZE.to_le_bytes());
    bytes[24..32].copy_from_slice(&own.to_le_bytes());
    bytes[32..40].copy_from_slice(&other.to_le_bytes());
    bytes[40..48].copy_from_slice(&(2 + array_length).to_le_bytes());
    bytes[48..56].copy_from_slice(&(table.disk_sectors - array_length - 2).to_le_bytes());
    bytes[56..72].copy_from_slice(&table.disk_guid.to_bytes_le());
    bytes[72..80].copy_from_slice(&array.to_le_bytes());
    bytes[80..84].copy_from_slice(&ENTRIES.to_le_bytes());
    bytes[84..88].copy_from_slice(&ENTRY_SIZE.to_le_bytes());
    bytes[88..92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
    // The header's own checksum is taken with its field zero.
    let checksum = crc32fast::hash(&bytes[..HEADER_SIZE as usize]);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The last 72 bytes of sector 0: one partition that covers the disk, so that MBR tools see no free space.
fn protective_mbr(last: u64) -> [u8; 72] {
    let mut bytes = [0; 72];
    let entry = &mut bytes[6..22];
    entry[1..4].copy_from_slice(&mbr::chs(1));
    entry[4] = 0xee;
    // The specification wants all ones where the address cannot be expressed.
    let end = mbr::chs(last);
    entry[5..8].copy_from_slice(&if end == [254, 0xff, 0xff] { [0xff; 3] } else { end });
    entry[8..12].copy_from_slice(&1_u32.to_le_bytes());
    entry[12..16].copy_from_slice(&u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
    bytes[70..72].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use uuid::uuid;

    use super::*;

    fn partition(number: u32, first_lba: u64, last_lba: u64) -> GptPartition {
        GptPartition {
            number,
            type_guid: uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4"),
            guid: Uuid::from_u128(u128::from(number)),
            name: format!("p{number}"),
            first_lba,
            last_lba,
            attributes: 0,
        }
    }

    fn table(partitions: Vec<GptPartition>) -> GptTable {
        GptTable { disk_guid: Uuid::from_u128(99), sector_size: 512, disk_sectors: 20_480, partitions }
    }

    #[test]
    fn usable_sectors_by_sector_size() {
        assert_eq!(usable_sectors(512, 20_480).expect("large enough"), (34, 20_446));
        assert_eq!(usable_sectors(4096, 2560).expect("large enough"), (6, 2554));
        assert!(usable_sectors(512, 67).is_err());
        assert_eq!(usable_sectors(512, 68).expect("just enough"), (34, 34));
        assert!(usable_sectors(513, 20_480).is_err());
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_written() {
        let mut long = partition(1, 2048, 4095);
        long.name = "n".repeat(37);
        let mut unused = partition(1, 2048, 4095);
        unused.type_guid = Uuid::nil();
        let mut twin = partition(2, 5000, 6000);
        twin.guid = Uuid::from_u128(1);
        for (partitions, expected) in [
            (vec![partition(0, 2048, 4095)], "partition numbers 1 to 128, not 0"),
            (vec![partition(129, 2048, 4095)], "partition numbers 1 to 128, not 129"),
            (vec![long], "has 37 UTF-16 units; a GPT has room for 36"),
            (vec![unused], "means unused"),
            (vec![partition(1, 2048, 2047)], "partition 1 ends before it starts"),
            (vec![partition(1, 2048, 4095), partition(1, 5000, 6000)], "two partitions have the number 1"),
            (vec![partition(1, 2048, 4095), twin], "partitions 1 and 2 have the same GUID"),
            (vec![partition(1, 33, 4095)], "partition 1 starts at sector 33, before 34"),
            (vec![partition(1, 2048, 20_447)], "partition 1 ends at sector 20447, beyond 20446"),
            (vec![partition(1, 0, u64::MAX)], "partition 1 starts at sector 0"),
            (vec![partition(1, 34, u64::MAX)], "beyond 20446"),
            (
                vec![partition(2, 2048, 4095), partition(1, 4095, 6000)],
                "partition 2 and partition 1 overlap at sector 4095",
            ),
        ] {
            let mut disk = Cursor::new(Vec::new());
            let error = write(&mut disk, &table(partitions)).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
            assert!(disk.into_inner().is_empty());
        }
    }

    #[test]
    fn a_full_table_is_written() {
        let partitions = (1..=128)
            .map(|number| partition(number, 2048 + u64::from(number), 2048 + u64::from(number)))
            .collect();
        let mut disk = Cursor::new(Vec::new());
        write(&mut disk, &table(partitions)).expect("write");
        let bytes = disk.into_inner();
        assert_eq!(bytes.len(), 20_480 * 512);
        assert_eq!(bytes[512..520], *b"EFI PART");
        assert_eq!(bytes[20_479 * 512..][..8], *b"EFI PART");
        assert_eq!(bytes[1024..][..128 * 128], bytes[20_447 * 512..][..128 * 128]);
    }
}
