//! Scripts: executable, bash by one name, stopping at the first error, traceable, indented by four.

use super::{Key, Subject};

/// The options that every bash script sets, by key: how the line begins, and what to write.
const OPTIONS: [(&str, &str); 2] = [("sete", "e"), ("setu", "u")];

pub(super) fn check(subject: &mut Subject<'_>) {
    let Some(shebang) = shebang(subject.text) else { return };
    if !subject.file.executable {
        let hint = format!("chmod +x {}", subject.file.path);
        subject.find(Key::Named("executable"), 1, "a script that is not executable", hint);
    }
    if is_python(subject.text) {
        return;
    }
    indent(subject);
    if shebang.contains("bash") && shebang != "#!/bin/bash" {
        subject.find(
            Key::Always,
            1,
            format!("`{shebang}`: bash scripts begin with `#!/bin/bash` alone"),
            "options belong in a `set` line, which also holds when the script is run as `bash SCRIPT`",
        );
    }
    if shebang.starts_with("#!/bin/bash") {
        bash_options(subject);
    }
}

/// The first line, when it names an interpreter.
fn shebang(text: &str) -> Option<&str> {
    // Not `lines()`: a carriage return before the newline is part of the name that the kernel looks for.
    text.split('\n').next().filter(|line| line.starts_with("#!"))
}

/// Whether the interpreter is a Python, by name or through env.
pub(super) fn is_python(text: &str) -> bool {
    let line = shebang(text).unwrap_or_default();
    let mut words = line.trim_start_matches("#!").split_whitespace();
    let base = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    let interpreter = words.next().map(base);
    let interpreter = match interpreter.as_deref() {
        Some("env") => words.find(|word| !word.starts_with('-')).map(base),
        _ => interpreter,
    };
    interpreter.is_some_and(|name| name.starts_with("python") || name == "dib-python")
}

fn indent(subject: &mut Subject<'_>) {
    for (number, line) in subject.lines() {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        if spaces < line.len() && spaces % 4 != 0 {
            let message = format!("indented by {spaces}, which is no multiple of 4");
            subject.find(Key::Named("indent"), number, message, "indent by 4 spaces");
        }
    }
}

fn bash_options(subject: &mut Subject<'_>) {
    let lines: Vec<&str> = subject.lines().map(|(_, line)| line).collect();
    for (key, letter) in OPTIONS {
        if !lines.iter().any(|line| sets(line, letter)) {
            let message = format!("no `set -{letter}` at the beginning of a line");
            subject.find(Key::Named(key), 0, message, format!("add the line `set -{letter}`"));
        }
    }
    if !lines.iter().any(|line| line.starts_with("set -o pipefail")) {
        let message = "no `set -o pipefail` at the beginning of a line";
        subject.find(Key::Named("setpipefail"), 0, message, "add the line `set -o pipefail`");
    }
    if !subject.text.contains("DIB_DEBUG_TRACE") {
        subject.find(
            Key::Named("dibdebugtrace"),
            0,
            "DIB_DEBUG_TRACE is not followed",
            "add the lines: if [ ${DIB_DEBUG_TRACE:-0} -gt 0 ]; then\n    set -x\nfi",
        );
    }
}

/// `set -LETTERS` at the beginning, with that letter among them.
fn sets(line: &str, letter: &str) -> bool {
    let letters = line.strip_prefix("set -").unwrap_or_default();
    let end = letters.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(letters.len());
    // `set -o NAME` names an option instead.
    letters[..end].contains(letter)
}
