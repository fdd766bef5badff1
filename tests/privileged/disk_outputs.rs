//! Work directories, output files and probes: that nothing of them outlives a build, SIGKILL included. Partly needs root.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result};
use dibw_sys::artifact::{Artifact, Existing, write_whole};
use dibw_sys::mounts::{Mount, mounted_below};
use dibw_sys::probe;
use dibw_sys::work_dir::{Outlives, WorkDir, clean_dead};

/// Says so when these tests cannot run.
fn can_run(test: &str) -> bool {
    if !probe::is_root() {
        eprintln!("SKIPPED {test}: needs root");
    }
    probe::is_root()
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

/// What comes of closing a file may take a moment: a program that another test of this process is about to start has it open until its exec.
fn soon<T>(attempt: impl Fn() -> Option<T>) -> Option<T> {
    (0..200).find_map(|_| {
        std::thread::sleep(Duration::from_millis(25));
        attempt()
    })
}

#[test]
fn an_output_has_its_name_only_when_it_is_whole() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("image.qcow2");
    let artifact = Artifact::create(&path)?;
    artifact.file().write_all(b"new")?;
    assert_eq!(artifact.temporary_path(), None, "this file system has O_TMPFILE");
    assert_eq!(names(dir.path())?, Vec::<String>::new());
    drop(artifact);
    assert_eq!(names(dir.path())?, Vec::<String>::new());

    let artifact = Artifact::create(&path)?;
    artifact.file().write_all(b"new")?;
    assert_eq!(artifact.final_path(), path);
    assert_eq!(artifact.commit(Existing::Replace)?, path);
    assert_eq!(fs::read_to_string(&path)?, "new");
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o133, 0, "0644 less the umask");
    write_whole(&path, b"newer", Existing::Replace)?;
    assert_eq!(fs::read_to_string(&path)?, "newer");
    assert_eq!(names(dir.path())?, ["image.qcow2"]);
    Ok(())
}

#[test]
fn an_old_output_is_kept_with_its_checksums() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let at = UNIX_EPOCH + Duration::from_secs(1_709_251_199);
    for (name, contents) in
        [("image.raw", "1"), ("image.raw.sha256", "sum"), ("image.raw.md5", "sum"), ("other", "x")]
    {
        fs::write(dir.path().join(name), contents)?;
    }
    let path = dir.path().join("image.raw");
    for contents in ["2", "3"] {
        write_whole(&path, contents.as_bytes(), Existing::Keep(at))?;
    }
    let expected = [
        "image-2024.02.29-23.59.59-2.raw",
        "image-2024.02.29-23.59.59.raw",
        "image-2024.02.29-23.59.59.raw.md5",
        "image-2024.02.29-23.59.59.raw.sha256",
        "image.raw",
        "other",
    ];
    assert_eq!(names(dir.path())?, expected);
    let read = |name: &str| fs::read_to_string(dir.path().join(name));
    assert_eq!(
        (read(expected[0])?, read(expected[1])?, read("image.raw")?),
        ("2".into(), "1".into(), "3".into())
    );
    Ok(())
}

#[test]
fn outputs_that_cannot_be_are_refused_at_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("directory"))?;
    symlink("/dev/null", at("link"))?;
    for (path, expected) in [
        (at("directory"), "output DIR/directory: is a directory"),
        (
            at("none/image"),
            "output DIR/none/image: directory DIR/none: No such file or directory (os error 2)",
        ),
        (PathBuf::from("/"), "output /: the path has no file name"),
    ] {
        let error = format!("{:#}", Artifact::create(&path).unwrap_err());
        assert_eq!(error, expected.replace("DIR", &dir.path().display().to_string()));
    }
    write_whole(&at("link"), b"not through the link", Existing::Replace)?;
    assert!(fs::symlink_metadata(at("link"))?.is_file());
    Ok(())
}

#[test]
fn a_full_disk_leaves_nothing_of_an_output() -> Result<()> {
    if !can_run("a_full_disk_leaves_nothing_of_an_output") {
        return Ok(());
    }
    let dir = tempfile::tempdir_in("/tmp")?;
    let mount = Mount::new(Path::new("tmpfs"), dir.path(), "tmpfs", "size=64k")?;
    let error = write_whole(&dir.path().join("image"), &[1; 1 << 20], Existing::Replace).unwrap_err();
    let left = names(dir.path())?;
    let freed = soon(|| (probe::free_space(dir.path()).ok()? == 65536).then_some(())).is_some();
    mount.unmount()?;
    let path = dir.path().join("image");
    assert_eq!(
        format!("{error:#}"),
        format!("output {}: No space left on device (os error 28)", path.display())
    );
    assert_eq!(left, Vec::<String>::new());
    assert!(freed, "the file still takes space");
    Ok(())
}

