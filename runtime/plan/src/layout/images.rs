//! Image files (`local_loop`) and their partition tables (`partitioning`): reading and the rules that need no size of the image.
//! Knows nothing of what is made on partitions; where they lie is `geometry`'s job. Called by `layout::parse`.

use dibw_policy::yaml::Node;
use serde::{Deserialize, Serialize};

use super::flatten::FlatNode;
use super::gpt_types::type_guid;
use super::identity::{derive_disk_id, derive_uuid};
use super::source::{Fields, Source};
use crate::fault::Place;
use crate::size::{MIB, SizeSpec, parse_absolute};

/// An image file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Its name; the file is `<directory>/<name>.raw`.
    pub name: String,
    /// Where the file is to be, when not in the build's own directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Bytes; none means the size of the request or of the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Bytes in a sector.
    pub sector_size: u32,
    /// Its partitions, when it has a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<PartitionTable>,
    /// Where it is configured.
    pub place: Place,
}

/// Which kind of table, and the identifier of the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "label")]
pub enum TableLabel {
    /// Master boot record.
    Mbr {
        /// The identifier at byte 440, not 0.
        disk_id: u32,
    },
    /// GUID partition table.
    Gpt {
        /// Lower case.
        disk_guid: String,
    },
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartitionTable {
    /// Kind and identifier.
    #[serde(flatten)]
    pub label: TableLabel,
    /// Partitions of an MBR begin at multiples of this many bytes. 1 MiB for GPT.
    pub align: u64,
    /// In the order of the configuration.
    pub partitions: Vec<Partition>,
}

/// The type of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionType {
    /// The byte in an MBR.
    Mbr(u8),
    /// Four hexadecimal digits as sgdisk has them (`EF00`), or a GUID; upper case.
    Gpt(String),
}

impl PartitionType {
    /// Whether it is an EFI system partition.
    pub fn is_esp(&self) -> bool {
        match self {
            Self::Mbr(byte) => *byte == 0xef,
            Self::Gpt(code) => type_guid(code) == type_guid("EF00"),
        }
    }
}

/// A partition, not yet placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    /// As Linux numbers it: primaries 1 to 4, logical ones from 5, GPT from 1.
    pub number: u32,
    /// Its name; in a GPT it is written to the table.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: PartitionType,
    /// Its own GUID, in a GPT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// The active mark of an MBR. Never set in a GPT, which has none.
    pub bootable: bool,
    /// Its size; a share is of what is left when its turn comes.
    pub size: SizeSpec,
    /// Where it is configured.
    pub place: Place,
}

impl Partition {
    /// Whether it lies inside an extended partition.
    pub fn is_logical(&self) -> bool {
        matches!(self.kind, PartitionType::Mbr(_)) && self.number > 4
    }
}

impl Image {
    /// The partition that is made first, and with it all of them.
    pub(super) fn first_partition(&self) -> Option<&Partition> {
        self.table.as_ref()?.partitions.first()
    }
}

/// Reads a `local_loop`.
pub(super) fn read_image(
    node: &FlatNode,
    sector_size: Option<u32>,
    source: &mut Source<'_>,
) -> Option<Image> {
    let fields = node.fields();
    source.expect_keys(fields, &["name", "base", "size", "directory", "block_size"]);
    let name = source.text(fields, "name")?;
    if name.contains(['/', '\0']) || name == "." || name == ".." {
        source.fault(
            fields.spot_of("name"),
            format!("the image name [{name}] becomes a file name: it may hold no `/`"),
        );
    }
    let size = absolute(fields, "size", source);
    let configured = source.number(fields, "block_size");
    let sector_size = sector_size.or(configured).unwrap_or(512);
    let spot = fields.spot_of("block_size");
    if !sector_size.is_power_of_two() || !(512..=4096).contains(&sector_size) {
        source.fault(spot, format!("block_size {sector_size} is no size of a sector: use 512 or 4096"));
    } else if sector_size != 512 && sector_size != 4096 {
        source.warn(spot, format_args!("block_size {sector_size} is unusual: disks have 512 or 4096"));
    }
    let directory = source.text(fields, "directory");
    Some(Image { name, directory, size, sector_size, table: None, place: source.place(node.spot) })
}

/// Entries of the GPT that sgdisk and everyone else makes. An MBR's chain has no bound of its own.
const MOST_PARTITIONS: usize = 128;

/// Reads a `partitioning`: the name of the image it is for, and the table.
pub(super) fn read_table(
    node: &FlatNode,
    seed: &[u8],
    source: &mut Source<'_>,
) -> Option<(String, PartitionTable)> {
    let read = read_partitioning(node, seed, source);
    if read.is_none() {
        let records = node.fields().get("partitions").and_then(Node::as_sequence).unwrap_or_default();
        let names = records.iter().filter_map(|record| record.get("name")?.as_text());
        source.lost.extend(names.map(str::to_owned));
    }
    read
}

