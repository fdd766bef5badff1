//! Text as words of a POSIX shell. Called by everything here that prints what a shell is to read.

/// The text as one word: as it is where a shell takes it literally, else in single quotes.
pub fn quote(text: &str) -> String {
    let literal = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(literal) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_what_a_shell_would_change_is_quoted() {
        for (text, expected) in [
            ("a-b_c.d/e:f,g=h@i%j+k", "a-b_c.d/e:f,g=h@i%j+k"),
            ("", "''"),
            ("b ar", "'b ar'"),
            ("$x", "'$x'"),
            ("a~b", "'a~b'"),
            ("é", "'é'"),
            ("it's", r#"'it'"'"'s'"#),
        ] {
            assert_eq!(super::quote(text), expected);
        }
    }
}
