//! Names of container images, `[HOST[:PORT]/]PATH[:TAG]`, as container engines take them. Pure; the planner checks requests with it.
//!
//! Grammar: github.com/distribution/reference. A digest has no place in a name that is given to something new.

/// The longest tag.
const TAG_LENGTH: usize = 128;
/// The longest name without its tag.
const NAME_LENGTH: usize = 255;

/// The reference with its tag, which is `latest` where none is given.
///
/// # Errors
/// What is wrong with it, in words.
pub fn with_tag(text: &str) -> Result<String, String> {
    let (name, tag) = match text.rsplit_once(':') {
        // A colon before a slash is that of a port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (text, "latest"),
    };
    if text.contains('@') {
        return Err("a digest can't be chosen".to_owned());
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let tag_is_fine = tag.len() <= TAG_LENGTH
        && tag.starts_with(word)
        && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'));
    if !tag_is_fine {
        return Err(format!("`{tag}` is no tag"));
    }
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => (Some(first), rest),
        _ => (None, name),
    };
    if let Some(host) = host.filter(|host| !is_host(host)) {
        return Err(format!("`{host}` is no registry"));
    }
    if name.len() > NAME_LENGTH {
        return Err(format!("it is longer than {NAME_LENGTH} characters"));
    }
    match path.split('/').find(|part| !is_component(part)) {
        Some(part) if part.chars().any(char::is_uppercase) => Err(format!("`{part}` must be lower case")),
        Some(part) => Err(format!("`{part}` is no part of a name")),
        None => Ok(format!("{name}:{tag}")),
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, "0"), |(host, port)| (host, port));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    host.split('.').all(label) && port.parse::<u16>().is_ok()
}

/// Lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = text.split(plain).filter(|between| !between.is_empty());
    text.starts_with(plain)
        && text.ends_with(plain)
        && separators
            .into_iter()
            .all(|between| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        for (text, expected) in [
            ("server", Ok("server:latest")),
            ("server:1.2-x_y", Ok("server:1.2-x_y")),
            ("team/a__b.c---d:V1", Ok("team/a__b.c---d:V1")),
            ("localhost/server", Ok("localhost/server:latest")),
            ("registry.example.com:5000/team/server", Ok("registry.example.com:5000/team/server:latest")),
            ("Server", Err("`Server` must be lower case")),
            ("a..b", Err("`a..b` is no part of a name")),
            ("a//b", Err("`` is no part of a name")),
            ("", Err("`` is no part of a name")),
            ("a:", Err("`` is no tag")),
            ("a b", Err("`a b` is no part of a name")),
            ("a:-x", Err("`-x` is no tag")),
            ("-bad.example/a", Err("`-bad.example` is no registry")),
            ("a@sha256:00", Err("a digest can't be chosen")),
        ] {
            assert_eq!(with_tag(text), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
