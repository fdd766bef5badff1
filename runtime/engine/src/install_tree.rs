//! What the runtime itself copies into the target for classic elements: `bin/`, `static/` and the service map.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use dibw_plan::packages::{ServiceMap, merge_services, services_text};

use crate::failure::Failure;
use crate::hooks_tree::names;
use crate::run::Build;
use crate::target::TargetFiles;

impl Build<'_> {
    /// Every file of the merged `bin/` goes to `/usr/local/bin`, mode 0755.
    pub(crate) fn install_bin(&self) -> Result<(), Failure> {
        let files = self.files()?;
        let bin = self.hooks.join("bin");
        for name in names(&bin)? {
            let path = bin.join(&name);
            if path.is_file() {
                files.write(&format!("/usr/local/bin/{name}"), &read(&path)?, 0o755)?;
            }
        }
        Ok(())
    }

    /// The merged `static/` is laid over the target; owner root, modes as in the tree.
    pub(crate) fn install_static(&self) -> Result<(), Failure> {
        let files = self.files()?;
        Ok(lay_over(&files, &self.hooks.join("static"), "")?)
    }

    /// Writes the service names of the target's distribution.
    pub(crate) fn install_service_map(&self, maps: &BTreeMap<String, ServiceMap>) -> Result<(), Failure> {
        let distro = self.variables.get("DISTRO_NAME").map_or("", String::as_str);
        let text = services_text(&merge_services(maps, distro));
        Ok(self.files()?.write("/usr/share/svc-map/services", text.as_bytes(), 0o644)?)
    }
}

fn lay_over(files: &TargetFiles, from: &Path, to: &str) -> Result<()> {
    for name in names(from)? {
        let (from, to) = (from.join(&name), format!("{to}/{name}"));
        let metadata = fs::symlink_metadata(&from).with_context(|| format!("reading {}", from.display()))?;
        if metadata.is_symlink() {
            let target = fs::read_link(&from).with_context(|| format!("reading {}", from.display()))?;
            files.symlink(&target.to_string_lossy(), &to)?;
        } else if metadata.is_dir() {
            files.make_dir(&to, metadata.permissions().mode() & 0o777)?;
            lay_over(files, &from, &to)?;
        } else if metadata.is_file() {
            files.write(&to, &read(&from)?, metadata.permissions().mode() & 0o777)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}
