//! The layer cache in whole builds of a tiny operating system: what is used again and what not, and why; damage; shells in layers.
//! Needs root. Seconds, no network.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dibw_tests::dibw::{Dibw, root};
use dibw_tests::layers::{HOOKS, again, all_hit, archived, build, builder, reason};

#[test]
fn a_step_runs_again_only_when_something_it_is_made_from_changed() {
    if !root("a_step_runs_again_only_when_something_it_is_made_from_changed") {
        return;
    }
    let dibw = builder();
    // From 90 on it is known what a hook of the install phase reads.
    dibw.file("elements/site/install.d/90-late", "#!/bin/bash\necho late >/etc/late\n");
    dibw.file("elements/site/install.d/91-late-reads", "#!/bin/bash\ncat /etc/second >/etc/late-copy\n");
    let first = build(&dibw, &[]);
    assert!(
        first.iter().all(|(_, said)| said == "not built before" || said.starts_with("after ")),
        "{first:?}"
    );
    let image = fs::read(dibw.dir().join("image.qcow2")).expect("it was built");
    let archive = fs::read(dibw.dir().join("image.tar")).expect("it was built");

    let second = build(&dibw, &[]);
    assert!(all_hit(&second) && second.len() > 10, "{second:?}");
    assert!(fs::read(dibw.dir().join("image.qcow2")).expect("it was built") == image, "other bytes");
    assert!(fs::read(dibw.dir().join("image.tar")).expect("it was built") == archive, "other bytes");

    dibw.file("elements/site/install.d/80-last", "#!/bin/bash\necho changed >/etc/last\n");
    let changed = build(&dibw, &[]);
    assert_eq!(reason(&changed, ": 10-first"), "hit");
    assert_eq!(reason(&changed, ": 20-second"), "hit");
    assert_eq!(reason(&changed, ": 80-last"), "script changed");
    // It reads nothing of what the changed hook wrote.
    assert_eq!(reason(&changed, ": 10-reads"), "hit");
    assert_eq!(
        ["etc/first", "etc/last", "etc/copy"].map(|path| archived(&dibw, path)),
        ["first", "changed", "none"]
    );

    dibw.file("elements/site/install.d/20-second", "#!/bin/bash\necho other >/etc/second\n");
    let changed = build(&dibw, &[]);
    assert_eq!(reason(&changed, ": 20-second"), "script changed");
    assert_eq!(reason(&changed, ": 80-last"), "after install: 20-second, which ran");
    assert_eq!(reason(&changed, ": 90-late"), "hit");
    for (hook, copy) in [(": 91-late-reads", "etc/late-copy"), (": 10-reads", "etc/copy")] {
        assert_eq!(reason(&changed, hook), "/etc/second: content changed");
        assert_eq!(archived(&dibw, copy), "other");
    }
    // Back to what was built before: its layers are still there.
    dibw.file("elements/site/install.d/20-second", HOOKS[1].1);
    dibw.file("elements/site/install.d/80-last", HOOKS[2].1);
    assert!(all_hit(&build(&dibw, &[])));
    assert!(fs::read(dibw.dir().join("image.qcow2")).expect("it was built") == image, "other bytes");
}

