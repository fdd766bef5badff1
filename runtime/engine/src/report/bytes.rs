//! Where the bytes of an image are: one walk through its file systems, summed by directory, by package and by element.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use dibw_sys::tree_walk::{Entry, walk_tree};

use super::data::{Bytes, Node, Share};
use super::dpkg::Packages;
use super::origin::Origin;
use super::tree::Tree;

/// What stands in place of a package or an element.
const DIRECTORIES: &str = "(directories)";
const NO_PACKAGE: &str = "(not of a package)";
const NOT_KNOWN: &str = "(not known)";
const OTHERS: &str = "(others)";

/// Most shares that are told apart.
const MOST_SHARES: usize = 2000;

/// For whom steps and packages are.
#[derive(Debug, Default)]
pub(super) struct Elements {
    /// The element of a step, by its number, or what is said in its place.
    pub(super) of_steps: BTreeMap<usize, StepFor>,
    /// The element that asked for a package by name, or in whose name it came.
    pub(super) of_packages: BTreeMap<String, String>,
}

/// For whom a step was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepFor {
    /// An element, or what is said in its place.
    Element(String),
    /// For those whose packages it installed.
    Packages,
}

/// Sums that grow.
struct Sums<'a> {
    packages: &'a Packages,
    origin: &'a Origin,
    elements: &'a Elements,
    /// Bytes and inodes by number of the package.
    by_package: Vec<(u64, u64)>,
    without_package: (u64, u64),
    directories: (u64, u64),
    by_element: BTreeMap<String, (u64, u64)>,
}

