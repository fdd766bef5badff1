//! Streaming gzip and zstd writers that use several threads.
//!
//! Owns the cutting of a stream into blocks and their compression. Must not know what is compressed. Called by
//! the engine, behind a tar stream.
//!
//! Both formats define that members (gzip, RFC 1952 section 2.2) or frames (zstd, RFC 8878 section 3) one after
//! the other decompress to the concatenation of their contents. So every block is compressed by itself, on any
//! thread, and the bytes depend on the input and the level alone. No time stamp is written.

use std::io::{self, Write};

use anyhow::{Context, Result, anyhow, bail};

use crate::workers::Workers;

/// Bytes of input per gzip member. deflate looks back 32 KiB at most, so cutting here costs next to nothing.
const GZIP_BLOCK: usize = 1 << 20;

/// Bytes of input per zstd frame, at least; its window grows with the level, and so must the block.
const ZSTD_BLOCK: usize = 4 << 20;

/// A writer that compresses to gzip. Call [`finish`](Self::finish): dropping it loses what is buffered.
pub struct Gzip<Out>(Blocks<Out>);

impl<Out: Write> Gzip<Out> {
    /// `level` is 1 (fast) to 12 (small), as libdeflate counts; `threads` at least 1.
    ///
    /// # Errors
    /// When the level does not exist or no thread can be started.
    pub fn new(out: Out, level: u32, threads: usize) -> Result<Self> {
        if !(1..=12).contains(&level) {
            bail!("gzip has the levels 1 to 12, not {level}");
        }
        let workers = Workers::start(threads, || {
            let level = i32::try_from(level).map_err(|_| anyhow!("the gzip level is too large"))?;
            let level =
                libdeflater::CompressionLvl::new(level).map_err(|_| anyhow!("no gzip level {level}"))?;
            let mut compressor = libdeflater::Compressor::new(level);
            Ok(move |block: Vec<u8>| {
                let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
                let length = compressor
                    .gzip_compress(&block, &mut member)
                    .map_err(|error| io::Error::other(format!("gzip: {error}")))?;
                member.truncate(length);
                Ok(member)
            })
        })?;
        Ok(Gzip(Blocks::new(out, GZIP_BLOCK, workers)))
    }

    /// Compresses what is left, flushes, and gives the writer back.
    ///
    /// # Errors
    /// When compressing or writing fails.
    pub fn finish(self) -> io::Result<Out> {
        self.0.finish()
    }
}

impl<Out: Write> Write for Gzip<Out> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    /// Passes on what is already compressed; a block is only compressed when it is full or the stream ends.
    fn flush(&mut self) -> io::Result<()> {
        self.0.out.flush()
    }
}

/// A writer that compresses to zstd, with checksums. Call [`finish`](Self::finish): dropping it loses what is
/// buffered.
pub struct Zstd<Out>(Blocks<Out>);

impl<Out: Write> Zstd<Out> {
    /// `level` is 1 (fast) to 22 (small); `threads` at least 1. Each thread has up to five blocks in memory, of 4 MiB up
    /// to level 9 and 16 MiB above.
    ///
    /// # Errors
    /// When the level does not exist or no thread can be started.
    pub fn new(out: Out, level: i32, threads: usize) -> Result<Self> {
        if !(1..=22).contains(&level) {
            bail!("zstd has the levels 1 to 22, not {level}");
        }
        let workers = Workers::start(threads, || {
            let mut compressor = zstd::bulk::Compressor::new(level).context("cannot set up zstd")?;
            compressor
                .set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))
                .context("cannot turn zstd checksums on")?;
            Ok(move |block: Vec<u8>| compressor.compress(&block))
        })?;
        let block = if level > 9 { 4 * ZSTD_BLOCK } else { ZSTD_BLOCK };
        Ok(Zstd(Blocks::new(out, block, workers)))
    }

    /// Compresses what is left, flushes, and gives the writer back.
    ///
    /// # Errors
    /// When compressing or writing fails.
    pub fn finish(self) -> io::Result<Out> {
        self.0.finish()
    }
}

