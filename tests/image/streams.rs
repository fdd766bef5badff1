//! Compressed streams and checksums of `dibw-image`, as gzip, zstd and the coreutils read them.

mod tools;

use std::fs::{self, File};
use std::io::Write;

use dibw_image::checksum::{Algorithms, line, of_file};
use dibw_image::compress::{Gzip, Zstd};
use tools::{have, noise, run, text};

#[test]
fn gzip_and_zstd_read_what_we_write() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (plain, packed) = (place.path().join("plain"), place.path().join("packed"));
    for length in [0, 1, (1 << 20) - 1, 1 << 20, 9_999_999] {
        let data = noise(length, 20, 5);
        fs::write(&plain, &data).expect("write");
        for program in ["gzip", "zstd"] {
            if !have(program) {
                continue;
            }
            let file = File::create(&packed).expect("create");
            match program {
                "gzip" => {
                    let mut out = Gzip::new(file, 6, 2).expect("writer");
                    out.write_all(&data).expect("write");
                    out.finish().expect("finish");
                }
                _ => {
                    let mut out = Zstd::new(file, 3, 2).expect("writer");
                    out.write_all(&data).expect("write");
                    out.finish().expect("finish");
                }
            }
            run(
                "sh",
                &["-c", &format!("{program} -dc < '{}' | cmp - '{}'", packed.display(), plain.display())],
            );
        }
    }
}

#[test]
fn the_coreutils_check_our_lines() {
    if !have("sha256sum") || !have("md5sum") {
        return;
    }
    let place = tempfile::tempdir().expect("temporary directory");
    for name in ["image.qcow2", "two words", "back\\slash", "line\nbreak"] {
        let path = place.path().join(name);
        fs::write(&path, noise(3_000_000, 256, 1)).expect("write");
        let sums = of_file(&File::open(&path).expect("open"), Algorithms::Sha256AndMd5).expect("digest");
        let list = place.path().join("sums");
        for (program, sum) in [("sha256sum", &sums.sha256), ("md5sum", sums.md5.as_ref().expect("asked for"))]
        {
            fs::write(&list, line(sum, name)).expect("write");
            run(
                "sh",
                &[
                    "-c",
                    &format!("cd '{}' && {program} --strict -c '{}'", place.path().display(), text(&list)),
                ],
            );
            // And it writes the very same line.
            let written =
                run("sh", &["-c", &format!("cd '{}' && {program} -- \"$0\"", place.path().display()), name]);
            assert_eq!(written, line(sum, name));
        }
    }
}
