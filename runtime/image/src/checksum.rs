//! Checksums of artifacts, taken while the bytes pass.
//!
//! Owns sha256 and md5 and the line format of the coreutils. Must not know where files lie. Called by the engine,
//! around a writer or over a finished file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use md5::Md5;
use sha2::{Digest, Sha256};

/// Which digests to take. sha256 is always taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithms {
    /// sha256 alone.
    Sha256,
    /// sha256 and md5.
    Sha256AndMd5,
}

/// The digests of some bytes, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    /// sha256.
    pub sha256: String,
    /// md5, where it was asked for.
    pub md5: Option<String>,
    /// The number of bytes.
    pub bytes: u64,
}

/// A writer that passes everything on and takes digests of it.
pub struct Digests<Out> {
    out: Out,
    sha256: Sha256,
    md5: Option<Md5>,
    bytes: u64,
}

impl<Out: Write> Digests<Out> {
    /// Starts with no bytes seen.
    pub fn new(out: Out, algorithms: Algorithms) -> Self {
        let md5 = match algorithms {
            Algorithms::Sha256 => None,
            Algorithms::Sha256AndMd5 => Some(Md5::new()),
        };
        Digests { out, sha256: Sha256::new(), md5, bytes: 0 }
    }

    /// Flushes and gives the writer back with the digests of all that passed.
    ///
    /// # Errors
    /// When flushing fails.
    pub fn finish(mut self) -> io::Result<(Out, Sums)> {
        self.out.flush()?;
        let md5 = self.md5.map(|md5| hexadecimal(&md5.finalize()));
        let sums = Sums { sha256: hexadecimal(&self.sha256.finalize()), md5, bytes: self.bytes };
        Ok((self.out, sums))
    }
}

impl<Out: Write> Write for Digests<Out> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.out.write(data)?;
        self.sha256.update(&data[..written]);
        if let Some(md5) = &mut self.md5 {
            md5.update(&data[..written]);
        }
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Takes the digests of a whole file, from its first byte, without moving its offset.
///
/// # Errors
/// When reading fails.
pub fn of_file(file: &File, algorithms: Algorithms) -> Result<Sums> {
    of_file_while(file, algorithms, &mut || Ok(()))
}

/// As [`of_file`], asking `go_on` again and again, whose error ends it.
///
/// # Errors
/// As [`of_file`], and whatever `go_on` says.
pub fn of_file_while(
    file: &File,
    algorithms: Algorithms,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Sums> {
    let mut digests = Digests::new(io::sink(), algorithms);
    let mut block = vec![0; 1 << 20];
    loop {
        go_on()?;
        let position = digests.bytes;
        match file.read_at(&mut block, position) {
            Ok(0) => break,
            Ok(read) => digests.write_all(&block[..read]).context("cannot take a digest")?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read at byte {position}")),
        }
    }
    Ok(digests.finish().context("cannot take a digest")?.1)
}

/// One line, with its newline, as `sha256sum` and `md5sum` write and check it.
///
/// A name with a backslash or a line break is escaped and the line marked with a leading backslash, as the
/// coreutils do ("GNU coreutils manual", md5sum invocation).
pub fn line(hexadecimal: &str, name: &str) -> String {
    if name.contains(['\\', '\n', '\r']) {
        let name = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        format!("\\{hexadecimal}  {name}\n")
    } else {
        format!("{hexadecimal}  {name}\n")
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        // The test vectors of FIPS 180-2 ("abc") and RFC 1321.
        let mut digests = Digests::new(Vec::new(), Algorithms::Sha256AndMd5);
        digests.write_all(b"a").expect("write");
        digests.write_all(b"bc").expect("write");
        let (passed, sums) = digests.finish().expect("finish");
        assert_eq!(passed, b"abc");
        assert_eq!(sums.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sums.md5.as_deref(), Some("900150983cd24fb0d6963f7d28e17f72"));
        assert_eq!(sums.bytes, 3);
    }

    #[test]
    fn a_file_has_the_digests_of_its_bytes() {
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(b"abc").expect("write");
        let sums = of_file(&file, Algorithms::Sha256).expect("digest");
        assert_eq!(sums.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sums.md5, None);
    }

    #[test]
    fn lines_are_those_of_the_coreutils() {
        for (name, expected) in [
            ("image.raw", "00ff  image.raw\n"),
            ("two words", "00ff  two words\n"),
            ("back\\slash", "\\00ff  back\\\\slash\n"),
            ("line\nbreak", "\\00ff  line\\nbreak\n"),
        ] {
            assert_eq!(line("00ff", name), expected);
        }
    }
}
