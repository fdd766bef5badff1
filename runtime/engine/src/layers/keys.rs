//! What the layer of each kind of step is made from: everything that it can see and the plan knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dibw_plan::plan::PlannedElement;
use dibw_plan::{Action, Phase, Side, Step};
use dibw_sys::{probe, stored_tree};

use super::inputs::{BEFORE, Inputs, digest};
use super::store::Entry;
use crate::failure::Failure;
use crate::hooks_tree::{self, Snapshot};
use crate::packages_ahead;
use crate::run::Build;

/// Changes when what layers mean changes.
const FORMAT: &str = concat!("1 of dibw ", env!("CARGO_PKG_VERSION"));

/// Variables that say where this machine keeps things, and about the terminal somebody sits at: no layer is to depend on them.
const NOT_INPUTS: [&str; 22] = [
    "COLUMNS",
    "DBUS_SESSION_BUS_ADDRESS",
    "DIBW_PROGRAM",
    "DIB_IMAGE_CACHE",
    "DIB_LOCKFILES",
    "DISPLAY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LINES",
    "LS_COLORS",
    "OLDPWD",
    "PWD",
    "SHLVL",
    "SSH_AUTH_SOCK",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "SUDO_COMMAND",
    "TERM",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_ID",
    "_",
];

/// What a hook calls a file of its cache, the same in every layer record.
const REUSED: &str = "cache.layer";

/// What a step did to the hooks tree, by paths in it.
#[derive(Default)]
pub(super) struct HooksChanges {
    pub brought: Snapshot,
    pub gone: Vec<PathBuf>,
}

