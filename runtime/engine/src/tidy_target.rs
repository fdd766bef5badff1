//! What a build itself leaves in a target and must not ship: temporary files, logs, the hooks' mount point. Facts: CONTRACT.md section 1.5.

use anyhow::Result;

use crate::failure::Failure;
use crate::run::Build;

impl Build<'_> {
    /// Empties `/tmp`, truncates logs, removes root's logs. Missing directories are fine.
    pub(crate) fn clean_target(&self) -> Result<(), Failure> {
        let files = self.files()?;
        for name in files.list("/tmp")? {
            files.remove_all(&format!("/tmp/{name}"))?;
        }
        for path in files.walk_files("/var/log")? {
            files.truncate(&path)?;
        }
        for path in files.walk_files("/root")?.into_iter().filter(|path| path.ends_with(".log")) {
            files.remove(&path)?;
        }
        Ok(())
    }
}
