//! The phase's one package transaction: names are mapped now that the phase's variables are known, packages are downloaded with network
//! and installed without.

use anyhow::Result;
use dibw_compat::environment::Variables;
use dibw_plan::packages::manager::{Command, Manager, Options};
use dibw_plan::packages::{PackageRequest, Transaction, is_removal, resolve_transaction};
use dibw_plan::{FaultKind, Phase};

use crate::events::Level;
use crate::failure::Failure;
use crate::machine::Inside;
use crate::run::Build;
use crate::scripts::Lines;
use crate::target::TargetFiles;

/// Where apt keeps the index.
const LISTS: &str = "/var/lib/apt/lists";

/// Keeps services from starting while packages are installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl Build<'_> {
    /// Installs and removes what the plan and this phase's typed hooks ask for.
    pub(crate) fn packages(&mut self, phase: Phase, requests: &[PackageRequest]) -> Result<(), Failure> {
        let mut all = requests.to_vec();
        if !is_removal(requests) && self.rehearsed.insert(phase) {
            all.extend(self.rehearse(phase)?);
        }
        self.requested.extend(all.iter().map(|request| (phase, request.package.clone())));
        self.transaction(&all)
    }

    /// One transaction for `requests`.
    pub(crate) fn transaction(&mut self, requests: &[PackageRequest]) -> Result<(), Failure> {
        let transaction = resolve_transaction(requests, &self.plan.package_maps(), &self.variables)?;
        if transaction.is_empty() {
            return Ok(());
        }
        let manager = self.package_manager()?;
        let options = Options { offline: self.plan.offline, ..Options::default() };
        let commands = manager.commands(&transaction, &options);
        self.say_transaction(&transaction);
        let now = sources(&self.files()?);
        if !self.index_updated || self.index_of.as_ref().is_some_and(|of| Some(of) != now.as_ref()) {
            self.package_command(manager, commands.update_index.as_ref())?;
            self.index_updated = true;
            self.index_of = now;
        }
        if manager == Manager::Apt && commands.download.is_some() {
            self.bring_packages_ahead()?;
        }
        self.forbid_services(true)?;
        let done = [&commands.download, &commands.install, &commands.remove]
            .into_iter()
            .try_for_each(|command| self.package_command(manager, command.as_ref()));
        // The first error wins; both are tried.
        let allowed = self.forbid_services(false);
        done.and(allowed)
    }

    /// Variables that say what the target is: those of the phase or, where it has none, of one before it.
    pub(crate) fn variables_of_target(&self) -> &Variables {
        if self.variables.contains_key("DISTRO_NAME") { &self.variables } else { &self.target_variables }
    }

    /// The root phase may have left the index that it fetched: then it need not be fetched again, as long as its sources are the same.
    pub(crate) fn adopt_index(&mut self, files: &TargetFiles) -> Result<()> {
        let lists = files.list(LISTS)?;
        if lists.iter().any(|name| name.ends_with("Release")) {
            self.index_updated = true;
            self.index_of = sources(files);
        }
        Ok(())
    }

    /// The package manager of the target's distribution.
    pub(crate) fn package_manager(&self) -> Result<Manager, Failure> {
        let variables = self.variables_of_target();
        let distro = variables.get("DISTRO_NAME").map_or("", String::as_str);
        Manager::for_distro(distro).ok_or_else(|| {
            let failure =
                Failure::new(format!("no package manager is known for the distribution {distro:?}"))
                    .hint("an operating system element exports DISTRO_NAME in its environment.d");
            Failure { kind: FaultKind::Element, ..failure }
        })
    }

    /// Runs one command of a transaction in the target's sandbox; gives its standard output when `keep` is asked for.
    pub(crate) fn package_command(&self, manager: Manager, command: Option<&Command>) -> Result<(), Failure> {
        let Some(command) = command else { return Ok(()) };
        self.run_package_command(manager, command, Lines::new()).map(drop)
    }

    /// The same with the lines of standard output.
    pub(crate) fn run_package_command(
        &self,
        manager: Manager,
        command: &Command,
        mut lines: Lines,
    ) -> Result<String, Failure> {
        let mut env = self.inside_variables();
        env.extend(command.environment.clone());
        let inside =
            Inside { argv: command.argv.clone(), env, network: command.network, ..Inside::default() };
        let ending = self.inside(&inside, &mut lines)?;
        let shown = command.argv.iter().take(3).cloned().collect::<Vec<_>>().join(" ");
        lines.judge(&format!("{} (`{shown} ...`)", manager.name()), ending)
    }

    fn forbid_services(&self, forbid: bool) -> Result<(), Failure> {
        let files = self.files()?;
        match forbid {
            true if files.exists(POLICY)? => {}
            true => files.write(
                POLICY,
                b"#!/bin/sh\nexit 101 # dibw: nothing starts while an image is built\n",
                0o755,
            )?,
            false => {
                let ours = files.read_text(POLICY).is_ok_and(|text| text.contains("dibw: nothing starts"));
                if ours {
                    files.remove(POLICY)?;
                }
            }
        }
        Ok(())
    }

    fn say_transaction(&self, transaction: &Transaction) {
        let part = |verb: &str, names: &[String]| match names {
            [] => None,
            names => Some(format!("{verb} {}", names.join(" "))),
        };
        let parts = [part("install", &transaction.install), part("remove", &transaction.remove)];
        self.message(Level::Info, "", parts.into_iter().flatten().collect::<Vec<_>>().join("; "));
    }
}

/// Stands for where apt gets packages from; none where that can't be read.
fn sources(files: &TargetFiles) -> Option<String> {
    let names = files.list("/etc/apt/sources.list.d").ok()?;
    let paths = names.iter().map(|name| format!("/etc/apt/sources.list.d/{name}"));
    let texts = paths.chain(["/etc/apt/sources.list".to_owned()]).map(|path| {
        let text = files.read_text(&path).unwrap_or_default();
        format!("{path}\n{text}\n")
    });
    Some(crate::layers::inputs::digest(texts.collect::<String>().as_bytes()))
}
