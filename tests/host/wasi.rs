//! Components from other languages: what of WASI they get, and what they do not. The guests import WASI preview 1, as C programs do, and are
//! packed as theirs are.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its guest fails")]

mod support;

use std::any::Any;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Instant;

use dibw_host::{FailureKind, HookFailure, Host, Limit, Limits, inspect, pack};
use support::{Double, call, component_in, manifest, tight};
use wit_parser::Resolve;

/// A core module of which `body` is the hook. `$say` prints the string at (pointer, length); `$open` opens the path at (pointer, length) below
/// the first directory with (open flags, rights) and leaves the error code, after which the file's descriptor is at 16; `$number` prints one. The adapter takes a page from `cabi_realloc`.
fn guest(data: &str, body: &str) -> String {
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
            (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 8)
        (global $free (mut i32) (i32.const 65536))
        (data (i32.const 2048) "{data}")
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
            (global.set $free (i32.add (local.get $at) (local.get 3)))
            (local.get $at))
        (func $say (param i32 i32)
            (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1))
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
        (func $number (param i32)
            (i32.store8 (i32.const 24) (i32.add (i32.const 48) (i32.div_u (local.get 0) (i32.const 10))))
            (i32.store8 (i32.const 25) (i32.add (i32.const 48) (i32.rem_u (local.get 0) (i32.const 10))))
            (i32.store8 (i32.const 26) (i32.const 10))
            (call $say (i32.const 24) (i32.const 3)))
        (func $open (param i32 i32 i32 i64) (result i32)
            (call $path_open (i32.const 3) (i32.const 1) (local.get 0) (local.get 1) (local.get 2)
                (local.get 3) (i64.const 0) (i32.const 0) (i32.const 16)))
        (func (export "dibw:element/lifecycle@0.1.0#run") (param i32 i32) (result i32)
            {body} (i32.const 1024)))"#
    )
}

fn packed(text: &str, needs: &[&str]) -> Vec<u8> {
    pack(&wat::parse_str(text).unwrap(), manifest(needs).as_bytes()).unwrap().0
}

fn run_with(text: &str, needs: &[&str], limits: Limits, lent: Double) -> (Result<(), HookFailure>, Double) {
    let host = Host::without_cache().unwrap();
    let loaded = host.load(&packed(text, needs)).unwrap();
    let mut call = call(needs, limits, lent);
    call.facts.insert("source-date-epoch".to_owned(), "33".to_owned());
    let outcome = host.run_hook(&loaded, call);
    let lent: Box<dyn Any> = outcome.lent;
    (outcome.result, *lent.downcast::<Double>().unwrap())
}

fn run(text: &str, needs: &[&str], trees: &Path) -> (Result<(), HookFailure>, Double) {
    let lent = Double { trees: Some(trees.to_owned()), ..Double::default() };
    run_with(text, needs, Limits::default(), lent)
}

/// Rights of preview 1.
const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 6;
const CREATE: u32 = 1;

/// Opens `path` and prints the error code.
fn opens(path: &str, flags: u32, rights: u64) -> String {
    let open = format!(
        "(call $number (call $open (i32.const 2048) (i32.const {}) (i32.const {flags}) (i64.const {rights})))",
        path.len()
    );
    guest(path, &open)
}

#[test]
fn without_a_tree_there_is_no_directory() {
    let scratch = tempfile::tempdir().unwrap();
    for needs in [&[][..], &["target.write /srv/www/index.html", "target.read /srv/*/**"]] {
        let text = guest("", "(call $number (call $fd_prestat_get (i32.const 3) (i32.const 64)))");
        let (result, lent) = run(&text, needs, scratch.path());
        assert_eq!(result, Ok(()));
        // 8: bad file descriptor
        assert_eq!((lent.lines, lent.done, lent.audit), (vec!["Info 08".to_owned()], vec![], vec![]));
    }
}

#[test]
fn a_tree_that_is_not_there_is_a_line_in_the_log() {
    let scratch = tempfile::tempdir().unwrap();
    let text = guest("", "(call $number (call $fd_prestat_get (i32.const 3) (i32.const 64)))");
    let (result, lent) = run(&text, &["target.read /srv/**"], scratch.path());
    assert_eq!(result, Ok(()));
    assert_eq!(lent.lines, ["Warn /srv is not there (yet): no access to it", "Info 08"]);
    assert_eq!(lent.audit, ["allow target.read /srv/**"]);
}

#[test]
fn a_granted_tree_is_written_and_what_is_made_has_the_usual_modes() {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir_all(scratch.path().join("srv")).unwrap();
    let body = format!(
        "(call $number (call $mkdir (i32.const 3) (i32.const 2048) (i32.const 3)))
         (call $number (call $open (i32.const 2048) (i32.const 8) (i32.const {CREATE}) (i64.const {WRITE})))
         (i32.store (i32.const 0) (i32.const 2048)) (i32.store (i32.const 4) (i32.const 3))
         (call $number (call $fd_write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))"
    );
    let (result, lent) =
        run(&guest("www/file", &body), &["target.read /srv/**", "target.write /srv/**"], scratch.path());
    assert_eq!(result, Ok(()), "{:?}", lent.lines);
    assert_eq!(lent.lines, ["Info 00", "Info 00", "Info 00"]);
    assert_eq!(lent.done, ["open_tree /srv Write"]);
    let made = scratch.path().join("srv/www/file");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(fs::read(&made).unwrap(), b"www");
    assert_eq!((mode(&made), mode(made.parent().unwrap())), (0o644, 0o755));
}

