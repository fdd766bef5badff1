//! Loading a component and running one hook of it: a new store for each call, so that no hook sees what another left behind and a trap
//! poisons nothing.
//!
//! Callers: the engine, `dibw-sdk-testing`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use dibw_plan::Manifest;
use dibw_policy::Effective;
use send_wrapper::SendWrapper;
use wasmtime::component::{Component, Linker};
use wasmtime::{CallHook, Engine, Store, UpdateDeadline, WasmBacktrace};

use crate::bindings::{Element, ElementPre};
use crate::component::{Inspection, inspect};
use crate::failure::{HookFailure, frames_of};
use crate::gate::{Halt, State};
use crate::lent::Lent;
use crate::limits::{GuestClock, Limiter, Limits};
use crate::wasi::{self, End};
use crate::{capabilities, engine};

/// How often the guest's time is looked at.
const TICK: Duration = Duration::from_millis(10);

/// Room beside a file's bytes in one call: path, mode, list headers.
const COPY_MARGIN: usize = 64 * 1024;

/// Compiles and runs typed elements. Cheap to share; one per process.
pub struct Host {
    engine: Engine,
}

/// A compiled component, ready for any number of calls.
pub struct LoadedElement {
    inspection: Inspection,
    ready: ElementPre<State>,
}

/// One hook to run.
pub struct HookCall {
    /// The phase's name.
    pub phase: String,
    /// The element's configuration, a JSON object.
    pub config_json: String,
    /// What `facts.get` answers.
    pub facts: BTreeMap<String, String>,
    /// Bounds.
    pub limits: Limits,
    /// What the element may do; also says which element it is.
    pub effective: Effective,
    /// The machine.
    pub lent: Box<dyn Lent>,
}

/// How a hook ended.
pub struct HookOutcome {
    /// Nothing, or why it failed.
    pub result: Result<(), HookFailure>,
    /// What was lent, given back.
    pub lent: Box<dyn Lent>,
    /// What it used.
    pub usage: Usage,
}

/// What a hook used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Time in its own code.
    pub guest_time: Duration,
    /// Bytes of its largest memory.
    pub peak_memory: usize,
    /// Calls of host functions.
    pub host_calls: u64,
}

impl Host {
    /// A host that keeps compiled code in `cache`: an absolute path, made if missing, only this user's.
    ///
    /// # Errors
    /// The directory cannot be made or is open to others.
    pub fn new(cache: &Path) -> Result<Self> {
        Ok(Host { engine: engine::engine(Some(cache))? })
    }

    /// A host that compiles anew each time.
    ///
    /// # Errors
    /// The machine cannot run compiled code.
    pub fn without_cache() -> Result<Self> {
        Ok(Host { engine: engine::engine(None)? })
    }

    /// Checks a component and compiles it (or takes it from the cache).
    ///
    /// # Errors
    /// As [`inspect`]; also a component that does not fit the contract it claims.
    pub fn load(&self, bytes: &[u8]) -> Result<LoadedElement> {
        let inspection = inspect(bytes)?;
        let id = inspection.manifest.id.clone();
        let component = Component::new(&self.engine, bytes)
            .map_err(|e| anyhow!("{e:#}"))
            .with_context(|| format!("element {id}: compiling"))?;
        let imports: Vec<String> = inspection.imports.iter().map(|(name, _)| name.clone()).collect();
        let mut linker = Linker::new(&self.engine);
        capabilities::link(&mut linker, &imports).map_err(|e| anyhow!("{e:#}"))?;
        wasi::link(&mut linker, &imports).map_err(|e| anyhow!("{e:#}"))?;
        let ready = linker
            .instantiate_pre(&component)
            .and_then(ElementPre::new)
            .map_err(|e| anyhow!("{e:#}"))
            .with_context(|| {
                format!("element {id} does not fit the contract dibw:element {}", inspection.manifest.api)
            })?;
        Ok(LoadedElement { inspection, ready })
    }

    /// Runs the hook of one phase in a new instance. Blocks until it ends; guest code is interrupted at its time limit.
    pub fn run_hook(&self, element: &LoadedElement, call: HookCall) -> HookOutcome {
        let mut store = self.store(call);
        let ticker = Ticker::start(&self.engine);
        let ended = call_run(element, &mut store);
        drop(ticker);
        let result = match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(returned)) => Err(HookFailure::from_returned(store.data(), &returned)),
            Err(error) => Err(HookFailure::from_trap(store.data(), &error)),
        };
        let state = store.into_data();
        let usage = Usage {
            guest_time: state.clock.spent(),
            peak_memory: state.limiter.peak_memory,
            host_calls: state.calls,
        };
        HookOutcome { result, lent: state.lent.take(), usage }
    }

    fn store(&self, call: HookCall) -> Store<State> {
        let state = State {
            phase: call.phase,
            config: call.config_json,
            facts: call.facts,
            effective: call.effective,
            lent: SendWrapper::new(call.lent),
            limits: call.limits,
            limiter: Limiter::new(&call.limits),
            clock: GuestClock::new(call.limits.guest_time),
            calls: 0,
            log_bytes: 0,
            mounts: 0,
            settings: 0,
            panic: None,
            denials: Vec::new(),
            last_error: None,
            wasi: None,
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(store.data().copy_bytes());
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            context.data().clock.check().map_err(wasmtime::Error::new)?;
            Ok(UpdateDeadline::Continue(1))
        });
        store.call_hook(|mut context, transition| {
            context.data_mut().clock.observe(transition);
            // On the way back from a host function the guest's calls are on the stack: note them beside the error it is given.
            let wanted = |state: &State| state.last_error.as_ref().is_some_and(|last| last.frames.is_none());
            if matches!(transition, CallHook::ReturningFromHost) && wanted(context.data()) {
                let frames = frames_of(&WasmBacktrace::force_capture(&context));
                if let Some(last) = &mut context.data_mut().last_error {
                    last.frames = Some(frames);
                }
            }
            if matches!(transition, CallHook::ReturningFromHost) {
                context.data_mut().log_output(End::OfCall)?;
            }
            Ok(())
        });
        store
    }
}

impl LoadedElement {
    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.inspection.manifest
    }

    /// What is known from its bytes.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }
}

impl State {
    /// Most bytes that one call may carry from the guest.
    pub(crate) fn copy_bytes(&self) -> usize {
        self.limits.file_bytes + COPY_MARGIN
    }
}

type Returned = Result<(), crate::bindings::dibw::element::types::Error>;

fn call_run(element: &LoadedElement, store: &mut Store<State>) -> wasmtime::Result<Returned> {
    if element.inspection.uses_wasi() {
        match wasi::open_trees(store.data_mut(), element.inspection.directories()) {
            Ok(()) => {}
            Err(Halt::Guest(refused)) => return Ok(Err(refused)),
            Err(Halt::Trap(error)) => return Err(error),
        }
    }
    let phase = store.data().phase.clone();
    let ended = element
        .ready
        .instantiate(&mut *store)
        .and_then(|instance: Element| instance.dibw_element_lifecycle().call_run(&mut *store, &phase));
    // The last words of a component that failed are worth most.
    let logged = store.data_mut().log_output(End::OfHook);
    let returned = ended?;
    logged?;
    Ok(returned)
}

/// Counts time for the engine while a hook runs; stops when dropped.
struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: &Engine) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let engine = engine.clone();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        });
        Ticker { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that counts time for typed elements panicked");
        }
    }
}
