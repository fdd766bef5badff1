//! The component's side of the contract: the imports behind [`Host`], the export, the panic hook. Exists in wasm builds only.

use crate::account::Account;
use crate::cx::Cx;
use crate::element::{Element, dispatch_named};
use crate::error::{Error, Result};
use crate::host::{FileKind, Host, Output, Stat, sealed::Sealed};

#[allow(missing_docs, reason = "generated from sdk/wit/v0.1, which documents each")]
#[allow(clippy::all, reason = "generated from sdk/wit/v0.1")]
pub mod contract {
    wit_bindgen::generate!({
        path: "../wit/v0.1",
        world: "element",
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        default_bindings_module: "dibw_sdk::wasm::contract",
    });
}

use contract::dibw::element as imports;
use contract::dibw::element::types;

/// Exports the element and puts its manifest into the component.
#[doc(hidden)]
#[macro_export]
macro_rules! export_element {
    ($element:ty) => {
        const _: () = {
            #[used]
            #[unsafe(link_section = "dibw:manifest")]
            static SECTION: [u8; DIBW_MANIFEST.len()] = DIBW_MANIFEST;

            struct Lifecycle;

            impl $crate::wasm::contract::exports::dibw::element::lifecycle::Guest for Lifecycle {
                fn run(
                    phase: String,
                ) -> ::core::result::Result<(), $crate::wasm::contract::dibw::element::types::Error> {
                    $crate::wasm::run::<$element>(&phase)
                }
            }

    $crate::wasm::contract::export_lifecycle!(Lifecycle with_types_in $crate::wasm::contract);
        };
    };
}

/// Runs one hook as the runtime asked.
pub fn run<T: Element>(phase: &str) -> std::result::Result<(), types::Error> {
    std::panic::set_hook(Box::new(report_panic));
    let cx = Cx::new(Imports);
    dispatch_named::<T>(phase, &imports::config::get(), &cx).map_err(to_contract)
}

/// A trap has a place but no message; this is where the message comes from.
fn report_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    let (file, line, column) =
        panic.location().map_or(("", 0, 0), |place| (place.file(), place.line(), place.column()));
    imports::log::panicked(&message, file, line, column);
}

fn to_contract(error: Error) -> types::Error {
    match error {
        Error::Denied { capability, subject, rule } => {
            types::Error::Denied(types::Denial { capability, subject, rule })
        }
        Error::NotFound(what) => types::Error::NotFound(what),
        Error::Invalid(message) => types::Error::Invalid(message),
        Error::Io(message) => types::Error::Io(message),
        Error::Exec { argv, code, stderr_tail } => {
            types::Error::Exec(types::ExecFailure { argv, code, stderr_tail })
        }
        Error::Limit(message) => types::Error::Limit(message),
    }
}

fn from_contract(error: types::Error) -> Error {
    match error {
        types::Error::Denied(types::Denial { capability, subject, rule }) => {
            Error::Denied { capability, subject, rule }
        }
        types::Error::NotFound(what) => Error::NotFound(what),
        types::Error::Invalid(message) => Error::Invalid(message),
        types::Error::Io(message) => Error::Io(message),
        types::Error::Exec(types::ExecFailure { argv, code, stderr_tail }) => {
            Error::Exec { argv, code, stderr_tail }
        }
        types::Error::Limit(message) => Error::Limit(message),
    }
}

/// Answers by calling the runtime.
pub struct Imports;

impl Sealed for Imports {}