fn read_partitioning(
    node: &FlatNode,
    seed: &[u8],
    source: &mut Source<'_>,
) -> Option<(String, PartitionTable)> {
    let fields = node.fields();
    source.expect_keys(fields, &["name", "base", "label", "align", "partitions"]);
    let base = source.required(fields, "base", "Partitioning config needs 'base'");
    let records = source.records(fields, "partitions", "Partitioning config needs 'partitions'");
    let label = source.required(fields, "label", "Partitioning config needs 'label'");
    let is_mbr = match label.as_deref()? {
        "mbr" => true,
        "gpt" => false,
        other => {
            source.fault(fields.spot_of("label"), format!("Label must be 'mbr' or 'gpt', not '{other}'"));
            return None;
        }
    };
    let base = base?;
    let align = absolute(fields, "align", source).unwrap_or(MIB);
    if align == 0 || !align.is_multiple_of(512) {
        source.fault(fields.spot_of("align"), "align must be a multiple of 512 bytes, and not 0");
    }
    let label = if is_mbr {
        TableLabel::Mbr { disk_id: derive_disk_id(seed, &format!("disk {base}")) }
    } else {
        TableLabel::Gpt { disk_guid: derive_uuid(seed, &format!("disk {base}")) }
    };
    if records.len() > MOST_PARTITIONS {
        source.fault(
            fields.spot,
            format!("{} partitions are more than the {MOST_PARTITIONS} of a table", records.len()),
        );
    }
    // GPT partitions always begin at whole MiB, as sgdisk places them.
    let mut table = PartitionTable { label, align: if is_mbr { align } else { MIB }, partitions: Vec::new() };
    for record in records {
        let partition = if is_mbr {
            read_mbr_partition(record, &table.partitions, source)
        } else {
            read_gpt_partition(record, table.partitions.len(), &base, seed, source)
        };
        table.partitions.extend(source.keep(record.get("name"), partition));
    }
    Some((base, table))
}

const PARTITION_KEYS: [&str; 5] = ["name", "base", "size", "type", "flags"];

fn read_mbr_partition(record: &Node, before: &[Partition], source: &mut Source<'_>) -> Option<Partition> {
    let fields = Fields::of("partition", record);
    source.expect_keys(fields, &PARTITION_KEYS);
    let name = partition_name(fields, source)?;
    let (mut bootable, mut primary) = (false, false);
    for (flag, spot) in flags(fields, source) {
        match flag.as_str() {
            "boot" => bootable = true,
            "primary" => primary = true,
            _ => source.unknown_name(spot, format!("Unknown flag: {flag}"), &flag, &["boot", "primary"]),
        }
    }
    let primaries = before.iter().filter(|partition| !partition.is_logical()).count() as u32;
    let logicals = before.len() as u32 - primaries;
    let number = if primary { primaries + 1 } else { 5 + logicals };
    if primary && logicals > 0 {
        source.fault(
            fields.spot,
            format!("All primary partitions must be given first: [{name}] comes after a logical one"),
        );
    }
    // The table has four slots; the extended partition, which holds the logical ones, takes one.
    if primary && number > 4 {
        source.fault_with_hint(
            fields.spot,
            format!("an MBR has room for 4 primary partitions: [{name}] is number {number}"),
            "leave out the flag `primary` from the fourth on, or use `label: gpt`",
        );
        return None;
    }
    if !primary && primaries == 4 && logicals == 0 {
        source.fault_with_hint(
            fields.spot,
            format!("an MBR has room for 3 primary partitions beside logical ones: [{name}] is logical and comes after 4"),
            "leave out the flag `primary` of the fourth, or use `label: gpt`",
        );
    }
    let kind = PartitionType::Mbr(mbr_type(fields, source).unwrap_or(0x83));
    let size = partition_size(fields, &name, source)?;
    Some(Partition { number, name, kind, guid: None, bootable, size, place: source.place(fields.spot) })
}

fn read_gpt_partition(
    record: &Node,
    before: usize,
    base: &str,
    seed: &[u8],
    source: &mut Source<'_>,
) -> Option<Partition> {
    let fields = Fields::of("partition", record);
    source.expect_keys(fields, &PARTITION_KEYS);
    let name = partition_name(fields, source)?;
    if name.encode_utf16().count() > 36 {
        source.fault(
            fields.spot_of("name"),
            format!("the partition name [{name}] is longer than the 36 characters of a GPT"),
        );
    }
    for (flag, spot) in flags(fields, source) {
        match flag.as_str() {
            "boot" => {} // A GPT has no active mark; diskimage-builder's own layouts set the flag all the same.
            "primary" => source.fault(spot, "Primary flag not supported for GPT partitions"),
            _ => source.unknown_name(spot, format!("Unknown flag: {flag}"), &flag, &["boot"]),
        }
    }
    let number = before as u32 + 1;
    let kind = PartitionType::Gpt(gpt_type(fields, source).unwrap_or_else(|| String::from("8300")));
    let size = partition_size(fields, &name, source)?;
    let guid = Some(derive_uuid(seed, &format!("partition {base} {name}")));
    Some(Partition { number, name, kind, guid, bootable: false, size, place: source.place(fields.spot) })
}

