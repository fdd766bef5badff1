//! The file operations that typed elements get: what they do, and that nothing leads out of the target
//! (SANDBOX.md 6.2, "Paths"). Needs root for devices, owners and mounts.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use dibw_sys::loops::Access;
use dibw_sys::mounts::Mount;
use dibw_sys::probe;
use dibw_sys::target_files::{FileError, SpecialBits, TargetRoot, kind_name};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev};

/// Says so when these tests cannot run.
fn can_run(test: &str) -> bool {
    if !probe::is_root() {
        eprintln!("SKIPPED {test}: needs root");
    }
    probe::is_root()
}

/// A target beside a directory that must never be reached, `/outside` being a bait in the target's links.
struct Yard {
    dir: tempfile::TempDir,
    root: TargetRoot,
}

impl Yard {
    fn new() -> Result<Yard> {
        let dir = tempfile::tempdir_in("/tmp")?;
        for name in ["target/etc", "target/usr/lib", "outside"] {
            fs::create_dir_all(dir.path().join(name))?;
        }
        fs::write(dir.path().join("outside/secret"), "secret")?;
        fs::write(dir.path().join("target/etc/hostname"), "target")?;
        let root = TargetRoot::open(&dir.path().join("target"))?;
        Ok(Yard { dir, root })
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("target").join(path.trim_start_matches('/'))
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// Nothing outside was added, changed or removed.
    fn outside_is_untouched(&self) -> Result<()> {
        let names = |dir: &Path| -> Result<Vec<_>> {
            let mut names =
                fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
            names.sort();
            Ok(names)
        };
        assert_eq!(names(&self.outside())?, ["secret"]);
        assert_eq!(fs::read_to_string(self.outside().join("secret"))?, "secret");
        assert_eq!(names(self.dir.path())?, ["outside", "target"]);
        Ok(())
    }
}

/// The kind of an error, for tables.
fn kind<T>(result: Result<T, FileError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(FileError::NotFound { .. }) => "not found",
        Err(FileError::NotRegular { .. }) => "not regular",
        Err(FileError::TooLarge { .. }) => "too large",
        Err(FileError::Invalid { .. }) => "invalid",
        Err(FileError::Io { .. }) => "io",
    }
}

#[test]
fn writing_makes_parents_and_sets_exactly_owner_and_mode() -> Result<()> {
    let yard = Yard::new()?;
    yard.root.write("/a/b/c", b"one", 0o6640, SpecialBits::Strip)?;
    yard.root.write("/a/b/su", b"one", 0o6755, SpecialBits::Keep)?;
    let of = |path: &str| {
        fs::symlink_metadata(yard.at(path)).map(|meta| (meta.mode() & 0o7777, meta.uid(), meta.gid()))
    };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    assert_eq!(of("a/b/c")?, (0o640, uid, gid));
    assert_eq!(of("a/b/su")?, (0o6755, uid, gid));
    assert_eq!(of("a/b")?, (0o755, uid, gid));
    yard.root.make_dir("/var/lib/private", 0o700)?;
    yard.root.make_dir("/var/lib/private", 0o755)?;
    assert_eq!((of("var")?.0, of("var/lib")?.0, of("var/lib/private")?.0), (0o755, 0o755, 0o700));
    assert_eq!(kind(yard.root.make_dir("/a/b/c", 0o755)), "invalid");
    assert_eq!(kind(yard.root.write("/a/b", b"", 0o644, SpecialBits::Strip)), "invalid");
    assert_eq!(kind(yard.root.write("/a", b"", 0o1_0000, SpecialBits::Strip)), "invalid");
    assert_eq!(yard.root.list_dir("/a/b")?, ["c", "su"], "no temporary file stays");
    Ok(())
}

#[test]
fn an_existing_file_is_replaced_not_written_into() -> Result<()> {
    if !can_run("an_existing_file_is_replaced_not_written_into") {
        return Ok(());
    }
    let yard = Yard::new()?;
    fs::hard_link(yard.outside().join("secret"), yard.at("etc/linked"))?;
    std::os::unix::fs::chown(yard.at("etc/linked"), Some(7), Some(7))?;
    symlink(yard.outside().join("secret"), yard.at("etc/link"))?;
    symlink("/etc/hostname", yard.at("etc/inside"))?;
    for path in ["/etc/linked", "/etc/link", "/etc/inside"] {
        yard.root.write(path, b"new", 0o644, SpecialBits::Strip)?;
        let meta = fs::symlink_metadata(yard.at(path))?;
        assert!(meta.is_file() && meta.nlink() == 1, "{path}");
        assert_eq!((meta.uid(), meta.gid(), fs::read_to_string(yard.at(path))?.as_str()), (0, 0, "new"));
    }
    assert_eq!(fs::read_to_string(yard.at("etc/hostname"))?, "target");
    yard.outside_is_untouched()?;
    Ok(())
}