/// Spelling, open flags, rights, error code of preview 1: 0 works, 2 EACCES, 32 ELOOP, 44 ENOENT, 63 EPERM.
#[test]
fn reading_is_not_writing_and_nothing_leads_out() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("srv");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(scratch.path().join("secret"), "s").unwrap();
    fs::write(tree.join("file"), "f").unwrap();
    fs::write(tree.join("setuid"), "f").unwrap();
    fs::set_permissions(tree.join("setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("../secret", tree.join("up")).unwrap();
    symlink(scratch.path().join("secret"), tree.join("absolute")).unwrap();
    symlink("file", tree.join("inside")).unwrap();
    symlink("loop", tree.join("loop")).unwrap();
    symlink("/proc/self/root/etc/passwd", tree.join("magic")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .unwrap();
    symlink("fifo", tree.join("to-fifo")).unwrap();

    let read_only: &[&str] = &["target.read /srv/**"];
    let writable: &[&str] = &["target.read /srv/**", "target.write /srv/**"];
    let cases: [(&str, &[&str], u32, u64, &str); 19] = [
        ("file", read_only, 0, READ, "00"),
        ("inside", read_only, 0, READ, "00"),
        ("file", read_only, 0, WRITE, "63"),
        ("new", read_only, CREATE, WRITE, "63"),
        ("file", writable, 0, WRITE, "00"),
        ("setuid", writable, 0, READ, "00"),
        ("setuid", writable, 0, WRITE, "63"),
        ("nothing", writable, 0, READ, "44"),
        ("fifo", writable, 0, READ, "63"),
        ("fifo", writable, 0, WRITE, "63"),
        ("fifo", writable, CREATE, WRITE, "63"),
        ("to-fifo", read_only, 0, READ, "63"),
        ("up", writable, 0, READ, "63"),
        ("absolute", writable, 0, READ, "63"),
        ("magic", writable, 0, READ, "63"),
        ("../secret", writable, 0, READ, "63"),
        ("sub/../../secret", writable, 0, READ, "63"),
        ("/etc/passwd", writable, 0, READ, "63"),
        ("loop", writable, 0, READ, "32"),
    ];
    for (path, needs, flags, rights, code) in cases {
        let started = Instant::now();
        let (result, lent) = run(&opens(path, flags, rights), needs, scratch.path());
        assert_eq!(result, Ok(()), "{path}");
        assert_eq!(lent.lines, [format!("Info {code}")], "{path} with {needs:?} {flags} {rights}");
        assert!(started.elapsed().as_secs() < 20, "{path} held the hook up");
    }
    assert_eq!(fs::read(scratch.path().join("secret")).unwrap(), b"s");
    assert!(!tree.join("new").exists());
}

#[test]
fn a_privileged_class_in_the_tree_must_be_granted_too() {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir_all(scratch.path().join("etc/cron.d")).unwrap();
    let needs = ["target.read /etc/cron.d/**", "target.write /etc/cron.d/**"];
    let (result, lent) = run(&guest("", ""), &needs, scratch.path());
    let failure = result.unwrap_err();
    assert_eq!(failure.exit_code(), 3);
    let FailureKind::Denied(denial) = &failure.kind else { panic!("{failure:?}") };
    assert_eq!(denial.hint, "in the element's needs!: privileged \"cron\";");
    assert_eq!(
        (lent.done, lent.audit),
        (Vec::<String>::new(), vec!["deny target.read /etc/cron.d/**".to_owned()])
    );
    let all = [&needs[..], &["target.write_privileged cron"]].concat();
    let (result, lent) = run(&guest("", ""), &all, scratch.path());
    assert_eq!((result, lent.done), (Ok(()), vec!["open_tree /etc/cron.d Write".to_owned()]));
}

#[test]
fn only_who_asks_for_directories_gets_them() {
    let scratch = tempfile::tempdir().unwrap();
    let text = r#"(module
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (memory (export "memory") 8)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
        (func (export "dibw:element/lifecycle@0.1.0#run") (param i32 i32) (result i32)
            (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 72))) (i32.const 1024)))"#;
    let (result, lent) =
        run(text, &["target.read /etc/cron.d/**", "target.write /etc/cron.d/**"], scratch.path());
    assert_eq!((result, lent.done, lent.audit), (Ok(()), vec![], vec![]));
}

#[test]
fn where_a_link_leads_is_asked_too() {
    let scratch = tempfile::tempdir().unwrap();
    let lent = Double {
        links: vec![("/srv".to_owned(), "/etc".to_owned())],
        trees: Some(scratch.path().to_owned()),
        ..Double::default()
    };
    let (result, lent) = run_with(&guest("", ""), &["target.read /srv/**"], Limits::default(), lent);
    assert!(matches!(result.unwrap_err().kind, FailureKind::Denied(_)));
    assert_eq!(lent.audit, ["allow target.read /srv/**", "deny target.read /etc/**"]);
}