/// Sums up the file systems at these places, the root file system first: where it is mounted in the image, and where it is now.
///
/// # Errors
/// Those of `go_on`, and when a directory can't be read.
pub(super) fn sum(
    file_systems: &[(String, PathBuf)],
    packages: &Packages,
    origin: &Origin,
    elements: &Elements,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Bytes> {
    let mut sums = Sums {
        packages,
        origin,
        elements,
        by_package: vec![(0, 0); packages.len()],
        without_package: (0, 0),
        directories: (0, 0),
        by_element: BTreeMap::new(),
    };
    let mut all: Option<Tree> = None;
    for (mount_point, place) in file_systems {
        let tree = sums.walk(mount_point.trim_matches('/'), place, go_on)?;
        match &mut all {
            None => all = Some(tree),
            Some(all) => all.graft(mount_point, tree.end()),
        }
    }
    Ok(sums.end(all.map(Tree::end).unwrap_or_default()))
}

impl<'a> Sums<'a> {
    fn walk(
        &mut self,
        mount_point: &str,
        place: &Path,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tree> {
        let mut tree: Option<Tree> = None;
        walk_tree(place, &mut |entry| {
            match &mut tree {
                None => tree = Some(Tree::new(entry.bytes)),
                Some(tree) => tree.add(entry.depth, name(entry.path), entry.is_dir, entry.bytes),
            }
            if entry.is_dir {
                add(&mut self.directories, entry.bytes);
                return go_on();
            }
            match mount_point {
                "" => self.file(entry.path, entry),
                above => self.file(&[above.as_bytes(), b"/", entry.path].concat(), entry),
            }
            Ok(())
        })?;
        Ok(tree.unwrap_or_else(|| Tree::new(0)))
    }

    fn file(&mut self, path: &[u8], entry: &Entry<'_>) {
        let package = self.packages.of(path);
        let sum = package.and_then(|number| self.by_package.get_mut(number));
        add(sum.unwrap_or(&mut self.without_package), entry.bytes);
        let element = self.element(path, package.map(|number| self.packages.name(number)));
        match self.by_element.get_mut(element) {
            Some(sum) => add(sum, entry.bytes),
            None => {
                let element = element.to_owned();
                self.by_element.insert(element, (entry.bytes, 1));
            }
        }
    }

    /// Who a file is for: the element of the step that wrote it, or that asked for its package.
    fn element(&self, path: &[u8], package: Option<&str>) -> &'a str {
        let elements = self.elements;
        let of_package = package.and_then(|package| elements.of_packages.get(package));
        let step = self.origin.step_of(path).and_then(|step| elements.of_steps.get(&step));
        match (step, of_package) {
            (Some(StepFor::Element(element)), _) | (Some(StepFor::Packages) | None, Some(element)) => element,
            (Some(StepFor::Packages) | None, None) => NOT_KNOWN,
        }
    }

    fn end(self, tree: Node) -> Bytes {
        let share = |name: &str, (bytes, inodes): (u64, u64)| Share { name: name.to_owned(), bytes, inodes };
        // A package of two architectures is there twice.
        let mut by_name: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (number, (bytes, inodes)) in self.by_package.iter().enumerate() {
            let sum = by_name.entry(self.packages.name(number)).or_default();
            *sum = (sum.0 + bytes, sum.1 + inodes);
        }
        let rest = [(NO_PACKAGE, self.without_package), (DIRECTORIES, self.directories)];
        let packages = by_name.into_iter().chain(rest).map(|(name, sum)| share(name, sum));
        let elements = self.by_element.iter().map(|(name, sum)| (name.as_str(), *sum));
        let elements = elements.chain([(DIRECTORIES, self.directories)]).map(|(name, sum)| share(name, sum));
        let elements = largest(elements.collect());
        Bytes {
            total: tree.bytes,
            inodes: elements.iter().map(|share| share.inodes).sum(),
            tree,
            packages: largest(packages.collect()),
            elements,
        }
    }
}

fn add(sum: &mut (u64, u64), bytes: u64) {
    *sum = (sum.0 + bytes, sum.1 + 1);
}

fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Largest first; those that are too many are one.
fn largest(mut shares: Vec<Share>) -> Vec<Share> {
    shares.retain(|share| share.inodes > 0);
    shares.sort_by(|left, right| right.bytes.cmp(&left.bytes).then_with(|| left.name.cmp(&right.name)));
    if shares.len() > MOST_SHARES {
        let others = shares.split_off(MOST_SHARES);
        let sum = |of: fn(&Share) -> u64| others.iter().map(of).sum();
        shares.push(Share {
            name: OTHERS.to_owned(),
            bytes: sum(|share| share.bytes),
            inodes: sum(|share| share.inodes),
        });
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TargetFiles;

    #[test]
    fn the_same_bytes_are_summed_in_three_ways() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |path: &str| scratch.path().join(path);
        let mut write = |path: &str, text: &[u8]| {
            std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            std::fs::write(at(path), text).unwrap();
        };
        write("root/var/lib/dpkg/info/vim.list", b"/usr/bin/vim\n/boot/vim.img\n");
        write("root/usr/bin/vim", &[1; 100_000]);
        write("root/etc/motd", &[1; 50_000]);
        write("root/etc/other", &[1; 20_000]);
        write("boot/vim.img", &[1; 200_000]);
        write("layer/etc/motd", b"");
        write("layer-2/usr/bin/vim", b"");
        let packages = Packages::read(&TargetFiles::open(&at("root")).unwrap());
        let layers = [(2, at("layer")), (3, at("layer-2"))];
        let origin = Origin::of_layers(&layers, &mut || Ok(())).unwrap();
        let element = |name: &str| StepFor::Element(name.to_owned());
        let elements = Elements {
            of_steps: [(2, element("motd")), (3, StepFor::Packages)].into(),
            of_packages: [("vim".to_owned(), "editors".to_owned())].into(),
        };
        let file_systems = [("/".to_owned(), at("root")), ("/boot".to_owned(), at("boot"))];
        let bytes = sum(&file_systems, &packages, &origin, &elements, &mut || Ok(())).unwrap();
        let of = |shares: &[Share], name: &str| {
            shares.iter().find(|share| share.name == name).map_or(0, |share| share.bytes)
        };
        assert!(of(&bytes.packages, "vim") >= 300_000);
        assert!(of(&bytes.packages, NO_PACKAGE) >= 70_000);
        assert_eq!(of(&bytes.elements, "editors"), of(&bytes.packages, "vim"));
        assert!((50_000..100_000).contains(&of(&bytes.elements, "motd")));
        assert!((20_000..50_000).contains(&of(&bytes.elements, NOT_KNOWN)));
        let total = |shares: &[Share]| shares.iter().map(|share| share.bytes).sum::<u64>();
        assert_eq!(total(&bytes.packages), bytes.total);
        assert_eq!(total(&bytes.elements), bytes.total);
        assert_eq!(bytes.tree.bytes, bytes.total);
        assert_eq!(bytes.tree.children[0].name, "boot");
    }
}
