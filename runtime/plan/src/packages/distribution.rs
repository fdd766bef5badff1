//! What elements call distributions and releases. Facts: compat/CONTRACT.md sections 6.3 and 6.4.

/// The family whose package and service names a distribution shares.
pub fn family(distro: &str) -> Option<&'static str> {
    match distro {
        "almalinux" | "centos" | "fedora" | "openeuler" | "rhel" | "rocky" => Some("redhat"),
        "debian" | "ubuntu" => Some("debian"),
        "opensuse" => Some("suse"),
        "gentoo" => Some("gentoo"),
        _ => None,
    }
}

/// The names a map may know a release by, the most specific last: `9-stream` is also `9`.
pub fn release_names(release: &str) -> impl Iterator<Item = &str> {
    release.strip_suffix("-stream").into_iter().chain([release])
}
