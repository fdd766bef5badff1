//! What goes wrong at a distance: root's commands on the host that name no place of the build, `which`, an exit status that `export` hides,
//! files of `environment.d` that change the shell which reads them.

use super::{Key, Subject};

/// Directories whose scripts run on the host.
const HOST_SIDE: [&str; 5] = ["root.d", "extra-data.d", "block-device.d", "finalise.d", "cleanup.d"];

/// A command with sudo is safe when it names one of these.
const SAFE_WORDS: [&str; 5] =
    ["TARGET_ROOT", "IMAGE_BLOCK_DEVICE", "TMP_MOUNT_PATH", "TMP_IMAGE_PATH", "install-packages"];

pub(super) fn check(subject: &mut Subject<'_>) {
    environment(subject);
    exports(subject);
    let lines = subject.joined_lines();
    let on_the_host = HOST_SIDE.iter().any(|name| subject.directory().contains(name));
    for (number, line) in lines.iter().filter(|(_, line)| !line.trim_start().starts_with('#')) {
        if on_the_host && is_unsafe_sudo(line) {
            subject.find(
                Key::Named("safe_sudo"),
                *number,
                format!("sudo on the host, with no path of the build: `{}`", line.trim()),
                "name $TARGET_ROOT or $TMP_MOUNT_PATH, or end the line with `# dib-lint: safe_sudo`",
            );
        }
        if line.contains("which ") {
            let message = format!("use of which: `{}`", line.trim());
            subject.find(Key::Named("which"), *number, message, "use `type -p` or `command -v`");
        }
    }
}

fn is_unsafe_sudo(line: &str) -> bool {
    line.contains("sudo ")
        && !line.contains("dib-lint: safe_sudo")
        && !SAFE_WORDS.iter().any(|word| line.contains(word))
}

fn environment(subject: &mut Subject<'_>) {
    if !subject.directory().contains("environment.d/") {
        return;
    }
    if subject.file.executable {
        let hint = format!("chmod -x {}", subject.file.path);
        subject.find(Key::Always, 0, "files of environment.d are read, not run: not executable", hint);
    }
    for (number, line) in subject.lines() {
        if line.contains("set -x") {
            let message = "tracing is set in environment.d";
            subject.find(Key::Always, number, message, "remove it: all files there are traced already");
        }
    }
}

fn exports(subject: &mut Subject<'_>) {
    for (number, line) in subject.lines() {
        let after = line.split_once("export ").map(|(_, after)| after);
        if after.and_then(|after| after.split_once('=')).is_some_and(|(_, value)| value.contains("$(")) {
            let message = "export and $(...) in one line: a failure of the command is lost";
            subject.find(
                Key::Always,
                number,
                message,
                "assign first, then `export NAME` in a line of its own",
            );
        }
    }
}