impl<Out: Write> Write for Zstd<Out> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    /// Passes on what is already compressed; a block is only compressed when it is full or the stream ends.
    fn flush(&mut self) -> io::Result<()> {
        self.0.out.flush()
    }
}

/// The stream cut into blocks of one size.
struct Blocks<Out> {
    out: Out,
    block: Vec<u8>,
    block_size: usize,
    any: bool,
    workers: Workers<Vec<u8>, io::Result<Vec<u8>>>,
}

impl<Out: Write> Blocks<Out> {
    fn new(out: Out, block_size: usize, workers: Workers<Vec<u8>, io::Result<Vec<u8>>>) -> Self {
        Blocks { out, block: Vec::with_capacity(block_size), block_size, any: false, workers }
    }

    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(self.block_size - self.block.len());
        self.block.extend_from_slice(&data[..taken]);
        if self.block.len() == self.block_size {
            self.submit()?;
        }
        Ok(taken)
    }

    fn submit(&mut self) -> io::Result<()> {
        if self.workers.is_full() {
            self.pass_on()?;
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(self.block_size));
        self.any = true;
        self.workers.submit(block).map_err(io::Error::other)
    }

    /// Writes the oldest compressed block; false when there is none.
    fn pass_on(&mut self) -> io::Result<bool> {
        let Some(compressed) = self.workers.take().map_err(io::Error::other)? else { return Ok(false) };
        self.out.write_all(&compressed?)?;
        Ok(true)
    }

    fn finish(mut self) -> io::Result<Out> {
        // An empty stream still needs one member to be a valid file.
        if !self.block.is_empty() || !self.any {
            self.submit()?;
        }
        while self.pass_on()? {}
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that compress somewhat, from a fixed xorshift sequence.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % 23) as u8
            })
            .collect()
    }

    #[test]
    fn zstd_round_trips_and_does_not_depend_on_threads() {
        for length in [0, 1, ZSTD_BLOCK, ZSTD_BLOCK + 1, 3 * ZSTD_BLOCK + 17] {
            let data = sample(length);
            let outputs = [1, 2, 5].map(|threads| {
                let mut writer = Zstd::new(Vec::new(), 1, threads).expect("writer");
                writer.write_all(&data).expect("write");
                writer.finish().expect("finish")
            });
            assert!(outputs[0] == outputs[1] && outputs[1] == outputs[2]);
            assert!(zstd::stream::decode_all(&outputs[0][..]).expect("decode") == data);
        }
    }

    #[test]
    fn gzip_round_trips_and_does_not_depend_on_threads() {
        for length in [0, 1, GZIP_BLOCK, GZIP_BLOCK + 1] {
            let data = sample(length);
            let outputs = [1, 3].map(|threads| {
                let mut writer = Gzip::new(Vec::new(), 1, threads).expect("writer");
                writer.write_all(&data).expect("write");
                writer.finish().expect("finish")
            });
            assert!(outputs[0] == outputs[1]);
            // Bytes 4 to 8 of a member are its time stamp (RFC 1952): none.
            assert_eq!(outputs[0][..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
            let first = &data[..length.min(GZIP_BLOCK)];
            let mut plain = vec![0; first.len()];
            let decoded = libdeflater::Decompressor::new().gzip_decompress(&outputs[0], &mut plain);
            assert_eq!(decoded, Ok(first.len()));
            assert!(plain == first);
        }
    }

    #[test]
    fn levels_that_do_not_exist_are_refused() {
        assert!(Gzip::new(Vec::new(), 0, 1).is_err());
        assert!(Gzip::new(Vec::new(), 13, 1).is_err());
        assert!(Zstd::new(Vec::new(), 0, 1).is_err());
        assert!(Zstd::new(Vec::new(), 23, 1).is_err());
    }
}
