//! Checksums of artifacts, taken while the bytes pass.
//!
//! Owns sha256 and md5 and the line format of the coreutils. Must not know where files lie. Called by the engine,
//! around a writer or over a finished file, and by the writers of this crate.
//!
//! A digest takes its bytes one after the other, so no digest can use two processors; but it needs none of the
//! time of whoever makes the bytes. Every algorithm therefore has a thread of its own, which is handed blocks.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use md5::Md5;
use sha2::{Digest, Sha256};

/// Bytes that are handed to the threads at once.
const BLOCK: usize = 1 << 20;

/// Blocks that may wait for a thread.
const DEPTH: usize = 2;

/// What holes are digested as.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

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

/// Takes digests of what it is handed, in threads of its own.
pub struct Digester {
    sha256: Lane,
    md5: Option<Lane>,
    bytes: u64,
}

/// The thread of one algorithm. It ends when its sender is gone.
struct Lane {
    pieces: SyncSender<Piece>,
    thread: JoinHandle<String>,
}

#[derive(Clone)]
enum Piece {
    Bytes(Arc<Vec<u8>>),
    Zeros(u64),
}

impl Digester {
    /// Starts with no bytes seen.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(algorithms: Algorithms) -> Result<Self> {
        let md5 = match algorithms {
            Algorithms::Sha256 => None,
            Algorithms::Sha256AndMd5 => Some(Lane::start::<Md5>()?),
        };
        Ok(Digester { sha256: Lane::start::<Sha256>()?, md5, bytes: 0 })
    }

    /// Adds the bytes of a block. Waits while too many blocks wait already.
    ///
    /// # Errors
    /// When a thread has died.
    pub fn bytes(&mut self, block: Vec<u8>) -> Result<()> {
        self.bytes += block.len() as u64;
        self.hand_over(&Piece::Bytes(Arc::new(block)))
    }

    /// Adds so many zero bytes.
    ///
    /// # Errors
    /// When a thread has died.
    pub fn zeros(&mut self, length: u64) -> Result<()> {
        self.bytes += length;
        self.hand_over(&Piece::Zeros(length))
    }

    /// The digests of all that was added.
    ///
    /// # Errors
    /// When a thread has died.
    pub fn finish(self) -> Result<Sums> {
        let md5 = self.md5.map(Lane::finish).transpose()?;
        Ok(Sums { sha256: self.sha256.finish()?, md5, bytes: self.bytes })
    }

    fn hand_over(&self, piece: &Piece) -> Result<()> {
        for lane in std::iter::once(&self.sha256).chain(&self.md5) {
            lane.pieces.send(piece.clone()).map_err(|_| anyhow!("a digest's thread ended early"))?;
        }
        Ok(())
    }
}

impl Lane {
    fn start<Hash: Digest>() -> Result<Self> {
        let (pieces, incoming) = sync_channel(DEPTH);
        let thread = std::thread::Builder::new()
            .name("dibw-digest".to_owned())
            .spawn(move || {
                let mut hash = Hash::new();
                for piece in incoming {
                    match piece {
                        Piece::Bytes(block) => hash.update(block.as_slice()),
                        Piece::Zeros(length) => update_zeros(&mut hash, length),
                    }
                }
                hexadecimal(&hash.finalize())
            })
            .context("cannot start a thread for a digest")?;
        Ok(Lane { pieces, thread })
    }

    fn finish(self) -> Result<String> {
        drop(self.pieces);
        self.thread.join().map_err(|_| anyhow!("a digest's thread ended early"))
    }
}

fn update_zeros(hash: &mut impl Digest, mut length: u64) {
    while length > 0 {
        let part = length.min(ZEROS.len() as u64);
        // Not above the length of the array.
        hash.update(&ZEROS[..part as usize]);
        length -= part;
    }
}

/// A writer that passes everything on and takes digests of it.
pub struct Digests<Out> {
    out: Out,
    digester: Digester,
    /// What passed since the last block was handed over.
    block: Vec<u8>,
}

impl<Out: Write> Digests<Out> {
    /// Starts with no bytes seen.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new(out: Out, algorithms: Algorithms) -> Result<Self> {
        Ok(Digests { out, digester: Digester::start(algorithms)?, block: Vec::with_capacity(BLOCK) })
    }

    /// Flushes and gives the writer back with the digests of all that passed.
    ///
    /// # Errors
    /// When flushing fails, or a thread has died.
    pub fn finish(mut self) -> io::Result<(Out, Sums)> {
        self.out.flush()?;
        let sums = self.digester.bytes(self.block).and_then(|()| self.digester.finish());
        Ok((self.out, sums.map_err(io::Error::other)?))
    }
}

impl<Out: Write> Write for Digests<Out> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = BLOCK - self.block.len();
        let written = self.out.write(&data[..data.len().min(room)])?;
        self.block.extend_from_slice(&data[..written]);
        if self.block.len() == BLOCK {
            let full = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
            self.digester.bytes(full).map_err(io::Error::other)?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The sha256 of a few bytes.
pub fn sha256_of(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
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
    let mut digester = Digester::start(algorithms)?;
    loop {
        go_on()?;
        let position = digester.bytes;
        let mut block = vec![0; BLOCK];
        match file.read_at(&mut block, position) {
            Ok(0) => break,
            Ok(read) => {
                block.truncate(read);
                digester.bytes(block)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read at byte {position}")),
        }
    }
    digester.finish()
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
        let mut digests = Digests::new(Vec::new(), Algorithms::Sha256AndMd5).expect("threads");
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
    fn blocks_and_zeros_are_digested_as_the_bytes_they_are() {
        for (length, zeros) in [(0, 0), (1, 0), (BLOCK, 1), (BLOCK + 1, 65_537), (3 * BLOCK - 1, 200_000)] {
            let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let mut digester = Digester::start(Algorithms::Sha256AndMd5).expect("threads");
            digester.bytes(bytes.clone()).expect("alive");
            digester.zeros(zeros as u64).expect("alive");
            let all = [bytes, vec![0; zeros]].concat();
            let mut digests = Digests::new(io::sink(), Algorithms::Sha256AndMd5).expect("threads");
            digests.write_all(&all).expect("write");
            let sums = digester.finish().expect("alive");
            assert_eq!(sums, digests.finish().expect("finish").1);
            assert_eq!(sums.sha256, sha256_of(&all));
            assert_eq!(sums.bytes, all.len() as u64);
        }
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
