//! Where every partition lies, once the size of the image is known. Knows sizes and alignments, not what is on a partition.
//! Called by `Layout::check` and by the engine.
//!
//! MBR as diskimage-builder places them (compat/CONTRACT.md 5.4), GPT as `sgdisk -n N:0:+<MiB>M` does. Unlike diskimage-builder's, a
//! partition that ends beyond the image is refused.

use serde::{Deserialize, Serialize};

use super::images::{Image, Partition, PartitionTable, PartitionType, TableLabel};
use crate::fault::{Fault, FaultKind, Faults};
use crate::size::{MIB, SizeSpec, for_people, round_up};

/// A partition table with all its partitions placed. All positions and lengths are bytes, multiples of the sector size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// The image's name.
    pub image: String,
    /// The image's length.
    pub image_size: u64,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// Kind of table and identifier of the disk.
    #[serde(flatten)]
    pub label: TableLabel,
    /// In order of position.
    pub partitions: Vec<Placement>,
    /// The container of an MBR's logical partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended: Option<Extended>,
}

/// A partition in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// As Linux numbers it.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: PartitionType,
    /// Its own GUID, in a GPT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// The active mark of an MBR.
    pub bootable: bool,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// First byte of the extended boot record, for a logical partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ebr: Option<u64>,
}

/// The extended partition of an MBR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extended {
    /// Its slot, from 1.
    pub number: u32,
    /// First byte.
    pub start: u64,
    /// Bytes, to the end of the image.
    pub length: u64,
}

impl Geometry {
    /// A partition by name.
    pub fn partition(&self, name: &str) -> Option<&Placement> {
        self.partitions.iter().find(|partition| partition.name == name)
    }
}

impl Image {
    /// Places the partitions. `image_size` (bytes) counts when the configuration gives no size. `None` when the image has no table.
    ///
    /// # Errors
    /// A partition that has no room: it is named, with what it needs, what there is and what would do.
    pub fn resolve_geometry(&self, image_size: u64) -> Result<Option<Geometry>, Faults> {
        let Some(table) = &self.table else { return Ok(None) };
        let size = self.size.unwrap_or(image_size);
        Disk { image: self, table, size }.place().map(Some).map_err(|fault| {
            let least = || {
                format!("an image of at least {} is needed for this layout", for_people(self.minimum_size()))
            };
            let fault = if fault.hint.is_none() { fault.hint(least()) } else { fault };
            fault.into()
        })
    }

    /// The least size in bytes, a whole number of MiB, at which every partition has room; a share needs only the smallest partition its
    /// table can hold. 0 without a table.
    pub fn minimum_size(&self) -> u64 {
        let Some(table) = &self.table else { return 0 };
        let fixed = table.partitions.iter().map(|partition| partition.size.of(0));
        let least = fixed.fold(table.overhead(), u64::saturating_add).div_ceil(MIB);
        let fits = |mib: u64| Disk { image: self, table, size: mib * MIB }.place().is_ok();
        // Doubling, then halving: whatever fits an image fits a larger one. 2^43 MiB are all of 64 bits.
        let Some(enough) = (0..43)
            .map(|shift| least.max(1) << shift)
            .take_while(|mib| *mib < 1 << 43)
            .find(|mib| fits(*mib))
        else {
            return least.saturating_mul(MIB);
        };
        let (mut too_small, mut enough) = (enough / 2, enough);
        while enough - too_small > 1 {
            let middle = too_small + (enough - too_small) / 2;
            if fits(middle) { enough = middle } else { too_small = middle }
        }
        enough * MIB
    }
}

impl PartitionTable {
    /// Bytes that no partition can have: before the first, and in a GPT after the last.
    pub(super) fn overhead(&self) -> u64 {
        match self.label {
            TableLabel::Mbr { .. } => self.align,
            TableLabel::Gpt { .. } => 2 * MIB,
        }
    }
}

struct Disk<'a> {
    image: &'a Image,
    table: &'a PartitionTable,
    size: u64,
}

