//! The path layer against every spelling and every planted entry of SANDBOX.md 6.2: each path is given to each operation in a target of
//! its own, and whatever the answer, nothing outside is read or changed and nothing blocks. Needs root for devices, owners and mounts.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dibw_sys::loops::Access;
use dibw_sys::mounts::Mount;
use dibw_sys::probe;
use dibw_sys::target_files::{SpecialBits, TargetRoot};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev};

/// What is outside, and may be in no answer.
const CANARY: &str = "canary-of-the-host";
/// No operation on one path takes anything like this long, if it does not block.
const PATIENCE: Duration = Duration::from_secs(10);

/// A target beside a directory that must never be reached.
struct Yard {
    dir: tempfile::TempDir,
    /// Open while the target exists, so that `/proc/self/fd` has a way out.
    outside: File,
    _socket: UnixListener,
}

impl Yard {
    fn new() -> Result<Yard> {
        let dir = tempfile::tempdir_in("/dev/shm")?;
        let (target, outside) = (dir.path().join("target"), dir.path().join("outside"));
        for name in ["etc", "usr/lib", "d/d/d", "proc", "bind", "run"] {
            fs::create_dir_all(target.join(name))?;
        }
        fs::create_dir_all(outside.join("dir"))?;
        fs::write(outside.join("secret"), CANARY)?;
        fs::write(outside.join("dir/secret"), CANARY)?;
        fs::write(target.join("etc/hostname"), "target")?;
        let open = File::open(&outside)?;
        let yard = Yard { _socket: UnixListener::bind(target.join("socket"))?, dir, outside: open };
        yard.plant(&target, &outside)?;
        Ok(yard)
    }

    fn plant(&self, target: &Path, outside: &Path) -> Result<()> {
        let secret = outside.join("secret");
        let fd = format!("/proc/self/fd/{}", self.outside.as_raw_fd());
        let links: [(&str, &Path); 24] = [
            ("file-link", &secret),
            ("dir-link", outside),
            ("up-link", "../outside".as_ref()),
            ("up-file", "../outside/secret".as_ref()),
            ("winding", "usr/../../../../outside".as_ref()),
            ("chain", "chain-2".as_ref()),
            ("chain-2", "d/chain-3".as_ref()),
            ("d/chain-3", outside),
            ("loop-a", "loop-b".as_ref()),
            ("loop-b", "loop-a".as_ref()),
            ("self", "self".as_ref()),
            ("dot", ".".as_ref()),
            ("slash", "/".as_ref()),
            ("above", "/..".as_ref()),
            ("first", outside),
            ("d/second", outside),
            ("d/d/third", outside),
            ("dangling", "/nowhere/at/all".as_ref()),
            ("magic-root", "/proc/self/root".as_ref()),
            ("magic-cwd", "/proc/self/cwd".as_ref()),
            ("magic-fd", fd.as_ref()),
            ("magic-exe", "/proc/self/exe".as_ref()),
            ("stdin", "/dev/stdin".as_ref()),
            ("straight", "../../outside/secret".as_ref()),
        ];
        for (name, text) in links {
            symlink(text, target.join(name))?;
        }
        symlink(OsStr::from_bytes(b"/bad-\xff"), target.join("bad-link"))?;
        fs::write(target.join(OsStr::from_bytes(b"bad-\xff")), "")?;
        let node = |name: &str, kind, device| {
            rustix::fs::mknodat(CWD, target.join(name), kind, Mode::from_raw_mode(0o666), device)
        };
        node("fifo", FileType::Fifo, 0)?;
        node("etc/fifo", FileType::Fifo, 0)?;
        node("null", FileType::CharacterDevice, makedev(1, 3))?;
        node("tty", FileType::CharacterDevice, makedev(5, 0))?;
        node("disk", FileType::BlockDevice, makedev(7, 0))?;
        fs::hard_link(&secret, target.join("hard-link")).context("hard link")
    }

    fn root(&self) -> Result<TargetRoot> {
        TargetRoot::open(&self.dir.path().join("target"))
    }

    /// Everything that can be seen of the outside, its times too.
    fn outside(&self) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        let mut waiting = vec![self.dir.path().join("outside")];
        while let Some(place) = waiting.pop() {
            let meta = fs::symlink_metadata(&place)?;
            let contents = if meta.is_file() { fs::read_to_string(&place)? } else { String::new() };
            let times = (meta.mtime(), meta.mtime_nsec());
            seen.push(format!(
                "{} {:o} {}:{} {times:?} {contents}",
                place.display(),
                meta.mode(),
                meta.uid(),
                meta.gid()
            ));
            if meta.is_dir() {
                waiting.extend(
                    fs::read_dir(&place)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?,
                );
            }
        }
        seen.sort();
        let beside = fs::read_dir(self.dir.path())?.count();
        seen.push(format!("{beside} beside"));
        Ok(seen)
    }
}

