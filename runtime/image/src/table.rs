//! Partition tables: MBR with extended partitions, and GPT.
//!
//! Owns the bytes of the tables. Must not know how sizes were decided (`dibw-plan` lays disks out) nor touch
//! devices. Called by the engine on the image file, before any loop device is made.

pub mod gpt;
pub mod mbr;
pub mod read;

use std::io::{Seek, SeekFrom, Write};

use anyhow::{Context, Result, bail};

/// Fails unless `sector_size` is one that disks have and the tables can be written for.
fn check_sector_size(sector_size: u32) -> Result<()> {
    if !sector_size.is_power_of_two() || !(512..=4096).contains(&sector_size) {
        bail!("the sector size must be 512, 1024, 2048 or 4096 bytes, not {sector_size}");
    }
    Ok(())
}

/// Writes `bytes` at `offset`, saying what they were when it fails.
fn write_at<Disk: Write + Seek>(disk: &mut Disk, offset: u64, bytes: &[u8], what: &str) -> Result<()> {
    disk.seek(SeekFrom::Start(offset))
        .and_then(|_| disk.write_all(bytes))
        .with_context(|| format!("cannot write the {what} at byte {offset}"))
}

/// A named run of sectors, for the overlap check.
struct Area {
    name: String,
    start: u64,
    sectors: u64,
}

/// Fails when two areas share a sector, or one is empty or lies outside `first..end`.
fn check_areas(mut areas: Vec<Area>, first: u64, end: u64) -> Result<()> {
    for Area { name, start, sectors } in &areas {
        if *sectors == 0 {
            bail!("{name} is empty");
        }
        if *start < first {
            bail!("{name} starts at sector {start}, before {first}, the first that may be used");
        }
        if start.checked_add(*sectors).is_none_or(|area_end| area_end > end) {
            let last = u128::from(*start) + u128::from(*sectors) - 1;
            bail!(
                "{name} ends at sector {last}, beyond {}, the last that may be used",
                end.saturating_sub(1)
            );
        }
    }
    areas.sort_by_key(|area| area.start);
    for pair in areas.windows(2) {
        if pair[0].start + pair[0].sectors > pair[1].start {
            bail!("{} and {} overlap at sector {}", pair[0].name, pair[1].name, pair[1].start);
        }
    }
    Ok(())
}