#[test]
fn reading_follows_links_inside_the_target_only() -> Result<()> {
    let yard = Yard::new()?;
    symlink("/etc/hostname", yard.at("absolute"))?;
    symlink("../../../../../etc/hostname", yard.at("usr/relative"))?;
    symlink("/usr/lib", yard.at("lib"))?;
    for path in [
        "/etc/hostname",
        "/absolute",
        "/usr/relative",
        "//etc/./hostname",
        "/lib/../../etc/hostname",
        "/../etc/hostname",
    ] {
        assert_eq!(yard.root.read(path, 0, 100)?, b"target", "{path}");
        assert_eq!(yard.root.resolve_following(path)?, "/etc/hostname", "{path}");
    }
    assert_eq!(yard.root.read("/etc/hostname", 3, 2)?, b"ge");
    assert_eq!(yard.root.read("/etc/hostname", 6, 2)?, b"");
    assert_eq!(yard.root.read("/etc/hostname", u64::MAX, u64::MAX)?, b"");
    assert_eq!(yard.root.read_whole("/absolute")?, b"target");
    let small = TargetRoot::open(&yard.at("/"))?.with_limit(4);
    assert_eq!(kind(small.read_whole("/etc/hostname")), "too large");
    assert_eq!(small.read("/etc/hostname", 0, 100)?, b"targ");
    assert_eq!(kind(small.write("/etc/big", b"12345", 0o644, SpecialBits::Strip)), "too large");
    Ok(())
}

#[test]
fn no_spelling_of_a_path_leads_out() -> Result<()> {
    if !can_run("no_spelling_of_a_path_leads_out") {
        return Ok(());
    }
    let yard = Yard::new()?;
    let secret = yard.outside().join("secret").display().to_string();
    symlink(&secret, yard.at("file-link"))?;
    symlink(yard.outside(), yard.at("dir-link"))?;
    symlink("../outside", yard.at("up-link"))?;
    symlink("usr/../../../outside", yard.at("winding-link"))?;
    symlink("loop-b", yard.at("loop-a"))?;
    symlink("loop-a", yard.at("loop-b"))?;
    fs::create_dir(yard.at("proc"))?;
    let proc = Mount::bind(Path::new("/proc"), &yard.at("proc"), Access::ReadWrite)?;
    let long = format!("/{}", "a/".repeat(2048));
    let name = format!("/{}", "n".repeat(256));
    let with_nul = "/etc/host\0name".to_owned();
    let pid = std::process::id();
    let (magic_root, magic_fd) = (format!("/proc/{pid}/root{secret}"), format!("/proc/{pid}/fd/0"));
    let outcomes = |path: &str| {
        let root = &yard.root;
        [
            kind(root.read(path, 0, 10)),
            kind(root.write(path, b"pwned", 0o644, SpecialBits::Strip)),
            kind(root.make_dir(path, 0o755)),
            kind(root.remove_all(path)),
        ]
    };
    let cases: &[(&str, [&str; 4])] = &[
        (&secret, ["not found", "ok", "invalid", "ok"]),
        ("/../outside/secret", ["not found", "ok", "invalid", "ok"]),
        ("/usr/../../outside/secret", ["not found", "ok", "invalid", "ok"]),
        ("/up-link/secret", ["not found", "ok", "invalid", "ok"]),
        ("/winding-link/secret", ["not found", "ok", "invalid", "ok"]),
        ("/dir-link/secret", ["not found", "ok", "invalid", "ok"]),
        ("/loop-a/x", ["invalid"; 4]),
        ("/proc/self/root/outside/secret", ["invalid"; 4]),
        ("/proc/self/cwd/secret", ["invalid"; 4]),
        (&magic_root, ["invalid"; 4]),
        (&magic_fd, ["invalid", "not found", "invalid", "io"]),
        ("relative", ["invalid"; 4]),
        ("", ["invalid"; 4]),
        ("/", ["not regular", "invalid", "ok", "invalid"]),
        ("/etc/..", ["not regular", "invalid", "ok", "invalid"]),
        ("/etc/.", ["not regular", "invalid", "ok", "invalid"]),
        ("/none/../x", ["not found", "invalid", "not found", "not found"]),
        (&long, ["invalid"; 4]),
        (&name, ["invalid"; 4]),
        (&with_nul, ["invalid"; 4]),
        ("/etc/hostname/x", ["invalid"; 4]),
        ("/etc/new\nline", ["not found", "ok", "invalid", "ok"]),
    ];
    let found: Vec<_> = cases.iter().map(|(path, _)| (*path, outcomes(path))).collect();
    proc.unmount()?;
    for ((path, expected), (_, found)) in cases.iter().zip(found) {
        assert_eq!(&found, expected, "{path:?}");
    }
    yard.outside_is_untouched()?;
    Ok(())
}

