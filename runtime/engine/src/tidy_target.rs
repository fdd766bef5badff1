//! What a build lends a target and takes back, and what it leaves there and must not ship: the host's resolver, temporary files, logs.
//! Facts: compat/CONTRACT.md sections 1.2 (steps 15 to 17) and 1.5.

use anyhow::{Context, Result};
use dibw_plan::FaultKind;
use dibw_sys::target_files::kind_name;

use crate::failure::Failure;
use crate::run::Build;
use crate::target::TargetFiles;

/// The resolver's configuration, and where the target's own waits meanwhile. Elements may edit it there.
const RESOLVER: &str = "/etc/resolv.conf";
const OWN_RESOLVER: &str = "/etc/resolv.conf.ORIG";

/// For hosts without one.
const SOME_RESOLVER: &str = "nameserver 8.8.8.8\n";

/// Sets the default of elements that ask how software is installed, from the extra-data phase on.
const INSTALL_TYPE: &str = "11-dib-install-type.bash";

impl Build<'_> {
    /// There must be a root file system by now; it gets the host's resolver, and later phases their install type.
    pub(crate) fn prepare_target(&mut self) -> Result<(), Failure> {
        let files = self.files()?;
        let names = files.list("/")?;
        if !names.iter().any(|name| !name.starts_with("lost+found") && !name.ends_with("tmp")) {
            let failure = Failure::new("Failed to deploy the root element.")
                .hint("an operating system element fills $TARGET_ROOT in its root.d");
            return Err(Failure { kind: FaultKind::Element, ..failure });
        }
        lend_resolver(&files)?;
        self.adopt_index(&files)?;
        let install_type = self.plan.variables.get("DIB_DEFAULT_INSTALLTYPE").filter(|kind| !kind.is_empty());
        let install_type = install_type.map_or("source", String::as_str);
        let directory = self.hooks.join("environment.d");
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let text = format!("export DIB_DEFAULT_INSTALLTYPE=${{DIB_DEFAULT_INSTALLTYPE:-{install_type}}}\n");
        std::fs::write(directory.join(INSTALL_TYPE), text).context(INSTALL_TYPE)?;
        Ok(())
    }

    /// Gives the target its own resolver back, empties `/tmp`, truncates logs, removes root's logs. Missing directories are fine.
    pub(crate) fn clean_target(&self) -> Result<(), Failure> {
        let files = self.files()?;
        take_resolver_back(&files)?;
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

fn lend_resolver(files: &TargetFiles) -> Result<()> {
    if files.0.stat("/etc")?.is_none_or(|etc| kind_name(etc.kind) != "dir") {
        return Ok(());
    }
    if files.exists(RESOLVER)? {
        files.0.rename(RESOLVER, OWN_RESOLVER)?;
    }
    let text = std::fs::read("/etc/resolv.conf").unwrap_or_else(|_| SOME_RESOLVER.into());
    files.write(RESOLVER, &text, 0o644)
}

/// A link that a hook has put in its place is meant for the image, and so is a file that can't be removed because it was made immutable.
fn take_resolver_back(files: &TargetFiles) -> Result<()> {
    let found = files.0.stat(RESOLVER).unwrap_or(None);
    let removed = match found {
        Some(found) if kind_name(found.kind) == "symlink" => false,
        Some(_) => files.remove(RESOLVER).is_ok(),
        None => true,
    };
    match (removed, files.exists(OWN_RESOLVER)?) {
        (true, true) => Ok(files.0.rename(OWN_RESOLVER, RESOLVER)?),
        (false, true) => files.remove(OWN_RESOLVER),
        (_, false) => Ok(()),
    }
}