impl Disk<'_> {
    fn place(&self) -> Result<Geometry, Fault> {
        let (partitions, extended) = match &self.table.label {
            TableLabel::Mbr { .. } => self.place_mbr()?,
            TableLabel::Gpt { .. } => (self.place_gpt()?, None),
        };
        Ok(Geometry {
            image: self.image.name.clone(),
            image_size: self.size,
            sector_size: self.image.sector_size,
            label: self.table.label.clone(),
            partitions,
            extended,
        })
    }

    fn place_mbr(&self) -> Result<(Vec<Placement>, Option<Extended>), Fault> {
        let sector = u64::from(self.image.sector_size);
        let end = self.size / sector * sector;
        let align = round_up(self.table.align, sector);
        let mut extended = None;
        let mut placed = Vec::new();
        let mut free = align;
        for partition in &self.table.partitions {
            let here = round_up(free, align);
            // A logical partition has one alignment unit before it, for its extended boot record.
            let (start, ebr) = if partition.is_logical() {
                if extended.is_none() {
                    let number = placed.len() as u32 + 1;
                    extended = Some(Extended { number, start: here, length: end.saturating_sub(here) });
                }
                (here.saturating_add(align), Some(here))
            } else {
                (here, None)
            };
            // The unit is kept free for a primary partition too: existing layouts count on these sizes.
            let reference = end.saturating_sub(here.saturating_add(align));
            let length = partition.size.of(reference) / sector * sector;
            self.check_room(partition, length, end.saturating_sub(start))?;
            placed.push(placement(partition, start, length, ebr));
            free = start + length;
        }
        // Both are numbers of 32 bits.
        if placed.iter().any(|placed| (placed.start + placed.length) / sector > u64::from(u32::MAX)) {
            let message =
                format!("an MBR can't describe partitions beyond {}", for_people((1 << 32) * sector));
            let place = &self.image.place;
            let fault = Fault::new(FaultKind::Layout, message).at(&place.file, place.line, place.column);
            return Err(fault.hint("use `label: gpt`"));
        }
        Ok((placed, extended))
    }

    fn place_gpt(&self) -> Result<Vec<Placement>, Fault> {
        let mut placed = Vec::new();
        let mut start = MIB;
        // One MiB before the first partition, one after the last for the second copy of the table.
        let mut free = self.size.saturating_sub(2 * MIB);
        for partition in &self.table.partitions {
            let length = partition.size.of(free) / MIB * MIB;
            self.check_room(partition, length, free)?;
            placed.push(placement(partition, start, length, None));
            start += length;
            free -= length;
        }
        Ok(placed)
    }

    fn check_room(&self, partition: &Partition, needed: u64, available: u64) -> Result<(), Fault> {
        let (name, image, size) = (&partition.name, &self.image.name, for_people(self.size));
        let fault = |message: String| {
            let place = &partition.place;
            Fault::new(FaultKind::Layout, message).at(&place.file, place.line, place.column)
        };
        if needed > available {
            let (needed, available) = (for_people(needed), for_people(available));
            return Err(fault(format!(
                "layout larger than the image: partition [{name}] needs {needed}, but {available} of the {size} of image [{image}] are \
                 left for it"
            )));
        }
        match partition.size {
            SizeSpec::Bytes(_) if needed == 0 => {
                let message = format!("partition [{name}] is smaller than the unit partitions are made in");
                Err(fault(message).hint("make it 1MiB or more"))
            }
            SizeSpec::Percent(_) if needed == 0 => Err(fault(format!(
                "layout larger than the image: nothing of the {size} of image [{image}] is left for partition [{name}]"
            ))),
            _ => Ok(()),
        }
    }
}

fn placement(partition: &Partition, start: u64, length: u64, ebr: Option<u64>) -> Placement {
    let Partition { number, name, kind, guid, bootable, .. } = partition.clone();
    Placement { number, name, kind, guid, bootable, start, length, ebr }
}