#[test]
fn only_regular_files_are_opened() -> Result<()> {
    if !can_run("only_regular_files_are_opened") {
        return Ok(());
    }
    let yard = Yard::new()?;
    rustix::fs::mkfifoat(CWD, yard.at("fifo"), Mode::RUSR)?;
    rustix::fs::mknodat(CWD, yard.at("zero"), FileType::CharacterDevice, Mode::RUSR, makedev(1, 5))?;
    rustix::fs::mknodat(CWD, yard.at("disk"), FileType::BlockDevice, Mode::RUSR, makedev(7, 0))?;
    let _listener = UnixListener::bind(yard.at("socket"))?;
    symlink("/zero", yard.at("link"))?;
    for (path, name) in [
        ("/fifo", "fifo"),
        ("/zero", "char"),
        ("/disk", "block"),
        ("/socket", "socket"),
        ("/etc", "dir"),
        ("/link", "char"),
    ] {
        match yard.root.read(path, 0, 1) {
            Err(FileError::NotRegular { kind, .. }) => assert_eq!(kind, name),
            other => panic!("{path}: {other:?}"),
        }
    }
    let kinds = ["/fifo", "/zero", "/disk", "/socket", "/etc", "/link", "/etc/hostname"]
        .map(|path| yard.root.stat(path).unwrap().map(|stat| kind_name(stat.kind)));
    assert_eq!(kinds, ["fifo", "char", "block", "socket", "dir", "symlink", "file"].map(Some));
    for path in ["/none", "/none/x", "/etc/none"] {
        assert_eq!(yard.root.stat(path)?, None, "{path}");
    }
    assert_eq!(kind(yard.root.stat("/etc/hostname/x")), "invalid");
    Ok(())
}

#[test]
fn links_names_and_removal() -> Result<()> {
    let yard = Yard::new()?;
    let root = &yard.root;
    root.symlink("/usr/share/zoneinfo/UTC", "/etc/localtime")?;
    root.symlink("../new", "/etc/localtime")?;
    assert_eq!(root.read_link("/etc/localtime")?, "../new");
    assert_eq!(kind(root.read_link("/etc/hostname")), "invalid");
    assert_eq!(kind(root.symlink("x", "/etc")), "invalid");
    assert_eq!(kind(root.symlink("", "/etc/empty")), "not found");
    assert_eq!(root.list_dir("/etc")?, ["hostname", "localtime"]);
    root.rename("/etc/hostname", "/usr/name")?;
    assert_eq!(kind(root.rename("/etc/hostname", "/usr/name")), "not found");
    assert_eq!(kind(root.rename("/usr/name", "/none/name")), "not found");
    root.remove("/etc/localtime")?;
    assert_eq!(kind(root.remove("/usr")), "invalid");
    root.remove("/usr/lib")?;
    assert_eq!(kind(root.remove("/usr/lib")), "not found");
    root.write("/x/y/z", b"", 0o600, SpecialBits::Strip)?;
    symlink(yard.outside(), yard.at("x/y/link"))?;
    let mut seen = Vec::new();
    root.walk("/x", &mut |path, stat| {
        seen.push(format!("{path} {}", kind_name(stat.kind)));
        Ok(())
    })?;
    assert_eq!(seen, ["/x/y dir", "/x/y/link symlink", "/x/y/z file"]);
    root.remove_all("/x")?;
    assert_eq!(kind(root.remove_all("/x")), "not found");
    assert_eq!(root.list_dir("/")?, ["etc", "usr"]);
    yard.outside_is_untouched()?;
    Ok(())
}