#[test]
fn the_network_is_refused_before_anything_is_compiled() {
    let mut resolve = Resolve::default();
    let wit = "package wasi:sockets@0.2.0; interface tcp { go: func(); } world w { import tcp; export run: func(); }";
    let package = resolve.push_str("sockets.wit", wit).unwrap();
    let text = r#"(module (import "wasi:sockets/tcp@0.2.0" "go" (func $go)) (memory (export "memory") 1) (func (export "run") (call $go)))"#;
    let bytes = component_in(resolve, package, "w", text, Some(&manifest(&[])));
    assert_eq!(
        format!("{:#}", inspect(&bytes).unwrap_err()),
        "element guest imports wasi:sockets/tcp@0.2.0, which dibw does not offer\n  hint: build it for wasm32-unknown-unknown with `dibw plugin build`; of WASI 0.2 there are files, clocks, random numbers and output, and no network"
    );
}

#[test]
fn nothing_of_the_machine_comes_in() {
    // Numbers of variables and arguments; seconds on the wall clock; the same random byte twice over two runs.
    let body = "(drop (call $environ (i32.const 64) (i32.const 68))) (call $number (i32.load (i32.const 64)))
        (drop (call $args (i32.const 64) (i32.const 68))) (call $number (i32.load (i32.const 64)))
        (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 72)))
        (call $number (i32.wrap_i64 (i64.div_u (i64.load (i32.const 72)) (i64.const 1000000000))))
        (drop (call $random (i32.const 80) (i32.const 8)))
        (call $number (i32.rem_u (i32.load8_u (i32.const 80)) (i32.const 100)))";
    let ran = || run_with(&guest("", body), &[], Limits::default(), Double::default()).1.lines;
    let lines = ran();
    assert_eq!(lines[..3], ["Info 00", "Info 00", "Info 33"]);
    assert_eq!(lines, ran());
}

#[test]
fn waiting_ends_at_once() {
    // A subscription to the monotonic clock in a thousand seconds.
    let body = "(i64.store (i32.const 64) (i64.const 1)) (i32.store8 (i32.const 72) (i32.const 0))
        (i32.store (i32.const 80) (i32.const 1)) (i64.store (i32.const 88) (i64.const 1000000000000))
        (call $number (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192)))";
    let started = Instant::now();
    let (result, lent) = run_with(&guest("", body), &[], Limits::default(), Double::default());
    assert_eq!((result, lent.lines), (Ok(()), vec!["Info 00".to_owned()]));
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn output_is_lines_escaped_and_bounded() {
    let body = "(call $say (i32.const 2048) (i32.const 11)) (call $say (i32.const 2054) (i32.const 5))";
    let (result, lent) =
        run_with(&guest("one\\n\\1b[2Jtwo", body), &[], Limits::default(), Double::default());
    assert_eq!(result, Ok(()));
    assert_eq!(lent.lines.len(), 2, "{:?}", lent.lines);
    assert_eq!(lent.lines[0], "Info one");
    assert!(!lent.lines[1].contains('\u{1b}') && lent.lines[1].ends_with("[2Jtwo2Jtwo"), "{:?}", lent.lines);

    let endless = "(loop $again (call $say (i32.const 2048) (i32.const 4)) (br $again))";
    let limits = Limits { log_bytes: 1000, ..tight() };
    let (result, lent) = run_with(&guest("abc\\n", endless), &[], limits, Double::default());
    assert_eq!(result.unwrap_err().kind, FailureKind::Limit(Limit::Log(1000)));
    assert_eq!(lent.lines.len(), 250);
}

#[test]
fn a_hook_returns_and_does_not_exit() {
    let (result, _) =
        run_with(&guest("", "(call $exit (i32.const 0))"), &[], Limits::default(), Double::default());
    let failure = result.unwrap_err();
    assert_eq!(failure.message, "it ended itself with exit(0); a hook returns");
}

#[test]
fn what_cannot_be_packed_is_said() {
    let said = |wasm: &[u8], manifest: &str| format!("{:#}", pack(wasm, manifest.as_bytes()).unwrap_err());
    let module = wat::parse_str(guest("", "")).unwrap();
    assert!(said(&module, "{").contains("the manifest is not JSON"), "{}", said(&module, "{"));
    assert!(said(b"no wasm", &manifest(&[])).contains("not a WebAssembly module"));
    let twice = packed(&guest("", ""), &[]);
    assert!(said(&twice, &manifest(&[])).contains("has a manifest already"));
    let without = wat::parse_str(r#"(module (memory (export "memory") 1))"#).unwrap();
    assert!(
        said(&without, &manifest(&[])).starts_with("element guest: the module does not fit the contract"),
        "{}",
        said(&without, &manifest(&[]))
    );
    let found = inspect(&twice).unwrap();
    assert!(found.uses_wasi());
}
