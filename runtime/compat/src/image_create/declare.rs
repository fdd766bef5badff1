//! Variables as bash's `declare -p` writes them, for `DIB_ENV`. Facts: compat/CONTRACT.md section 1.1 and bash(1).

/// One line of an exported variable: `declare -x NAME="value"`.
pub(super) fn line(name: &str, value: &str) -> String {
    format!("declare -x {name}={}", quoted(value))
}

/// Double quotes, unless there is something that only `$'...'` can write.
fn quoted(value: &str) -> String {
    if value.chars().any(|c| c.is_ascii_control()) {
        return ansi(value);
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '$' | '\\' | '`') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

fn ansi(value: &str) -> String {
    let mut text = String::from("$'");
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            '\u{1b}' => text.push_str("\\E"),
            '\'' | '\\' => text.extend(['\\', c]),
            c if c.is_ascii_control() => text.push_str(&format!("\\{:03o}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_bash_writes_them() {
        // bash -c 'declare -x DIB_A=$1; declare -p DIB_A' - VALUE
        for (value, text) in [
            ("x", "declare -x DIB_A=\"x\""),
            ("a \"b\" $c `d` \\e 'f'", "declare -x DIB_A=\"a \\\"b\\\" \\$c \\`d\\` \\\\e 'f'\""),
            ("a\nb'c", "declare -x DIB_A=$'a\\nb\\'c'"),
            ("", "declare -x DIB_A=\"\""),
        ] {
            assert_eq!(line("DIB_A", value), text);
        }
    }
}
