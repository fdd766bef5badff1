//! Spelling of paths in the target, before anything is looked up.
//!
//! Must not know: what exists in the target (that is the lent `resolve`).
//! Callers: [`crate::requirement`], the host and the mock host, which use the same spelling to act.

/// Longest path that is looked at, in bytes (`PATH_MAX` of Linux).
pub const LONGEST: usize = 4096;

/// Brings an absolute path to one spelling: no `//`, `.` or trailing slash.
///
/// # Errors
/// Not absolute, empty, `..` (its meaning depends on links, so it is refused rather than guessed), NUL, too long.
pub fn normalise(path: &str) -> Result<String, String> {
    let shown = crate::subject::escape(path);
    if path.len() >= LONGEST {
        return Err(format!("path of {} bytes is longer than {LONGEST}: {shown}", path.len()));
    }
    if !path.starts_with('/') {
        return Err(format!("`{shown}` is not an absolute path of the target"));
    }
    if path.contains('\0') {
        return Err(format!("`{shown}` contains a NUL byte"));
    }
    let components: Vec<&str> = path.split('/').filter(|c| !c.is_empty() && *c != ".").collect();
    if components.contains(&"..") {
        return Err(format!("`{shown}` contains `..`; write the path without it"));
    }
    if components.iter().any(|c| c.len() > 255) {
        return Err(format!("`{shown}` has a name longer than 255 bytes"));
    }
    Ok(format!("/{}", components.join("/")))
}

/// Whether the path lies in a file system of the kernel, which is not part of any image.
pub fn is_kernel_path(path: &str) -> bool {
    ["/proc", "/sys", "/dev"]
        .iter()
        .any(|k| path == *k || path.strip_prefix(k).is_some_and(|r| r.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        for (path, expected) in
            [("/", "/"), ("//etc///motd", "/etc/motd"), ("/./etc/./", "/etc"), ("/a/...", "/a/...")]
        {
            assert_eq!(normalise(path).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn refused_spellings() {
        let long = format!("/{}", "a/".repeat(3000));
        let name = format!("/{}", "a".repeat(256));
        for path in
            ["", "etc/motd", "../etc", "/..", "/etc/../etc/shadow", "/a\0b", long.as_str(), name.as_str()]
        {
            assert!(normalise(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn kernel_paths() {
        assert!(is_kernel_path("/proc/self/root") && is_kernel_path("/dev") && is_kernel_path("/sys/kernel"));
        assert!(!is_kernel_path("/process") && !is_kernel_path("/etc/dev"));
    }
}
