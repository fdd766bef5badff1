//! Which package each file of the target belongs to, and who asked for a package, by dpkg's database in the target. The database is what
//! the image says of itself, so nothing is believed but names, and nothing is read beyond bounds. Other package managers' are not read.

use std::collections::{BTreeMap, VecDeque};

use super::path_map::PathMap;
use super::tree::shown;
use crate::target::TargetFiles;

const INFO: &str = "/var/lib/dpkg/info";
const STATUS: &str = "/var/lib/dpkg/status";

/// Most packages, and bytes of all their lists of files.
const MOST_PACKAGES: usize = 20_000;
const MOST_BYTES: usize = 256 << 20;

/// Packages of the target and their files.
#[derive(Debug, Default)]
pub(super) struct Packages {
    names: Vec<String>,
    files: PathMap,
    /// What a package needs, by its name; one of each inner list is enough.
    needs: BTreeMap<String, Vec<Vec<String>>>,
    /// Packages that stand in for a name that is no package.
    providers: BTreeMap<String, String>,
}

impl Packages {
    /// Reads the database; what is not there, or not readable, is not known.
    pub(super) fn read(target: &TargetFiles) -> Self {
        let mut packages = Self::default();
        if let Ok(status) = target.read_text(STATUS) {
            packages.read_status(&status);
        }
        let links = top_links(target);
        let mut left = MOST_BYTES;
        for name in target.list(INFO).unwrap_or_default() {
            let Some(package) = name.strip_suffix(".list") else { continue };
            if packages.names.len() == MOST_PACKAGES {
                break;
            }
            let Ok(list) = target.0.read_whole(&format!("{INFO}/{name}")) else { continue };
            let Some(rest) = left.checked_sub(list.len()) else { break };
            left = rest;
            let number = packages.names.len() as u32;
            packages.names.push(shown(package.split(':').next().unwrap_or(package).as_bytes()));
            for path in list.split(|byte| *byte == b'\n') {
                packages.files.insert(&real(path, &links), number);
            }
        }
        packages
    }

    /// Number of the package that has a file.
    pub(super) fn of(&self, path: &[u8]) -> Option<usize> {
        self.files.get(path).map(|number| number as usize)
    }

    /// The name of a package.
    pub(super) fn name(&self, number: usize) -> &str {
        self.names.get(number).map_or("", String::as_str)
    }

    fn read_status(&mut self, status: &str) {
        for paragraph in status.split("\n\n").take(MOST_PACKAGES) {
            let field = |wanted: &str| {
                let lines = paragraph.lines();
                lines
                    .filter_map(|line| line.split_once(": "))
                    .find(|(name, _)| *name == wanted)
                    .map(|(_, text)| text)
            };
            let Some(name) = field("Package") else { continue };
            let needs = ["Pre-Depends", "Depends"].into_iter().filter_map(field).flat_map(alternatives);
            self.needs.insert(name.to_owned(), needs.collect());
            for provided in field("Provides").into_iter().flat_map(alternatives).flatten() {
                self.providers.entry(provided).or_insert_with(|| name.to_owned());
            }
        }
    }

    /// Whose wish each package fulfils: who asked for it or, as it is not asked for by name, for what needs it. Wishes are packages and who
    /// asks; the nearest counts, then the first.
    pub(super) fn wished_by(&self, wishes: &[(String, String)]) -> BTreeMap<String, String> {
        let mut by: BTreeMap<String, String> = BTreeMap::new();
        let mut queue = VecDeque::new();
        for (wish, element) in wishes {
            let package = self.provided(wish);
            if !by.contains_key(package) {
                by.insert(package.to_owned(), element.clone());
                queue.push_back((package, element));
            }
        }
        while let Some((package, element)) = queue.pop_front() {
            for need in self.needs.get(package).into_iter().flatten() {
                let installed =
                    need.iter().map(|name| self.provided(name)).find(|name| self.needs.contains_key(*name));
                if let Some(package) = installed.filter(|package| !by.contains_key(*package)) {
                    by.insert(package.to_owned(), element.clone());
                    queue.push_back((package, element));
                }
            }
        }
        by
    }

    /// The package of that name, or the one that stands in for it.
    fn provided<'a>(&'a self, name: &'a str) -> &'a str {
        match self.needs.contains_key(name) {
            true => name,
            false => self.providers.get(name).map_or(name, String::as_str),
        }
    }
}

/// `a (>= 1) | b:any, c` as names.
fn alternatives(field: &str) -> Vec<Vec<String>> {
    let name = |text: &str| text.trim().split([' ', '(', ':', '[']).next().unwrap_or_default().to_owned();
    field.split(',').map(|need| need.split('|').map(name).collect()).collect()
}

/// Links like `/lib -> usr/lib`: lists name files by paths from before these were made.
fn top_links(target: &TargetFiles) -> Vec<(String, String)> {
    let names = target.list("/").unwrap_or_default();
    let links = names.into_iter().filter_map(|name| {
        let to = target.0.read_link(&format!("/{name}")).ok()?;
        let to = to.trim_matches('/');
        (!to.is_empty() && !to.split('/').any(|part| part == "..")).then(|| (name, to.to_owned()))
    });
    links.collect()
}

/// The path without a slash in front, past a link at the top.
fn real(path: &[u8], links: &[(String, String)]) -> Vec<u8> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    match links.iter().find(|(name, _)| name.as_bytes() == &path[..end]) {
        Some((_, to)) if end < path.len() => [to.as_bytes(), &path[end..]].concat(),
        Some(_) | None => path.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_where_they_are_now() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |path: &str| scratch.path().join(path);
        std::fs::create_dir_all(at("var/lib/dpkg/info")).unwrap();
        std::os::unix::fs::symlink("usr/lib", at("lib")).unwrap();
        for (name, text) in
            [("libc6:amd64.list", "/.\n/lib\n/lib/libc.so\n"), ("bash.list", "/usr/bin/bash\n")]
        {
            std::fs::write(at("var/lib/dpkg/info").join(name), text).unwrap();
        }
        let packages = Packages::read(&TargetFiles::open(scratch.path()).unwrap());
        let owner = |path: &str| packages.of(path.as_bytes()).map(|number| packages.name(number));
        assert_eq!(owner("usr/lib/libc.so"), Some("libc6"));
        assert_eq!(owner("usr/bin/bash"), Some("bash"));
        assert_eq!((owner("usr/bin/sh"), packages.names.len()), (None, 2));
    }

    #[test]
    fn what_is_needed_is_of_who_asked() {
        let mut packages = Packages::default();
        packages.read_status(
            "Package: linux\nDepends: linux-6 (= 6.1), tool | other\n\nPackage: linux-6\nDescription: a kernel\n Depends: no\n\n\
             Package: initramfs\nProvides: tool (= 1), more\nDepends: busybox:any\n\nPackage: busybox\n\nPackage: vim\nDepends: busybox\n",
        );
        let wishes = [("linux", "vm"), ("vim", "base"), ("linux-6", "other")];
        let wishes = wishes.map(|(package, element)| (package.to_owned(), element.to_owned()));
        let by = packages.wished_by(&wishes);
        let by: Vec<_> = by.iter().map(|(package, element)| (package.as_str(), element.as_str())).collect();
        let expected = [
            ("busybox", "base"),
            ("initramfs", "vm"),
            ("linux", "vm"),
            ("linux-6", "other"),
            ("vim", "base"),
        ];
        assert_eq!(by, expected);
    }
}