#[test]
fn variables_files_and_arguments_count() {
    if !root("variables_files_and_arguments_count") {
        return;
    }
    let dibw = builder();
    let _ = build(&dibw, &[]);
    let with_word = |word: &str| {
        let again = again(&dibw).args(["plan", "-n", "-t", "tar,qcow2", "--image-size", "256MiB"]);
        again.args(["fake-os", "block-device-gpt", "site"]).env("DIB_WORD", word).succeed().stdout
    };
    let plan = with_word("x");
    assert!(plan.contains("miss   DIB_WORD is new"), "{plan}");

    dibw.file("elements/site/static/etc/more", "more");
    let said = build(&dibw, &[]);
    assert_eq!(archived(&dibw, "etc/more"), "more");
    assert!(said.iter().any(|(_, said)| said.contains("files of elements in static")), "{said:?}");
    for (args, expected) in [(["--refresh"], "--refresh"), (["--max-age=0"], "hit")] {
        let said = build(&dibw, &args);
        assert_eq!(reason(&said, "root: environment"), expected, "{args:?}");
    }
    let said = build(&dibw, &["--no-cache"]);
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn what_the_network_gave_is_good_for_a_time() {
    if !root("what_the_network_gave_is_good_for_a_time") {
        return;
    }
    let dibw = builder();
    let _ = build(&dibw, &[]);
    age_entries(&dibw, 3 * 3600);
    assert!(all_hit(&build(&dibw, &["--max-age=4"])));
    let said = build(&dibw, &["--max-age=2"]);
    assert_eq!(reason(&said, ": 10-fake-os"), "its layer is 3 hours old");
    // What was made anew is young again; without a network there is nothing newer.
    assert!(all_hit(&build(&dibw, &["--max-age=2"])));
    age_entries(&dibw, 3 * 3600);
    let said = build(&dibw, &["--max-age=2", "--offline"]);
    assert!(!said.iter().any(|(_, said)| said.contains("hours old")), "{said:?}");
}

/// Makes all entries so many seconds older.
fn age_entries(dibw: &Dibw, seconds: u64) {
    for entry in entries(dibw) {
        let path = entry.join("entry.json");
        let text = fs::read_to_string(&path).expect("it is there");
        let mut known: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        known["created"] = (known["created"].as_u64().expect("a time") - seconds).into();
        fs::write(&path, known.to_string()).expect("it can be written");
    }
}

fn entries(dibw: &Dibw) -> Vec<PathBuf> {
    let entries = fs::read_dir(dibw.dir().join("cache/layers/entries")).expect("there is a cache");
    entries.map(|entry| entry.expect("listed").path()).collect()
}

/// The entry of a step that was used last.
fn entry_of(dibw: &Dibw, title: &str) -> PathBuf {
    let found = entries(dibw).into_iter().find(|entry| {
        fs::read_to_string(entry.join("entry.json"))
            .is_ok_and(|text| text.contains(&format!("\"title\":\"{title}\"")))
    });
    found.unwrap_or_else(|| panic!("no entry of {title}"))
}

#[test]
fn a_damaged_layer_is_found_and_made_again() {
    if !root("a_damaged_layer_is_found_and_made_again") {
        return;
    }
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("a file is longer", |entry| {
            fs::write(entry.join("tree/etc/second"), "much longer").expect("written")
        }),
        ("a file is gone", |entry| fs::remove_file(entry.join("tree/etc/second")).expect("removed")),
        ("the list is cut short", |entry| fs::write(entry.join("list"), "").expect("written")),
        ("what is known of it is half", |entry| fs::write(entry.join("entry.json"), "{").expect("written")),
        // As after a crash of the machine: contents are looked at again, and are not what they were.
        ("contents are lost", |entry| {
            let file = entry.join("tree/etc/second");
            let before = fs::metadata(&file).expect("it is there").modified().expect("a time");
            fs::write(&file, "\0\0\0\0\0").expect("written");
            fs::File::open(&file).expect("open").set_modified(before).expect("a time");
            fs::write(entry.join("checked"), "another start").expect("written");
        }),
    ];
    for (harm, harms) in harms {
        let dibw = builder();
        let _ = build(&dibw, &[]);
        let entry = entry_of(&dibw, "install: 20-second");
        harms(&entry);
        // The outputs would do without the layer.
        dibw.file("elements/site/finalise.d/50-other", "#!/bin/bash\n:\n");
        let said = build(&dibw, &[]);
        assert_ne!(reason(&said, ": 20-second"), "hit", "{harm}: {said:?}");
        assert_eq!(archived(&dibw, "etc/second"), "none", "{harm}");
        let (_, verified, _) = again(&dibw).args(["cache", "verify"]).run();
        assert!(verified.ends_with(" whole, 0 damaged\n"), "{harm}: {verified} {said:?}");
    }
}

#[test]
fn verify_finds_every_kind_of_damage() {
    if !root("verify_finds_every_kind_of_damage") {
        return;
    }
    let dibw = builder();
    let _ = build(&dibw, &[]);
    fs::write(entry_of(&dibw, "install: 20-second").join("tree/etc/second"), "NONE\n").expect("written");
    fs::write(entry_of(&dibw, "outputs").join("files/qcow2"), "x").expect("written");
    let (code, stdout, _) = again(&dibw).args(["cache", "verify"]).run();
    assert_eq!(code, 1, "{stdout}");
    assert!(stdout.contains("of install: 20-second: /etc/second is not what was stored"), "{stdout}");
    assert!(stdout.contains("of outputs: qcow2 is not what was stored"), "{stdout}");
    assert!(again(&dibw).args(["cache", "verify"]).succeed().stdout.ends_with(" whole, 0 damaged\n"));
    // The outputs of the cache are nobody's to trust without a look.
    let _ = build(&dibw, &[]);
    let kept = entry_of(&dibw, "outputs").join("files/qcow2");
    let whole = fs::read(&kept).expect("it is there");
    fs::write(&kept, &whole[..whole.len() - 1]).expect("written");
    let said = build(&dibw, &[]);
    assert!(!all_hit(&said), "{said:?}");
    // Made again it may be another to the byte, but it is whole, and so is what was kept of it.
    let sums =
        Command::new("sha256sum").args(["--check", "image.qcow2.sha256"]).current_dir(dibw.dir()).output();
    assert!(sums.expect("sha256sum").status.success());
    let image = fs::read(dibw.dir().join("image.qcow2")).expect("built");
    assert!(all_hit(&build(&dibw, &[])));
    assert!(fs::read(dibw.dir().join("image.qcow2")).expect("copied") == image, "other bytes");
}

