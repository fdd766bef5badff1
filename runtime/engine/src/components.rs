//! Compiles the components of a plan ahead of need, on all cores, while other steps run. Called by [`crate::typed`].
//! Must not know what hooks do: what comes out is what [`dibw_host::Host::load`] would give in the step.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, available_parallelism};

use anyhow::{Context, Result, bail};
use dibw_host::{Host, LoadedElement};
use dibw_plan::Plan;
use dibw_plan::plan::{Component, PlannedElement};
use sha2::{Digest, Sha256};

use crate::catalogue::hex;

/// The components of one plan.
pub(crate) struct Components {
    shared: Arc<Shared>,
    begun: bool,
}

struct Shared {
    host: Arc<Host>,
    parts: Vec<Part>,
    /// The next that nobody has begun.
    next: AtomicUsize,
    /// What is not begun is not needed any more.
    ended: AtomicBool,
}

/// One component. Its lock is held while it is compiled, so who needs it then waits for it.
struct Part {
    element: String,
    component: Component,
    state: Mutex<State>,
}

enum State {
    Waiting,
    Done(Result<Box<LoadedElement>>),
    Taken,
}

impl Components {
    /// Those of `plan`, in the order of its elements; nothing is compiled yet.
    pub fn of(plan: &Plan, host: Arc<Host>) -> Self {
        let part = |element: &PlannedElement| {
            let component = element.component.clone()?;
            Some(Part { element: element.name.clone(), component, state: Mutex::new(State::Waiting) })
        };
        Self::new(plan.elements.iter().filter_map(part).collect(), host)
    }

    fn new(parts: Vec<Part>, host: Arc<Host>) -> Self {
        let shared = Shared { host, parts, next: AtomicUsize::new(0), ended: AtomicBool::new(false) };
        Self { shared: Arc::new(shared), begun: false }
    }

    /// Has them compiled from now on.
    pub fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let workers = available_parallelism().map_or(1, usize::from).min(self.shared.parts.len());
        for _ in 0..workers {
            let shared = self.shared.clone();
            // Without the thread each is compiled when it is needed.
            if let Err(error) = Builder::new().name("dibw-compile".into()).spawn(move || shared.work()) {
                tracing::debug!("no thread to compile components: {error}");
            }
        }
    }

    /// The component of `element`, once; compiles it here if nobody has begun to.
    ///
    /// # Errors
    /// As [`Host::load`]; also when its bytes are not those that were planned with, or it was taken before.
    pub fn take(&self, element: &str) -> Result<Box<LoadedElement>> {
        let part = self.shared.parts.iter().find(|part| part.element == element);
        let part = part.with_context(|| format!("element {element} has no component in the plan"))?;
        let mut state = part.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Waiting => part.compile(&self.shared.host),
            State::Done(loaded) => loaded,
            State::Taken => bail!("the component of {element} was taken before"),
        }
    }
}

impl Drop for Components {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn work(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            let Some(part) = self.parts.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
            // Whoever needs it now compiles it himself.
            let Ok(mut state) = part.state.try_lock() else { continue };
            if matches!(*state, State::Waiting) {
                *state = State::Done(part.compile(&self.host));
            }
        }
    }
}

impl Part {
    fn compile(&self, host: &Host) -> Result<Box<LoadedElement>> {
        let bytes = dibw_host::read_file(Path::new(&self.component.path))?;
        if hex(&Sha256::digest(&bytes)) != self.component.digest {
            bail!("{} changed after the plan was made", self.component.path);
        }
        host.load(&bytes).map(Box::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_whoever_compiled_it_and_errors_wait_for_who_needs_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.wasm");
        std::fs::write(&path, "no component").unwrap();
        let digest = hex(&Sha256::digest("no component"));
        let part = |element: &str, path: &Path, digest: &str| Part {
            element: element.to_owned(),
            component: Component {
                path: path.display().to_string(),
                digest: digest.to_owned(),
                config: serde_json::Value::Null,
                effective: dibw_policy::Effective::of_runtime(&dibw_policy::Policy::default()),
            },
            state: Mutex::new(State::Waiting),
        };
        let parts = || {
            vec![
                part("bad", &path, &digest),
                part("changed", &path, "0123"),
                part("gone", &directory.path().join("b.wasm"), ""),
            ]
        };
        for ahead in [false, true] {
            let mut components = Components::new(parts(), Arc::new(Host::without_cache().unwrap()));
            if ahead {
                components.begin();
            }
            let said = |element: &str| match components.take(element) {
                Ok(_) => panic!("{element} was compiled"),
                Err(error) => format!("{error:#}"),
            };
            let (bad, changed, gone) = (said("bad"), said("changed"), said("gone"));
            assert!(bad.contains("not a WebAssembly component"), "{bad}");
            assert!(changed.ends_with("a.wasm changed after the plan was made"), "{changed}");
            assert!(gone.contains("b.wasm"), "{gone}");
            assert_eq!(said("bad"), "the component of bad was taken before");
            assert_eq!(said("other"), "element other has no component in the plan");
        }
    }
}
