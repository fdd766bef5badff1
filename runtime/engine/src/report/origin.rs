//! Which step wrote which file: as long as the target is made of layers, each step's changes are a directory of their own. Knows nothing
//! of who a step was done for.

use std::path::PathBuf;

use anyhow::Result;
use dibw_sys::tree_walk::walk_tree;

use super::path_map::PathMap;

/// The step that wrote each path last.
#[derive(Debug, Default)]
pub(super) struct Origin {
    steps: PathMap,
}

impl Origin {
    /// Reads directories of changes, lowest first, each with the number of its step.
    ///
    /// # Errors
    /// Those of `go_on`, and when a directory can't be read.
    pub(super) fn of_layers(
        layers: &[(usize, PathBuf)],
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut origin = Self::default();
        for (step, directory) in layers {
            let step = u32::try_from(*step)?;
            walk_tree(directory, &mut |entry| {
                if entry.is_dir {
                    return go_on();
                }
                origin.steps.insert(entry.path, step);
                Ok(())
            })?;
        }
        Ok(origin)
    }

    /// The number of the step that wrote a path last; none where no layer has it.
    pub(super) fn step_of(&self, path: &[u8]) -> Option<usize> {
        self.steps.get(path).map(|step| step as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uppermost_layer_counts() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |path: &str| scratch.path().join(path);
        for path in ["1/usr/bin/a", "1/etc/b", "2/etc/b"] {
            std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            std::fs::write(at(path), "x").unwrap();
        }
        let origin = Origin::of_layers(&[(3, at("1")), (12, at("2"))], &mut || Ok(())).unwrap();
        let steps = [&b"usr/bin/a"[..], b"etc/b", b"etc/c", b"etc"].map(|path| origin.step_of(path));
        assert_eq!(steps, [Some(3), Some(12), None, None]);
    }
}