#[test]
fn hooks_on_the_host_always_run_and_what_they_leave_counts() {
    if !root("hooks_on_the_host_always_run_and_what_they_leave_counts") {
        return;
    }
    let dibw = builder();
    let note = dibw.file("note", "one");
    let hook = format!("#!/bin/bash\ncp {} $TMP_HOOKS_PATH/brought\n", note.display());
    dibw.file("elements/site/extra-data.d/50-bring", &hook);
    dibw.file("elements/site/install.d/95-use", "#!/bin/bash\ncp $(dirname $0)/../brought /etc/brought\n");
    let _ = build(&dibw, &[]);
    let said = build(&dibw, &[]);
    assert_eq!(reason(&said, ": 50-bring"), "hooks on the host always run");
    assert_eq!((reason(&said, ": 80-last"), reason(&said, ": 95-use")), ("hit", "hit"));
    dibw.file("note", "two");
    let said = build(&dibw, &[]);
    assert!(reason(&said, ": 95-use").contains("files of elements in brought"), "{said:?}");
    assert_eq!(archived(&dibw, "etc/brought"), "two");
}

#[test]
fn what_cannot_be_kept_still_counts_for_those_after_it() {
    if !root("what_cannot_be_kept_still_counts_for_those_after_it") {
        return;
    }
    let dibw = builder();
    let note = dibw.file("note", "one");
    // It leaves a file in /tmp, which no layer has.
    let hook =
        format!("#!/bin/bash\ncp {} $TARGET_ROOT/etc/note\necho x >/tmp/left-behind\n", note.display());
    dibw.file("elements/site/root.d/90-note", &hook);
    let _ = build(&dibw, &[]);
    let said = build(&dibw, &[]);
    assert_eq!(reason(&said, ": 90-note"), "its layer was not kept: it changed something beside the target");
    assert_eq!(reason(&said, ": 20-second"), "hit");
    dibw.file("note", "two");
    let said = build(&dibw, &[]);
    assert_eq!(reason(&said, ": 20-second"), "after root: 90-note, which ran");
    assert_eq!(archived(&dibw, "etc/note"), "two");
}

#[test]
fn packages_that_a_root_hook_fetched_ahead_are_used_once_and_its_layer_is_kept() {
    if !root("packages_that_a_root_hook_fetched_ahead_are_used_once_and_its_layer_is_kept") {
        return;
    }
    let dibw = builder();
    dibw.file("elements/site/environment.d/20-debian.bash", "export DISTRO_NAME=debian\n");
    dibw.file("elements/site/package-installs.yaml", "vim:\n");
    let hook = r#"#!/bin/bash
set -eu
echo "$DIBW_PACKAGES_AHEAD" >"$DIBW_PACKAGES_AHEAD_DIR/vim_1_all.deb"
cd "$TARGET_ROOT/usr/bin"
printf '#!/bin/bash\nshopt -s nullglob\ncat /dev/null /var/cache/apt/archives/*.deb >>/etc/brought\nrm -f /var/cache/apt/archives/*.deb\n' >apt-get
printf '#!/bin/bash\n' >dpkg-query
chmod 755 apt-get dpkg-query
"#;
    dibw.file("elements/site/root.d/20-apt", hook);
    let _ = build(&dibw, &[]);
    assert_eq!(archived(&dibw, "etc/brought"), "vim");
    let said = build(&dibw, &[]);
    assert!(all_hit(&said), "{said:?}");
    // A transaction whose hook did not run has nothing to bring.
    let said = build(&dibw, &["-p", "nano"]);
    assert_eq!(reason(&said, ": 20-apt"), "hit");
    assert!(!all_hit(&said), "{said:?}");
    assert_eq!(archived(&dibw, "etc/brought"), "vim");
}

