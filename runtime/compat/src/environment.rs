//! Variables of a phase. `environment.d` is evaluated once per phase by bash, in a sandbox without network, and comes back as data;
//! nothing it prints is ever evaluated. Semantics: compat/CONTRACT.md section 1.4.
//! Must not know how bash is started. Called by the engine.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dibw_plan::rules::Rules;
use dibw_policy::confinement::Cage;
use dibw_policy::glob::word_matches;

/// Exported variables (and functions, as bash passes them: `BASH_FUNC_name%%`).
pub type Variables = BTreeMap<String, String>;

/// Sources the files named after `$1` from the directory `$1`, inside a function and with the options elements are used to, then writes
/// the environment, NUL-separated and in base64, to standard output. Whatever the files print goes to standard error.
pub const SCRIPT: &str = r#"exec 3>&1 1>&2
dir=$1; shift
evaluate() {
    set -ue -o pipefail
    local dibw_file
    for dibw_file in "$@"; do
        dibw_current=$dibw_file
        echo "dib-run-parts Sourcing environment file $dir/$dibw_file"
        . "$dir/$dibw_file"
    done
}
trap '[ -z "${dibw_current:-}" ] || echo "environment.d/$dibw_current failed"' EXIT
evaluate "$@"
dibw_current=
set +ue
env -0 | base64 -w0 >&3"#;

/// The argument vector that evaluates `files` of `directory`.
pub fn command(directory: &str, files: &[String]) -> Vec<String> {
    let fixed = ["bash", "-c", SCRIPT, "environment.d", directory].map(String::from);
    fixed.into_iter().chain(files.iter().cloned()).collect()
}

