//! The blocks that come before an entry's content.
//!
//! Owns the ustar header and the PAX records for what does not fit into it. Must not know about file systems.
//! Called by `tar_stream` and by `container`.
//!
//! Format: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; the keyword
//! `SCHILY.xattr.NAME` is star's, and what GNU tar and libarchive read and write for extended attributes.

use anyhow::{Result, bail};

/// The largest number that fits seven octal digits.
const SEVEN_DIGITS: u64 = 0o777_7777;

/// The largest number that fits eleven octal digits.
const ELEVEN_DIGITS: u64 = 0o777_7777_7777;

/// Room for a name in a ustar header. We use no prefix: a PAX record says it all.
const NAME_LENGTH: usize = 100;

/// Bytes of [`Entry::late_blocks`].
pub(crate) const LATE_LENGTH: u64 = 3 * 512;

/// The kind of an entry, with the type flag that stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    File = b'0',
    HardLink = b'1',
    Symlink = b'2',
    CharacterDevice = b'3',
    BlockDevice = b'4',
    Directory = b'5',
    Fifo = b'6',
}

/// All that tar says about one file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission bits, with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Bytes of content that follow; zero for all but files.
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    /// Where a link points; empty for all but links.
    pub(crate) link: Vec<u8>,
    /// Major and minor number; only written for devices.
    pub(crate) device: (u32, u32),
    /// Extended attributes, name and value, sorted by name.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// A file of root that everyone may read, without a time.
    pub(crate) fn file(path: &str, size: u64) -> Self {
        Self::made(path, Kind::File, 0o644, size)
    }

    /// A directory of root. The path ends with a slash.
    pub(crate) fn directory(path: &str) -> Self {
        Self::made(path, Kind::Directory, 0o755, 0)
    }

    fn made(path: &str, kind: Kind, mode: u32, size: u64) -> Self {
        Entry {
            path: path.as_bytes().to_vec(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            size,
            mtime: 0,
            link: Vec::new(),
            device: (0, 0),
            attributes: Vec::new(),
        }
    }

    /// As [`Entry::blocks`], always [`LATE_LENGTH`] bytes: for a file whose size is only known when it was written.
    ///
    /// # Errors
    /// When the path is too long for that.
    pub(crate) fn late_blocks(&self) -> Result<Vec<u8>> {
        let mut records = Vec::new();
        record(&mut records, b"size", self.size.to_string().as_bytes());
        if self.path.len() > NAME_LENGTH {
            bail!("the name {} is too long", String::from_utf8_lossy(&self.path));
        }
        let own = Entry { size: self.size.min(ELEVEN_DIGITS), ..self.clone() };
        let mut blocks = extended(&records);
        blocks.extend(own.blocks()?);
        Ok(blocks)
    }

    /// The header, and before it, where one is needed, an extended header with its records.
    ///
    /// # Errors
    /// When a device number fits neither; Linux has no such device.
    pub(crate) fn blocks(&self) -> Result<Vec<u8>> {
        let records = self.records();
        let mut blocks = Vec::with_capacity(512);
        if !records.is_empty() {
            blocks.extend(extended(&records));
        }
        let (major, minor) = match self.kind {
            Kind::CharacterDevice | Kind::BlockDevice => self.device,
            _ => (0, 0),
        };
        if u64::from(major) > SEVEN_DIGITS || u64::from(minor) > SEVEN_DIGITS {
            bail!("the device number {major}:{minor} does not fit a tar header");
        }
        let fields = Fields {
            name: &self.path,
            flag: self.kind as u8,
            mode: self.mode,
            uid: u64::from(self.uid),
            gid: u64::from(self.gid),
            mtime: u64::try_from(self.mtime).unwrap_or(0),
            link: &self.link,
            device: (u64::from(major), u64::from(minor)),
        };
        blocks.extend(fields.block(self.size));
        Ok(blocks)
    }

    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let long_path = self.path.len() > NAME_LENGTH;
        let long_link = self.link.len() > NAME_LENGTH;
        // Names go out as the bytes they are, as GNU tar does it: it warns about the `hdrcharset` record that would
        // announce other bytes than UTF-8.
        if long_path {
            record(&mut records, b"path", &self.path);
        }
        if long_link {
            record(&mut records, b"linkpath", &self.link);
        }
        for (key, value, largest) in [
            ("uid", u64::from(self.uid), SEVEN_DIGITS),
            ("gid", u64::from(self.gid), SEVEN_DIGITS),
            ("size", self.size, ELEVEN_DIGITS),
        ] {
            if value > largest {
                record(&mut records, key.as_bytes(), value.to_string().as_bytes());
            }
        }
        if !u64::try_from(self.mtime).is_ok_and(|mtime| mtime <= ELEVEN_DIGITS) {
            record(&mut records, b"mtime", self.mtime.to_string().as_bytes());
        }
        for (name, value) in &self.attributes {
            let mut key = b"SCHILY.xattr.".to_vec();
            for byte in name {
                // An equals sign would end the keyword; this is how GNU tar writes one.
                match byte {
                    b'=' => key.extend(b"%3D"),
                    b'%' => key.extend(b"%25"),
                    _ => key.push(*byte),
                }
            }
            record(&mut records, &key, value);
        }
        records
    }
}