impl Host for Imports {
    fn log(&self, level: &str, message: &str) {
        imports::log::write(level, message);
    }
    fn fact(&self, name: &str) -> Option<String> {
        imports::facts::get(name)
    }
    fn read(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        imports::target_fs::read(path, offset, length).map_err(from_contract)
    }
    fn write(&self, path: &str, contents: &[u8], mode: u32) -> Result {
        imports::target_fs::write(path, contents, mode).map_err(from_contract)
    }
    fn make_dir(&self, path: &str, mode: u32) -> Result {
        imports::target_fs::make_dir(path, mode).map_err(from_contract)
    }
    fn symlink(&self, target: &str, path: &str) -> Result {
        imports::target_fs::symlink(target, path).map_err(from_contract)
    }
    fn read_link(&self, path: &str) -> Result<String> {
        imports::target_fs::read_link(path).map_err(from_contract)
    }
    fn stat(&self, path: &str) -> Result<Option<Stat>> {
        let Some(stat) = imports::target_fs::stat(path).map_err(from_contract)? else { return Ok(None) };
        let kind = FileKind::from_name(&stat.kind).ok_or_else(|| {
            Error::Invalid(format!("{path} is a `{}`, which this SDK does not know", stat.kind))
        })?;
        Ok(Some(Stat { kind, mode: stat.mode, uid: stat.uid, gid: stat.gid, size: stat.size }))
    }
    fn list_dir(&self, path: &str) -> Result<Vec<String>> {
        imports::target_fs::list_dir(path).map_err(from_contract)
    }
    fn rename(&self, from: &str, to: &str) -> Result {
        imports::target_fs::rename(from, to).map_err(from_contract)
    }
    fn remove(&self, path: &str) -> Result {
        imports::target_fs::remove(path).map_err(from_contract)
    }
    fn remove_all(&self, path: &str) -> Result {
        imports::target_fs::remove_all(path).map_err(from_contract)
    }
    fn set_mode(&self, path: &str, mode: u32) -> Result {
        imports::target_fs::set_mode(path, mode).map_err(from_contract)
    }
    fn set_owner(&self, path: &str, uid: u32, gid: u32) -> Result {
        imports::target_fs::set_owner(path, uid, gid).map_err(from_contract)
    }
    fn install_packages(&self, names: &[String]) -> Result {
        imports::packages::install(names).map_err(from_contract)
    }
    fn remove_packages(&self, names: &[String]) -> Result {
        imports::packages::remove(names).map_err(from_contract)
    }
    fn enable(&self, unit: &str) -> Result {
        imports::services::enable(unit).map_err(from_contract)
    }
    fn disable(&self, unit: &str) -> Result {
        imports::services::disable(unit).map_err(from_contract)
    }
    fn mask(&self, unit: &str) -> Result {
        imports::services::mask(unit).map_err(from_contract)
    }
    fn add_user(&self, account: &Account) -> Result {
        let account = account.clone();
        let account = imports::users::Account {
            name: account.name,
            system: account.system,
            uid: account.uid,
            shell: account.shell,
            home: account.home,
            comment: account.comment,
            groups: account.groups,
            password_hash: account.password_hash,
        };
        imports::users::add(&account).map_err(from_contract)
    }
    fn add_group(&self, name: &str, system: bool) -> Result {
        imports::users::add_group(name, system).map_err(from_contract)
    }
    fn set_authorized_keys(&self, name: &str, keys: &[String]) -> Result {
        imports::users::set_authorized_keys(name, keys).map_err(from_contract)
    }
    fn grant_sudo(&self, name: &str, passwordless: bool) -> Result {
        imports::users::grant_sudo(name, passwordless).map_err(from_contract)
    }
    fn run(&self, argv: &[String], stdin: &[u8], timeout_seconds: u32) -> Result<Output> {
        let output = imports::exec::run(argv, stdin, timeout_seconds).map_err(from_contract)?;
        Ok(Output { stdout: output.stdout, stderr: output.stderr })
    }
    fn variable(&self, name: &str) -> Result<Option<String>> {
        imports::env::get(name).map_err(from_contract)
    }
    fn set_variable(&self, name: &str, value: &str) -> Result {
        imports::env::set(name, value).map_err(from_contract)
    }
    fn fetch(&self, url: &str, checksum: &str, header: Option<(&str, &str)>) -> Result<Vec<u8>> {
        imports::net::fetch(url, checksum, header).map_err(from_contract)
    }
    fn fetch_to_file(
        &self,
        url: &str,
        checksum: &str,
        header: Option<(&str, &str)>,
        path: &str,
        mode: u32,
    ) -> Result {
        imports::net::fetch_to_file(url, checksum, header, path, mode).map_err(from_contract)
    }
    fn input(&self, name: &str) -> Result<Vec<u8>> {
        imports::inputs::read(name).map_err(from_contract)
    }
    fn write_secret(&self, name: &str, path: &str, mode: u32) -> Result {
        imports::secrets::write_file(name, path, mode).map_err(from_contract)
    }
    fn cached(&self, key: &str) -> Result<Option<Vec<u8>>> {
        imports::cache::get(key).map_err(from_contract)
    }
    fn cache(&self, key: &str, bytes: &[u8]) -> Result {
        imports::cache::put(key, bytes).map_err(from_contract)
    }
    fn mount(&self, kind: &str, path: &str) -> Result {
        imports::mounts::request(kind, path).map_err(from_contract)
    }
    fn add_kernel_argument(&self, key: &str, value: &str) -> Result {
        imports::kernel::add_argument(key, value).map_err(from_contract)
    }
    fn load_kernel_module(&self, name: &str) -> Result {
        imports::kernel::load_module(name).map_err(from_contract)
    }
    fn set_sysctl(&self, key: &str, value: &str) -> Result {
        imports::kernel::set_sysctl(key, value).map_err(from_contract)
    }
    fn add_repository(&self, id: &str) -> Result {
        imports::packages::add_repository(id).map_err(from_contract)
    }
    fn install_bootloader(&self, kind: &str) -> Result {
        imports::bootloader::install(kind).map_err(from_contract)
    }
}
