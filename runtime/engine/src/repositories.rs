//! A repository of the site's catalogue as apt reads it: a deb822 file that names the key beside it, and nothing but that key.
//! Format: sources.list(5). Callers: [`crate::lent`].

use crate::offers::Repository;

/// The files of a repository: path and contents.
///
/// # Errors
/// A part that would not be what it says in such a file.
pub fn files(id: &str, repository: &Repository) -> Result<[(String, Vec<u8>); 2], String> {
    let words = [&repository.url].into_iter().chain(&repository.suites).chain(&repository.components);
    for word in words {
        if word.is_empty() || word.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("repository {id}: {word:?} is not one word"));
        }
    }
    if repository.suites.is_empty() || repository.key.is_empty() {
        return Err(format!("repository {id} has no suite or no key"));
    }
    let armoured = repository.key.starts_with(b"-----BEGIN PGP");
    let key = format!("/etc/apt/keyrings/dibw-{id}.{}", if armoured { "asc" } else { "gpg" });
    let mut text = format!(
        "# Written by dibw: a repository of the site's catalogue.\nTypes: deb\nURIs: {}\nSuites: {}\n",
        repository.url,
        repository.suites.join(" ")
    );
    if !repository.components.is_empty() {
        text.push_str(&format!("Components: {}\n", repository.components.join(" ")));
    }
    text.push_str(&format!("Signed-By: {key}\n"));
    Ok([
        (key, repository.key.clone()),
        (format!("/etc/apt/sources.list.d/dibw-{id}.sources"), text.into_bytes()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Repository {
        Repository {
            url: "https://apt.example/debian".to_owned(),
            suites: vec!["bookworm".to_owned()],
            components: vec!["main".to_owned(), "extra".to_owned()],
            key: b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n".to_vec(),
        }
    }

    #[test]
    fn the_source_names_its_key() {
        let [(key, _), (source, text)] = files("acme", &repository()).unwrap();
        assert_eq!(
            (key.as_str(), source.as_str()),
            ("/etc/apt/keyrings/dibw-acme.asc", "/etc/apt/sources.list.d/dibw-acme.sources")
        );
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "# Written by dibw: a repository of the site's catalogue.\nTypes: deb\nURIs: https://apt.example/debian\n\
             Suites: bookworm\nComponents: main extra\nSigned-By: /etc/apt/keyrings/dibw-acme.asc\n"
        );
    }

    #[test]
    fn no_part_can_bring_lines_of_its_own() {
        for wrong in [
            Repository { url: "https://a\nTrusted: yes".to_owned(), ..repository() },
            Repository { suites: vec!["a b".to_owned()], ..repository() },
            Repository { suites: Vec::new(), ..repository() },
            Repository { key: Vec::new(), ..repository() },
        ] {
            assert!(files("acme", &wrong).is_err(), "{wrong:?}");
        }
    }
}
