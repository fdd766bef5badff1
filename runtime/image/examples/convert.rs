//! Writes a raw image as the engine does, for measuring alone: `convert RAW OUT WAY [LEVEL [THREADS]]`, where WAY is `none`, `zlib`
//! or `zstd` for a qcow2 file, `raw` for a sparse copy, and `raw+zlib` and so on for both in one pass, the copy at OUT.raw.
//! `tests/bench/conversion` runs it beside `qemu-img convert`.

use std::fs::{File, OpenOptions};
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use dibw_image::checksum::{Algorithms, Sums, of_file};
use dibw_image::qcow2::{self, Compression, Qcow2Options};
use dibw_image::sparse::SparseCopy;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [raw, out, way, numbers @ ..] = &words[..] else {
        bail!("convert RAW OUT none|zlib|zstd|raw|raw+none|raw+zlib|raw+zstd [LEVEL [THREADS]]");
    };
    let numbers: Vec<u32> = numbers.iter().map(|word| word.parse()).collect::<Result<_, _>>()?;
    let raw = File::open(raw).with_context(|| raw.to_string())?;
    let length = raw.metadata()?.len();
    let began = Instant::now();

    let (with_copy, kind) = match way.split_once('+') {
        Some(("raw", kind)) => (true, Some(kind)),
        Some((other, _)) => bail!("no way {other}"),
        None => (*way == "raw", Some(*way).filter(|way| *way != "raw")),
    };
    let copy_file = with_copy.then(|| create(&format!("{out}.raw"))).transpose()?;
    let mut copy = match &copy_file {
        Some(file) => Some(SparseCopy::start(&raw, file, length, Some(Algorithms::Sha256))?),
        None => None,
    };
    if let Some(kind) = kind {
        let threads = match numbers.get(1) {
            Some(&threads) => threads as usize,
            None => available_parallelism().map_or(1, usize::from),
        };
        let compression = compression(kind, numbers.first().copied())?;
        let options = Qcow2Options { compression, threads, ..Qcow2Options::default() };
        let mut file = create(out)?;
        let stats = qcow2::write_while(&raw, &mut file, &options, &mut |end| match &mut copy {
            Some(copy) => copy.up_to(end),
            None => Ok(()),
        })?;
        println!("{:.3} s: {stats:?}", began.elapsed().as_secs_f64());
        tell("qcow2", &of_file(&file, Algorithms::Sha256)?, began);
    }
    if let Some(sums) = copy.map(SparseCopy::finish).transpose()?.flatten() {
        tell("raw", &sums, began);
    }
    Ok(())
}

fn compression(kind: &str, level: Option<u32>) -> Result<Compression> {
    Ok(match (kind, level) {
        ("none", _) => Compression::None,
        ("zlib", None) => Qcow2Options::default().compression,
        ("zlib", Some(level)) => Compression::Zlib { level },
        ("zstd", level) => Compression::Zstd { level: level.map_or(Ok(3), |level| level.try_into())? },
        _ => bail!("no compression {kind}"),
    })
}

fn create(path: &str) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    opened.with_context(|| path.to_owned())
}

fn tell(what: &str, sums: &Sums, began: Instant) {
    println!("{:.3} s: {what} {} of {} bytes", began.elapsed().as_secs_f64(), sums.sha256, sums.bytes);
}
