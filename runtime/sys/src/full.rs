//! Owns the question whether an error means a full disk, and whether a file system is full.
//! Must not know whose disk it is or what to do about it. Called by the engine when something failed.

use std::path::Path;

use rustix::io::Errno;

/// Less than this is no room to work in: hooks write, and file systems keep some for themselves.
const NO_ROOM: u64 = 1 << 20;

/// Whether `error` says that there is no space, or no quota, left.
pub fn says_full(error: &anyhow::Error) -> bool {
    let full = |errno: i32| matches!(Errno::from_raw_os_error(errno), Errno::NOSPC | Errno::DQUOT);
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        let rustix = cause.downcast_ref::<Errno>().map(|errno| errno.raw_os_error());
        let nix = cause.downcast_ref::<nix::errno::Errno>().map(|errno| *errno as i32);
        io.or(rustix).or(nix).is_some_and(full)
            // A tool's own words, or those of a cause that was kept as text.
            || says_full_in_words(&cause.to_string())
    })
}

/// Whether a line of a program's output says so, or says what a loop device over a full disk makes programs say.
pub fn says_full_in_words(line: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "Disk full"].iter().any(|words| line.contains(words))
}

/// Whether the file system at `path` has practically nothing left; false when that can't be found out.
pub fn is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|stat| {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        free < NO_ROOM || (stat.f_files > 0 && stat.f_favail == 0)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn full_disks_are_known_whoever_says_it() {
        let rustix: anyhow::Result<()> = Err(Errno::NOSPC).context("writing");
        let nix: anyhow::Result<()> = Err(nix::errno::Errno::EDQUOT).context("writing");
        let io: anyhow::Result<()> = Err(std::io::Error::from_raw_os_error(28)).context("writing");
        let other: anyhow::Result<()> = Err(Errno::IO).context("writing");
        let told = anyhow::anyhow!("mcopy: status 1\n  Disk full");
        let cases = [(rustix, true), (nix, true), (io, true), (other, false), (Err(told), true)];
        for (result, full) in cases {
            let error = result.unwrap_err();
            assert_eq!(says_full(&error), full, "{error:#}");
        }
    }
}
