//! Where the bytes of an image are: one walk through its file systems, summed by directory, by package and by element. Knows nothing of
//! pages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use dibw_sys::tree_walk::{Entry, walk_tree};

use super::data::{Bytes, Node};
use super::dpkg::Packages;
use super::origin::Origin;
use super::tree::Tree;

/// What stands in place of a package or an element.
const DIRECTORIES: &str = "(directories)";
const NO_PACKAGE: &str = "(not of a package)";
const NOT_KNOWN: &str = "(not known)";
const OTHERS: &str = "(others)";

/// Most packages that are told apart, in all and in one element.
const MOST_PACKAGES: usize = 2000;
const MOST_IN_ELEMENT: usize = 100;

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
    directories: u64,
    inodes: u64,
    /// Bytes by element, and in it by number of the package.
    files: BTreeMap<&'a str, BTreeMap<Option<usize>, u64>>,
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
    let mut sums = Sums { packages, origin, elements, directories: 0, inodes: 0, files: BTreeMap::new() };
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
            self.inodes += 1;
            if entry.is_dir {
                self.directories += entry.bytes;
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
        let element = self.element(path, package.map(|number| self.packages.name(number)));
        *self.files.entry(element).or_default().entry(package).or_default() += entry.bytes;
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
        let directories = Node { name: DIRECTORIES.to_owned(), bytes: self.directories, ..Node::default() };
        // A package of two architectures is there twice.
        let name = |number: &Option<usize>| number.map_or(NO_PACKAGE, |number| self.packages.name(number));
        let mut by_package: BTreeMap<&str, u64> = BTreeMap::new();
        let mut elements = vec![directories.clone()];
        for (element, files) in &self.files {
            let mut of_element: BTreeMap<&str, u64> = BTreeMap::new();
            for (number, bytes) in files {
                *by_package.entry(name(number)).or_default() += bytes;
                *of_element.entry(name(number)).or_default() += bytes;
            }
            elements.push(Node {
                name: (*element).to_owned(),
                bytes: of_element.values().sum(),
                // That nothing is of a package is no news.
                children: match of_element.keys().all(|name| *name == NO_PACKAGE) {
                    true => Vec::new(),
                    false => largest(nodes(of_element), MOST_IN_ELEMENT),
                },
            });
        }
        let mut packages = nodes(by_package);
        packages.push(directories);
        Bytes {
            total: tree.bytes,
            inodes: self.inodes,
            tree,
            packages: largest(packages, MOST_PACKAGES),
            elements: largest(elements, MOST_PACKAGES),
        }
    }
}

fn nodes(sums: BTreeMap<&str, u64>) -> Vec<Node> {
    let node = |(name, bytes): (&str, u64)| Node { name: name.to_owned(), bytes, children: Vec::new() };
    sums.into_iter().map(node).collect()
}

fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Largest first; those beyond `most` are one.
fn largest(mut nodes: Vec<Node>, most: usize) -> Vec<Node> {
    nodes.retain(|node| node.bytes > 0);
    nodes.sort_by(|left, right| right.bytes.cmp(&left.bytes).then_with(|| left.name.cmp(&right.name)));
    if nodes.len() > most {
        let bytes = nodes.split_off(most).iter().map(|node| node.bytes).sum();
        nodes.push(Node { name: OTHERS.to_owned(), bytes, children: Vec::new() });
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TargetFiles;

    #[test]
    fn the_same_bytes_are_summed_in_three_ways() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |path: &str| scratch.path().join(path);
        let write = |path: &str, text: &[u8]| {
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
        let of = |shares: &[Node], name: &str| {
            shares.iter().find(|share| share.name == name).map_or(0, |share| share.bytes)
        };
        assert!(of(&bytes.packages, "vim") >= 300_000);
        assert!(of(&bytes.packages, NO_PACKAGE) >= 70_000);
        assert_eq!(of(&bytes.elements, "editors"), of(&bytes.packages, "vim"));
        assert!((50_000..100_000).contains(&of(&bytes.elements, "motd")));
        assert!((20_000..50_000).contains(&of(&bytes.elements, NOT_KNOWN)));
        let total = |shares: &[Node]| shares.iter().map(|share| share.bytes).sum::<u64>();
        assert_eq!(total(&bytes.packages), bytes.total);
        assert_eq!(total(&bytes.elements), bytes.total);
        assert_eq!(bytes.tree.bytes, bytes.total);
        assert_eq!(bytes.tree.children[0].name, "boot");
        let editors = bytes.elements.iter().find(|element| element.name == "editors").unwrap();
        assert_eq!(editors.children[0].name, "vim");
    }
}
