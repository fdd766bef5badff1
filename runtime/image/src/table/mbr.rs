//! The MBR partition table, with extended and logical partitions.
//!
//! Owns the 72 bytes at the end of sector 0 and the chain of extended boot records. Must not know about boot
//! loaders: bytes 0 to 440 of sector 0 stay as they are. Called by the engine.
//!
//! Layout: Microsoft, "Disk Concepts and Troubleshooting" (Windows 2000 Resource Kit); UEFI specification 2.10,
//! section 5.2.1.

use std::io::{Seek, Write};

use anyhow::{Result, anyhow, bail};

use super::{Area, check_areas, check_sector_size, write_at};

/// Partition type of an extended partition addressed by sector number.
const EXTENDED_LBA: u8 = 0x0f;

/// Partition type of a link in the chain of extended boot records; Linux and Windows write the classic one.
const EXTENDED_LINK: u8 = 0x05;

/// Where the disk identifier lies in sector 0; what is before belongs to the boot loader.
const DISK_ID_OFFSET: usize = 440;

/// A whole MBR partition table. All positions are sectors of `sector_size` bytes, from the start of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MbrTable {
    /// The disk's identifier, which Linux shows as the first half of each PARTUUID.
    pub disk_id: u32,
    /// Bytes per sector.
    pub sector_size: u32,
    /// Sectors of the disk.
    pub disk_sectors: u64,
    /// Partitions 1 and up, four at most, three beside an extended partition.
    pub primaries: Vec<MbrPartition>,
    /// The extended partition, in the slot after the primaries.
    pub extended: Option<Extended>,
}

/// A primary partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MbrPartition {
    /// Whether it carries the active mark.
    pub bootable: bool,
    /// The partition type, for example 0x83.
    pub kind: u8,
    /// Its first sector.
    pub start: u64,
    /// Its length in sectors.
    pub sectors: u64,
}

/// The extended partition: a container for logical ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extended {
    /// Its first sector, which is where the first extended boot record lies.
    pub start: u64,
    /// Its length in sectors.
    pub sectors: u64,
    /// Partitions 5 and up, in order of position.
    pub logicals: Vec<Logical>,
}

/// A logical partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logical {
    /// The sector of its extended boot record, before `start`.
    pub ebr_start: u64,
    /// Its first sector.
    pub start: u64,
    /// Its length in sectors.
    pub sectors: u64,
    /// The partition type, for example 0x83.
    pub kind: u8,
    /// Whether it carries the active mark.
    pub bootable: bool,
}

/// Writes the table to the start of `disk`, and the extended boot records where they belong.
///
/// # Errors
/// When partitions overlap, are empty, lie outside their container, are too many, or need numbers of more than
/// 32 bits; nothing is written then. When writing fails.
pub fn write<Disk: Write + Seek>(disk: &mut Disk, table: &MbrTable) -> Result<()> {
    check(table)?;
    let mut slots = Vec::with_capacity(4);
    for primary in &table.primaries {
        slots.push(entry(primary.bootable, primary.kind, primary.start, primary.sectors, 0)?);
    }
    if let Some(extended) = &table.extended {
        slots.push(entry(false, EXTENDED_LBA, extended.start, extended.sectors, 0)?);
        write_chain(disk, table.sector_size, extended)?;
    }
    // Last, so that a table never points at records that are not written yet.
    let mut bytes = [0; 512 - DISK_ID_OFFSET];
    bytes[..4].copy_from_slice(&table.disk_id.to_le_bytes());
    fill_record(&mut bytes[446 - DISK_ID_OFFSET..], &slots);
    write_at(disk, DISK_ID_OFFSET as u64, &bytes, "MBR partition table")
}

fn check(table: &MbrTable) -> Result<()> {
    check_sector_size(table.sector_size)?;
    let slots = table.primaries.len() + usize::from(table.extended.is_some());
    if slots > 4 {
        bail!(
            "an MBR partition table has four slots, but {slots} are needed (an extended partition takes one)"
        );
    }
    let mut areas = Vec::new();
    for (index, primary) in table.primaries.iter().enumerate() {
        areas.push(Area {
            name: format!("partition {}", index + 1),
            start: primary.start,
            sectors: primary.sectors,
        });
    }
    if let Some(extended) = &table.extended {
        areas.push(Area {
            name: "the extended partition".into(),
            start: extended.start,
            sectors: extended.sectors,
        });
    }
    // Sector 0 is the table's own.
    check_areas(areas, 1, table.disk_sectors)?;
    if let Some(extended) = &table.extended {
        check_logicals(extended)?;
    }
    Ok(())
}

