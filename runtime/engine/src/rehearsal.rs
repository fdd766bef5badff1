//! Asks a phase's typed hooks in advance which packages they will want, so that the phase has one transaction.
//! The hook runs against a lender that records requests and changes nothing. See docs/decisions/0001-rehearsal.md.

use std::os::fd::OwnedFd;
use std::time::Duration;

use dibw_host::{
    Account, Download, FileStat, Follow, GroupKind, Judge, Lend, Lent, LentError, Limits, LogLevel, Output,
    Sudo,
};
use dibw_plan::packages::{Intent, PackageRequest};
use dibw_plan::{Action, Phase};
use dibw_policy::{Access, BootLoader, MountKind, Record, ServiceAction};

use crate::failure::Failure;
use crate::lent::Lender;
use crate::run::Build;

/// Asking for packages is quick; a hook that needs longer is told so when it really runs.
const GUEST_TIME: Duration = Duration::from_secs(1);

impl Build<'_> {
    /// The package requests of all typed hooks of a phase, as far as they can be known before it.
    pub(crate) fn rehearse(&mut self, phase: Phase) -> Result<Vec<PackageRequest>, Failure> {
        let limits = Limits { guest_time: GUEST_TIME, ..Limits::default() };
        let mut requests = Vec::new();
        let plan = self.plan;
        for step in &plan.steps {
            if step.phase != Some(phase) || step.action != Action::Hook {
                continue;
            }
            let (element, loaded) = self.load(step)?;
            let lender = self.lender(element, phase)?;
            let left = lender.left.clone();
            // Whatever ends a rehearsal, the real run reports.
            if let Err(failure) = self.call(element, &loaded, phase, Box::new(Rehearsal(lender)), limits)? {
                tracing::debug!(element = element.name, %failure, "rehearsal ended early");
            }
            requests.extend(package_requests(&element.name, phase, &left.take()));
        }
        Ok(requests)
    }
}

/// What a hook left, as requests of its element.
pub(crate) fn package_requests(element: &str, phase: Phase, left: &crate::lent::Left) -> Vec<PackageRequest> {
    let request = |name: &String| PackageRequest::install(Some(element), name, phase);
    let install = left.install.iter().map(request);
    let remove = left.remove.iter().map(|name| PackageRequest { intent: Intent::Remove, ..request(name) });
    install.chain(remove).collect()
}

/// Reads are real, requests are recorded, everything else only seems to work.
struct Rehearsal(Lender);

/// The answer that needs the real run.
fn unknown<T>() -> Lend<T> {
    Err(LentError::Fatal("rehearsal: what comes of this is not known yet".into()))
}

impl Lent for Rehearsal {
    fn resolve(&mut self, path: &str, follow: Follow) -> Lend<String> {
        self.0.resolve(path, follow)
    }

    fn read_file(&mut self, path: &str, offset: u64, length: u64) -> Lend<Vec<u8>> {
        self.0.read_file(path, offset, length)
    }

    fn read_link(&mut self, path: &str) -> Lend<String> {
        self.0.read_link(path)
    }

    fn stat(&mut self, path: &str) -> Lend<Option<FileStat>> {
        self.0.stat(path)
    }

    fn list_directory(&mut self, path: &str) -> Lend<Vec<String>> {
        self.0.list_directory(path)
    }

    fn install_packages(&mut self, names: &[String]) -> Lend<()> {
        self.0.install_packages(names)
    }

    fn remove_packages(&mut self, names: &[String]) -> Lend<()> {
        self.0.remove_packages(names)
    }

    fn get_variable(&mut self, name: &str) -> Lend<Option<String>> {
        self.0.get_variable(name)
    }

    fn execute(&mut self, _: &[String], _: &[u8], _: Duration) -> Lend<Output> {
        unknown()
    }

    /// Nothing leaves the machine in a rehearsal.
    fn fetch(&mut self, _: &Download, _: &mut Judge<'_>) -> Lend<Vec<u8>> {
        unknown()
    }

    fn fetch_to_file(&mut self, _: &Download, _: &mut Judge<'_>, _: &str, _: u32) -> Lend<()> {
        Ok(())
    }

    fn read_input(&mut self, name: &str) -> Lend<Vec<u8>> {
        self.0.read_input(name)
    }

    fn cached(&mut self, key: &str) -> Lend<Option<Vec<u8>>> {
        self.0.cached(key)
    }

    fn cache_size_with(&mut self, key: &str, bytes: u64) -> Lend<u64> {
        self.0.cache_size_with(key, bytes)
    }

    fn cache(&mut self, _: &str, _: &[u8]) -> Lend<()> {
        Ok(())
    }

    fn write_secret(&mut self, _: &str, _: &str, _: u32) -> Lend<()> {
        Ok(())
    }

    fn mount(&mut self, _: MountKind, _: &str) -> Lend<()> {
        Ok(())
    }

    fn add_kernel_argument(&mut self, _: &str, _: &str) -> Lend<()> {
        Ok(())
    }

    fn load_kernel_module(&mut self, _: &str) -> Lend<()> {
        Ok(())
    }

    fn set_sysctl(&mut self, _: &str, _: &str) -> Lend<()> {
        Ok(())
    }

    fn add_repository(&mut self, _: &str) -> Lend<()> {
        Ok(())
    }

    fn install_bootloader(&mut self, _: BootLoader) -> Lend<()> {
        Ok(())
    }

    /// Files are real, so a rehearsal has none.
    fn open_tree(&mut self, _: &str, _: Access) -> Lend<OwnedFd> {
        Err(LentError::Fatal("rehearsal: components from other languages act on files directly".into()))
    }

    fn write_file(&mut self, _: &str, _: &[u8], _: u32) -> Lend<()> {
        Ok(())
    }

    fn make_directory(&mut self, _: &str, _: u32) -> Lend<()> {
        Ok(())
    }

    fn symlink(&mut self, _: &str, _: &str) -> Lend<()> {
        Ok(())
    }

    fn rename(&mut self, _: &str, _: &str) -> Lend<()> {
        Ok(())
    }

    fn remove(&mut self, _: &str) -> Lend<()> {
        Ok(())
    }

    fn remove_tree(&mut self, _: &str) -> Lend<()> {
        Ok(())
    }

    fn set_mode(&mut self, _: &str, _: u32) -> Lend<()> {
        Ok(())
    }

    fn set_owner(&mut self, _: &str, _: u32, _: u32) -> Lend<()> {
        Ok(())
    }

    fn set_service(&mut self, _: ServiceAction, _: &str) -> Lend<()> {
        Ok(())
    }

    fn add_user(&mut self, _: &Account) -> Lend<()> {
        Ok(())
    }

    fn add_group(&mut self, _: &str, _: GroupKind) -> Lend<()> {
        Ok(())
    }

    fn set_authorized_keys(&mut self, _: &str, _: &[String]) -> Lend<()> {
        Ok(())
    }

    fn grant_sudo(&mut self, _: &str, _: Sudo) -> Lend<()> {
        Ok(())
    }

    fn set_variable(&mut self, name: &str, value: &str) -> Lend<()> {
        self.0.variables.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn log(&mut self, _: LogLevel, _: &str) {}

    /// Decisions are recorded when the hook really runs.
    fn audit(&mut self, _: Record) -> Lend<()> {
        Ok(())
    }
}
