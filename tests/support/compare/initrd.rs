//! The members of an initial ramdisk: cpio archives ("newc"), one after another, the last of them compressed.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::inventory::{Content, Entry, Kind};

/// What decompresses what begins so.
const COMPRESSED: [(&[u8], &str); 3] =
    [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz")];
const MAGIC: &[u8] = b"070701";

/// Whether a file of this name is one.
pub(super) fn is_called_so(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let in_boot =
        path.contains("/boot/") && ["initrd", "initramfs"].iter().any(|start| name.starts_with(start));
    in_boot || name.ends_with(".initramfs")
}

/// Its members with their paths; nothing when it is not an archive of a kind known here.
pub(super) fn members(place: &Path) -> Result<Option<Vec<(String, Entry)>>> {
    let bytes = fs::read(place).with_context(|| place.display().to_string())?;
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        at += bytes[at..].iter().take_while(|byte| **byte == 0).count();
        let rest = &bytes[at..];
        if rest.starts_with(MAGIC) {
            at += archive(rest, &mut found).with_context(|| place.display().to_string())?;
        } else if let Some((_, program)) = COMPRESSED.iter().find(|(start, _)| rest.starts_with(start)) {
            let unpacked = decompress(program, rest)?;
            if !unpacked.starts_with(MAGIC) {
                return Ok(None);
            }
            archive(&unpacked, &mut found).with_context(|| place.display().to_string())?;
            return Ok(Some(found));
        } else {
            return Ok((!found.is_empty()).then_some(found));
        }
    }
}

fn decompress(program: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let compressed = tempfile::NamedTempFile::new().context("a temporary file")?;
    fs::write(compressed.path(), bytes).context("a temporary file")?;
    let input = File::open(compressed.path()).context("a temporary file")?;
    let output = Command::new(program).arg("-dc").stdin(input).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} -dc: {}", output.status);
    Ok(output.stdout)
}

/// Reads one archive; gives its length.
fn archive(bytes: &[u8], found: &mut Vec<(String, Entry)>) -> Result<usize> {
    let mut at = 0;
    loop {
        let header = bytes.get(at..at + 110).context("a cpio archive that ends early")?;
        if !header.starts_with(MAGIC) {
            bail!("a cpio member without its magic at byte {at}");
        }
        let field = |index: usize| -> Result<u32> {
            let digits =
                std::str::from_utf8(&header[6 + index * 8..14 + index * 8]).context("a cpio header")?;
            u32::from_str_radix(digits, 16).context("a cpio header")
        };
        let (mode, length, name_length) = (field(1)?, field(6)? as usize, field(11)? as usize);
        let name = bytes.get(at + 110..at + 110 + name_length).context("a cpio name that ends early")?;
        let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
        let begin = (at + 110 + name_length).next_multiple_of(4);
        let data = bytes.get(begin..begin + length).context("a cpio member that ends early")?;
        at = (begin + length).next_multiple_of(4);
        if name == "TRAILER!!!" {
            return Ok(at.min(bytes.len()));
        }
        let mut entry = Entry::new(kind(mode, data));
        (entry.mode, entry.uid, entry.gid) = (mode & 0o7777, field(2)?, field(3)?);
        entry.device = (field(9)?, field(10)?);
        found.push((name, entry));
    }
}

fn kind(mode: u32, data: &[u8]) -> Kind {
    match mode & 0o170_000 {
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::Link(String::from_utf8_lossy(data).into_owned()),
        0o020_000 => Kind::CharacterDevice,
        0o060_000 => Kind::BlockDevice,
        0o010_000 => Kind::Fifo,
        _ => Kind::File(Content::Bytes(data.to_vec())),
    }
}
