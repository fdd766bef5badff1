//! `dibw key`, `dibw sign` and `dibw verify` as a user sees them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dibw_tests::dibw::Dibw;

/// A `dibw` in whose directory there are two keys, an element and a policy.
fn prepared() -> Dibw {
    let dibw = Dibw::new();
    fs::write(dibw.dir().join("element.wasm"), b"\0asm").unwrap();
    fs::write(dibw.dir().join("prod.yaml"), "api: dibw/policy/v1\n").unwrap();
    dibw
}

/// Runs one command in the directory of `dibw`: exit code, stdout, stderr.
fn run(dibw: &Dibw, command: &str) -> (i32, String, String) {
    let ran = std::process::Command::new(dibw_tests::dibw::program())
        .args(command.split(' '))
        .current_dir(dibw.dir())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ran.status.code().unwrap(), text(ran.stdout), text(ran.stderr))
}

#[test]
fn keys_are_made_private_and_shown() {
    let dibw = prepared();
    let (code, out, err) = run(&dibw, "key new team");
    assert_eq!((code, err.as_str()), (0, ""));
    let name = out.lines().next().unwrap().to_owned();
    assert_eq!(out, format!("{name}\nprivate  team\npublic   team.pub\n"));
    assert_eq!(fs::metadata(dibw.dir().join("team")).unwrap().permissions().mode() & 0o777, 0o600);
    for file in ["team", "team.pub"] {
        let (code, out, _) = run(&dibw, &format!("key show {file}"));
        assert!(code == 0 && out.starts_with(&format!("{name}\n-----BEGIN PUBLIC KEY-----\n")), "{out}");
        assert!(!out.contains("PRIVATE"));
    }
    // A key is never overwritten, and two are never the same.
    let (code, _, err) = run(&dibw, "key new team");
    assert!(code == 1 && err.contains("team exists already, and a key is never overwritten"), "{err}");
    assert_ne!(run(&dibw, "key new other").1.lines().next(), Some(name.as_str()));
}

#[test]
fn what_is_signed_verifies_until_it_changes() {
    let dibw = prepared();
    run(&dibw, "key new one");
    run(&dibw, "key new two");
    let (code, out, err) = run(&dibw, "sign --key one element.wasm prod.yaml");
    assert_eq!((code, err.as_str(), out.lines().count()), (0, "", 2));
    assert!(out.starts_with("element.wasm: signed as element by key "), "{out}");
    let (code, out, _) = run(&dibw, "verify --key one.pub element.wasm prod.yaml");
    assert!(code == 0 && out.contains("prod.yaml: policy signed by key "), "{out}");
    // A second signer beside the first; signing twice is still one signer.
    let (code, _, err) = run(&dibw, "verify --key one.pub --key two.pub --signers 2 element.wasm");
    assert!(code == 3 && err.contains("signed by 1 trusted signer(s), 2 needed"), "{err}");
    run(&dibw, "sign --key one element.wasm");
    assert_eq!(run(&dibw, "verify --key one.pub --key one.pub --signers 2 element.wasm").0, 3);
    run(&dibw, "sign --key two element.wasm");
    assert_eq!(run(&dibw, "verify --key one.pub --key two.pub --signers 2 element.wasm").0, 0);
    // The wrong kind, the wrong key, the wrong bytes.
    let (code, _, err) = run(&dibw, "verify --key one.pub --as policy element.wasm");
    assert!(code == 3 && err.contains("signed it as element, which does not count as policy"), "{err}");
    let (code, _, err) = run(&dibw, "verify --key two.pub prod.yaml");
    assert!(code == 3 && err.contains("which is not trusted"), "{err}");
    fs::write(dibw.dir().join("element.wasm"), b"\0asn").unwrap();
    let (code, out, err) = run(&dibw, "verify --key one.pub element.wasm prod.yaml");
    assert!(code == 3 && err.contains("but this is sha256:"), "{err}");
    assert!(out.contains("prod.yaml: policy signed by"), "the good one is told as well: {out}");
}

#[test]
fn mistakes_are_told_with_the_way_out() {
    let dibw = prepared();
    run(&dibw, "key new team");
    fs::write(dibw.dir().join("notes"), "x").unwrap();
    fs::write(dibw.dir().join("broken.wasm"), "x").unwrap();
    fs::write(dibw.dir().join("broken.wasm.sig"), "{}").unwrap();
    for (command, code, said) in [
        ("sign --key team notes", 2, "--as element, or --as policy"),
        ("sign --key team --as poem notes", 2, "`element` or `policy`"),
        ("sign --key missing element.wasm", 2, "read missing: No such file"),
        ("sign --key team missing.wasm", 2, "read missing.wasm: No such file"),
        ("sign --key team.pub element.wasm", 2, "this is a public key"),
        ("sign --key team broken.wasm", 2, "broken.wasm.sig: not a signature file of dibw"),
        ("verify --key team element.wasm", 2, "this is a private key"),
        ("verify --key team.pub element.wasm", 3, "dibw sign --key FILE element.wasm"),
        ("verify element.wasm", 2, "--key"),
    ] {
        let (got, _, err) = run(&dibw, command);
        assert_eq!(got, code, "{command}: {err}");
        assert!(err.contains(said), "{command}: {err}");
    }
    fs::set_permissions(dibw.dir().join("team"), fs::Permissions::from_mode(0o640)).unwrap();
    for command in ["sign --key team element.wasm", "key show team"] {
        let (code, _, err) = run(&dibw, command);
        assert!(code == 2 && err.contains("others may read this private key (mode 640)"), "{err}");
        assert!(err.contains("chmod 600 team"), "{err}");
    }
}
