//! What the plugin build may know of the machine, gathered once by the caller: nothing here reads the environment later.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where programs, toolchains and caches are.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Directories of `PATH`.
    pub path: Vec<PathBuf>,
    /// `DIBW_PLUGIN_RUSTC`: the compiler to use, no other.
    pub rustc: Option<PathBuf>,
    /// rustup's directory, `~/.rustup`.
    pub rustup_home: Option<PathBuf>,
    /// cargo's directory, `~/.cargo`: its paths are kept out of the components.
    pub cargo_home: Option<PathBuf>,
    /// Where a standard library made from source is kept.
    pub cache: PathBuf,
}

impl Machine {
    /// From the process environment. `root` keeps its cache in `/var/cache/dibw`, others in `$XDG_CACHE_HOME/dibw` or `~/.cache/dibw`.
    pub fn of_process(is_root: bool) -> Self {
        Self::from_environment(is_root, |name| std::env::var_os(name))
    }

    fn from_environment(is_root: bool, get: impl Fn(&str) -> Option<OsString>) -> Self {
        let directory = |name: &str| get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = directory("HOME");
        let below_home = |name: &str| home.as_deref().map(|home| home.join(name));
        let user_cache = directory("XDG_CACHE_HOME").or_else(|| below_home(".cache"));
        let cache = match user_cache {
            Some(cache) if !is_root => cache.join("dibw"),
            Some(_) | None => PathBuf::from("/var/cache/dibw"),
        };
        Self {
            path: get("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default(),
            rustc: directory("DIBW_PLUGIN_RUSTC"),
            rustup_home: directory("RUSTUP_HOME").or_else(|| below_home(".rustup")),
            cargo_home: directory("CARGO_HOME").or_else(|| below_home(".cargo")),
            cache,
        }
    }

    /// The directory of downloaded crates, and what stands for it in components.
    pub(super) fn registry_remap(&self) -> Option<(PathBuf, String)> {
        Some((self.cargo_home.as_ref()?.join("registry/src"), "registry".to_owned()))
    }

    /// Every file called `name` in a directory of `PATH`.
    pub(super) fn programs<'a>(&'a self, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        self.path.iter().map(move |directory| directory.join(name)).filter(|path| is_program(path))
    }
}

pub(super) fn is_program(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_where_users_expect_them() {
        let cases = [
            (true, vec![("HOME", "/root"), ("XDG_CACHE_HOME", "/x")], "/var/cache/dibw"),
            (false, vec![("HOME", "/home/me")], "/home/me/.cache/dibw"),
            (false, vec![("HOME", "/home/me"), ("XDG_CACHE_HOME", "/x")], "/x/dibw"),
            (false, vec![], "/var/cache/dibw"),
        ];
        for (is_root, variables, expected) in cases {
            let get = |name: &str| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            };
            assert_eq!(
                Machine::from_environment(is_root, get).cache,
                PathBuf::from(expected),
                "{variables:?}"
            );
        }
    }
}