fn check_logicals(extended: &Extended) -> Result<()> {
    let mut areas = Vec::new();
    for (index, logical) in extended.logicals.iter().enumerate() {
        let number = index + 5;
        if index == 0 && logical.ebr_start != extended.start {
            bail!(
                "the first extended boot record must be at sector {}, the start of the extended partition, not {}",
                extended.start,
                logical.ebr_start
            );
        }
        if logical.ebr_start >= logical.start {
            bail!("the extended boot record of partition {number} must lie before the partition");
        }
        if index > 0 && logical.ebr_start < extended.logicals[index - 1].start {
            bail!("partitions {} and {number} are not in order of position", number - 1);
        }
        let name = format!("the extended boot record of partition {number}");
        areas.push(Area { name, start: logical.ebr_start, sectors: 1 });
        areas.push(Area {
            name: format!("partition {number}"),
            start: logical.start,
            sectors: logical.sectors,
        });
    }
    check_areas(areas, extended.start, extended.start + extended.sectors)
}

/// Writes one extended boot record per logical partition, each pointing to the next.
fn write_chain<Disk: Write + Seek>(disk: &mut Disk, sector_size: u32, extended: &Extended) -> Result<()> {
    if extended.logicals.is_empty() {
        // An empty record, so that nothing left over on the disk is taken for a chain.
        let mut bytes = [0; 512];
        fill_record(&mut bytes[446..], &[]);
        let offset = extended.start * u64::from(sector_size);
        return write_at(disk, offset, &bytes, "empty extended boot record");
    }
    for (index, logical) in extended.logicals.iter().enumerate() {
        // The partition counts from its own record, the link from the start of the extended partition.
        let mut slots =
            vec![entry(logical.bootable, logical.kind, logical.start, logical.sectors, logical.ebr_start)?];
        if let Some(next) = extended.logicals.get(index + 1) {
            let sectors = next.start + next.sectors - next.ebr_start;
            slots.push(entry(false, EXTENDED_LINK, next.ebr_start, sectors, extended.start)?);
        }
        let mut bytes = [0; 512];
        fill_record(&mut bytes[446..], &slots);
        let offset = logical.ebr_start * u64::from(sector_size);
        write_at(disk, offset, &bytes, &format!("extended boot record of partition {}", index + 5))?;
    }
    Ok(())
}

/// Puts the entries and the signature into the last 66 bytes of a record.
fn fill_record(record: &mut [u8], entries: &[[u8; 16]]) {
    for (index, entry) in entries.iter().enumerate() {
        record[index * 16..][..16].copy_from_slice(entry);
    }
    record[64..66].copy_from_slice(&[0x55, 0xaa]);
}

/// One table entry; its start is written relative to sector `base`, its CHS addresses are absolute.
fn entry(bootable: bool, kind: u8, start: u64, sectors: u64, base: u64) -> Result<[u8; 16]> {
    let narrow = |value: u64, what: &str| {
        u32::try_from(value).map_err(|_| {
            anyhow!(
                "{what} {value} does not fit the 32 bits of an MBR partition table; use GPT for this disk"
            )
        })
    };
    let mut bytes = [0; 16];
    bytes[0] = if bootable { 0x80 } else { 0 };
    bytes[1..4].copy_from_slice(&chs(start));
    bytes[4] = kind;
    bytes[5..8].copy_from_slice(&chs(start + sectors - 1));
    bytes[8..12].copy_from_slice(&narrow(start - base, "the start sector")?.to_le_bytes());
    bytes[12..16].copy_from_slice(&narrow(sectors, "the length in sectors")?.to_le_bytes());
    Ok(bytes)
}

