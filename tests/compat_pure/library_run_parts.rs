//! `dib-run-parts` of the classic elements' library: which files are scripts, in which order they run, what `environment.d` does to them,
//! what is printed and how a phase fails.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::Result;
use dibw_tests::library::{LibraryBash, write};

/// Names as diskimage-builder's own runner orders them; those that it ignores are among them too.
#[test]
fn scripts_run_by_number_and_then_by_name() -> Result<()> {
    let bash = LibraryBash::new()?;
    let phase = bash.dir.path().join("hooks/install.d");
    let names = [
        "-1-neg", "00-x", "A-b", "_x", "abc", "1e3-x", "5", "9-z", "010-q", "10-a", "10-b", "16-x", "099-c",
        "100-d", "foo.sh", "a b", "x~",
    ];
    for name in names {
        write(&phase.join(name), "#!/bin/bash\necho \"${0##*/}\"\n", 0o755)?;
    }
    write(&phase.join("30-no-shebang"), "echo \"${0##*/}\"\n", 0o755)?;
    write(&phase.join("40-not-executable"), "#!/bin/bash\n", 0o644)?;
    fs::create_dir(phase.join("20-directory"))?;
    symlink("../install.d/5", phase.join("13-link"))?;
    symlink("nowhere", phase.join("50-dangling"))?;
    let order = [
        "-1-neg",
        "00-x",
        "A-b",
        "_x",
        "abc",
        "1e3-x",
        "5",
        "9-z",
        "010-q",
        "10-a",
        "10-b",
        "13-link",
        "16-x",
        "30-no-shebang",
        "099-c",
        "100-d",
    ];
    let ran = bash.says("$_LIB/dib-run-parts hooks/install.d 2>/dev/null")?;
    assert_eq!(ran.lines().collect::<Vec<_>>(), order);
    let listed = bash.says("$_LIB/dib-run-parts --list hooks/install.d")?;
    assert_eq!(
        listed.lines().map(|path| path.trim_start_matches("hooks/install.d/")).collect::<Vec<_>>(),
        order
    );
    let chosen = bash.says("RUN_PARTS_REGEX='^foo' $_LIB/dib-run-parts --list hooks/install.d")?;
    assert_eq!(chosen, "hooks/install.d/foo.sh\n");
    Ok(())
}

#[test]
fn environment_files_are_sourced_bytewise_by_name_whatever_their_mode() -> Result<()> {
    let bash = LibraryBash::new()?;
    let hooks = bash.dir.path().join("hooks");
    for name in ["9-b", "100-c", "10-a", "z.bash", "2.5-d", "q r"] {
        let text =
            format!("local own=1; unexported=1\nexport SEEN=\"${{SEEN:-}} {name}\"\nreturn 0\nfalse\n");
        write(&hooks.join("environment.d").join(name), &text, 0o644)?;
    }
    write(&hooks.join("root.d/10-show"), "#!/bin/bash\necho \"$SEEN, ${unexported:-}\"\n", 0o755)?;
    assert_eq!(
        bash.says("$_LIB/dib-run-parts hooks/root.d 2>/dev/null")?,
        " 10-a 100-c 2.5-d 9-b z.bash, \n"
    );
    Ok(())
}

#[test]
fn the_first_failure_ends_the_phase_with_its_status() -> Result<()> {
    let bash = LibraryBash::new()?;
    let hooks = bash.dir.path().join("hooks");
    write(&hooks.join("root.d/10-a"), "#!/bin/bash\necho a\n", 0o755)?;
    write(&hooks.join("root.d/20-b"), "#!/bin/bash\nexit 42\n", 0o755)?;
    write(&hooks.join("root.d/30-c"), "#!/bin/bash\necho c\n", 0o755)?;
    let ran = bash.command("$_LIB/dib-run-parts hooks/root.d").output()?;
    assert_eq!((ran.status.code(), String::from_utf8_lossy(&ran.stdout).as_ref()), (Some(42), "a\n"));
    assert_eq!(
        String::from_utf8_lossy(&ran.stderr),
        "dib-run-parts Running hooks/root.d/10-a\ndib-run-parts 10-a completed\n\
         dib-run-parts Running hooks/root.d/20-b\n"
    );
    for (text, status) in [("echo $UNSET_VARIABLE", 1), ("false", 1), ("exit 7", 7)] {
        write(&hooks.join("environment.d/10-a"), text, 0o644)?;
        let ran = bash.command("$_LIB/dib-run-parts hooks/root.d").output()?;
        assert_eq!((ran.status.code(), ran.stdout.len()), (Some(status), 0), "{text}");
    }
    assert_eq!(bash.command("$_LIB/dib-run-parts").output()?.status.code(), Some(1));
    assert_eq!(bash.command("$_LIB/dib-run-parts nowhere").output()?.status.code(), Some(1));
    Ok(())
}

#[test]
fn a_phase_ends_with_a_table_of_times() -> Result<()> {
    let bash = LibraryBash::new()?;
    write(&bash.dir.path().join("hooks/root.d/10-a"), "#!/bin/bash\n", 0o755)?;
    let table =
        bash.says("$_LIB/dib-run-parts hooks/root.d 2>&1 | sed 's/[0-9.]*$//; s/ *$//' | tail -n +3")?;
    let rule = "-".repeat(23);
    assert_eq!(
        table,
        format!(
            "dib-run-parts {rule} PROFILING {rule}\ndib-run-parts\ndib-run-parts Target: root.d\ndib-run-parts\n\
             dib-run-parts Script                                     Seconds\n\
             dib-run-parts ---------------------------------------  ----------\ndib-run-parts\n\
             dib-run-parts 10-a\ndib-run-parts\n\
             dib-run-parts --------------------- END PROFILING ---------------------\n"
        )
    );
    Ok(())
}
