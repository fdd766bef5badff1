//! Accounts of the target, made with its own shadow tools in its sandbox. Called for typed elements, after the policy has agreed.

use anyhow::{Context, Result, bail};
use dibw_host::{Account, GroupKind, Sudo};

use crate::target::TargetFiles;

/// Runs a program of the target in its sandbox.
pub type Run<'a> = dyn FnMut(&[&str]) -> Result<()> + 'a;

/// What the target holds already. Found out first: its files are closed again before a tool of the target runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// There is such an entry.
    Yes,
    /// There is none.
    No,
}

/// Whether there is an account of that name.
///
/// # Errors
/// When /etc/passwd can't be read.
pub fn existing_account(name: &str, files: &TargetFiles) -> Result<Existing> {
    Ok(if entry(files, name)?.is_some() { Existing::Yes } else { Existing::No })
}

/// Whether there is a group of that name.
///
/// # Errors
/// When /etc/group can't be read.
pub fn existing_group(name: &str, files: &TargetFiles) -> Result<Existing> {
    let text = files.read_text("/etc/group").context("the target has no readable /etc/group")?;
    let known = text.lines().any(|line| line.split(':').next() == Some(name));
    Ok(if known { Existing::Yes } else { Existing::No })
}

/// Creates the account or changes it to match.
///
/// # Errors
/// When a tool of the target fails.
pub fn add(account: &Account, existing: Existing, run: &mut Run<'_>) -> Result<()> {
    let uid = account.uid.map(|uid| uid.to_string());
    let groups = account.groups.join(",");
    let (program, home) = match existing {
        Existing::Yes => ("usermod", "--home"),
        Existing::No => ("useradd", "--home-dir"),
    };
    let mut argv = vec![program];
    // useradd's own default is /bin/sh, and a login with that is nobody's wish
    let shell = match (existing, account.system, account.shell.as_str()) {
        (Existing::No, false, "") => "/bin/bash",
        (_, _, shell) => shell,
    };
    for (option, value) in [
        ("--shell", shell),
        (home, &account.home),
        ("--comment", &account.comment),
        ("--uid", uid.as_deref().unwrap_or_default()),
        ("--groups", &groups),
        ("--password", &account.password_hash),
    ] {
        if !value.is_empty() {
            argv.extend([option, value]);
        }
    }
    match (existing, account.system) {
        (Existing::Yes, _) if argv.len() == 1 => return Ok(()),
        (Existing::Yes, _) if !groups.is_empty() => argv.push("--append"),
        (Existing::Yes, _) => {}
        (Existing::No, true) => argv.push("--system"),
        (Existing::No, false) => argv.extend(["--create-home", "--user-group"]),
    }
    argv.push(&account.name);
    run(&argv)
}

/// Creates the group if it is missing.
///
/// # Errors
/// When a tool of the target fails.
pub fn add_group(name: &str, kind: GroupKind, existing: Existing, run: &mut Run<'_>) -> Result<()> {
    match (existing, kind) {
        (Existing::Yes, _) => Ok(()),
        (Existing::No, GroupKind::System) => run(&["groupadd", "--system", name]),
        (Existing::No, GroupKind::Regular) => run(&["groupadd", name]),
    }
}

/// Replaces `~/.ssh/authorized_keys`.
///
/// # Errors
/// When there is no such account or the file can't be written.
pub fn set_authorized_keys(name: &str, keys: &[String], files: &TargetFiles) -> Result<()> {
    let Some(Entry { uid, gid, home }) = entry(files, name)? else { bail!("there is no account {name}") };
    let directory = format!("{home}/.ssh");
    let path = format!("{directory}/authorized_keys");
    let text: String = keys.iter().map(|key| format!("{}\n", key.trim())).collect();
    files.make_dir(&directory, 0o700)?;
    files.write(&path, text.as_bytes(), 0o600)?;
    for path in [&directory, &path] {
        files.0.set_owner(path, uid, gid)?;
    }
    Ok(())
}

/// Gives the account sudo.
///
/// # Errors
/// When the file can't be written.
pub fn grant_sudo(name: &str, sudo: Sudo, files: &TargetFiles) -> Result<()> {
    let tag = match sudo {
        Sudo::Passwordless => "NOPASSWD: ",
        Sudo::WithPassword => "",
    };
    files.write(
        &format!("/etc/sudoers.d/{name}"),
        format!("{name} ALL=(ALL:ALL) {tag}ALL\n").as_bytes(),
        0o440,
    )
}

/// A line of the target's /etc/passwd, read as data.
struct Entry {
    uid: u32,
    gid: u32,
    home: String,
}

fn entry(files: &TargetFiles, name: &str) -> Result<Option<Entry>> {
    let text = files.read_text("/etc/passwd").context("the target has no readable /etc/passwd")?;
    let Some(line) = text.lines().find(|line| line.split(':').next() == Some(name)) else { return Ok(None) };
    let fields: Vec<&str> = line.split(':').collect();
    let [_, _, uid, gid, _, home, ..] = fields[..] else { bail!("/etc/passwd of the target: {line:?}") };
    let number = |text: &str| text.parse().with_context(|| format!("/etc/passwd of the target: {line:?}"));
    Ok(Some(Entry { uid: number(uid)?, gid: number(gid)?, home: home.trim_end_matches('/').to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(passwd: &str) -> (tempfile::TempDir, TargetFiles) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("etc")).unwrap();
        std::fs::write(directory.path().join("etc/passwd"), passwd).unwrap();
        let files = TargetFiles::open(directory.path()).unwrap();
        (directory, files)
    }

    #[test]
    fn a_new_account_is_added_and_an_old_one_changed() {
        let (_directory, files) = target("root:x:0:0::/root:/bin/bash\nada:x:1000:1000::/home/ada:/bin/sh\n");
        let account =
            |name: &str| Account { name: name.into(), groups: vec!["adm".into()], ..Account::default() };
        let mut ran = Vec::new();
        let mut run = |argv: &[&str]| {
            ran.push(argv.join(" "));
            Ok(())
        };
        for name in ["ada", "bob"] {
            add(&account(name), existing_account(name, &files).unwrap(), &mut run).unwrap();
        }
        let expected = [
            "usermod --groups adm --append ada",
            "useradd --shell /bin/bash --groups adm --create-home --user-group bob",
        ];
        assert_eq!(ran, expected);
    }

    #[test]
    fn without_a_hash_the_password_stays_as_it_is() {
        let mut ran = Vec::new();
        let mut run = |argv: &[&str]| {
            ran.push(argv.join(" "));
            Ok(())
        };
        let account =
            |hash: &str| Account { name: "ada".into(), password_hash: hash.into(), ..Account::default() };
        for hash in ["", "$y$j9T$x$y"] {
            add(&account(hash), Existing::Yes, &mut run).unwrap();
        }
        assert_eq!(ran, ["usermod --password $y$j9T$x$y ada"]);
    }

    #[test]
    fn keys_need_an_account() {
        let (_directory, files) = target("root:x:0:0::/root:/bin/bash\n");
        let error = set_authorized_keys("eve", &[], &files).unwrap_err();
        assert_eq!(error.to_string(), "there is no account eve");
    }
}