#[test]
fn without_nameless_files_a_hidden_name_is_used_and_told() -> Result<()> {
    if !can_run("without_nameless_files_a_hidden_name_is_used_and_told") {
        return Ok(());
    }
    // ramfs is a file system that every kernel has and that has no O_TMPFILE.
    let dir = tempfile::tempdir_in("/tmp")?;
    let mount = Mount::new(Path::new("ramfs"), dir.path(), "ramfs", "")?;
    let artifact = Artifact::create(&dir.path().join("image"))?;
    let Some(temporary) = artifact.temporary_path() else {
        drop(artifact);
        mount.unmount()?;
        eprintln!("SKIPPED without_nameless_files_a_hidden_name_is_used_and_told: ramfs has O_TMPFILE");
        return Ok(());
    };
    let hidden = temporary.file_name().context("a name")?.to_string_lossy().into_owned();
    assert!(hidden.starts_with(".dibw-") && hidden.ends_with(".image"), "{hidden}");
    assert_eq!(names(dir.path())?, [hidden]);
    drop(artifact);
    assert_eq!(names(dir.path())?, Vec::<String>::new());
    write_whole(&dir.path().join("image"), b"whole", Existing::Replace)?;
    assert_eq!(names(dir.path())?, ["image"]);
    mount.unmount()
}

#[test]
fn a_work_directory_is_made_used_and_removed() -> Result<()> {
    if !can_run("a_work_directory_is_made_used_and_removed") {
        return Ok(());
    }
    let base = tempfile::tempdir_in("/tmp")?;
    for tmpfs in [None, Some(1 << 20)] {
        let work = WorkDir::create(base.path(), tmpfs)?;
        let build = work.path();
        for dir in [build.as_path(), build.parent().context("parent")?] {
            assert_eq!(fs::metadata(dir)?.mode() & 0o7777, 0o711, "{}", dir.display());
        }
        assert_eq!(mounted_below(base.path())?.len(), usize::from(tmpfs.is_some()));
        if tmpfs.is_some() {
            assert_eq!(probe::free_space(&build)?, 1 << 20);
        }
        fs::create_dir(build.join("tree"))?;
        fs::write(build.join("tree/file"), "x")?;
        // While we live, nobody else takes it for dead.
        assert_eq!(clean_dead(base.path())?, []);
        work.remove()?;
        assert_eq!(names(base.path())?, Vec::<String>::new());
        assert_eq!(mounted_below(base.path())?, Vec::<PathBuf>::new());
    }
    Ok(())
}

#[test]
fn what_is_mounted_below_is_never_removed() -> Result<()> {
    if !can_run("what_is_mounted_below_is_never_removed") {
        return Ok(());
    }
    let (base, precious) = (tempfile::tempdir_in("/tmp")?, tempfile::tempdir_in("/tmp")?);
    fs::write(precious.path().join("file"), "precious")?;
    let work = WorkDir::create(base.path(), None)?;
    let point = work.path().join("mounted");
    fs::create_dir(&point)?;
    let mount = Mount::bind(precious.path(), &point, dibw_sys::loops::Access::ReadWrite)?;
    let dir = work.path().parent().context("parent")?.to_owned();
    let error = format!("{:#}", work.remove().unwrap_err());
    assert_eq!(error, format!("{}: not removed, something is mounted on {}", dir.display(), point.display()));
    // Nobody holds it now; but it is not recorded as ours, so a clean-up leaves it alone too.
    let clean = || soon(|| clean_dead(base.path()).ok().filter(|cleaned| !cleaned.is_empty()));
    let cleaned = clean().context("it is not locked")?;
    assert_eq!(cleaned.len(), 1);
    assert_eq!(cleaned[0].left, Some(error));
    mount.unmount()?;
    assert_eq!(fs::read_to_string(precious.path().join("file"))?, "precious");
    let cleaned = clean().context("it is not locked")?;
    assert_eq!(cleaned[0].done, [format!("removed {}", dir.display())]);
    assert_eq!(names(base.path())?, Vec::<String>::new());
    Ok(())
}

/// Not a test by itself: what `a_killed_build_is_cleaned_by_the_next` runs, and kills, in a process of its own.
#[test]
fn child_that_works_until_it_is_killed() -> Result<()> {
    let Some(base) = std::env::var_os("DIBW_TEST_BASE").map(PathBuf::from) else { return Ok(()) };
    let mut work = WorkDir::create(&base, None)?;
    let hidden = base.join(".dibw-1-0.image");
    let point = work.path().join("point");
    let loop_device = Outlives::Loop("/dev/loop0".into());
    for entry in [
        Outlives::File(hidden.clone()),
        Outlives::Mount(point.clone()),
        Outlives::File(base.join("user-file")),
        loop_device.clone(),
    ] {
        work.record(entry)?;
    }
    work.forget(&loop_device)?;
    fs::write(hidden, "half")?;
    fs::create_dir(&point)?;
    let mount = Mount::new(Path::new("tmpfs"), &point, "tmpfs", "")?;
    fs::write(point.join("file"), "x")?;
    let artifact = Artifact::create(&base.join("output"))?;
    artifact.file().write_all(b"half")?;
    println!("\nready");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    drop((mount, artifact));
    Ok(())
}

