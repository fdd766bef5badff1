//! Packages that are fetched ahead of need. A hook of the root phase that bootstraps with an idle network is told which packages the next
//! transaction will ask for; what it fetched spares that transaction the download. It is an offer: a hook may ignore it, the target is the
//! same either way, and so no layer depends on it.

use anyhow::{Context, Result};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use dibw_compat::environment::Variables;
use dibw_plan::packages::resolve_transaction;
use dibw_plan::{Action, Confinement, Extra, Step};
use dibw_sys::target_files::{SpecialBits, TargetRoot};

use crate::failure::Failure;
use crate::run::Build;

/// Names of packages, separated by blanks.
const NAMES: &str = "DIBW_PACKAGES_AHEAD";
/// Where their archives go, under the names that the package manager gives them in its cache.
const DIRECTORY: &str = "DIBW_PACKAGES_AHEAD_DIR";

/// Name of that directory in that of the build.
pub(crate) const IN_WORK_DIR: &str = "packages-ahead";

/// Largest archive that is brought, in bytes.
const LARGEST: u64 = 4 << 30;

/// Where apt looks for an archive before it downloads.
const APT_ARCHIVES: &str = "/var/cache/apt/archives";

impl Build<'_> {
    /// What a hook of the root phase is told; nothing where it could not fetch or there is nothing to fetch.
    pub(crate) fn packages_ahead(&self, step: &Step) -> Result<Variables> {
        // A strict hook does not see the work directory.
        let fetches = step.extras.contains(&Extra::Network) && step.confinement != Confinement::Strict;
        let names = self.next_packages();
        if self.plan.offline || !fetches || names.is_empty() {
            return Ok(Variables::new());
        }
        let directory = self.packages_ahead_dir();
        std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
        Ok([(NAMES.to_owned(), names.join(" ")), (DIRECTORY.to_owned(), directory.display().to_string())]
            .into())
    }

    /// Gives the target what was fetched, for apt to find.
    pub(crate) fn bring_packages_ahead(&self) -> Result<(), Failure> {
        let path = self.packages_ahead_dir();
        // Hooks could have put a link in its place.
        if !std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        let target = TargetRoot::open(&self.target()?)?.with_limit(LARGEST);
        let context = || format!("reading {}", path.display());
        let directory = Dir::open_ambient_dir(&path, ambient_authority()).with_context(context)?;
        for entry in directory.entries().with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = entry.file_name();
            // Whatever else a hook left there is none of ours; a link is not followed.
            let Some(name) = name.to_str().filter(|name| name.ends_with(".deb")) else { continue };
            if entry.file_type().with_context(context)?.is_file() {
                let mut archive = directory.open(name).with_context(context)?.into_std();
                let to = format!("{APT_ARCHIVES}/{name}");
                target
                    .write_from(&to, &mut archive, 0o644, SpecialBits::Strip)
                    .map_err(anyhow::Error::from)?;
            }
        }
        Ok(std::fs::remove_dir_all(&path).with_context(|| format!("emptying {}", path.display()))?)
    }

    /// What the first transaction that installs something asks for, as far as that is known before the target is there: not what typed
    /// hooks want, nor what depends on variables that are not set yet.
    fn next_packages(&self) -> Vec<String> {
        let maps = self.plan.package_maps();
        let mut transactions = self.plan.steps.iter().filter_map(|step| match &step.action {
            Action::Packages { requests } => resolve_transaction(requests, &maps, &self.variables).ok(),
            _ => None,
        });
        transactions.find(|found| !found.install.is_empty()).map(|found| found.install).unwrap_or_default()
    }

    fn packages_ahead_dir(&self) -> std::path::PathBuf {
        self.machine().work_dir().join(IN_WORK_DIR)
    }
}
