//! Owns filling a vfat file system from a staging directory without a kernel driver, with mtools.
//! Must not make the file system (`mkfs` does) or choose what goes in. Called by the engine for partitions whose
//! driver the kernel lacks, the EFI system partition for one.

use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::FileType;

use crate::tool;
use crate::tree_walk::{DEEPEST, open_dir, open_start, sorted_entries, stat_entry};

/// Files given to one mcopy; keeps the command line far below the kernel's bound.
const FILES_PER_COPY: usize = 200;
/// FAT keeps a file's size in 32 bits.
const LARGEST_FILE: u64 = u32::MAX as u64;

/// A directory of the staging tree.
struct Directory {
    /// Below the staging directory; empty for the top.
    path: PathBuf,
    /// Seconds since 1970.
    modified: i64,
    files: Vec<OsString>,
}

/// Copies everything in `staging` into the empty vfat file system on `device`, in sorted order, with the modification
/// times. Owners and modes are dropped: vfat has none. Short names with letters beyond ASCII may change their case.
///
/// # Errors
/// Before anything is written: on links, devices and other special files, on names that vfat cannot hold or cannot tell
/// apart, on files of 4 GiB or more. Then when mtools fails, a full file system included.
pub fn fill(device: &Path, staging: &Path) -> Result<()> {
    let mut directories = Vec::new();
    let top = open_start(staging)?;
    collect(top.as_fd(), PathBuf::new(), staging, 0, &mut directories)?;
    for directory in &directories {
        let inside = quoted(&directory.path)?;
        if !directory.path.as_os_str().is_empty() {
            // mmd writes the time it is told is now.
            let epoch = directory.modified.max(0).to_string();
            // What is to be made is taken as it is, only the way to it is a pattern.
            let parent = quoted(directory.path.parent().unwrap_or(Path::new("")))?;
            let name = directory
                .path
                .file_name()
                .and_then(OsStr::to_str)
                .context("a name that check_name passed")?;
            let new = format!("{}/{name}", parent.trim_end_matches('/'));
            mtool("mmd", device, &[&new], &epoch)
                .with_context(|| format!("filling vfat on {}", device.display()))?;
        }
        for files in directory.files.chunks(FILES_PER_COPY) {
            let paths: Vec<PathBuf> =
                files.iter().map(|name| staging.join(&directory.path).join(name)).collect();
            let mut words: Vec<&OsStr> = vec![OsStr::new("-m"), OsStr::new("-Q")];
            words.extend(paths.iter().map(|path| path.as_os_str()));
            let into = OsString::from(format!("{}/", inside.trim_end_matches('/')));
            words.push(&into);
            let epoch = directory.modified.max(0).to_string();
            mtool("mcopy", device, &words, &epoch)
                .with_context(|| format!("filling vfat on {}", device.display()))?;
        }
    }
    Ok(())
}

/// Every file and directory (these with a `/` at the end) of the vfat file system on `device`, absolute, sorted.
///
/// # Errors
/// When mtools cannot read it.
pub fn list(device: &Path) -> Result<Vec<String>> {
    let output = mtool("mdir", device, &["-/", "-b", "-a", "::/"], "0")?;
    let text = String::from_utf8(output.stdout).context("mdir: names that are not UTF-8")?;
    let mut paths: Vec<String> = text.lines().map(|line| line.trim_start_matches("::").to_owned()).collect();
    paths.sort();
    Ok(paths)
}

/// The contents of one file, `path` being absolute, of the vfat file system on `device`.
///
/// # Errors
/// When there is no such file or mtools cannot read it.
pub fn read(device: &Path, path: &str) -> Result<Vec<u8>> {
    let output = mtool("mtype", device, &[quoted(Path::new(path.trim_start_matches('/')))?], "0")?;
    Ok(output.stdout)
}

