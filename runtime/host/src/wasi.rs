//! WASI 0.2 for components from other languages: only the interfaces named here, linked only where they are imported, and with nothing
//! ambient behind them. No environment, no arguments, no input, no network; what is printed goes to the build's log; files are those of
//! directories of the target that were granted as whole trees.
//!
//! Time: the wall clock stands at the build's source date; the monotonic one is the machine's, and waiting ends at once. Random numbers are
//! the same in every build of the same inputs, so that images are reproducible: nothing secret may be made of them.
//! Callers: [`crate::component`] (what is offered), [`crate::run`].

mod files;
mod output;
mod trees;

use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, HasData, Lift, Linker, Lower, Resource, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::sync::{filesystem, io};
use wasmtime_wasi::p2::bindings::{cli, clocks, random};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};
use wasmtime_wasi::{Deterministic, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::gate::State;
use output::Output;

pub(crate) use output::End;
pub(crate) use trees::{Directories, open_trees};

/// The release of WASI whose functions wasmtime-wasi 48 defines: the part of an instance's name after `@`.
const RELEASE: &str = "0.2.12";

/// What a component that imports WASI can do with it, for people.
pub const WASI_SAYS: &str = "file access through preopened directories only";

/// Most resources (files, directories, streams) that a component holds at a time; below what a process may have open.
const MOST_RESOURCES: usize = 256;

/// Bytes of pseudo-random numbers before they repeat.
const RANDOM_BYTES: usize = 8 * 1024;

/// All that WASI knows about the hook that runs.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
    output: Output,
}

/// An interface by its name without version, and how it is linked.
struct Interface {
    name: &'static str,
    link: fn(&mut Linker<State>) -> wasmtime::Result<()>,
}

macro_rules! interface {
    ($name:literal, $($module:ident)::+, $data:ty, $view:ident) => {
        Interface {
            name: $name,
            link: |linker| $($module)::+::add_to_linker::<State, $data>(linker, |state| state.wasi().$view()),
        }
    };
}

macro_rules! table {
    ($name:literal, $($module:ident)::+) => {
        Interface {
            name: $name,
            link: |linker| $($module)::+::add_to_linker::<State, Table>(linker, |state| &mut state.wasi().table),
        }
    };
}

/// What is offered. Anything else of WASI, the network above all, is refused before a component is compiled.
const INTERFACES: [Interface; 20] = [
    interface!("wasi:cli/environment", cli::environment, WasiCli, cli),
    interface!("wasi:cli/exit", cli::exit, WasiCli, cli),
    interface!("wasi:cli/stdin", cli::stdin, WasiCli, cli),
    interface!("wasi:cli/stdout", cli::stdout, WasiCli, cli),
    interface!("wasi:cli/stderr", cli::stderr, WasiCli, cli),
    interface!("wasi:cli/terminal-input", cli::terminal_input, WasiCli, cli),
    interface!("wasi:cli/terminal-output", cli::terminal_output, WasiCli, cli),
    interface!("wasi:cli/terminal-stdin", cli::terminal_stdin, WasiCli, cli),
    interface!("wasi:cli/terminal-stdout", cli::terminal_stdout, WasiCli, cli),
    interface!("wasi:cli/terminal-stderr", cli::terminal_stderr, WasiCli, cli),
    interface!("wasi:clocks/wall-clock", clocks::wall_clock, WasiClocks, clocks),
    Interface { name: "wasi:clocks/monotonic-clock", link: link_monotonic_clock },
    interface!("wasi:filesystem/preopens", filesystem::preopens, WasiFilesystem, filesystem),
    Interface { name: "wasi:filesystem/types", link: files::link },
    table!("wasi:io/error", io::error),
    table!("wasi:io/poll", io::poll),
    table!("wasi:io/streams", io::streams),
    interface!("wasi:random/random", random::random, WasiRandom, random),
    interface!("wasi:random/insecure", random::insecure, WasiRandom, random),
    interface!("wasi:random/insecure-seed", random::insecure_seed, WasiRandom, random),
];

