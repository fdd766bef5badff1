//! The help of every command is a golden file, so that a change of it is seen; man pages and completions cover every command.

use dibw_tests::dibw::Dibw;
use dibw_tests::golden::golden;

/// Commands, and the name of their golden file and man page.
const COMMANDS: [(&[&str], &str); 41] = [
    (&[], "dibw"),
    (&["build"], "dibw-build"),
    (&["plan"], "dibw-plan"),
    (&["shell"], "dibw-shell"),
    (&["cache"], "dibw-cache"),
    (&["cache", "list"], "dibw-cache-list"),
    (&["cache", "prune"], "dibw-cache-prune"),
    (&["cache", "verify"], "dibw-cache-verify"),
    (&["cache", "why"], "dibw-cache-why"),
    (&["element"], "dibw-element"),
    (&["element", "list"], "dibw-element-list"),
    (&["element", "info"], "dibw-element-info"),
    (&["element", "deps"], "dibw-element-deps"),
    (&["element", "lint"], "dibw-element-lint"),
    (&["element", "audit"], "dibw-element-audit"),
    (&["element", "test"], "dibw-element-test"),
    (&["plugin"], "dibw-plugin"),
    (&["plugin", "new"], "dibw-plugin-new"),
    (&["plugin", "build"], "dibw-plugin-build"),
    (&["plugin", "pack"], "dibw-plugin-pack"),
    (&["plugin", "inspect"], "dibw-plugin-inspect"),
    (&["policy"], "dibw-policy"),
    (&["policy", "check"], "dibw-policy-check"),
    (&["policy", "explain"], "dibw-policy-explain"),
    (&["policy", "test"], "dibw-policy-test"),
    (&["policy", "suggest"], "dibw-policy-suggest"),
    (&["policy", "diff"], "dibw-policy-diff"),
    (&["policy", "init"], "dibw-policy-init"),
    (&["audit"], "dibw-audit"),
    (&["lock"], "dibw-lock"),
    (&["lock", "update"], "dibw-lock-update"),
    (&["lock", "check"], "dibw-lock-check"),
    (&["boot"], "dibw-boot"),
    (&["key"], "dibw-key"),
    (&["key", "new"], "dibw-key-new"),
    (&["key", "show"], "dibw-key-show"),
    (&["sign"], "dibw-sign"),
    (&["verify"], "dibw-verify"),
    (&["doctor"], "dibw-doctor"),
    (&["version"], "dibw-version"),
    (&["completions"], "dibw-completions"),
];

#[test]
fn help_of_every_command() {
    for (command, name) in COMMANDS {
        let ran = Dibw::new().args(command).args(["--help"]).succeed();
        assert_eq!(ran.stderr, "", "{command:?}");
        golden(&format!("cli/golden/{name}.txt"), &ran.stdout);
    }
}

#[test]
fn man_pages() {
    let dibw = Dibw::new().args(["man", "pages"]);
    let ran = dibw.succeed();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    for (_, name) in COMMANDS {
        let page = dibw.dir().join(format!("pages/{name}.1"));
        let text = std::fs::read_to_string(&page).unwrap_or_default();
        assert!(text.contains(".SH SYNOPSIS"), "{}", page.display());
    }
}

#[test]
fn completions() {
    for (shell, start) in [("bash", "_dibw() {"), ("zsh", "#compdef dibw"), ("fish", "# Print an optspec")] {
        let ran = Dibw::new().args(["completions", shell]).succeed();
        assert!(ran.stdout.starts_with(start), "{shell}: {}", &ran.stdout[..40]);
        assert!(ran.stdout.contains("image-extra-size"), "{shell}");
    }
    assert_eq!(Dibw::new().args(["completions", "tcsh"]).run().code, 2);
}