#[test]
fn a_killed_build_is_cleaned_by_the_next() -> Result<()> {
    if !can_run("a_killed_build_is_cleaned_by_the_next") {
        return Ok(());
    }
    let base = tempfile::tempdir_in("/tmp")?;
    fs::write(base.path().join("user-file"), "not ours")?;
    // Others' directories with our name: one that all may write to, one that is a link.
    fs::create_dir(base.path().join("dibw-open"))?;
    fs::set_permissions(base.path().join("dibw-open"), fs::Permissions::from_mode(0o777))?;
    symlink("/etc", base.path().join("dibw-link"))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "--nocapture", "child_that_works_until_it_is_killed"])
        .env("DIBW_TEST_BASE", base.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(child.stdout.take().context("piped")?);
    let ready = output.lines().map_while(Result::ok).any(|line| line == "ready");
    assert!(ready, "the child did not get ready");
    assert_eq!(clean_dead(base.path())?, [], "it is alive");
    child.kill()?;
    child.wait()?;
    let names_before = names(base.path())?;
    assert!(!names_before.contains(&"output".to_owned()), "{names_before:?}");
    let work = base.path().join(format!("dibw-{}-0", child.id()));
    let build = names(&work)?.into_iter().find(|name| name.starts_with("dib_build."));
    let point = work.join(build.context("the directory to build in")?).join("point");
    let cleaned = clean_dead(base.path())?;
    let expected = [
        format!("unmounted {}", point.display()),
        format!("removed {}", base.path().join(".dibw-1-0.image").display()),
        format!("removed {}", work.display()),
    ];
    assert_eq!(cleaned.len(), 1, "{cleaned:?}");
    assert_eq!((cleaned[0].done.as_slice(), &cleaned[0].left), (expected.as_slice(), &None));
    assert_eq!(names(base.path())?, ["dibw-link", "dibw-open", "user-file"]);
    assert_eq!(mounted_below(base.path())?, Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn many_builds_start_and_clean_at_once() -> Result<()> {
    let base = tempfile::tempdir()?;
    std::thread::scope(|scope| {
        let one = || -> Result<()> {
            for _ in 0..50 {
                let work = WorkDir::create(base.path(), None)?;
                fs::write(work.path().join("file"), "x")?;
                clean_dead(base.path())?;
                assert_eq!(fs::read_to_string(work.path().join("file"))?, "x");
                work.remove()?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    assert_eq!(names(base.path())?, Vec::<String>::new());
    Ok(())
}

#[test]
fn probes_are_quick_and_leave_nothing() -> Result<()> {
    if !can_run("probes_are_quick_and_leave_nothing") {
        return Ok(());
    }
    let dir = tempfile::tempdir_in("/tmp")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?
        .lines()
        .filter(|line| line.contains(".dibw-trial"))
        .count();
    type Probe<'a> = (&'a str, &'a dyn Fn() -> Result<()>);
    let probes: [Probe; 9] = [
        ("overlay", &|| probe::filesystem("overlay")),
        ("loop_control", &probe::loop_control),
        ("user_namespaces", &probe::user_namespaces),
        ("idmapped_tmpfs", &probe::idmapped_tmpfs),
        ("idmapped_layers", &|| probe::idmapped_layers(dir.path())),
        ("device_mapper", &|| probe::device_mapper().or(Ok(()))),
        ("filesystems", &|| probe::filesystems().map(|names| assert!(names.contains(&"proc".to_owned())))),
        ("free_memory", &|| probe::free_memory().map(|bytes| assert!(bytes > 1 << 20))),
        ("free_space", &|| probe::free_space(dir.path()).map(|bytes| assert!(bytes > 1 << 20))),
    ];
    for (name, probe) in probes {
        // The best of three: the machine may be busy with other tests.
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            probe().with_context(|| name.to_owned())?;
            best = best.min(start.elapsed());
        }
        assert!(best < Duration::from_millis(50), "{name} took {best:?}");
        assert_eq!(names(dir.path())?, Vec::<String>::new(), "{name}");
    }
    assert_eq!(mounts, 0);
    let error = probe::filesystem("no-such-fs").unwrap_err();
    assert_eq!(error.to_string(), "the kernel has no no-such-fs");
    Ok(())
}

#[test]
fn directories_that_others_cannot_pass_are_found() -> Result<()> {
    let dir = tempfile::tempdir_in("/tmp")?;
    let inner = dir.path().join("a/b");
    fs::create_dir_all(&inner)?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o710))?;
    assert_eq!(probe::impassable(&inner)?, Some(dir.path().canonicalize()?));
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711))?;
    assert_eq!(probe::impassable(&inner)?, None);
    Ok(())
}
