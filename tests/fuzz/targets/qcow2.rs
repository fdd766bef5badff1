//! qcow2 images from elsewhere: a header and tables of any content give a disk or an error, in bounded time; what was written here is read
//! back the same.
#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt;

use dibw_image::qcow2::read::to_raw;
use dibw_image::qcow2::{Compression, Qcow2Options, write};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

fn file() -> File {
    memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a file in memory").into()
}

/// A header that gets past the first checks, so that the tables matter: magic, version 2 or 3, clusters of 512 to 4096 bytes, a short L1
/// table, no backing file and no encryption.
fn hostile(bytes: &[u8]) {
    let mut image = bytes.to_vec();
    image.resize(image.len().max(112), 0);
    let choice = image[7];
    image[..8].copy_from_slice(b"QFI\xfb\0\0\0\x02");
    image[7] = 2 + choice % 2;
    image[8..16].fill(0);
    image[20..24].copy_from_slice(&u32::from(9 + choice / 2 % 4).to_be_bytes());
    image[32..38].fill(0);
    if choice & 0x80 != 0 {
        image[72..79].fill(0);
        image[79] &= 9;
        image[104] &= 1;
    }
    let (source, raw) = (file(), file());
    source.write_all_at(&image, 0).expect("a file in memory");
    if let Ok(size) = to_raw(&source, &raw) {
        assert_eq!(raw.metadata().expect("a file in memory").len(), size);
    }
}

fn round_trip(bytes: &[u8]) {
    let [choice, bytes @ ..] = bytes else { return };
    let raw = file();
    raw.set_len((u64::from(*choice) + 1) * 512).expect("a file in memory");
    let bytes = &bytes[..bytes.len().min((usize::from(*choice) + 1) * 512)];
    raw.write_all_at(bytes, 0).expect("a file in memory");
    let compression = match choice % 3 {
        0 => Compression::None,
        1 => Compression::Zlib { level: 1 },
        _ => Compression::Zstd { level: 1 },
    };
    let (mut image, back) = (file(), file());
    let options = Qcow2Options { compression, threads: 1, cluster_size: 4096 << (choice % 2) };
    write(&raw, &mut image, &options).expect("a disk that fits");
    let size = to_raw(&image, &back).expect("what was just written");
    let mut read = vec![0; bytes.len()];
    back.read_exact_at(&mut read, 0).expect("a file in memory");
    assert_eq!((size, read.as_slice()), ((u64::from(*choice) + 1) * 512, bytes));
}

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((first, rest)) if first % 8 == 0 => round_trip(rest),
        Some((_, rest)) => hostile(rest),
        None => {}
    }
});