impl Build<'_> {
    /// What the layer of a step is made from.
    pub(super) fn inputs(&mut self, step: &Step) -> Result<Inputs, Failure> {
        let mut inputs = Inputs::default();
        self.add_common(&mut inputs);
        inputs.add("step", serde_json::to_string(step).context("a step of the plan")?);
        if self.layers.as_ref().is_some_and(|layers| layers.hooks.is_empty()) {
            self.look_at_hooks()?;
        }
        match &step.action {
            Action::Environment { .. } => {
                self.add_variables(&mut inputs, self.base_variables.clone());
                self.add_parts(&mut inputs);
            }
            Action::Script { name } => self.add_script(&mut inputs, step, name)?,
            Action::Hook => {
                self.add_variables(&mut inputs, self.inside_variables());
                self.add_component(&mut inputs, step.element.as_deref());
                self.add_offers(&mut inputs);
                let settings = self.kernel.borrow().get(step.element.as_deref().unwrap_or_default()).cloned();
                inputs.add("settings of the kernel", serde_json::to_string(&settings).context("settings")?);
            }
            Action::Packages { .. } => {
                self.add_variables(&mut inputs, self.inside_variables());
                // Typed hooks are asked in advance which packages they want.
                for asked in self
                    .plan
                    .steps
                    .iter()
                    .filter(|asked| asked.phase == step.phase && asked.action == Action::Hook)
                {
                    self.add_component(&mut inputs, asked.element.as_deref());
                }
                for (element, map) in self.plan.package_maps() {
                    let map = serde_json::to_string(&map).context("a package map")?;
                    inputs.add(format!("package map of {element}"), digest(map.as_bytes()));
                }
                self.add_offers(&mut inputs);
            }
            Action::PrepareTarget => {
                self.add_variables(&mut inputs, self.plan.variables.clone());
                let resolver = std::fs::read("/etc/resolv.conf").unwrap_or_default();
                inputs.add("/etc/resolv.conf of this machine", digest(&resolver));
            }
            Action::InstallBin
            | Action::InstallStatic
            | Action::InstallServiceMap { .. }
            | Action::CleanTarget => {
                self.add_variables(&mut inputs, self.variables.clone());
                self.add_parts(&mut inputs);
            }
            Action::ReportUsage { .. }
            | Action::CreateDisk
            | Action::FinishDisk
            | Action::PackageManifest
            | Action::Output { .. } => {}
        }
        Ok(inputs)
    }

    /// What every key has.
    pub(super) fn add_common(&self, inputs: &mut Inputs) {
        inputs.add("format", FORMAT);
        inputs.add(BEFORE, self.layers.as_ref().map_or("", |layers| &layers.state));
        inputs.add("policy", &self.plan.rules.digest);
        inputs.add("architecture", &self.plan.arch);
        inputs.add("time of the image", self.plan.source_date_epoch.to_string());
        inputs.add("conventions", if self.plan.classic { "classic" } else { "own" });
    }

    fn add_script(&self, inputs: &mut Inputs, step: &Step, name: &str) -> Result<()> {
        let phase = step.phase.unwrap_or(Phase::Cleanup);
        let script = self.hooks.join(format!("{phase}.d")).join(name);
        let bytes = std::fs::read(&script).with_context(|| script.display().to_string())?;
        inputs.add("script", digest(&bytes));
        self.add_parts(inputs);
        match phase.side() {
            Side::Inside => self.add_variables(inputs, self.inside_variables()),
            Side::Outside => {
                self.add_variables(inputs, self.variables.clone());
                let element =
                    self.plan.elements.iter().find(|known| Some(&known.name) == step.element.as_ref());
                self.add_machine(inputs, element);
            }
        }
        Ok(())
    }

    /// What a hook on the host sees of it, as far as the plan knows: programs it needs, and files that variables name.
    fn add_machine(&self, inputs: &mut Inputs, element: Option<&PlannedElement>) {
        for tool in element.into_iter().flat_map(|element| &element.host_tools) {
            self.add_program(inputs, tool);
        }
        for (name, value) in self.variables.iter().filter(|(name, _)| is_input(name)) {
            let path = Path::new(value);
            let own = path.starts_with(self.machine().work_dir());
            if path.is_absolute() && !own && path.is_file() {
                inputs.add(format!("file of {name}"), file_state(path));
            }
        }
    }

    /// A program of the host.
    pub(super) fn add_program(&self, inputs: &mut Inputs, name: &str) {
        let state = probe::find_tool(name).map_or_else(|| "missing".to_owned(), |path| file_state(&path));
        inputs.add(format!("program {name}"), state);
    }

    pub(super) fn add_variables(&self, inputs: &mut Inputs, variables: BTreeMap<String, String>) {
        let work = self.work_text();
        for (name, value) in super::moved(variables, &work, super::WORK) {
            if is_input(&name) {
                inputs.add_variable(&name, &value);
            }
        }
    }

    fn add_parts(&self, inputs: &mut Inputs) {
        let Some(layers) = &self.layers else { return };
        for (part, digest) in &layers.parts {
            inputs.add(format!("files of elements in {part}"), digest);
        }
    }

    pub(super) fn add_component(&self, inputs: &mut Inputs, element: Option<&str>) {
        let planned = self.plan.elements.iter().find(|known| Some(known.name.as_str()) == element);
        let Some(component) = planned.and_then(|planned| planned.component.as_ref()) else { return };
        let name = element.unwrap_or_default();
        inputs.add(format!("component {name}"), &component.digest);
        inputs.add(format!("configuration of {name}"), component.config.to_string());
        let rights = serde_json::to_string(&component.effective).unwrap_or_default();
        inputs.add(format!("rights of {name}"), digest(rights.as_bytes()));
        let image = Path::new(&self.plan.output).file_name().unwrap_or_default();
        inputs.add("name of the image", image.to_string_lossy());
    }

    pub(super) fn add_offers(&self, inputs: &mut Inputs) {
        for (name, bytes) in &self.offers.inputs {
            inputs.add(format!("input {name}"), digest(bytes));
        }
        for (name, repository) in &self.offers.repositories {
            inputs.add(format!("repository {name}"), digest(format!("{repository:?}").as_bytes()));
        }
        for name in self.offers.secrets.keys() {
            inputs.add(format!("secret {name}"), "offered");
        }
    }

    /// Looks at the hooks tree, and lays out anew what hooks in the target see of it.
    pub(super) fn look_at_hooks(&mut self) -> Result<()> {
        let now = hooks_tree::snapshot(&self.hooks)?;
        let Some(layers) = self.layers.as_mut().filter(|layers| layers.hooks != now) else { return Ok(()) };
        hooks_tree::without_hooks(&self.hooks, &self.hooks_in_target)?;
        layers.parts = parts(&self.hooks_in_target)?;
        layers.hooks = now;
        Ok(())
    }

    /// What has changed in the hooks tree since it was looked at last, which it is with this; none when a file was changed that was there
    /// before: what it would become on another one nobody knows.
    pub(super) fn hooks_changes(&mut self) -> Result<Option<HooksChanges>> {
        let before = self.layers.as_ref().map(|layers| layers.hooks.clone()).unwrap_or_default();
        self.look_at_hooks()?;
        let Some(layers) = &self.layers else { return Ok(None) };
        let now = &layers.hooks;
        let altered = now.iter().any(|(path, what)| before.get(path).is_some_and(|old| old != what));
        Ok((!altered).then(|| HooksChanges {
            brought: now
                .iter()
                .filter(|(path, _)| !before.contains_key(*path))
                .map(|(path, what)| (path.clone(), what.clone()))
                .collect(),
            gone: before.keys().filter(|path| !now.contains_key(*path)).cloned().collect(),
        }))
    }

    /// Whether a step could change something beside the target.
    pub(super) fn runs_outside(&self, step: &Step) -> bool {
        matches!(step.action, Action::Script { .. })
            && step.phase.is_some_and(|phase| phase.side() == Side::Outside)
    }

    /// Stands for everything in the directory of the build but the target, the hooks, and packages fetched ahead, which no step depends on.
    pub(super) fn marks(&self) -> Result<String> {
        let mut names = hooks_tree::names(self.machine().work_dir())?;
        names.retain(|name| name != packages_ahead::IN_WORK_DIR);
        let mut text = names.join("\n");
        for directory in [PathBuf::from("/tmp")].into_iter().chain(self.beside_artifacts()) {
            let captured = self.machine().captured(&directory);
            if captured.is_dir() {
                text.push_str(&format!("{:?}", parts(&captured)?));
            }
        }
        Ok(text)
    }

    /// The directory of the build, as variables have it.
    pub(super) fn work_text(&self) -> String {
        self.machine().work_dir().display().to_string()
    }

    /// Records that a layer of an earlier build took the place of the current step; what the step did is recorded before it.
    pub(super) fn record_reuse(&self, title: &str, entry: &Entry) -> Result<(), Failure> {
        let subject = format!("{title}: layer {}", entry.id);
        self.audit.borrow_mut().add(&crate::attempts::of(&self.current, REUSED, &subject, "allow"))?;
        Ok(())
    }
}

/// A digest of each entry of a directory.
fn parts(directory: &Path) -> Result<BTreeMap<String, String>> {
    let part = |name: String| -> Result<(String, String)> {
        let path = directory.join(&name);
        let found = std::fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
        let part = match found.is_dir() {
            true => stored_tree::digest(&path)?,
            false if found.is_file() => {
                digest(&std::fs::read(&path).with_context(|| path.display().to_string())?)
            }
            false => format!("{:?}", found.file_type()),
        };
        Ok((name, part))
    };
    hooks_tree::names(directory)?.into_iter().map(part).collect()
}

fn is_input(name: &str) -> bool {
    !NOT_INPUTS.contains(&name)
}

/// Size and time of change: a file of the host may be large.
fn file_state(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata(path) {
        Ok(found) => format!("{} {} {}.{}", path.display(), found.len(), found.mtime(), found.mtime_nsec()),
        Err(_) => format!("{} unreadable", path.display()),
    }
}
