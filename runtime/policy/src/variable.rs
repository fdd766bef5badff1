//! Names of environment variables: which exist, which are never handed out or set, what each reveals.
//!
//! Callers: [`crate::need`] and [`crate::requirement`].

use crate::glob::word_matches;

/// Never read and never set by an element: they steer loaders, shells and interpreters, or carry credentials' places.
const NEVER: [&str; 26] = [
    "LD_*",
    "DYLD_*",
    "BASH_*",
    "ENV",
    "IFS",
    "PATH",
    "CDPATH",
    "PYTHON*",
    "PERL*",
    "RUBY*",
    "NODE_*",
    "GIT_*",
    "SSH_*",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "PROMPT_COMMAND",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "HOSTALIASES",
    "RES_OPTIONS",
    "MALLOC_*",
    "GLIBC_*",
    "TERMINFO*",
    "DPKG_*",
];

/// Owned by the runtime or the login session: may be read, never set, because later hooks trust them.
const NEVER_SET: [&str; 13] = [
    "HOME",
    "SHELL",
    "USER",
    "LOGNAME",
    "SUDO_*",
    "TMPDIR",
    "TMP_*",
    "TARGET_ROOT",
    "IMAGE_*",
    "DIB_HOOKS*",
    "DIB_ENV*",
    "DIB_IMAGE_CACHE",
    "ELEMENTS_PATH",
];

/// Facts about the image that classic elements carry in variables: harmless to read.
const IMAGE_FACTS: [&str; 8] = [
    "ARCH",
    "DISTRO_NAME",
    "DISTRO_*",
    "IMAGE_NAME",
    "IMAGE_ELEMENT",
    "IMAGE_TYPES",
    "FS_TYPE",
    "ROOT_LABEL",
];

/// Why a variable may not be read, if so.
pub fn refuse_read(name: &str) -> Option<String> {
    matched(&NEVER, name).map(|rule| format!("variables `{rule}` are never given to elements"))
}

/// Why a variable may not be set, if so.
pub fn refuse_write(name: &str) -> Option<String> {
    matched(&NEVER, name)
        .or_else(|| matched(&NEVER_SET, name))
        .map(|rule| format!("variables `{rule}` are never set by elements"))
}

/// Whether this is a variable name at all.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && name.len() <= 128 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(())
    } else {
        Err(format!("`{}` is not a variable name", crate::subject::escape(name)))
    }
}

/// Whether this may stand in a need: a name, or a literal prefix of at least two characters and one `*` at the end.
pub(crate) fn check_pattern(value: &str) -> Result<(), String> {
    let name = value.strip_suffix('*').unwrap_or(value);
    if name.len() != value.len() && name.len() < 2 {
        return Err(format!(
            "`{value}` would cover everything; name the variables, or a prefix like `DIB_SSH_*`"
        ));
    }
    check_name(name)
}

/// Risk of reading what a need names: 2 a fact or one named `DIB_` variable, 3 a `DIB_` prefix, 4 anything else.
pub(crate) fn read_risk(value: &str) -> u8 {
    if matched(&IMAGE_FACTS, value).is_some() { 2 } else { dib_risk(value).unwrap_or(4) }
}

/// Risk of setting what a need names: 2 one named `DIB_` variable, 3 anything else that may be set at all.
pub(crate) fn write_risk(value: &str) -> u8 {
    dib_risk(value).unwrap_or(3)
}

fn dib_risk(value: &str) -> Option<u8> {
    value.starts_with("DIB_").then(|| if value.ends_with('*') { 3 } else { 2 })
}

fn matched(rules: &[&'static str], name: &str) -> Option<&'static str> {
    rules.iter().copied().find(|rule| word_matches(rule, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_never_given() {
        for name in [
            "LD_PRELOAD",
            "PATH",
            "BASH_ENV",
            "BASH_FUNC_x",
            "ENV",
            "IFS",
            "PYTHONPATH",
            "PERL5LIB",
            "GIT_DIR",
            "SSH_AUTH_SOCK",
        ] {
            assert!(refuse_read(name).is_some() && refuse_write(name).is_some(), "{name}");
        }
        for name in ["DIB_RELEASE", "ARCH", "PATHOLOGY", "LDAP", "HOME"] {
            assert_eq!(refuse_read(name), None, "{name}");
        }
        for name in ["HOME", "TARGET_ROOT", "TMP_HOOKS_PATH", "TMP_MOUNT_PATH"] {
            assert!(refuse_write(name).is_some(), "{name}");
        }
        assert_eq!(refuse_write("DIB_RELEASE"), None);
    }

    #[test]
    fn risks() {
        for (value, read, write) in [
            ("DIB_X", 2, 2),
            ("DIB_*", 3, 3),
            ("ARCH", 2, 3),
            ("DISTRO_NAME", 2, 3),
            ("AWS_SECRET_ACCESS_KEY", 4, 3),
        ] {
            assert_eq!((read_risk(value), write_risk(value)), (read, write), "{value}");
        }
    }

    #[test]
    fn patterns() {
        for value in ["DIB_X", "DIB_*", "ARCH"] {
            assert_eq!(check_pattern(value), Ok(()));
        }
        for value in ["*", "D*", "", "*X", "D?B", "1X", "A B", "A=B"] {
            assert!(check_pattern(value).is_err(), "{value}");
        }
    }
}