#[test]
fn a_typed_hook_is_found_by_what_the_host_saw_it_read() {
    if !root("a_typed_hook_is_found_by_what_the_host_saw_it_read") {
        return;
    }
    let dibw = builder();
    let typed = ["motd", "--set", "motd.text=hello"];
    let _ = build(&dibw, &typed);
    dibw.file("elements/site/install.d/80-last", "#!/bin/bash\necho changed >/etc/last\n");
    let said = build(&dibw, &typed);
    assert_eq!((reason(&said, ": 80-last"), reason(&said, ": 50-motd")), ("script changed", "hit"));
    assert_eq!(archived(&dibw, "etc/motd"), "hello");
    // It looks for this directory before it writes.
    dibw.file("elements/site/install.d/80-last", "#!/bin/bash\nmkdir /etc/update-motd.d\n");
    let said = build(&dibw, &typed);
    assert_eq!(reason(&said, ": 50-motd"), "/etc/update-motd.d: appeared");
    let said = build(&dibw, &["motd", "--set", "motd.text=other"]);
    assert_eq!(reason(&said, ": 50-motd"), "configuration of motd changed");
    assert_eq!(archived(&dibw, "etc/motd"), "other");
}

#[test]
fn shells_open_before_and_after_steps_and_where_one_failed() {
    if !root("shells_open_before_and_after_steps_and_where_one_failed") {
        return;
    }
    let dibw = builder();
    let _ = build(&dibw, &[]);
    let shell = |args: &[&str]| {
        let shell =
            again(&dibw).args(["shell", "-n", "-t", "tar,qcow2", "--image-size", "256MiB"]).args(args);
        shell.args(["fake-os", "block-device-gpt", "site"]).run()
    };
    let look = "ls /etc/first /etc/second /etc/last 2>/dev/null; touch /etc/thrown-away";
    for (args, expected) in [
        (["--before", "install:80-last"], "/etc/first\n/etc/second\n"),
        (["--after", "80-last"], "/etc/last\n/etc/second\n"),
        (["--before", "pre-install.d/10-first"], ""),
    ] {
        let (_, stdout, stderr) = shell(&[args[0], args[1], "-c", look]);
        assert_eq!(stdout, expected, "{args:?}: {stderr}");
    }
    let (code, _, stderr) = shell(&["--before", "99-none", "-c", "true"]);
    assert!(code == 2 && stderr.contains("no step 99-none"), "{code} {stderr}");
    let (code, _, stderr) = shell(&["--failed", "-c", "true"]);
    assert!(code == 2 && stderr.contains("left no failed step"), "{code} {stderr}");
    dibw.file("elements/site/install.d/80-last", "#!/bin/bash\necho half >/etc/half\nexit 7\n");
    let failing =
        again(&dibw).args(["build", "-n", "--overwrite", "-t", "tar,qcow2", "--image-size", "256MiB"]);
    assert_eq!(failing.args(["fake-os", "block-device-gpt", "site"]).run().0, 1);
    let (code, stdout, stderr) = shell(&["--failed", "-c", "cat /etc/half; ls /etc/thrown-away; exit 0"]);
    assert_eq!((code, stdout.as_str()), (0, "half\n"), "{stderr}");
}

/// Kinds, modes, owners, sizes and names of everything in an archive, and what is in `/etc`; no times.
fn contents(dibw: &Dibw, archive: &str) -> Vec<String> {
    let tar = |args: &[&str]| {
        let output = Command::new("tar").args(args).current_dir(dibw.dir()).output();
        String::from_utf8_lossy(&output.expect("tar can be started").stdout).into_owned()
    };
    let listing = tar(&["--numeric-owner", "--full-time", "-tvf", archive]);
    let without_times = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Mode, owner, size, date, time, name.
        let (before, name) = (fields.get(..3).unwrap_or_default(), fields.get(5..).unwrap_or_default());
        format!("{} {}", before.join(" "), name.join(" "))
    };
    let mut lines: Vec<String> = listing.lines().map(without_times).collect();
    lines.push(tar(&["-xOf", archive, "./etc"]));
    lines
}

/// The arguments of a build, of which only the name and a variable differ.
fn named(dibw: &Dibw, name: &str, word: &str, more: &[&str]) -> Command {
    let mut command = dibw.command();
    command
        .args(["build", "-n", "--overwrite", "-t", "tar,qcow2", "--image-size", "256MiB", "-o", name])
        .args(more);
    command.args(["fake-os", "block-device-gpt", "site"]).env("DIB_WORD", word);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command
}

