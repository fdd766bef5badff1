//! Whole builds of a tiny operating system made of the host's programs: all outputs at once and what is written beside them, the order
//! of hooks, failing hooks, interruption. Seconds, no network. Real loops, mounts and namespaces: nothing of them may be left.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use dibw_tests::dibw::{Dibw, Ran, root, workspace};

/// `dibw build` without `base`, plain lines.
fn build(dibw: Dibw) -> Dibw {
    dibw.args(["build", "-n", "--log-format", "plain"])
}

/// Runs a tool in the directory of the artifacts and demands success; gives its standard output.
fn tool(directory: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(directory).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Nothing of this build is attached, mounted or kept. Other builds may run at the same time.
fn assert_clean(dibw: &Dibw) {
    let directory = dibw.dir().display().to_string();
    let loops = tool(dibw.dir(), "losetup", &["--list", "--noheadings", "--output", "NAME,BACK-FILE"]);
    assert!(!loops.contains(&directory), "loop devices: {loops}");
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc is there");
    assert!(!mounts.contains(&directory), "mounts: {mounts}");
    let left: Vec<_> = fs::read_dir(dibw.work_dir())
        .map(|entries| entries.map(|entry| entry.expect("listed").file_name()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "work files: {left:?}");
}

/// The artifacts, by name.
fn artifacts(dibw: &Dibw) -> Vec<String> {
    let entries = fs::read_dir(dibw.dir()).expect("it is there");
    let names = entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("image")).collect();
    names.sort();
    names
}

#[test]
fn all_outputs_at_once() {
    if !root("all_outputs_at_once") {
        return;
    }
    let dibw = build(Dibw::new()).args(["-t", "raw,qcow2,tar,tgz,tar.zst", "--md5"]);
    let dibw = dibw.args(["fake-os", "block-device-gpt", "--image-size", "1GiB"]);
    let ran = dibw.succeed();
    assert_clean(&dibw);
    let outputs = ["image.qcow2", "image.raw", "image.tar", "image.tar.zst", "image.tgz"];
    let mut expected =
        ["image.audit.jsonl", "image.plan.json", "image.report.html"].map(str::to_owned).to_vec();
    for output in outputs {
        expected.extend(["", ".md5", ".sha256"].map(|suffix| format!("{output}{suffix}")));
    }
    expected.sort();
    assert_eq!(artifacts(&dibw), expected);
    let mut printed: Vec<&str> = ran.stdout.lines().collect();
    printed.sort_unstable();
    assert_eq!(printed, expected, "standard output lists the artifacts");

    let directory = dibw.dir();
    for output in outputs {
        tool(directory, "sha256sum", &["--check", "--strict", &format!("{output}.sha256")]);
        tool(directory, "md5sum", &["--check", "--strict", &format!("{output}.md5")]);
    }
    tool(directory, "qemu-img", &["check", "image.qcow2"]);
    tool(directory, "qemu-img", &["compare", "-f", "raw", "-F", "qcow2", "image.raw", "image.qcow2"]);
    check_root(directory);
    for (output, option) in
        [("image.tar", None), ("image.tgz", Some("-z")), ("image.tar.zst", Some("--zstd"))]
    {
        let args: Vec<&str> = option.into_iter().chain(["-tf", output]).collect();
        let list = tool(directory, "tar", &args);
        for wanted in ["usr/bin/bash", "etc/os-release", "etc/fstab"] {
            let found = list.lines().any(|line| line.trim_start_matches("./") == wanted);
            assert!(found, "{output} has no {wanted}");
        }
        assert!(!list.contains("in_target.d"), "{output} has the hooks");
    }
    let plan: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(directory.join("image.plan.json")).expect("it is there"))
            .expect("the plan is JSON");
    assert_eq!(plan["elements"][1]["name"], "fake-os");
}

