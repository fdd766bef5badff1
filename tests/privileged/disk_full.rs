//! A disk that fills up, in the image, in the work directory, at the output: one error that names it and the way out, nothing
//! left, what was there before untouched, and the next build works. Needs root.

use std::fs;
use std::path::{Path, PathBuf};

use dibw_sys::mounts::Mount;
use dibw_tests::dibw::{Dibw, Ran, root};

/// Writes 60 MB that compress to nothing less.
const GREEDY: &str = "#!/bin/bash\nset -eu\nhead -c 60M /dev/urandom >/srv/greedy\n";

/// Only the lines of the error, without causes, and the last ones of the hook.
fn error_and_hint(ran: &Ran) -> Vec<String> {
    let wanted = |line: &&str| line.starts_with("error: ") || line.starts_with("  hint: ");
    ran.stderr.lines().filter(wanted).map(str::to_owned).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A dibw with an element that writes much.
fn greedy() -> Dibw {
    let dibw = Dibw::new();
    dibw.file("elements/greedy/install.d/50-greedy", GREEDY);
    let elements = dibw.dir().join("elements");
    dibw.elements(elements).args(["build", "-n", "--log-format", "plain"])
}

/// A small file system at `name` in the private directory, in memory.
fn small(dibw: &Dibw, name: &str, size: &str) -> (PathBuf, Mount) {
    let directory = dibw.dir().join(name);
    fs::create_dir(&directory).expect("a new directory");
    let options = format!("size={size}");
    let mount =
        Mount::new(Path::new("tmpfs"), &directory, "tmpfs", &options).expect("root can mount a tmpfs");
    (directory, mount)
}

/// The last thing each of these tests does: the same build, with room.
fn next_build_works(dibw: Dibw) {
    let dibw = dibw.again().args([
        "build",
        "-n",
        "-o",
        "next",
        "-t",
        "qcow2",
        "fake-os",
        "greedy",
        "block-device-gpt",
    ]);
    drop(dibw.succeed());
    assert_eq!(names(&dibw.work_dir()), Vec::<String>::new());
    assert!(dibw.dir().join("next.qcow2").exists());
}

#[test]
fn the_image_is_too_small() {
    if !root("the_image_is_too_small") {
        return;
    }
    for work in [&[][..], &["--no-tmpfs"]] {
        let dibw = greedy().args(["-o", "image", "--image-size", "140MiB"]).args(work);
        let dibw = dibw.args(["fake-os", "greedy", "block-device-gpt"]);
        let before = names(dibw.dir());
        let ran = dibw.run();
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        let said = error_and_hint(&ran);
        assert_eq!(said.len(), 2, "{}", ran.stderr);
        assert!(
            said[0].starts_with("error: create-disk: ") && said[0].ends_with(": the image is full"),
            "{said:?}"
        );
        assert_eq!(
            said[1],
            "  hint: give it more room with --image-size or --image-extra-size, or leave both out to have it computed"
        );
        let new: Vec<String> = names(dibw.dir()).into_iter().filter(|name| !before.contains(name)).collect();
        assert_eq!(new, ["cache", "work"]);
        assert_eq!(names(&dibw.work_dir()), Vec::<String>::new());
        next_build_works(dibw);
    }
}

#[test]
fn the_work_directory_is_full() {
    if !root("the_work_directory_is_full") {
        return;
    }
    let dibw = greedy();
    let (directory, mount) = small(&dibw, "small", "50m");
    let work = directory.join("work").display().to_string();
    let dibw = dibw.args([
        "--no-tmpfs",
        "--work-dir",
        &work,
        "-o",
        "image",
        "fake-os",
        "greedy",
        "block-device-gpt",
    ]);
    let ran = dibw.run();
    let left = names(&directory.join("work"));
    mount.unmount().expect("nobody holds it");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(
        error_and_hint(&ran),
        [
            "error: install.d/50-greedy of element greedy failed with exit status 1: the file system of the work directory [DIR]/small/work is full",
            "  hint: free some space there, or give another place with --work-dir",
        ]
    );
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(names(dibw.dir()), ["cache", "elements", "small"]);
    next_build_works(dibw);
}

#[test]
fn the_output_directory_is_full() {
    if !root("the_output_directory_is_full") {
        return;
    }
    for kind in ["qcow2", "raw", "tar", "tgz", "tar.zst"] {
        let dibw = greedy();
        let (directory, mount) = small(&dibw, "small", "4m");
        for (name, text) in [("image", "old"), ("image.sha256", "sum of the old")] {
            fs::write(directory.join(name.replace("image", &format!("image.{kind}"))), text)
                .expect("there is room");
        }
        let dibw = dibw.args(["-o", "small/image", "-t", kind, "fake-os", "greedy", "block-device-gpt"]);
        let ran = dibw.run();
        let left = names(&directory);
        let old = fs::read_to_string(directory.join(format!("image.{kind}")));
        mount.unmount().expect("nobody holds it");
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert_eq!(
            error_and_hint(&ran),
            [
                format!(
                    "error: output-{kind}: writing small/image.{kind}: the file system of the output directory is full"
                ),
                "  hint: free some space in small, or write somewhere else with -o".to_owned(),
            ]
        );
        assert_eq!(left, [format!("image.{kind}"), format!("image.{kind}.sha256")]);
        assert_eq!(old.expect("still there"), "old");
        assert_eq!(names(&dibw.work_dir()), Vec::<String>::new());
        if kind == "qcow2" {
            next_build_works(dibw);
        }
    }
}

#[test]
fn the_output_directory_is_full_of_what_the_cache_has() {
    if !root("the_output_directory_is_full_of_what_the_cache_has") {
        return;
    }
    let dibw = greedy().args(["-o", "small/image", "-t", "tar", "fake-os", "greedy"]);
    let directory = dibw.dir().join("small");
    fs::create_dir(&directory).expect("a new directory");
    drop(dibw.succeed());
    fs::remove_dir_all(&directory).expect("an old directory");
    let (directory, mount) = small(&dibw, "small", "4m");
    let ran = dibw.run();
    let left = names(&directory);
    mount.unmount().expect("nobody holds it");
    assert_eq!(
        error_and_hint(&ran),
        [
            "error: output-tar: writing small/image.tar: the file system of the output directory is full",
            "  hint: free some space in small, or write somewhere else with -o",
        ]
    );
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(names(&dibw.work_dir()), Vec::<String>::new());
}
