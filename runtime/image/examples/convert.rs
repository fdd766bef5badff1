//! Converts a raw image to qcow2 as the engine does, for measuring alone: `convert RAW QCOW2 none|zlib|zstd [LEVEL [THREADS]]`.
//! `tests/bench/conversion` runs it beside `qemu-img convert`.

use std::fs::{File, OpenOptions};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use dibw_image::qcow2::{self, Compression, Qcow2Options};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [raw, out, kind, numbers @ ..] = &words[..] else {
        bail!("convert RAW QCOW2 none|zlib|zstd [LEVEL [THREADS]]");
    };
    let numbers: Vec<u32> = numbers.iter().map(|word| word.parse()).collect::<Result<_, _>>()?;
    let compression = match (*kind, numbers.first()) {
        ("none", _) => Compression::None,
        ("zlib", None) => Qcow2Options::default().compression,
        ("zlib", Some(&level)) => Compression::Zlib { level },
        ("zstd", level) => Compression::Zstd { level: level.map_or(Ok(3), |&level| level.try_into())? },
        _ => bail!("no compression {kind}"),
    };
    let threads = match numbers.get(1) {
        Some(&threads) => threads as usize,
        None => available_parallelism().map_or(1, usize::from),
    };
    let raw = File::open(raw).with_context(|| raw.to_string())?;
    let mut out = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(out)?;
    let options = Qcow2Options { compression, threads, ..Qcow2Options::default() };
    println!("{:?}", qcow2::write(&raw, &mut out, &options)?);
    Ok(())
}
