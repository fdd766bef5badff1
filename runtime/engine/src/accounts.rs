//! Accounts of the target, made with its own shadow tools in its sandbox. Called for typed elements, after the policy has agreed.

use anyhow::{Context, Result, bail};

use crate::target::TargetFiles;

/// An account to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// For a service: no home, low number.
    pub system: bool,
    /// Number; none means the next free one.
    pub uid: Option<u32>,
    /// Login shell; empty means the distribution's default.
    pub shell: String,
    /// Home directory; empty means the distribution's default.
    pub home: String,
    /// GECOS.
    pub comment: String,
    /// Supplementary groups.
    pub groups: Vec<String>,
    /// crypt(3) hash; empty means a locked password.
    pub password_hash: String,
}

/// Runs a program of the target in its sandbox.
pub type Run<'a> = dyn FnMut(&[&str]) -> Result<()> + 'a;

/// Creates the account or changes it to match.
///
/// # Errors
/// When a tool of the target fails.
pub fn add(account: &Account, files: &TargetFiles, run: &mut Run<'_>) -> Result<()> {
    let exists = entry(files, &account.name)?.is_some();
    let uid = account.uid.map(|uid| uid.to_string());
    let groups = account.groups.join(",");
    let mut argv = vec![if exists { "usermod" } else { "useradd" }];
    for (option, value) in [
        ("--shell", account.shell.as_str()),
        (if exists { "--home" } else { "--home-dir" }, &account.home),
        ("--comment", &account.comment),
        ("--uid", uid.as_deref().unwrap_or_default()),
        ("--groups", &groups),
        ("--password", &account.password_hash),
    ] {
        if !value.is_empty() {
            argv.extend([option, value]);
        }
    }
    match (exists, account.system) {
        (true, _) if !groups.is_empty() => argv.push("--append"),
        (true, _) => {}
        (false, true) => argv.push("--system"),
        // bash where there is one: a login with dash is nobody's wish
        (false, false) => {
            argv.extend(["--create-home", "--user-group"]);
            if account.shell.is_empty() && files.exists("/bin/bash")? {
                argv.extend(["--shell", "/bin/bash"]);
            }
        }
    }
    argv.push(&account.name);
    if exists && argv.len() == 2 {
        return Ok(());
    }
    run(&argv)
}

/// Creates the group if it is missing.
///
/// # Errors
/// When a tool of the target fails.
pub fn add_group(name: &str, system: bool, files: &TargetFiles, run: &mut Run<'_>) -> Result<()> {
    let known = files.read_text("/etc/group").unwrap_or_default();
    if known.lines().any(|line| line.split(':').next() == Some(name)) {
        return Ok(());
    }
    match system {
        true => run(&["groupadd", "--system", name]),
        false => run(&["groupadd", name]),
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
pub fn grant_sudo(name: &str, passwordless: bool, files: &TargetFiles) -> Result<()> {
    let tag = if passwordless { "NOPASSWD: " } else { "" };
    files.write(&format!("/etc/sudoers.d/{name}"), format!("{name} ALL=(ALL:ALL) {tag}ALL\n").as_bytes(), 0o440)
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
        let account = |name: &str| Account { name: name.into(), groups: vec!["adm".into()], ..Account::default() };
        let mut ran = Vec::new();
        let mut run = |argv: &[&str]| {
            ran.push(argv.join(" "));
            Ok(())
        };
        add(&account("ada"), &files, &mut run).unwrap();
        add(&account("bob"), &files, &mut run).unwrap();
        assert_eq!(ran, ["usermod --groups adm --append ada", "useradd --groups adm --create-home --user-group bob"]);
    }

    #[test]
    fn keys_need_an_account() {
        let (_directory, files) = target("root:x:0:0::/root:/bin/bash\n");
        let error = set_authorized_keys("eve", &[], &files).unwrap_err();
        assert_eq!(error.to_string(), "there is no account eve");
    }
}