#[test]
fn modes_and_owners_are_of_the_entry_itself() -> Result<()> {
    if !can_run("modes_and_owners_are_of_the_entry_itself") {
        return Ok(());
    }
    let yard = Yard::new()?;
    symlink(yard.outside().join("secret"), yard.at("link"))?;
    symlink(yard.outside(), yard.at("dir-link"))?;
    let before = fs::metadata(yard.outside().join("secret"))?;
    for path in ["/link", "/dir-link", "/dir-link/"] {
        assert_eq!(kind(yard.root.set_mode(path, 0o777, SpecialBits::Strip)), "invalid", "{path}");
        yard.root.set_owner(path, 12, 34)?;
        assert_eq!(kind(yard.root.truncate(path)), "not regular", "{path}");
    }
    yard.root.truncate("/etc/hostname")?;
    assert_eq!(yard.root.read_whole("/etc/hostname")?, b"");
    yard.root.set_mode("/etc/hostname", 0o4711, SpecialBits::Strip)?;
    assert_eq!(fs::metadata(yard.at("etc/hostname"))?.permissions().mode() & 0o7777, 0o711);
    yard.root.set_mode("/etc", 0o1777, SpecialBits::Keep)?;
    assert_eq!(fs::metadata(yard.at("etc"))?.permissions().mode() & 0o7777, 0o1777);
    let link = fs::symlink_metadata(yard.at("link"))?;
    assert_eq!((link.uid(), link.gid()), (12, 34));
    let after = fs::metadata(yard.outside().join("secret"))?;
    assert_eq!((before.mode(), before.uid(), before.gid()), (after.mode(), after.uid(), after.gid()));
    yard.outside_is_untouched()?;
    assert_eq!(fs::metadata(yard.outside())?.uid(), 0);
    assert_eq!(kind(yard.root.set_owner("/etc", u32::MAX, 0)), "invalid");
    Ok(())
}

#[test]
fn resolving_says_where_a_write_lands() -> Result<()> {
    let yard = Yard::new()?;
    symlink("/etc/systemd", yard.at("usr/harmless"))?;
    symlink("usr/lib", yard.at("lib"))?;
    symlink("/none", yard.at("dangling"))?;
    fs::create_dir(yard.at("etc/systemd"))?;
    for (path, expected) in [
        ("/", "/"),
        ("//", "/"),
        ("/etc/hostname", "/etc/hostname"),
        ("//usr//harmless/x.service", "/etc/systemd/x.service"),
        ("/usr/harmless/../passwd", "/etc/passwd"),
        ("/lib/new/deep/file", "/usr/lib/new/deep/file"),
        ("/new", "/new"),
        ("/new/", "/new"),
        ("/lib", "/lib"),
        ("/../../etc/x", "/etc/x"),
    ] {
        assert_eq!(yard.root.resolve(path)?, expected, "{path}");
    }
    for (path, expected) in [
        ("/dangling/x", "invalid"),
        ("/new/../etc/x", "not found"),
        ("/etc/hostname/x", "invalid"),
        ("/etc/..", "invalid"),
    ] {
        assert_eq!(kind(yard.root.resolve(path)), expected, "{path}");
    }
    // What was allowed for a resolved path cannot be led elsewhere by a link that appears later.
    let strict = yard.root.refusing_links()?;
    let allowed = yard.root.resolve("/usr/lib/x")?;
    fs::remove_dir(yard.at("usr/lib"))?;
    symlink("/etc", yard.at("usr/lib"))?;
    assert_eq!(kind(strict.write(&allowed, b"", 0o644, SpecialBits::Strip)), "invalid");
    assert_eq!(kind(strict.read("/usr/lib/hostname", 0, 1)), "invalid");
    assert_eq!(strict.read("/etc/hostname", 0, 3)?, b"tar");
    Ok(())
}

