//! Text from elements made safe to print: no terminal escapes, no spoofed order, no endless lines.
//!
//! Callers: denials, audit records, the host's log capability.

/// Longest subject shown, in bytes.
pub const LONGEST: usize = 200;

/// Escapes control, bidirectional and invisible characters and cuts after [`LONGEST`] bytes, saying how many there were.
pub fn escape(text: &str) -> String {
    let escaped = escape_controls(text);
    if escaped.len() <= LONGEST {
        return escaped;
    }
    let mut end = LONGEST;
    while !escaped.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}... ({} bytes)", &escaped[..end], text.len())
}

/// Escapes control, bidirectional and invisible characters; the length is kept.
pub fn escape_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if needs_escape(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

fn needs_escape(character: char) -> bool {
    character.is_control() // C0, DEL and C1
        || matches!(character,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' // zero width, and left/right marks
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, bidi embedding and override
            | '\u{2060}'..='\u{206f}' // word joiner, bidi isolates, deprecated controls
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}') // tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dangerous_characters_are_spelled_out() {
        for (text, expected) in [
            ("/etc/motd", "/etc/motd"),
            ("naïve 名", "naïve 名"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("x\ny\t\0", "x\\ny\\t\\u{0}"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ] {
            assert_eq!(escape(text), expected);
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let shown = escape(&"é".repeat(1000));
        assert_eq!(shown, format!("{}... (2000 bytes)", "é".repeat(100)));
    }
}
