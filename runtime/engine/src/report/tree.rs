//! Directories and their bytes, summed up while a walk meets them. What is small is left out and only counted in the directories above,
//! so that the tree of the largest image has no more than some thousand nodes.

use super::data::Node;
use crate::events::printable;

/// Entries smaller than that are never told apart, in bytes.
const LEAST: u64 = 8 << 10;

/// Characters of JSON that a tree may take, about.
const ROOM: usize = 300 << 10;

/// Directories below each other that are told apart.
const DEEPEST: usize = 12;

/// Characters of a name.
const LONGEST_NAME: usize = 80;

/// A tree that grows.
#[derive(Debug)]
pub(super) struct Tree {
    /// The directories that the walk is in, the top first.
    open: Vec<Node>,
    least: u64,
    room_taken: usize,
}

impl Tree {
    /// Of the top directory, which occupies so many bytes itself.
    pub(super) fn new(bytes: u64) -> Self {
        Self { open: vec![Node { bytes, ..Node::default() }], least: LEAST, room_taken: 0 }
    }

    /// Adds an entry with so many directories between it and the top. Entries come in the order of a walk.
    pub(super) fn add(&mut self, depth: usize, name: &[u8], is_dir: bool, bytes: u64) {
        while self.open.len() > depth + 1 {
            self.leave();
        }
        // What is too deep is a part of the deepest directory.
        let node = Node { name: String::new(), bytes, children: Vec::new() };
        if is_dir && depth < DEEPEST {
            self.open.push(Node { name: shown(name), ..node });
        } else if depth < DEEPEST && bytes >= self.least {
            self.keep(Node { name: shown(name), ..node });
        } else {
            self.count(bytes);
        }
    }

    /// Adds another tree, which is mounted at a path below the top.
    pub(super) fn graft(&mut self, path: &str, mut tree: Node) {
        while self.open.len() > 1 {
            self.leave();
        }
        let Some(mut place) = self.open.first_mut() else { return };
        let bytes = tree.bytes;
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        tree.name = parts.pop().map(str::to_owned).unwrap_or_default();
        place.bytes += bytes;
        for part in parts {
            let at = place.children.iter().position(|child| child.name == part);
            let at = at.unwrap_or_else(|| {
                place.children.push(Node { name: part.to_owned(), ..Node::default() });
                place.children.len() - 1
            });
            place = &mut place.children[at];
            place.bytes += bytes;
        }
        place.children.push(tree);
        sort(&mut place.children);
    }

    /// All of it, largest first.
    pub(super) fn end(mut self) -> Node {
        while self.open.len() > 1 {
            self.leave();
        }
        let mut top = self.open.pop().unwrap_or_default();
        sort(&mut top.children);
        top
    }

    fn leave(&mut self) {
        let Some(mut done) = self.open.pop() else { return };
        let inside: usize = done.children.iter().map(room).sum();
        self.room_taken = self.room_taken.saturating_sub(inside);
        if done.bytes < self.least {
            return self.count(done.bytes);
        }
        sort(&mut done.children);
        self.keep(done);
    }

    fn count(&mut self, bytes: u64) {
        if let Some(directory) = self.open.last_mut() {
            directory.bytes += bytes;
        }
    }

    fn keep(&mut self, node: Node) {
        self.count(node.bytes);
        self.room_taken += room(&node);
        if let Some(directory) = self.open.last_mut() {
            directory.children.push(node);
        }
        while self.room_taken > ROOM {
            self.least *= 2;
            let least = self.least;
            self.open.iter_mut().for_each(|directory| prune(directory, least));
            let kept = self.open.iter().flat_map(|directory| &directory.children);
            self.room_taken = kept.map(room).sum();
        }
    }
}

/// Drops what is smaller.
fn prune(node: &mut Node, least: u64) {
    node.children.retain(|child| child.bytes >= least);
    node.children.iter_mut().for_each(|child| prune(child, least));
}

/// Characters of JSON, about: characters with a meaning in HTML take six each.
fn room(node: &Node) -> usize {
    let escaped = node.name.matches(['<', '>', '&', '"', '\\']).count();
    30 + node.name.len() + 5 * escaped + node.children.iter().map(room).sum::<usize>()
}

fn sort(nodes: &mut [Node]) {
    nodes.sort_by(|left, right| right.bytes.cmp(&left.bytes).then_with(|| left.name.cmp(&right.name)));
}

/// A name from the image as it can be shown, at most so long.
pub(super) fn shown(name: &[u8]) -> String {
    printable(&String::from_utf8_lossy(name)).chars().take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(node: &Node) -> Vec<(&str, u64)> {
        node.children.iter().map(|child| (child.name.as_str(), child.bytes)).collect()
    }

    #[test]
    fn directories_have_the_bytes_of_all_that_is_in_them() {
        let mut tree = Tree::new(1);
        for (depth, name, is_dir, bytes) in [
            (0, "etc", true, 4096),
            (1, "small", false, 512),
            (1, "conf.d", true, 4096),
            (2, "big", false, 1 << 20),
            (0, "usr", true, 4096),
            (1, "lib", true, 0),
            (2, "huge", false, 1 << 30),
            (0, "vmlinuz", false, 1 << 19),
        ] {
            tree.add(depth, name.as_bytes(), is_dir, bytes);
        }
        tree.graft("/boot/efi", Node { bytes: 1 << 25, ..Node::default() });
        let top = tree.end();
        assert_eq!(top.bytes, 1 + 3 * 4096 + 512 + (1 << 20) + (1 << 30) + (1 << 19) + (1 << 25));
        let expected = [
            ("usr", 4096 + (1 << 30)),
            ("boot", 1 << 25),
            ("etc", 2 * 4096 + 512 + (1 << 20)),
            ("vmlinuz", 1 << 19),
        ];
        assert_eq!(names(&top), expected);
        assert_eq!(names(&top.children[1]), [("efi", 1 << 25)]);
        assert_eq!(names(&top.children[2]), [("conf.d", 4096 + (1 << 20))]);
    }

    #[test]
    fn a_tree_of_any_size_fits() {
        let mut tree = Tree::new(0);
        let mut bytes = 0;
        let hostile = "<&>".repeat(80);
        for directory in 0..300 {
            tree.add(0, format!("{directory}").as_bytes(), true, 0);
            for file in 0..300 {
                tree.add(1, format!("{file}{hostile}").as_bytes(), false, 10_000 + file);
                bytes += 10_000 + file;
            }
            (1..60).for_each(|depth| tree.add(depth, b"deep", true, 4096));
            bytes += 59 * 4096;
        }
        let top = tree.end();
        assert_eq!(top.bytes, bytes);
        let json = serde_json::to_string(&top).unwrap();
        assert!(json.len() < ROOM, "{}", json.len());
        assert_eq!(top.children.len(), 300);
    }
}
