//! The order in which the nodes of a layout are made: each after what it stands on. Knows names and edges only.
//! Called by `layout::parse`.

use std::collections::HashMap;

use dibw_policy::yaml::Spot;
use serde::{Deserialize, Serialize};

use super::source::Source;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the words of the field")]
pub enum NodeKind {
    Image,
    Partition,
    PhysicalVolume,
    VolumeGroup,
    LogicalVolume,
    /// An `lvm` entry as a whole: all of its physical volumes come after all that they stand on.
    Lvm,
    Filesystem,
    Mount,
    Fstab,
}

impl NodeKind {
    /// In words, for messages.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Image => "an image",
            Self::Partition => "a partition",
            Self::PhysicalVolume => "a physical volume",
            Self::VolumeGroup => "a volume group",
            Self::LogicalVolume => "a logical volume",
            Self::Lvm => "an lvm entry",
            Self::Filesystem => "a file system",
            Self::Mount => "a mount point",
            Self::Fstab => "an fstab entry",
        }
    }
}

/// A node by kind and name. Names are unique over all kinds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRef {
    /// What it is.
    pub kind: NodeKind,
    /// Its name.
    pub name: String,
}

/// A node and its edges, in the order of the flat configuration.
#[derive(Debug)]
pub(super) struct GraphNode {
    pub(super) kind: NodeKind,
    pub(super) name: String,
    pub(super) spot: Spot,
    /// Nodes that come before this one.
    pub(super) after: Vec<String>,
    /// Nodes that come after this one.
    pub(super) before: Vec<String>,
}

impl GraphNode {
    pub(super) fn new(kind: NodeKind, name: &str, spot: Spot, after: Option<String>) -> Self {
        Self { kind, name: name.to_owned(), spot, after: after.into_iter().collect(), before: Vec::new() }
    }
}

/// Generations of nodes that wait for nothing (Kahn, first in first out), which is the order diskimage-builder uses.
/// Faults: a name used twice, an edge to nowhere, a circle.
pub(super) fn order(nodes: &[GraphNode], source: &mut Source<'_>) -> Vec<NodeRef> {
    let mut index_of: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        if let Some(first) = index_of.get(node.name.as_str()) {
            let message =
                format!("Duplicate node name: {} (first in line {})", node.name, nodes[*first].spot.line);
            source.fault(node.spot, message);
        } else {
            index_of.insert(&node.name, index);
        }
    }
    let Some(followers) = followers(nodes, &index_of, source) else { return Vec::new() };
    let mut waiting_for = vec![0_usize; nodes.len()];
    for follower in followers.iter().flatten() {
        waiting_for[*follower] += 1;
    }
    let mut ordered: Vec<usize> = (0..nodes.len()).filter(|index| waiting_for[*index] == 0).collect();
    let mut next = 0;
    while let Some(index) = ordered.get(next).copied() {
        next += 1;
        for follower in &followers[index] {
            waiting_for[*follower] -= 1;
            if waiting_for[*follower] == 0 {
                ordered.push(*follower);
            }
        }
    }
    if let Some(first) = waiting_for.iter().position(|count| *count > 0) {
        let names: Vec<&str> = (0..nodes.len())
            .filter(|index| waiting_for[*index] > 0)
            .map(|index| nodes[index].name.as_str())
            .collect();
        source
            .fault(nodes[first].spot, format!("these stand on each other in a circle: {}", names.join(", ")));
    }
    ordered
        .into_iter()
        .map(|index| NodeRef { kind: nodes[index].kind, name: nodes[index].name.clone() })
        .collect()
}

/// Per node those that come after it, each once, in the order the edges are met. `None` when there are faults that make an order senseless.
fn followers(
    nodes: &[GraphNode],
    index_of: &HashMap<&str, usize>,
    source: &mut Source<'_>,
) -> Option<Vec<Vec<usize>>> {
    let known: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut whole = index_of.len() == nodes.len();
    for (index, node) in nodes.iter().enumerate() {
        let incoming = node.after.iter().map(|other| (other, true));
        let outgoing = node.before.iter().map(|other| (other, false));
        for (other, comes_first) in incoming.chain(outgoing) {
            let (from, to) = if comes_first { (other, &node.name) } else { (&node.name, other) };
            match index_of.get(other.as_str()) {
                None if source.lost.contains(other) => whole = false,
                None => {
                    whole = false;
                    source.unknown_name(node.spot, format!("Edge not defined: {from}->{to}"), other, &known);
                }
                Some(&other) => {
                    let (from, to) = if comes_first { (other, index) } else { (index, other) };
                    if !followers[from].contains(&to) {
                        followers[from].push(to);
                    }
                }
            }
        }
    }
    whole.then_some(followers)
}