/// The cylinder, head and sector of a sector number, for the usual 255 heads and 63 sectors a track.
///
/// What lies beyond cylinder 1023 gets the largest address there is, as fdisk and Windows write it.
pub(super) fn chs(sector: u64) -> [u8; 3] {
    const HEADS: u64 = 255;
    const TRACK: u64 = 63;
    let (cylinder, head, in_track) = (sector / (HEADS * TRACK), sector / TRACK % HEADS, sector % TRACK + 1);
    if cylinder > 1023 {
        return [254, 0xff, 0xff];
    }
    // The two high bits of the cylinder live above the six of the sector. All three fit by the bounds above.
    [head as u8, (in_track | (cylinder >> 2 & 0xc0)) as u8, (cylinder & 0xff) as u8]
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn primary(start: u64, sectors: u64) -> MbrPartition {
        MbrPartition { bootable: false, kind: 0x83, start, sectors }
    }

    fn logical(ebr_start: u64, start: u64, sectors: u64) -> Logical {
        Logical { ebr_start, start, sectors, kind: 0x83, bootable: false }
    }

    fn table(primaries: Vec<MbrPartition>, extended: Option<Extended>) -> MbrTable {
        MbrTable { disk_id: 0x1234_5678, sector_size: 512, disk_sectors: 20_480, primaries, extended }
    }

    #[test]
    fn chs_addresses() {
        for (sector, expected) in [
            (0, [0, 1, 0]),
            (1, [0, 2, 0]),
            (62, [0, 63, 0]),
            (63, [1, 1, 0]),
            (2048, [32, 33, 0]),
            (255 * 63 - 1, [254, 63, 0]),
            (255 * 63, [0, 1, 1]),
            (256 * 255 * 63, [0, 0x41, 0]),
            (1024 * 255 * 63 - 1, [254, 0xff, 0xff]),
            (1024 * 255 * 63, [254, 0xff, 0xff]),
            (u64::MAX, [254, 0xff, 0xff]),
        ] {
            assert_eq!(chs(sector), expected, "sector {sector}");
        }
    }

    #[test]
    fn the_loader_area_is_left_alone() {
        let mut disk = Cursor::new(vec![0xee; 1024]);
        let mut bootable = primary(2048, 100);
        bootable.bootable = true;
        write(&mut disk, &table(vec![bootable], None)).expect("write");
        let bytes = disk.into_inner();
        assert!(bytes[..440].iter().all(|byte| *byte == 0xee));
        assert_eq!(bytes[440..446], [0x78, 0x56, 0x34, 0x12, 0, 0]);
        assert_eq!(bytes[446..462], [0x80, 32, 33, 0, 0x83, 34, 6, 0, 0, 8, 0, 0, 100, 0, 0, 0]);
        assert!(bytes[462..510].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[510..512], [0x55, 0xaa]);
        assert!(bytes[512..].iter().all(|byte| *byte == 0xee));
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_written() {
        let extended = |logicals| Some(Extended { start: 4096, sectors: 8192, logicals });
        for (table, expected) in [
            (
                table(vec![primary(2048, 10); 5], None),
                "an MBR partition table has four slots, but 5 are needed",
            ),
            (
                table(vec![primary(2048, 100), primary(2100, 5)], None),
                "partition 1 and partition 2 overlap at sector 2100",
            ),
            (table(vec![primary(2048, 20_480)], None), "partition 1 ends at sector 22527, beyond 20479"),
            (table(vec![primary(2048, u64::MAX)], None), "partition 1 ends at sector"),
            (table(vec![primary(0, 10)], None), "partition 1 starts at sector 0, before 1"),
            (table(vec![primary(10, 0)], None), "partition 1 is empty"),
            (
                table(vec![primary(4000, 97)], extended(vec![])),
                "partition 1 and the extended partition overlap",
            ),
            (
                table(vec![], extended(vec![logical(5000, 5001, 1)])),
                "the first extended boot record must be at sector 4096",
            ),
            (table(vec![], extended(vec![logical(4096, 4096, 1)])), "must lie before the partition"),
            (
                table(vec![], extended(vec![logical(4096, 5000, 8000)])),
                "partition 5 ends at sector 12999, beyond 12287",
            ),
            (
                table(vec![], extended(vec![logical(4096, 5000, 100), logical(5050, 6000, 1)])),
                "partition 5 and the extended boot record of partition 6 overlap",
            ),
            (
                table(vec![], extended(vec![logical(4096, 6000, 100), logical(4200, 5000, 1)])),
                "partitions 5 and 6 are not in order of position",
            ),
        ] {
            let mut disk = Cursor::new(Vec::new());
            let error = write(&mut disk, &table).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
            assert!(disk.into_inner().is_empty());
        }
    }

    #[test]
    fn large_disks_are_refused_with_a_way_out() {
        let mut large = table(vec![primary(1 << 32, 10)], None);
        large.disk_sectors = 1 << 40;
        let error = write(&mut Cursor::new(Vec::new()), &large).expect_err("too large").to_string();
        assert!(error.ends_with("use GPT for this disk"), "{error}");
    }
}