#[test]
fn removing_does_not_cross_a_mount_and_takes_what_is_locked_or_deep() -> Result<()> {
    if !can_run("removing_does_not_cross_a_mount_and_takes_what_is_locked_or_deep") {
        return Ok(());
    }
    let yard = Yard::new()?;
    fs::create_dir_all(yard.at("tree/mounted"))?;
    let mount = Mount::bind(&yard.outside(), &yard.at("tree/mounted"), Access::ReadWrite)?;
    let mut seen = Vec::new();
    yard.root.walk("/tree", &mut |path, _| {
        seen.push(path.to_owned());
        Ok(())
    })?;
    let refused = kind(yard.root.remove_all("/tree"));
    mount.unmount()?;
    assert_eq!((refused, seen), ("invalid", vec!["/tree/mounted".to_owned()]));
    yard.outside_is_untouched()?;
    fs::write(yard.at("tree/immutable"), "")?;
    fs::create_dir(yard.at("tree/sealed"))?;
    fs::write(yard.at("tree/sealed/file"), "")?;
    for path in ["tree/immutable", "tree/sealed"] {
        rustix::fs::ioctl_setflags(File::open(yard.at(path))?, rustix::fs::IFlags::IMMUTABLE)?;
    }
    let mut dir = rustix::fs::open(yard.at("tree"), rustix::fs::OFlags::DIRECTORY, Mode::empty())?;
    for _ in 0..3000 {
        rustix::fs::mkdirat(&dir, "deep", Mode::RWXU)?;
        dir = rustix::fs::openat(&dir, "deep", rustix::fs::OFlags::DIRECTORY, Mode::empty())?;
    }
    yard.root.remove_all("/tree")?;
    assert_eq!(yard.root.list_dir("/")?, ["etc", "usr"]);
    Ok(())
}

#[test]
fn a_directory_of_a_lower_layer_can_be_renamed() -> Result<()> {
    if !can_run("a_directory_of_a_lower_layer_can_be_renamed") {
        return Ok(());
    }
    let dir = tempfile::tempdir_in("/tmp")?;
    let at = |name: &str| dir.path().join(name);
    for name in ["lower/old/below", "upper", "work", "merged"] {
        fs::create_dir_all(at(name))?;
    }
    fs::write(at("lower/old/below/file"), "kept")?;
    fs::set_permissions(at("lower/old"), fs::Permissions::from_mode(0o2711))?;
    let layers = ["lower", "upper", "work"].map(|name| format!("{name}dir={}", at(name).display())).join(",");
    let mount = Mount::new(Path::new("overlay"), &at("merged"), "overlay", &layers)?;
    let root = TargetRoot::open(&at("merged"))?;
    root.rename("/old", "/new")?;
    let (names, contents) = (root.list_dir("/")?, root.read_whole("/new/below/file")?);
    let mode = root.stat("/new")?.map(|stat| stat.mode);
    drop(root);
    mount.unmount()?;
    assert_eq!((names, contents, mode), (vec!["new".to_owned()], b"kept".to_vec(), Some(0o2711)));
    Ok(())
}

#[test]
fn a_directory_that_becomes_a_link_and_back_never_leads_out() -> Result<()> {
    let yard = Yard::new()?;
    fs::create_dir(yard.at("swap"))?;
    symlink(yard.outside(), yard.at("bait"))?;
    // Also one that leads up, which is what `..` races are about.
    symlink("../outside", yard.at("swap/up"))?;
    let stop = AtomicBool::new(false);
    let (swap, bait) = (yard.at("swap"), yard.at("bait"));
    let (mut written, mut swapped) = (0u32, 0u64);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut count = 0u64;
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &swap, CWD, &bait, RenameFlags::EXCHANGE).expect("both exist");
                count += 1;
            }
            count
        });
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            for path in ["/swap/file", "/swap/../swap/file", "/swap/up/file"] {
                written += u32::from(yard.root.write(path, b"x", 0o644, SpecialBits::Strip).is_ok());
            }
            for path in ["/swap/secret", "/swap/up/secret", "/swap/../../outside/secret"] {
                if let Ok(bytes) = yard.root.read(path, 0, 10) {
                    assert_ne!(bytes, b"secret", "{path}");
                }
            }
            yard.root.set_mode("/swap/secret", 0o777, SpecialBits::Strip).expect_err("it is never there");
            yard.root.remove_all("/swap/secret").expect_err("it is never there");
        }
        stop.store(true, Ordering::Relaxed);
        swapped = swapper.join().expect("no panic");
    });
    yard.outside_is_untouched()?;
    assert!(written > 0 && swapped > 0, "{written} writes, {swapped} swaps");
    Ok(())
}
