//! A layout's geometry -> the partition tables that `dibw-image` writes. Pure. Called by the disk.

use std::io::{Seek, Write};

use anyhow::{Context, Result, bail};
use dibw_image::table::{gpt, mbr};
use dibw_plan::layout::{Geometry, PartitionType, Placement, TableLabel, type_guid};
use uuid::Uuid;

/// Writes the table of a geometry to a disk.
///
/// # Errors
/// When it can't be, with the reason.
pub fn write<Disk: Write + Seek>(disk: &mut Disk, geometry: &Geometry) -> Result<()> {
    match &geometry.label {
        TableLabel::Mbr { disk_id } => mbr::write(disk, &mbr_table(geometry, *disk_id)?),
        TableLabel::Gpt { disk_guid } => gpt::write(disk, &gpt_table(geometry, disk_guid)?),
    }
}

fn mbr_table(geometry: &Geometry, disk_id: u32) -> Result<mbr::MbrTable> {
    let sectors = |bytes: u64| bytes / u64::from(geometry.sector_size);
    let kind = |partition: &Placement| match &partition.kind {
        PartitionType::Mbr(kind) => Ok(*kind),
        PartitionType::Gpt(code) => bail!("partition {} has the GPT type {code} in an MBR", partition.name),
    };
    let mut primaries = Vec::new();
    let mut logicals = Vec::new();
    for partition in &geometry.partitions {
        let (kind, bootable) = (kind(partition)?, partition.bootable);
        let (start, length) = (sectors(partition.start), sectors(partition.length));
        match partition.ebr {
            None => primaries.push(mbr::MbrPartition { bootable, kind, start, sectors: length }),
            Some(ebr) => {
                let ebr_start = sectors(ebr);
                logicals.push(mbr::Logical { ebr_start, start, sectors: length, kind, bootable });
            }
        }
    }
    let extended = geometry.extended.map(|extended| mbr::Extended {
        start: sectors(extended.start),
        sectors: sectors(extended.length),
        logicals,
    });
    let disk_sectors = sectors(geometry.image_size);
    Ok(mbr::MbrTable { disk_id, sector_size: geometry.sector_size, disk_sectors, primaries, extended })
}

fn gpt_table(geometry: &Geometry, disk_guid: &str) -> Result<gpt::GptTable> {
    let sectors = |bytes: u64| bytes / u64::from(geometry.sector_size);
    let guid = |text: &str| Uuid::parse_str(text).with_context(|| format!("{text} is not a GUID"));
    let partition = |placed: &Placement| {
        let PartitionType::Gpt(code) = &placed.kind else {
            bail!("partition {} has an MBR type in a GPT", placed.name);
        };
        let type_guid = type_guid(code).with_context(|| format!("unknown partition type {code}"))?;
        let own = placed.guid.as_deref().with_context(|| format!("partition {} has no GUID", placed.name))?;
        Ok(gpt::GptPartition {
            number: placed.number,
            type_guid,
            guid: guid(own)?,
            name: placed.name.clone(),
            first_lba: sectors(placed.start),
            last_lba: sectors(placed.start + placed.length) - 1,
            attributes: 0,
        })
    };
    Ok(gpt::GptTable {
        disk_guid: guid(disk_guid)?,
        sector_size: geometry.sector_size,
        disk_sectors: sectors(geometry.image_size),
        partitions: geometry.partitions.iter().map(partition).collect::<Result<_>>()?,
    })
}