/// An operation, and what it lets know.
type Operation = (&'static str, fn(&TargetRoot, &str) -> String);

const OPERATIONS: [Operation; 18] = [
    ("read", |root, path| {
        format!("{:?}", root.read(path, 0, 100).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }),
    ("read_whole", |root, path| {
        format!("{:?}", root.read_whole(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }),
    ("list", |root, path| format!("{:?}", root.list_dir(path))),
    ("walk", |root, path| {
        let mut seen = Vec::new();
        let walked = root.walk(path, &mut |path, _| {
            seen.push(path.to_owned());
            Ok(())
        });
        format!("{walked:?} {seen:?}")
    }),
    ("stat", |root, path| format!("{:?}", root.stat(path))),
    ("resolve", |root, path| format!("{:?}", root.resolve(path))),
    ("resolve_following", |root, path| format!("{:?}", root.resolve_following(path))),
    ("write", |root, path| format!("{:?}", root.write(path, b"pwned", 0o666, SpecialBits::Strip))),
    ("make_dir", |root, path| format!("{:?}", root.make_dir(path, 0o777))),
    ("symlink", |root, path| format!("{:?}", root.symlink("pwned", path))),
    ("rename from", |root, path| format!("{:?}", root.rename(path, "/renamed"))),
    ("rename to", |root, path| format!("{:?}", root.rename("/etc/hostname", path))),
    ("rename directory to", |root, path| format!("{:?}", root.rename("/usr", path))),
    ("remove", |root, path| format!("{:?}", root.remove(path))),
    ("remove_all", |root, path| format!("{:?}", root.remove_all(path))),
    ("truncate", |root, path| format!("{:?}", root.truncate(path))),
    ("set_mode", |root, path| format!("{:?}", root.set_mode(path, 0o777, SpecialBits::Strip))),
    ("set_owner", |root, path| format!("{:?}", root.set_owner(path, 7, 7))),
];

/// Of `PATHS`, `OUTSIDE` is the real path of the directory outside, `FD` a descriptor of it, `PID` our own number.
const PATHS: &[&str] = &[
    // Spellings.
    "OUTSIDE/secret",
    "/../outside/secret",
    "/../../../../../../../../outside/secret",
    "/usr/../../outside/secret",
    "/usr/lib/../../../outside/secret",
    "/./../outside/secret",
    "//../outside/secret",
    "/..//..//outside/secret",
    "/usr/..",
    "/usr/../..",
    "/..",
    "/../",
    "/.",
    "/",
    "//",
    "///",
    "",
    ".",
    "..",
    "../outside/secret",
    "outside/secret",
    "etc/hostname",
    "/etc/hostname/",
    "/etc/hostname/.",
    "/etc/hostname/..",
    "/etc/hostname/../../../outside/secret",
    "/nowhere/../../outside/secret",
    "/etc/./././hostname",
    "/etc//hostname",
    "/ETC/HOSTNAME",
    "/etc/host\0name",
    "/\0",
    "/../outside/secret\0",
    "/etc/new\nline",
    "/etc/\u{1b}[2J",
    "/etc/\u{202e}emantsoh",
    "/etc/\u{2024}\u{2024}/outside",
    "/%2e%2e/outside/secret",
    "/..%2foutside/secret",
    "/..\\outside\\secret",
    "/etc/\u{fffd}",
    "/bad-link",
    "~/secret",
    "/~root",
    "/etc/*",
    "LONG",
    "LONGNAME",
    "DEEP",
    // Links.
    "/file-link",
    "/file-link/",
    "/file-link/..",
    "/dir-link",
    "/dir-link/",
    "/dir-link/.",
    "/dir-link/secret",
    "/dir-link/dir",
    "/dir-link/../outside/secret",
    "/dir-link/new/new",
    "/up-link/secret",
    "/up-link/new",
    "/up-file",
    "/winding/secret",
    "/chain",
    "/chain/secret",
    "/loop-a",
    "/loop-a/secret",
    "/self/self",
    "/dot/dot/dot/dir-link/secret",
    "/slash/dir-link/secret",
    "/slash/../outside/secret",
    "/above/outside/secret",
    "/first/secret",
    "/d/second/secret",
    "/d/d/third/secret",
    "/d/d/d/../third/secret",
    "/dangling",
    "/dangling/new",
    "/straight",
    // Magic.
    "/proc/self/root",
    "/proc/self/rootOUTSIDE/secret",
    "/proc/PID/rootOUTSIDE/secret",
    "/proc/self/cwd",
    "/proc/self/exe",
    "/proc/self/fd/FD",
    "/proc/self/fd/FD/secret",
    "/proc/PID/fd/FD/secret",
    "/proc/thread-self/fd/FD/secret",
    "/proc/1/root",
    "/magic-root",
    "/magic-rootOUTSIDE/secret",
    "/magic-cwd/secret",
    "/magic-fd",
    "/magic-fd/secret",
    "/magic-fd/dir",
    "/magic-exe",
    "/dev/stdin",
    "/stdin",
    "/dev/fd/FD/secret",
    // Mounts.
    "/bind/..",
    "/bind/../../outside/secret",
    // What is no file.
    "/fifo",
    "/etc/fifo",
    "/fifo/x",
    "/null",
    "/tty",
    "/disk",
    "/socket",
    "/socket/x",
];

fn spelled(path: &str, yard: &Yard) -> String {
    match path {
        "LONG" => format!("/{}", "a/".repeat(2048)),
        "LONGNAME" => format!("/{}", "n".repeat(256)),
        "DEEP" => format!("{}/outside/secret", "/..".repeat(1300)),
        path => path
            .replace("OUTSIDE", &yard.dir.path().join("outside").display().to_string())
            .replace("FD", &yard.outside.as_raw_fd().to_string())
            .replace("PID", &std::process::id().to_string()),
    }
}

/// Says so when these tests cannot run.
fn can_run(test: &str) -> bool {
    if !probe::is_root() {
        eprintln!("SKIPPED {test}: needs root");
    }
    probe::is_root()
}

#[test]
fn no_path_reaches_the_host_by_any_operation() -> Result<()> {
    if !can_run("no_path_reaches_the_host_by_any_operation") {
        return Ok(());
    }
    assert!(PATHS.len() >= 60);
    let mut faults = Vec::new();
    for path in PATHS {
        for (name, operation) in OPERATIONS {
            let yard = Yard::new()?;
            let magic = path.contains("proc")
                || path.contains("magic")
                || path.contains("/bind")
                || path.contains("std");
            let mounts = if magic { mounts(&yard)? } else { Vec::new() };
            let (path, before) = (spelled(path, &yard), yard.outside()?);
            let answer = in_time(yard.root()?, path.clone(), operation);
            for mount in mounts.into_iter().rev() {
                mount.unmount()?;
            }
            let fault = match answer {
                None => "it blocks".to_owned(),
                Some(answer) if answer.contains(CANARY) => format!("it reads: {answer}"),
                Some(answer) if answer.contains("\"secret\"") => format!("it lists: {answer}"),
                Some(_) if yard.outside()? != before => format!("it changes {:?}", yard.outside()?),
                Some(_) => continue,
            };
            faults.push(format!("{name} {path:?}: {fault}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

fn mounts(yard: &Yard) -> Result<Vec<Mount>> {
    let at = |name: &str| yard.dir.path().join("target").join(name);
    let proc = Mount::bind(Path::new("/proc"), &at("proc"), Access::ReadWrite)?;
    Ok(vec![proc, Mount::bind(&at("usr"), &at("bind"), Access::ReadWrite)?])
}

/// The answer, unless it takes too long.
fn in_time(root: TargetRoot, path: String, operation: fn(&TargetRoot, &str) -> String) -> Option<String> {
    let (tell, answer) = mpsc::channel();
    std::thread::spawn(move || tell.send(operation(&root, &path)));
    answer.recv_timeout(PATIENCE).ok()
}

#[test]
fn another_name_of_a_hosts_file_is_replaced_never_written_into() -> Result<()> {
    if !can_run("another_name_of_a_hosts_file_is_replaced_never_written_into") {
        return Ok(());
    }
    // What reads it, and what changes its owner or mode, works on that very file: hard links are made by who can reach it anyway.
    let replacing = [
        "write",
        "make_dir",
        "symlink",
        "rename from",
        "rename to",
        "rename directory to",
        "remove",
        "remove_all",
    ];
    for (name, operation) in OPERATIONS.iter().filter(|(name, _)| replacing.contains(name)) {
        let yard = Yard::new()?;
        let before = yard.outside()?;
        let answer = in_time(yard.root()?, "/hard-link".to_owned(), *operation);
        assert!(answer.is_some() && yard.outside()? == before, "{name}: {answer:?}");
    }
    Ok(())
}

#[test]
fn lower_layers_are_never_written_to() -> Result<()> {
    if !can_run("lower_layers_are_never_written_to") {
        return Ok(());
    }
    for (name, operation) in OPERATIONS {
        for path in ["/dir/secret", "/dir", "/../outside/secret", "/../upper/x", "/link/x"] {
            let dir = tempfile::tempdir_in("/dev/shm")?;
            let at = |name: &str| dir.path().join(name);
            // The lower layer is the outside here.
            for made in ["outside/dir", "outside/usr", "outside/etc", "upper", "work", "target"] {
                fs::create_dir_all(at(made))?;
            }
            fs::write(at("outside/dir/secret"), "lower")?;
            fs::write(at("outside/etc/hostname"), "lower")?;
            symlink(at("upper"), at("outside/link"))?;
            let layers = format!(
                "lowerdir={},upperdir={},workdir={}",
                at("outside").display(),
                at("upper").display(),
                at("work").display()
            );
            let mount = Mount::new(Path::new("overlay"), &at("target"), "overlay", &layers)?;
            let socket = UnixListener::bind(dir.path().join("work/socket"))?;
            let yard = Yard { outside: File::open(at("outside"))?, dir, _socket: socket };
            let before = yard.outside()?;
            let answer = in_time(yard.root()?, path.to_owned(), operation);
            let same = yard.outside()? == before;
            mount.unmount()?;
            assert!(answer.is_some() && same, "{name} {path}: {answer:?}");
        }
    }
    Ok(())
}

#[test]
fn a_million_exchanges_of_a_directory_and_a_link_let_nothing_out() -> Result<()> {
    if !can_run("a_million_exchanges_of_a_directory_and_a_link_let_nothing_out") {
        return Ok(());
    }
    const EXCHANGES: u64 = 1_000_000;
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let at = |name: &str| -> PathBuf { dir.path().join(name) };
    fs::create_dir_all(at("target/swap/dir"))?;
    fs::create_dir_all(at("outside/dir"))?;
    fs::write(at("outside/secret"), CANARY)?;
    fs::write(at("outside/dir/secret"), CANARY)?;
    symlink(at("outside"), at("target/bait"))?;
    symlink("../../outside", at("target/swap/up"))?;
    let root = TargetRoot::open(&at("target"))?;
    let done = AtomicU64::new(0);
    let (mut rounds, mut written) = (0u64, 0u64);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (swap, bait) = (at("target/swap"), at("target/bait"));
            for _ in 0..EXCHANGES {
                rustix::fs::renameat_with(CWD, &swap, CWD, &bait, RenameFlags::EXCHANGE).expect("both exist");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        while done.load(Ordering::Relaxed) < EXCHANGES {
            rounds += 1;
            for path in
                ["/swap/file", "/swap/../swap/file", "/swap/up/file", "/swap/dir/file", "/bait/dir/../file"]
            {
                written += u64::from(root.write(path, b"x", 0o644, SpecialBits::Strip).is_ok());
            }
            for path in ["/swap/secret", "/swap/up/secret", "/bait/secret", "/swap/dir/../secret"] {
                if let Ok(bytes) = root.read(path, 0, 100) {
                    assert_ne!(bytes, CANARY.as_bytes(), "{path}");
                }
                root.set_mode(path, 0o777, SpecialBits::Strip).expect_err("it is never there");
                root.remove_all(path).expect_err("it is never there");
            }
            if let Ok(names) = root.list_dir("/swap") {
                assert!(!names.contains(&"secret".to_owned()), "{names:?}");
            }
        }
    });
    eprintln!("{EXCHANGES} exchanges, {rounds} rounds, {written} writes in {:?}", began.elapsed());
    assert!(rounds > 100 && written > 100, "{rounds} rounds, {written} writes");
    let names = |name: &str| -> Result<Vec<_>> {
        let mut names =
            fs::read_dir(at(name))?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    assert_eq!(names("outside")?, ["dir", "secret"]);
    assert_eq!(names("outside/dir")?, ["secret"]);
    assert_eq!(fs::read_to_string(at("outside/secret"))?, CANARY);
    assert_eq!(fs::symlink_metadata(at("outside/secret"))?.mode() & 0o777, 0o644);
    Ok(())
}