/// The table of resources, as the interfaces of `wasi:io` want it.
struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Whether an import is an interface of WASI that is offered.
pub(crate) fn offers(import: &str) -> bool {
    interface_of(import).is_some()
}

fn interface_of(import: &str) -> Option<&'static Interface> {
    let (name, version) = import.split_once('@')?;
    INTERFACES.iter().find(|interface| interface.name == name && version.starts_with("0.2."))
}

/// Links what is offered and imported.
pub(crate) fn link(linker: &mut Linker<State>, imports: &[String]) -> wasmtime::Result<()> {
    for interface in imports.iter().filter_map(|import| interface_of(import)) {
        (interface.link)(linker)?;
    }
    Ok(())
}

/// A component that could wait could stop the build, and no one is there to wait for: waiting ends at once.
fn link_monotonic_clock(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    monotonic_clock::add_to_linker::<State, WasiClocks>(linker, |state| state.wasi().clocks())?;
    for function in ["subscribe-duration", "subscribe-instant"] {
        replace(linker, "wasi:clocks/monotonic-clock", function, ready_at_once)?;
    }
    Ok(())
}

fn ready_at_once(
    mut store: StoreContextMut<'_, State>,
    (_,): (u64,),
) -> wasmtime::Result<(Resource<DynPollable>,)> {
    let mut clocks = store.data_mut().wasi().clocks();
    Ok((monotonic_clock::Host::subscribe_duration(&mut clocks, 0)?,))
}

/// Puts a function of ours in the place of wasmtime-wasi's. It is an error when there is none: ours would then never be called.
fn replace<Parameters, Answer>(
    linker: &mut Linker<State>,
    interface: &str,
    function: &str,
    ours: fn(StoreContextMut<'_, State>, Parameters) -> wasmtime::Result<Answer>,
) -> wasmtime::Result<()>
where
    Parameters: ComponentNamedList + Lift + 'static,
    Answer: ComponentNamedList + Lower + 'static,
{
    let name = format!("{interface}@{RELEASE}");
    if linker.instance(&name)?.func_wrap(function, ours).is_ok() {
        wasmtime::bail!("wasmtime-wasi does not define {name} {function}");
    }
    linker.allow_shadowing(true).instance(&name)?.func_wrap(function, ours)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Wasi {
    /// Nothing but an output, clocks and numbers; `add` may add directories.
    fn new(
        seed: &str,
        source_date: Duration,
        add: impl FnOnce(&mut WasiCtxBuilder) -> wasmtime::Result<()>,
    ) -> wasmtime::Result<Self> {
        let output = Output::default();
        let numbers = pseudo_random(seed);
        let insecure_seed =
            numbers.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let mut builder = WasiCtxBuilder::new();
        builder
            .stdout(output.stdout())
            .stderr(output.stderr())
            .wall_clock(SourceDate(source_date))
            .secure_random(Deterministic::new(numbers.clone()))
            .insecure_random(Deterministic::new(numbers))
            .insecure_random_seed(insecure_seed)
            .max_random_size(1 << 20)
            // What a file operation does, it does on the hook's own thread, and no other is left when the hook ends.
            .allow_blocking_current_thread(true);
        add(&mut builder)?;
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_RESOURCES);
        Ok(Wasi { ctx: builder.build(), table, output })
    }
}

impl WasiView for Wasi {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

impl State {
    /// What the linked interfaces work on.
    fn wasi(&mut self) -> &mut Wasi {
        self.wasi.as_mut().expect("set before a component that WASI was linked into is called")
    }
}

/// A clock that stands still.
struct SourceDate(Duration);

impl HostWallClock for SourceDate {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

/// SHA-256 of the seed and a counter.
fn pseudo_random(seed: &str) -> Vec<u8> {
    let block = |counter: usize| Sha256::digest(format!("dibw wasi:random {counter} {seed}"));
    (0..RANDOM_BYTES / 32).flat_map(|counter| block(counter).to_vec()).collect()
}