#[test]
fn builds_that_are_killed_never_poison_the_cache() {
    if !root("builds_that_are_killed_never_poison_the_cache") {
        return;
    }
    const INSTANTS: u32 = 20;
    let dibw = builder();
    let began = std::time::Instant::now();
    assert!(named(&dibw, "image", "0", &[]).status().expect("dibw can be started").success());
    let length = began.elapsed();
    for instant in 0..INSTANTS {
        // Now from the start, now with some layers, and with one or another variable.
        if instant % 5 == 0 {
            let _ = again(&dibw).args(["cache", "prune", "--all"]).succeed();
        }
        let mut child =
            named(&dibw, "image", &(instant % 3).to_string(), &[]).spawn().expect("dibw can be started");
        std::thread::sleep(length * (instant * 7 % INSTANTS) / INSTANTS);
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
        let verified = again(&dibw).args(["cache", "verify"]).succeed().stdout;
        assert!(verified.ends_with(" whole, 0 damaged\n"), "{instant}: {verified}");
    }
    for word in ["0", "1", "2"] {
        assert!(named(&dibw, "image", word, &[]).status().expect("started").success());
        assert!(named(&dibw, "fresh", word, &["--no-cache"]).status().expect("started").success());
        assert_eq!(contents(&dibw, "image.tar"), contents(&dibw, "fresh.tar"), "{word}");
    }
}

#[test]
fn two_builds_at_once_share_the_cache() {
    if !root("two_builds_at_once_share_the_cache") {
        return;
    }
    let dibw = builder();
    for round in 0..3 {
        let word = round.to_string();
        let mut both = ["one", "two"].map(|name| named(&dibw, name, &word, &[]).spawn().expect("started"));
        for child in &mut both {
            assert!(child.wait().expect("waited for").success());
        }
        assert_eq!(contents(&dibw, "one.tar"), contents(&dibw, "two.tar"));
        let verified = again(&dibw).args(["cache", "verify"]).succeed().stdout;
        assert!(verified.ends_with(" whole, 0 damaged\n"), "{verified}");
    }
    assert!(named(&dibw, "fresh", "2", &["--no-cache"]).status().expect("started").success());
    assert_eq!(contents(&dibw, "one.tar"), contents(&dibw, "fresh.tar"));
    let again =
        named(&dibw, "one", "2", &["--log-format", "json"]).stderr(std::process::Stdio::piped()).output();
    let said = String::from_utf8_lossy(&again.expect("started").stderr).into_owned();
    assert!(said.contains("\"hit\"") && !said.contains("\"miss\""), "{said}");
}

#[test]
fn the_cache_keeps_to_its_limit_and_tells_what_is_in_it() {
    if !root("the_cache_keeps_to_its_limit_and_tells_what_is_in_it") {
        return;
    }
    let dibw = builder();
    let _ = build(&dibw, &[]);
    let listed = again(&dibw).args(["cache", "list"]).succeed().stdout;
    assert!(listed.contains("root: 10-fake-os"), "{listed}");
    let why = again(&dibw).args(["cache", "why", "image", "80-last"]).succeed().stdout;
    assert!(why.starts_with("install: 80-last") && why.contains("miss"), "{why}");
    let (code, _, stderr) = again(&dibw).args(["cache", "why", "nothing"]).run();
    assert!(code == 2 && stderr.contains("nothing is known of a build"), "{stderr}");
    // A build's own layers are in use while it lives; what is over the limit goes when it ends.
    let _ = build(&dibw, &["--refresh", "--cache-limit", "4MiB"]);
    let kept: u64 = entries(&dibw).iter().map(|entry| disk_usage(entry)).sum();
    assert!(kept < 8 << 20, "{kept} bytes");
    let removed = again(&dibw).args(["cache", "prune", "--all"]).succeed().stdout;
    assert!(removed.starts_with("removed "), "{removed}");
    assert!(entries(&dibw).is_empty());
    assert!(!all_hit(&build(&dibw, &[])));
    // Setuid programs lie in there.
    let mode = fs::metadata(dibw.dir().join("cache/layers")).expect("it is there").mode();
    assert_eq!(mode & 0o7777, 0o700);
}

fn disk_usage(path: &Path) -> u64 {
    let found = fs::symlink_metadata(path).expect("it is there");
    let inner = match found.is_dir() {
        true => {
            fs::read_dir(path).expect("listed").map(|entry| disk_usage(&entry.expect("listed").path())).sum()
        }
        false => 0,
    };
    inner + if found.is_dir() { 0 } else { found.blocks() * 512 }
}