fn mtool<S: AsRef<OsStr>>(
    program: &str,
    device: &Path,
    words: &[S],
    epoch: &str,
) -> Result<std::process::Output> {
    let start = [OsStr::new("-i"), device.as_os_str()];
    let words = start.into_iter().chain(words.iter().map(AsRef::as_ref));
    let variables = [
        // Our loop devices have no geometry that would please mtools.
        ("MTOOLS_SKIP_CHECK", "1"),
        ("MTOOLSRC", "/dev/null"),
        ("SOURCE_DATE_EPOCH", epoch),
        // FAT holds local times, which the kernel's driver takes for UTC.
        ("TZ", "UTC0"),
        ("LC_ALL", "C.UTF-8"),
    ];
    tool::run_with_env(program, words, &variables)
}

/// How mtools is told a path inside the file system: its own wildcards are quoted.
fn quoted(path: &Path) -> Result<String> {
    let path = path.to_str().with_context(|| format!("{}: the name is not UTF-8", path.display()))?;
    let mut name = String::from("::/");
    for character in path.chars() {
        if matches!(character, '[' | ']') {
            name.push('\\');
        }
        name.push(character);
    }
    Ok(name)
}

fn collect(
    dir: BorrowedFd<'_>,
    path: PathBuf,
    staging: &Path,
    depth: usize,
    directories: &mut Vec<Directory>,
) -> Result<()> {
    let shown = if depth == 0 { staging.to_owned() } else { staging.join(&path) };
    ensure!(depth <= DEEPEST, "{}: more than {DEEPEST} directories deep", shown.display());
    let what = || shown.display().to_string();
    let modified = rustix::fs::fstat(dir).with_context(what)?.st_mtime;
    let entries = sorted_entries(dir).with_context(what)?;
    let mut seen = std::collections::HashMap::new();
    let (mut files, mut below) = (Vec::new(), Vec::new());
    for (name, _) in &entries {
        check_name(name).with_context(|| crate::tree_walk::shown(&shown, name).display().to_string())?;
        let plain = name.to_string_lossy();
        if let Some(other) = seen.insert(plain.to_lowercase(), plain.clone()) {
            bail!("{}: `{other}` and `{plain}` are one name to vfat", what());
        }
        let stat = stat_entry(dir, name).with_context(what)?;
        let name_of_os = OsStr::from_bytes(name.to_bytes()).to_owned();
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => below.push((name, name_of_os)),
            FileType::RegularFile => {
                let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
                ensure!(
                    size <= LARGEST_FILE,
                    "{}: {size} bytes, vfat holds 4 GiB - 1",
                    shown.join(name_of_os).display()
                );
                files.push(name_of_os);
            }
            kind => bail!("{}: vfat cannot hold a {}", shown.join(name_of_os).display(), describe(kind)),
        }
    }
    directories.push(Directory { path: path.clone(), modified, files });
    for (name, name_of_os) in below {
        let child = open_dir(dir, name).with_context(|| shown.join(&name_of_os).display().to_string())?;
        collect(child.as_fd(), path.join(&name_of_os), staging, depth + 1, directories)?;
    }
    Ok(())
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        FileType::RegularFile | FileType::Directory | FileType::Unknown => "file of unknown kind",
    }
}

/// The rules of long names (Microsoft's FAT specification of 2000, "Name Limits and Character Sets").
fn check_name(name: &CStr) -> Result<()> {
    let name = name.to_str().ok().context("vfat names must be UTF-8")?;
    if let Some(bad) = name.chars().find(|c| c.is_ascii_control() || r#""*/:<>?\|"#.contains(*c)) {
        bail!("vfat names cannot have the character {bad:?}");
    }
    ensure!(!name.ends_with(['.', ' ']), "vfat names cannot end with a dot or a space");
    ensure!(name.encode_utf16().count() <= 255, "vfat names have at most 255 characters");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    #[test]
    fn names() {
        let long = "x".repeat(256);
        for (name, fits) in [
            ("BOOTX64.EFI", true),
            ("grub.cfg", true),
            (".hidden", true),
            ("a b+c,d;e=f[g]", true),
            ("grün", true),
            ("a:b", false),
            ("a?", false),
            ("tab\t", false),
            ("dot.", false),
            ("space ", false),
            (long.as_str(), false),
        ] {
            assert_eq!(check_name(&CString::new(name).unwrap()).is_ok(), fits, "{name}");
        }
    }
}
