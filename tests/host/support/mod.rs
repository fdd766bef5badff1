//! Guests written in WebAssembly's text format and made components in process (no wasm toolchain), and a recording double of
//! all that the engine lends.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its guest fails")]
#![allow(dead_code, reason = "each test file uses a part")]

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dibw_host::{
    Account, Download, FileStat, Follow, GroupKind, HookCall, HookFailure, HookOutcome, Host, Judge, Lend,
    Lent, LentError, Limits, LogLevel, Output, Sudo, componentize,
};
use dibw_policy::{
    Access, BootLoader, Effective, Grant, Identity, MountKind, Need, Policy, Record, ServiceAction,
};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A manifest of the element `guest` with these needs (`target.write /etc/motd`).
pub fn manifest(needs: &[&str]) -> String {
    let needs: Vec<String> = needs
        .iter()
        .map(|need| need.split_once(' ').unwrap())
        .map(|(capability, value)| format!(r#"{{"capability":"{capability}","value":"{value}"}}"#))
        .collect();
    format!(
        r#"{{"id":"guest","version":"1","api":"0.1","hooks":[{{"phase":"install","order":50}}],"needs":[{}]}}"#,
        needs.join(",")
    )
}

/// The core module around `body` (the instructions of `run`, leaving a pointer to a `result<_, error>`).
///
/// Memory: 0 holds an ok result; 1024 is where host functions answer; 2048 on holds `data`.
pub fn module(data: &str, more: &str, body: &str) -> String {
    format!(
        r#"(module
            (import "dibw:element/log@0.1.0" "write" (func $log (param i32 i32 i32 i32)))
            (import "dibw:element/log@0.1.0" "panicked" (func $panicked (param i32 i32 i32 i32 i32 i32)))
            (import "dibw:element/config@0.1.0" "get" (func $config (param i32)))
            (import "dibw:element/target-fs@0.1.0" "write" (func $write (param i32 i32 i32 i32 i32 i32)))
            (import "dibw:element/target-fs@0.1.0" "read" (func $read (param i32 i32 i64 i64 i32)))
            (memory (export "memory") 2)
            (table 1 funcref)
            (global $free (mut i32) (i32.const 65536))
            (data (i32.const 2048) "{data}")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
                (global.set $free (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            {more}
            (func $author (export "dibw:element/lifecycle@0.1.0#run") (param i32 i32) (result i32) {body})
        )"#
    )
}

/// A component of a module in text form, with a manifest if one is given.
pub fn component(text: &str, manifest: Option<&str>) -> Vec<u8> {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/wit/v0.1");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).unwrap();
    component_in(resolve, package, "element", text, manifest)
}

/// The same for another world.
pub fn component_in(
    resolve: Resolve,
    package: wit_parser::PackageId,
    world: &str,
    text: &str,
    manifest: Option<&str>,
) -> Vec<u8> {
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut wasm = wat::parse_str(text).unwrap();
    embed_component_metadata(&mut wasm, &resolve, world, StringEncoding::UTF8).unwrap();
    if let Some(manifest) = manifest {
        custom_section(&mut wasm, "dibw:manifest", manifest.as_bytes());
    }
    componentize(&wasm).unwrap()
}

/// Appends a custom section.
pub fn custom_section(wasm: &mut Vec<u8>, name: &str, data: &[u8]) {
    let leb = |mut number: usize| {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    };
    let body = [leb(name.len()), name.as_bytes().to_vec(), data.to_vec()].concat();
    wasm.push(0);
    wasm.extend(leb(body.len()));
    wasm.extend(body);
}

/// Runs `install` of a guest with these needs, granted by the built-in policy.
pub fn run(text: &str, needs: &[&str], limits: Limits, lent: Double) -> (Result<(), HookFailure>, Double) {
    let outcome = outcome(text, needs, limits, lent);
    let lent: Box<dyn Any> = outcome.lent;
    (outcome.result, *lent.downcast::<Double>().unwrap())
}

/// The same, with all that is known afterwards.
pub fn outcome(text: &str, needs: &[&str], limits: Limits, lent: Double) -> HookOutcome {
    let bytes = component(text, Some(&manifest(needs)));
    let host = Host::without_cache().unwrap();
    let loaded = host.load(&bytes).unwrap();
    host.run_hook(&loaded, call(needs, limits, lent))
}

/// A call of `install`.
pub fn call(needs: &[&str], limits: Limits, lent: Double) -> HookCall {
    let needs: Vec<Need> = needs
        .iter()
        .map(|need| need.split_once(' ').unwrap())
        .map(|(capability, value)| Need::new(capability.parse().unwrap(), value).unwrap())
        .collect();
    let by_hand: Vec<Grant> =
        needs.iter().map(|need| Grant { element: "guest".to_owned(), need: need.clone() }).collect();
    HookCall {
        phase: "install".to_owned(),
        config_json: "{}".to_owned(),
        facts: BTreeMap::new(),
        limits,
        effective: Effective::new(&Identity::named("guest"), &needs, &Policy::default(), &by_hand),
        lent: Box::new(lent),
    }
}

/// Limits that are reached quickly.
pub fn tight() -> Limits {
    Limits { guest_time: Duration::from_millis(200), ..Limits::default() }
}

/// Records what it is asked for.
#[derive(Debug, Default)]
pub struct Double {
    /// Effects, in order.
    pub done: Vec<String>,
    /// Log lines.
    pub lines: Vec<String>,
    /// Decisions: `allow target.write /etc/motd`.
    pub audit: Vec<String>,
    /// Links planted in the target: prefix and what it leads to.
    pub links: Vec<(String, String)>,
    /// Where trees of the target are taken from, on this machine.
    pub trees: Option<PathBuf>,
    /// How long reading takes.
    pub slow: Duration,
    /// The audit log is full after so many records.
    pub audit_room: Option<usize>,
    /// Hops of a download: URL and the addresses it leads to.
    pub hops: Vec<(String, Vec<std::net::IpAddr>)>,
    /// What a download gives, an input holds, a cache keeps.
    pub bytes: Vec<u8>,
    /// Bytes in the cache beside those.
    pub cached: u64,
    /// The kind of every entry of the target; none: there is no entry.
    pub kind: Option<&'static str>,
}

impl Double {
    /// Makes the hops until one is refused, as the engine does.
    fn travel(&mut self, download: &Download, judge: &mut Judge<'_>) -> Lend<()> {
        for (url, addresses) in self.hops.clone() {
            let verdict = judge(&url, &addresses);
            self.audit(verdict.record)?;
            if let Some(reason) = verdict.refused {
                return Err(LentError::Io(format!("{url}: {reason}")));
            }
            self.done.push(format!("connect {url}"));
        }
        let header = download.header.as_ref();
        let header = header.map(|header| format!(" with {} from {}", header.name, header.secret));
        self.done.push(format!(
            "fetch {} {:?}{}",
            download.url,
            download.expected,
            header.unwrap_or_default()
        ));
        Ok(())
    }
}

impl Lent for Double {
    fn resolve(&mut self, path: &str, _: Follow) -> Lend<String> {
        let found = self
            .links
            .iter()
            .find_map(|(from, to)| path.strip_prefix(from.as_str()).map(|rest| format!("{to}{rest}")));
        Ok(found.unwrap_or_else(|| path.to_owned()))
    }
    fn read_file(&mut self, path: &str, _: u64, length: u64) -> Lend<Vec<u8>> {
        let start = Instant::now();
        while start.elapsed() < self.slow {
            std::hint::spin_loop();
        }
        self.done.push(format!("read {path} {length}"));
        Err(LentError::NotFound(path.to_owned()))
    }
    fn write_file(&mut self, path: &str, contents: &[u8], mode: u32) -> Lend<()> {
        self.done.push(format!("write {path} {} bytes {mode:o}", contents.len()));
        Ok(())
    }
    fn log(&mut self, level: LogLevel, message: &str) {
        self.lines.push(format!("{level:?} {message}"));
    }
    fn audit(&mut self, record: Record) -> Lend<()> {
        if self.audit_room.is_some_and(|room| self.audit.len() >= room) {
            return Err(LentError::Io("audit.jsonl: no space left on device".to_owned()));
        }
        self.audit.push(format!("{} {} {}", record.decision, record.capability, record.subject));
        Ok(())
    }
    fn open_tree(&mut self, path: &str, access: Access) -> Lend<OwnedFd> {
        self.done.push(format!("open_tree {path} {access:?}"));
        let place = self.trees.clone().unwrap_or_default().join(path.trim_start_matches('/'));
        File::open(place).map(OwnedFd::from).map_err(|_| LentError::NotFound(path.to_owned()))
    }
    fn make_directory(&mut self, _: &str, _: u32) -> Lend<()> {
        unused()
    }
    fn symlink(&mut self, _: &str, _: &str) -> Lend<()> {
        unused()
    }
    fn read_link(&mut self, _: &str) -> Lend<String> {
        unused()
    }
    fn stat(&mut self, _: &str) -> Lend<Option<FileStat>> {
        Ok(self.kind.map(|kind| FileStat { kind, mode: 0o755, uid: 0, gid: 0, size: 0 }))
    }
    fn fetch(&mut self, download: &Download, judge: &mut Judge<'_>) -> Lend<Vec<u8>> {
        self.travel(download, judge)?;
        Ok(self.bytes.clone())
    }
    fn fetch_to_file(
        &mut self,
        download: &Download,
        judge: &mut Judge<'_>,
        path: &str,
        mode: u32,
    ) -> Lend<()> {
        self.travel(download, judge)?;
        self.done.push(format!("keep {path} {mode:o}"));
        Ok(())
    }
    fn read_input(&mut self, name: &str) -> Lend<Vec<u8>> {
        self.done.push(format!("input {name}"));
        Ok(self.bytes.clone())
    }
    fn write_secret(&mut self, name: &str, path: &str, mode: u32) -> Lend<()> {
        self.done.push(format!("secret {name} {path} {mode:o}"));
        Ok(())
    }
    fn cached(&mut self, key: &str) -> Lend<Option<Vec<u8>>> {
        self.done.push(format!("cached {key}"));
        Ok(Some(self.bytes.clone()))
    }
    fn cache_size_with(&mut self, _: &str, bytes: u64) -> Lend<u64> {
        Ok(self.cached + bytes)
    }
    fn cache(&mut self, key: &str, bytes: &[u8]) -> Lend<()> {
        self.done.push(format!("cache {key} {} bytes", bytes.len()));
        Ok(())
    }
    fn mount(&mut self, kind: MountKind, path: &str) -> Lend<()> {
        self.done.push(format!("mount {kind} {path}"));
        Ok(())
    }
    fn add_kernel_argument(&mut self, key: &str, value: &str) -> Lend<()> {
        self.done.push(format!("argument {key}={value}"));
        Ok(())
    }
    fn load_kernel_module(&mut self, name: &str) -> Lend<()> {
        self.done.push(format!("module {name}"));
        Ok(())
    }
    fn set_sysctl(&mut self, key: &str, value: &str) -> Lend<()> {
        self.done.push(format!("sysctl {key}={value}"));
        Ok(())
    }
    fn add_repository(&mut self, id: &str) -> Lend<()> {
        self.done.push(format!("repository {id}"));
        Ok(())
    }
    fn install_bootloader(&mut self, kind: BootLoader) -> Lend<()> {
        self.done.push(format!("bootloader {kind}"));
        Ok(())
    }
    fn list_directory(&mut self, _: &str) -> Lend<Vec<String>> {
        unused()
    }
    fn rename(&mut self, _: &str, _: &str) -> Lend<()> {
        unused()
    }
    fn remove(&mut self, _: &str) -> Lend<()> {
        unused()
    }
    fn remove_tree(&mut self, _: &str) -> Lend<()> {
        unused()
    }
    fn set_mode(&mut self, _: &str, _: u32) -> Lend<()> {
        unused()
    }
    fn set_owner(&mut self, _: &str, _: u32, _: u32) -> Lend<()> {
        unused()
    }
    fn install_packages(&mut self, _: &[String]) -> Lend<()> {
        unused()
    }
    fn remove_packages(&mut self, _: &[String]) -> Lend<()> {
        unused()
    }
    fn set_service(&mut self, _: ServiceAction, _: &str) -> Lend<()> {
        unused()
    }
    fn add_user(&mut self, _: &Account) -> Lend<()> {
        unused()
    }
    fn add_group(&mut self, _: &str, _: GroupKind) -> Lend<()> {
        unused()
    }
    fn set_authorized_keys(&mut self, _: &str, _: &[String]) -> Lend<()> {
        unused()
    }
    fn grant_sudo(&mut self, _: &str, _: Sudo) -> Lend<()> {
        unused()
    }
    fn execute(&mut self, _: &[String], _: &[u8], _: Duration) -> Lend<Output> {
        unused()
    }
    fn get_variable(&mut self, _: &str) -> Lend<Option<String>> {
        unused()
    }
    fn set_variable(&mut self, _: &str, _: &str) -> Lend<()> {
        unused()
    }
}

fn unused<T>() -> Lend<T> {
    Err(LentError::Invalid("not part of this test".to_owned()))
}