/// Reads what [`SCRIPT`] wrote.
///
/// # Errors
/// When the text is not what the script writes, in one sentence.
pub fn parse(base64: &str) -> Result<Variables, String> {
    // Long output arrives in several lines.
    let joined: String = base64.split_whitespace().collect();
    let bytes =
        STANDARD.decode(joined).map_err(|error| format!("environment.d gave no readable result: {error}"))?;
    let mut variables = Variables::new();
    for entry in bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let text = String::from_utf8_lossy(entry);
        let Some((name, value)) = text.split_once('=') else {
            return Err(format!("environment.d gave {text:?}"));
        };
        if !is_shell_own(name) {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(variables)
}

/// What of the exported variables the policy lets through: others keep the value that they had, if any.
pub fn admitted(rules: &Rules, before: &Variables, exported: Variables) -> Variables {
    let is_new_function = |name: &str| name.starts_with("BASH_FUNC_") && !before.contains_key(name);
    let passes = |name: &str| match is_new_function(name) {
        true => !rules.drop_functions,
        false => rules.exports.iter().all(|globs| globs.iter().any(|glob| word_matches(glob, name))),
    };
    let mut all = exported;
    all.retain(|name, _| passes(name));
    for (name, value) in before.iter().filter(|(name, _)| !passes(name)) {
        all.entry(name.clone()).or_insert_with(|| value.clone());
    }
    all
}

/// Variables of the runtime itself, which every hook has: without them none works.
const OF_THE_RUNTIME: [&str; 25] = [
    "ARCH",
    "BASH_FUNC_*",
    "DIBW_*",
    "DIB_HOOKS*",
    "DIB_IMAGE_CACHE",
    "DIB_LOCKFILES",
    "DIB_PYTHON*",
    "DIB_RELEASE",
    "DISTRO_NAME",
    "FS_TYPE",
    "HOME",
    "IMAGE_*",
    "LC_ALL",
    "LOGNAME",
    "OUT_IMAGE_PATH",
    "PATH",
    "ROOT_*",
    "SHELL",
    "SOURCE_DATE_EPOCH",
    "SUDO_*",
    "SYSTEMD_OFFLINE",
    "TARGET_ROOT",
    "TMP_*",
    "USER",
    "_LIB",
];

/// What a hook sees of the variables of its phase.
pub fn seen_in(cage: Option<&Cage>, mut variables: Variables) -> Variables {
    if let Some(named) = cage.and_then(|cage| cage.env.as_ref()) {
        let of_runtime = |name: &str| OF_THE_RUNTIME.iter().any(|glob| word_matches(glob, name));
        variables.retain(|name, _| of_runtime(name) || named.iter().any(|glob| word_matches(glob, name)));
    }
    variables
}

/// Where programs are, on every system.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What hooks in the target see of variables that are meant for hooks on the host: those that steer a shell, a loader or an interpreter,
/// or name a place that is only there, stay behind, as they do when sudo(8) starts something.
pub fn for_target(variables: &Variables, tools: &str) -> Variables {
    let mut seen: Variables = variables
        .iter()
        .filter(|(name, _)| !stays_behind(name))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    let fixed = [
        ("HOME", "/root"),
        ("LC_ALL", "C"),
        ("LOGNAME", "root"),
        ("PATH", &format!("{tools}:{PATH}")),
        ("SHELL", "/bin/bash"),
        ("SUDO_COMMAND", "/usr/bin/dibw"),
        ("SUDO_GID", "0"),
        ("SUDO_UID", "0"),
        ("SUDO_USER", "root"),
        // systemctl must change links and not look for a running systemd
        ("SYSTEMD_OFFLINE", "1"),
        ("USER", "root"),
    ];
    seen.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    seen
}

/// sudo's own list of bad variables (its `plugins/sudoers/env.c`), and what the classic chroot unsets.
fn stays_behind(name: &str) -> bool {
    const PREFIXES: [&str; 8] = ["BASH_FUNC_", "LD_", "_RLD", "PYTHON", "PERL", "RUBY", "LC_", "DIBW_"];
    const NAMES: [&str; 33] = [
        "BASHOPTS",
        "BASH_ENV",
        "CDPATH",
        "ENV",
        "FPATH",
        "GLOBIGNORE",
        "HOSTALIASES",
        "IFS",
        "JAVA_TOOL_OPTIONS",
        "KRB5_CONFIG",
        "KRB5_KTNAME",
        "LIBPATH",
        "LOCALDOMAIN",
        "NLSPATH",
        "NULLCMD",
        "OLDPWD",
        "PATH_LOCALE",
        "PS4",
        "PWD",
        "READNULLCMD",
        "RES_OPTIONS",
        "SHELLOPTS",
        "SHLIB_PATH",
        "SHLVL",
        "TERMCAP",
        "TERMINFO",
        "TERMINFO_DIRS",
        "TERMPATH",
        "TMPDIR",
        "TMPPREFIX",
        "VIRTUAL_ENV",
        "ZDOTDIR",
        "_",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A shell function as bash takes it from its environment: the variable and its value.
pub fn function(name: &str, body: &str) -> (String, String) {
    (format!("BASH_FUNC_{name}%%"), format!("() {{ {body}\n}}"))
}

/// What every bash sets for itself.
fn is_shell_own(name: &str) -> bool {
    matches!(name, "_" | "SHLVL" | "PWD" | "OLDPWD" | "dibw_current" | "dibw_file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_comes_back_as_data() {
        // printf 'A=1\0B=x=y\nz\0SHLVL=2\0' | base64 -w0
        let parsed = parse("QT0xAEI9eD15CnoAU0hMVkw9MgA=").unwrap();
        assert_eq!(parsed, [("A", "1"), ("B", "x=y\nz")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_what_the_policy_lets_out_is_exported() {
        let before = variables(&[("PATH", "/bin"), ("DIB_A", "1"), ("BASH_FUNC_die%%", "() { x; }")]);
        let exported = variables(&[
            ("PATH", "/evil"),
            ("DIB_A", "2"),
            ("DIB_B", "3"),
            ("LD_PRELOAD", "x"),
            ("BASH_FUNC_die%%", "() { x; }"),
            ("BASH_FUNC_ls%%", "() { evil; }"),
        ]);
        assert_eq!(admitted(&Rules::default(), &before, exported.clone())["PATH"], "/evil");
        let rules =
            Rules { exports: vec![vec!["DIB_*".to_owned()]], drop_functions: true, ..Rules::default() };
        let kept = [("BASH_FUNC_die%%", "() { x; }"), ("DIB_A", "2"), ("DIB_B", "3"), ("PATH", "/bin")];
        assert_eq!(admitted(&rules, &before, exported), variables(&kept));
    }

    #[test]
    fn a_cage_may_name_the_variables_that_are_seen() {
        let all = variables(&[("PATH", "/bin"), ("DIB_A", "1"), ("AWS_KEY", "k"), ("TMP_HOOKS_PATH", "/h")]);
        assert_eq!(seen_in(None, all.clone()), all);
        let cage = Cage {
            level: dibw_policy::Level::Strict,
            net: None,
            env: Some(vec!["DIB_A".to_owned()]),
            why: String::new(),
            file: String::new(),
            line: 0,
        };
        let seen = variables(&[("PATH", "/bin"), ("DIB_A", "1"), ("TMP_HOOKS_PATH", "/h")]);
        assert_eq!(seen_in(Some(&cage), all), seen);
    }

    #[test]
    fn other_text_is_refused() {
        assert!(parse("%%%").is_err());
    }
}
