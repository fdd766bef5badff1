//! Typed hooks: loads the component the plan names, lends it the machine, and deals with what it leaves.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use dibw_host::{HookCall, HookFailure, Lent, Limits, LoadedElement};
use dibw_plan::plan::{Component, PlannedElement};
use dibw_plan::{Action, Phase, Step};

use crate::element_cache::ElementCache;
use crate::events::Level;
use crate::failure::Failure;
use crate::lent::{CacheMount, Lender};
use crate::rehearsal::package_requests;
use crate::run::Build;

impl<'a> Build<'a> {
    /// Runs the typed hook of a step.
    pub(crate) fn typed_hook(&mut self, phase: Phase, step: &Step) -> Result<(), Failure> {
        let (element, loaded) = self.load(step)?;
        let lender = self.lender(element, phase)?;
        let left = lender.left.clone();
        let ended = self.call(element, &loaded, phase, Box::new(lender), Limits::default())?;
        self.machine().drop_tmpfs()?;
        if let Err(failure) = ended {
            return Err(from_hook(&failure));
        }
        let left = left.take();
        self.index_updated &= !left.new_repositories;
        self.base_variables.extend(left.variables.clone());
        self.variables.extend(left.variables.clone());
        self.set_by_hook = left.variables.clone();
        self.unforeseen(element, phase, left)
    }

    /// Installs what the hook asked for and the phase's transaction did not know of.
    fn unforeseen(
        &mut self,
        element: &PlannedElement,
        phase: Phase,
        mut left: crate::lent::Left,
    ) -> Result<(), Failure> {
        if self.has_transaction(phase) {
            left.install.retain(|name| !self.requested.contains(&(phase, name.clone())));
            left.remove.retain(|name| !self.requested.contains(&(phase, name.clone())));
        }
        if left.install.is_empty() && left.remove.is_empty() {
            return Ok(());
        }
        self.more_packages = true;
        let text = "asks for packages that were not foreseen: one more transaction";
        self.message(Level::Info, &element.name, text);
        self.transaction(&package_requests(&element.name, phase, &left))
    }

    fn has_transaction(&self, phase: Phase) -> bool {
        let transaction =
            |step: &Step| step.phase == Some(phase) && matches!(step.action, Action::Packages { .. });
        self.plan.steps.iter().any(transaction)
    }

    /// The component of a step, compiled.
    pub(crate) fn load(&mut self, step: &Step) -> Result<(&'a PlannedElement, Rc<LoadedElement>), Failure> {
        let name = step.element.as_deref().unwrap_or_default();
        let plan = self.plan;
        let element = plan.elements.iter().find(|element| element.name == name);
        let element = element.with_context(|| format!("element {name} is not in the plan"))?;
        if let Some(loaded) = self.loaded.get(name) {
            return Ok((element, loaded.clone()));
        }
        let loaded: Rc<LoadedElement> = Rc::from(self.components.take(name)?);
        self.loaded.insert(name.to_owned(), loaded.clone());
        Ok((element, loaded))
    }

    /// What the hooks of an element are lent.
    pub(crate) fn lender(&self, element: &PlannedElement, phase: Phase) -> Result<Lender> {
        let digest = &component(element)?.digest;
        let disk = self.plan.disk.as_ref();
        Ok(Lender {
            machine: self.machine.clone(),
            events: self.events.clone(),
            audit: self.audit.clone(),
            element: element.name.clone(),
            variables: self.inside_variables(),
            left: Rc::default(),
            phase,
            offers: self.offers.clone(),
            redactor: self.redactor.clone(),
            secrets_in_target: self.secrets_in_target.clone(),
            cache: ElementCache::new(&self.element_caches, &element.name, digest, self.plan.refresh),
            kernel: self.kernel.clone(),
            disk: self.base_variables.get("IMAGE_BLOCK_DEVICE").cloned(),
            esp: disk.and_then(|disk| disk.layout.esp()).map(str::to_owned),
            offline: self.plan.offline,
            mounts: Vec::new(),
            cache_mount: CacheMount::default(),
        })
    }

    /// Calls a hook; the inner result is the hook's own.
    pub(crate) fn call(
        &self,
        element: &PlannedElement,
        loaded: &LoadedElement,
        phase: Phase,
        lent: Box<dyn Lent>,
        limits: Limits,
    ) -> Result<Result<(), HookFailure>, Failure> {
        let component = component(element)?;
        let call = HookCall {
            phase: phase.name().to_owned(),
            config_json: component.config.to_string(),
            facts: self.facts(&element.name, phase),
            limits,
            effective: component.effective.clone(),
            lent,
        };
        Ok(self.host.run_hook(loaded, call).result)
    }

    /// What `facts.get` answers.
    fn facts(&self, element: &str, phase: Phase) -> BTreeMap<String, String> {
        let variable = |name: &str| self.variables.get(name).cloned().unwrap_or_default();
        let image = Path::new(&self.plan.output).file_name().map(|name| name.to_string_lossy().into_owned());
        let facts = [
            ("arch", self.plan.arch.clone()),
            ("distro", variable("DISTRO_NAME")),
            ("release", variable("DIB_RELEASE")),
            ("init-system", variable("DIB_INIT_SYSTEM")),
            ("image-name", image.unwrap_or_default()),
            ("element", element.to_owned()),
            ("phase", phase.name().to_owned()),
            ("source-date-epoch", self.plan.source_date_epoch.to_string()),
            ("root-label", variable("DIB_ROOT_LABEL")),
            ("root-fstype", variable("DIB_ROOT_FSTYPE")),
        ];
        let known = facts.into_iter().filter(|(_, value)| !value.is_empty());
        known.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn component(element: &PlannedElement) -> Result<&Component> {
    element.component.as_ref().with_context(|| format!("element {} has no component", element.name))
}

fn from_hook(failure: &HookFailure) -> Failure {
    let fault = failure.to_fault();
    Failure { kind: fault.kind, hint: fault.hint, ..Failure::new(fault.message) }
}