/// An extended header with these records.
fn extended(records: &[u8]) -> Vec<u8> {
    let fields = Fields { name: b"././@PaxHeader", flag: b'x', mode: 0o644, ..Fields::default() };
    let mut blocks = fields.block(records.len() as u64).to_vec();
    blocks.extend(records);
    blocks.resize(blocks.len().next_multiple_of(512), 0);
    blocks
}

/// Appends `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    // Counting a digit more may need a digit more, once.
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend(length.to_string().as_bytes());
    records.push(b' ');
    records.extend(key);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

/// The fields of a ustar header but its size.
#[derive(Default)]
struct Fields<'a> {
    name: &'a [u8],
    flag: u8,
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: u64,
    link: &'a [u8],
    device: (u64, u64),
}

impl Fields<'_> {
    fn block(&self, size: u64) -> [u8; 512] {
        let mut block = [0; 512];
        text(&mut block[0..100], self.name);
        octal(&mut block[100..108], u64::from(self.mode));
        octal(&mut block[108..116], self.uid);
        octal(&mut block[116..124], self.gid);
        octal(&mut block[124..136], size);
        octal(&mut block[136..148], self.mtime);
        block[156] = self.flag;
        text(&mut block[157..257], self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], self.device.0);
        octal(&mut block[337..345], self.device.1);
        // The checksum is taken as if its own field were spaces.
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut block[148..155], sum);
        block
    }
}

/// What fits; a record has the rest.
fn text(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Octal digits and a zero byte; zero when the number does not fit, because then a record has it.
fn octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    let digits = format!("{value:0width$o}");
    let digits = if digits.len() > width { "0".repeat(width) } else { digits };
    field[..width].copy_from_slice(digits.as_bytes());
    field[width] = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            path: b"./file".to_vec(),
            kind: Kind::File,
            mode: 0o4755,
            uid: 1000,
            gid: 0,
            size: 5,
            mtime: 1_700_000_000,
            link: Vec::new(),
            device: (0, 0),
            attributes: Vec::new(),
        }
    }

    #[test]
    fn a_simple_entry_is_one_block() {
        let blocks = entry().blocks().expect("header");
        assert_eq!(blocks.len(), 512);
        assert_eq!(&blocks[..8], b"./file\0\0");
        assert_eq!(&blocks[100..148], b"0004755\x000001750\x000000000\x0000000000005\x0014524770400\x00");
        assert_eq!(blocks[156], b'0');
        assert_eq!(&blocks[257..265], b"ustar\x0000");
        let sum: u32 = blocks.iter().map(|byte| u32::from(*byte)).sum::<u32>()
            - blocks[148..156].iter().map(|byte| u32::from(*byte)).sum::<u32>()
            + 8 * 32;
        assert_eq!(blocks[148..156], *format!("{sum:06o}\0 ").as_bytes());
    }

    #[test]
    fn a_late_header_has_one_length_whatever_the_size() {
        for size in [0, 5, ELEVEN_DIGITS, ELEVEN_DIGITS + 1, u64::MAX] {
            let blocks = Entry::file("layer.tar", size).late_blocks().expect("header");
            assert_eq!(blocks.len() as u64, LATE_LENGTH);
            assert!(String::from_utf8_lossy(&blocks[512..1024]).contains(&format!(" size={size}\n")));
        }
    }

    #[test]
    fn records_count_their_own_length() {
        // 10 and 100 cannot be: their own last digit is what makes them that long.
        for (length, expected) in [(1, 6), (4, 9), (5, 11), (93, 99), (94, 101)] {
            let mut records = Vec::new();
            record(&mut records, b"k", &vec![b'v'; length]);
            assert_eq!(records.len(), expected);
            assert!(records.starts_with(format!("{expected} k=").as_bytes()));
        }
    }

    #[test]
    fn what_does_not_fit_goes_into_records() {
        let mut large = entry();
        large.path = [b"./".to_vec(), vec![0xff; 120]].concat();
        large.uid = 3_000_000_000;
        large.size = 1 << 40;
        large.mtime = -5;
        large.attributes = vec![(b"user.a=b%".to_vec(), vec![0, b'\n', 0xfe])];
        let records = large.records();
        let shown = String::from_utf8_lossy(&records);
        for expected in [" uid=3000000000\n", " size=1099511627776\n", " mtime=-5\n", "user.a%3Db%25=\0\n"] {
            assert!(shown.contains(expected), "{shown:?}");
        }
        assert!(!shown.contains("gid="));
        let blocks = large.blocks().expect("header");
        assert_eq!(blocks.len() % 512, 0);
        assert_eq!(blocks[156], b'x');
    }
}