fn partition_name(fields: Fields<'_>, source: &mut Source<'_>) -> Option<String> {
    let name = source.required(fields, "name", "partition config needs 'name'")?;
    // Devices are known by name, and what is known by name may become part of a path.
    if name.is_empty() || name.contains('/') || name.contains(char::is_control) || name == "." || name == ".."
    {
        let shown = name.escape_debug();
        source.fault(
            fields.spot_of("name"),
            format!("[{shown}] is no name for a partition: it may hold no `/`"),
        );
    }
    Some(name)
}

fn flags<'a>(fields: Fields<'a>, source: &mut Source<'_>) -> Vec<(String, dibw_policy::yaml::Spot)> {
    let Some(node) = fields.get("flags") else { return Vec::new() };
    match node.as_sequence() {
        Some(items) => {
            items.iter().map(|item| (item.as_text().unwrap_or(item.kind()).to_owned(), item.spot)).collect()
        }
        None => {
            source.fault_with_hint(
                node.spot,
                format!("flags must be a list, not {}", node.kind()),
                "flags: [boot, primary]",
            );
            Vec::new()
        }
    }
}

/// An absolute size, written as a string.
fn absolute(fields: Fields<'_>, key: &str, source: &mut Source<'_>) -> Option<u64> {
    let text = size_text(fields, key, source)?;
    parse_absolute(&text)
        .map_err(|error| source.fault(fields.spot_of(key), format!("{error} (`{key}` of {})", fields.what)))
        .ok()
}

fn partition_size(fields: Fields<'_>, name: &str, source: &mut Source<'_>) -> Option<SizeSpec> {
    if fields.get("size").is_none() {
        source.fault_with_hint(
            fields.spot,
            format!("No size given for partition [{name}]"),
            "add `size: 100%`",
        );
    }
    let text = size_text(fields, "size", source)?;
    let spot = fields.spot_of("size");
    let size = SizeSpec::parse(&text)
        .map_err(|error| source.fault(spot, format!("{error} (size of partition [{name}])")))
        .ok()?;
    let in_range = match size {
        SizeSpec::Bytes(bytes) => bytes > 0,
        SizeSpec::Percent(percent) => percent > 0.0 && percent <= 100.0,
    };
    if !in_range {
        source.fault(
            spot,
            format!("size {text} of partition [{name}]: a size is above 0, a share at most 100%"),
        );
    }
    in_range.then_some(size)
}

/// Sizes are strings: a bare number is refused, as by diskimage-builder, because it looks like MiB and means bytes.
pub(super) fn size_text(fields: Fields<'_>, key: &str, source: &mut Source<'_>) -> Option<String> {
    let node = fields.get(key)?;
    let text = node.as_str().map(str::to_owned);
    if text.is_none() {
        let written = node.as_text().unwrap_or("100");
        source.fault_with_hint(
            node.spot,
            format!("`{key}` of {} must be a string, not {}", fields.what, node.kind()),
            format!("give a unit: `{key}: {written}MiB`"),
        );
    }
    text
}

/// A byte, as a string of hexadecimal digits.
fn mbr_type(fields: Fields<'_>, source: &mut Source<'_>) -> Option<u8> {
    let node = fields.get("type")?;
    let Some(text) = node.as_str() else {
        let written = node.as_text().unwrap_or("83");
        source.fault_with_hint(
            node.spot,
            format!("the type of an MBR partition must be a hexadecimal string, not {}", node.kind()),
            format!("quote it: `type: '{written}'`"),
        );
        return None;
    };
    let digits =
        text.trim().strip_prefix("0x").or_else(|| text.trim().strip_prefix("0X")).unwrap_or(text.trim());
    let kind = u8::from_str_radix(digits, 16).ok();
    if kind.is_none() || digits.starts_with('+') {
        source.fault_with_hint(
            node.spot,
            format!("[{text}] is no type of an MBR partition: 00 to ff, hexadecimal"),
            "types like EF02 belong to `label: gpt`; for an EFI system partition in an MBR use 'ef'",
        );
        return None;
    }
    kind
}

/// A code of sgdisk, normalised to four upper-case digits, or a GUID.
fn gpt_type(fields: Fields<'_>, source: &mut Source<'_>) -> Option<String> {
    let node = fields.get("type")?;
    // As written: diskimage-builder takes an unquoted 0700 for octal and asks sgdisk for type 448, which nobody means.
    let text = node.as_text().unwrap_or_default().trim().to_owned();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(&text);
    let is_code = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if type_guid(&text).is_some() {
        return Some(digits.to_ascii_uppercase());
    }
    if is_code {
        source.fault_with_hint(
            node.spot,
            format!("[{text}] is no known type of a GPT partition"),
            "`sgdisk -L` lists the codes; a type without a code is given as its GUID",
        );
        return None;
    }
    source.fault_with_hint(
        node.spot,
        format!("[{text}] is no type of a GPT partition: four hexadecimal digits or a GUID"),
        "8300 is a Linux file system, EF00 an EFI system partition, EF02 a BIOS boot partition",
    );
    None
}