/// The root file system of the raw image: whole for e2fsck, sparse, of the size asked for.
fn check_root(directory: &Path) {
    use std::os::unix::fs::MetadataExt;
    let raw = fs::metadata(directory.join("image.raw")).expect("it is there");
    assert_eq!(raw.len(), 1 << 30);
    assert!(raw.blocks() * 512 < 200 << 20, "the raw image is not sparse: {} blocks", raw.blocks());
    let table = tool(directory, "sfdisk", &["--json", "image.raw"]);
    let table: serde_json::Value = serde_json::from_str(&table).expect("sfdisk writes JSON");
    let root = &table["partitiontable"]["partitions"][1];
    let sectors = |name: &str| root[name].as_u64().expect("a number of sectors");
    let (start, size) = (sectors("start") * 512, sectors("size") * 512);
    let (start, size) = (start.to_string(), size.to_string());
    let args = ["--find", "--show", "--read-only", "--offset", &start, "--sizelimit", &size, "image.raw"];
    let device = tool(directory, "losetup", &args);
    let device = device.trim();
    let checked = Command::new("e2fsck").args(["-f", "-n", device]).output();
    tool(directory, "losetup", &["--detach", device]);
    let checked = checked.expect("e2fsck can be started");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn an_old_artifact_is_kept_unless_told_otherwise() {
    if !root("an_old_artifact_is_kept_unless_told_otherwise") {
        return;
    }
    let dibw = build(Dibw::new()).args(["-t", "tar", "fake-os"]);
    dibw.file("image.tar", "old");
    let _ = dibw.succeed();
    let olds = |dibw: &Dibw| {
        let names =
            artifacts(dibw).into_iter().filter(|name| name.contains("tar") && !name.ends_with("sha256"));
        names.filter(|name| fs::read(dibw.dir().join(name)).is_ok_and(|bytes| bytes == b"old")).count()
    };
    assert_eq!(olds(&dibw), 1, "{:?}", artifacts(&dibw));
    let before = artifacts(&dibw).len();
    let dibw = dibw.args(["--overwrite"]);
    let _ = dibw.succeed();
    assert_eq!(artifacts(&dibw).len(), before);
    assert_clean(&dibw);
}

#[test]
fn the_same_build_twice_has_the_same_digest() {
    if !root("the_same_build_twice_has_the_same_digest") {
        return;
    }
    let digest = |ran: &Ran| ran.stderr.lines().find(|line| line.starts_with("plan ")).map(str::to_owned);
    let dibw = build(Dibw::new()).args(["-t", "tar", "fake-os", "--overwrite"]);
    let (first, second) = (dibw.succeed(), dibw.succeed());
    assert!(digest(&first).is_some(), "{}", first.stderr);
    assert_eq!(digest(&first), digest(&second));
}

/// Shell at 10, wasm at 50 (motd's own), shell at 90: the log names them in that order, and what each sees of the motd agrees.
/// Orders 10, 20 and 30 with a component made for the purpose: tests/engine/on_a_double.rs.
#[test]
fn shell_and_wasm_hooks_run_in_order() {
    if !root("shell_and_wasm_hooks_run_in_order") {
        return;
    }
    if !workspace().join("plugins/target/elements/motd.wasm").exists() {
        eprintln!(
            "skipped: shell_and_wasm_hooks_run_in_order (plugins are not built: dibw plugin build plugins)"
        );
        return;
    }
    let dibw = Dibw::new();
    let look = "if [ -e /etc/motd ]; then echo there; else echo not yet; fi";
    dibw.file("e/early/post-install.d/10-early", &format!("#!/bin/bash\necho early: $({look})\n"));
    dibw.file("e/late/post-install.d/90-late", &format!("#!/bin/bash\necho late: $({look})\n"));
    let elements = dibw.dir().join("e");
    let dibw = build(dibw.elements(elements)).args(["-v", "-t", "tar", "fake-os", "motd", "early", "late"]);
    let ran = dibw.args(["--set", "motd.text=hello"]).succeed();
    let lines: Vec<&str> = ran.stderr.lines().map(str::trim).collect();
    let at = |wanted: &str| {
        lines.iter().position(|line| *line == wanted).unwrap_or_else(|| panic!("{wanted}: {lines:#?}"))
    };
    let order = [
        "post-install: 10-early",
        "| early: not yet",
        "post-install: 50-motd",
        "post-install: 90-late",
        "| late: there",
    ]
    .map(at);
    assert!(order.is_sorted(), "{order:?} {lines:#?}");
}

/// Smaller than the usual journal: the size that comes from the tree must be one that mkfs takes.
#[test]
fn a_tiny_tree_becomes_a_disk() {
    if !root("a_tiny_tree_becomes_a_disk") {
        return;
    }
    let dibw = build(Dibw::new()).args(["-t", "raw", "fake-os"]);
    let _ = dibw.succeed();
    assert_clean(&dibw);
}

#[test]
fn a_failing_hook_says_what_it_was_and_its_last_lines() {
    if !root("a_failing_hook_says_what_it_was_and_its_last_lines") {
        return;
    }
    for (phase, place) in [("install", "inside"), ("extra-data", "outside"), ("finalise", "on the disk")] {
        let dibw = Dibw::new();
        let hook = format!("e/breaking/{phase}.d/40-break");
        dibw.file(
            &hook,
            "#!/bin/bash\nfor n in $(seq 1 30); do echo line $n; done\ndate +%s.%N >&2\nexit 7\n",
        );
        let elements = dibw.dir().join("e");
        let dibw =
            build(dibw.elements(elements)).args(["-t", "raw", "fake-os", "breaking", "--image-size", "1GiB"]);
        let ran = dibw.run();
        let ended = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{place}: {}", ran.stderr);
        let message = format!("error: {phase}.d/40-break of element breaking failed with exit status 7\n");
        assert!(ran.stderr.contains(&message), "{place}: {}", ran.stderr);
        let (_, tail) = ran.stderr.split_once(&message).expect("just seen");
        for number in 12..=30 {
            assert!(tail.contains(&format!("line {number}\n")), "{place}: line {number}: {tail}");
        }
        assert!(!tail.contains("line 11\n"), "{place}: {tail}");
        let failed = tail.split_whitespace().find_map(|word| word.parse::<f64>().ok().filter(|at| *at > 1e9));
        let took = ended.as_secs_f64() - failed.expect("the hook printed when it failed");
        assert!(took < 2.0, "{place}: the build ended {took} s after the hook");
        assert_clean(&dibw);
        assert!(artifacts(&dibw).is_empty(), "{place}: {:?}", artifacts(&dibw));
    }
}

#[test]
fn interruption_unwinds_everything() {
    if !root("interruption_unwinds_everything") {
        return;
    }
    for (phase, signal) in [("install", "INT"), ("finalise", "TERM"), ("root", "INT")] {
        let dibw = Dibw::new();
        // A pipe that both sides see would need a shared directory; the hook's own line on standard error says when it waits.
        dibw.file(&format!("e/waiting/{phase}.d/60-wait"), "#!/bin/bash\necho waiting now\nsleep 60\n");
        let elements = dibw.dir().join("e");
        let dibw = build(dibw.elements(elements)).args([
            "-v",
            "-t",
            "raw",
            "fake-os",
            "waiting",
            "--image-size",
            "1GiB",
        ]);
        let mut child = dibw.spawn();
        let mut said = std::io::BufReader::new(child.stderr.take().expect("it was piped"));
        let mut line = String::new();
        while !line.contains("| waiting now") {
            line.clear();
            let count = std::io::BufRead::read_line(&mut said, &mut line).expect("what it says is text");
            assert!(count > 0, "{phase}: it ended before the hook waited");
        }
        let began = Instant::now();
        tool(dibw.dir(), "kill", &["-s", signal, &child.id().to_string()]);
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut said, &mut rest).expect("what it says is text");
        let ran = dibw.wait(child);
        assert_eq!((ran.code, ran.stdout.as_str()), (130, ""), "{phase}: {rest}");
        assert!(rest.contains("interrupted"), "{phase}: {rest}");
        assert!(began.elapsed().as_secs() < 5, "{phase}: {:?}", began.elapsed());
        assert_clean(&dibw);
        assert!(artifacts(&dibw).is_empty(), "{phase}: {:?}", artifacts(&dibw));
    }
}
