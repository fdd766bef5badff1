//! The element `users`: accounts with groups, keys, passwords and sudo.

use dibw_sdk::prelude::*;

/// Accounts, ssh keys and sudo.
#[derive(Config)]
struct Users {
    /// Accounts to create, or to change when they exist.
    accounts: Vec<User>,
    /// One account in short: its name.
    #[config(env = "DIB_DEV_USER_USERNAME")]
    username: Option<String>,
    /// Groups of the one account.
    #[config(env = "DIB_DEV_USER_GROUPS")]
    groups: Vec<String>,
    /// Login shell of the one account.
    #[config(env = "DIB_DEV_USER_SHELL")]
    shell: Option<String>,
    /// Password of the one account, in the clear: the plan and the build's record show it. Prefer accounts with password-hash.
    #[config(env = "DIB_DEV_USER_PASSWORD")]
    password: Option<String>,
    /// Whether the one account may become root without a password.
    #[config(default = false, env = "DIB_DEV_USER_PWDLESS_SUDO")]
    passwordless_sudo: bool,
    /// Public keys that log in to the one account.
    authorized_keys: Vec<String>,
}

#[derive(ConfigValue)]
struct User {
    /// The account's name.
    name: String,
    /// Its numeric id.
    uid: Option<u32>,
    /// Full name or purpose.
    comment: Option<String>,
    /// Home directory; left out, /home/NAME.
    home: Option<String>,
    /// Login shell; left out, /bin/bash, for a system account /usr/sbin/nologin.
    shell: Option<String>,
    /// Groups beside its own; missing ones are created.
    groups: Vec<String>,
    /// Password as a crypt(3) hash, as `mkpasswd` prints it.
    password_hash: Option<String>,
    /// Password in the clear: the plan and the build's record show it.
    password: Option<String>,
    /// Public keys that log in.
    authorized_keys: Vec<String>,
    /// Whether it may become root.
    #[config(default = "no")]
    sudo: Sudo,
    /// An account for a daemon.
    #[config(default = false)]
    system: bool,
}

#[derive(ConfigValue, PartialEq)]
enum Sudo {
    No,
    Password,
    Passwordless,
}

#[hooks]
impl Element for Users {
    fn install(&self, cx: &Cx) -> Result {
        let sudo = self.passwordless_sudo || self.accounts.iter().any(|user| user.sudo != Sudo::No);
        if sudo { cx.packages(["sudo"]) } else { Ok(()) }
    }

    fn post_install(&self, cx: &Cx) -> Result {
        let short = self.short_account();
        let all: Vec<&User> = short.iter().chain(&self.accounts).collect();
        if all.is_empty() {
            return Err(Error::invalid("no account is named: give `accounts` or `username`"));
        }
        all.iter().try_for_each(|user| user.check())?;
        all.iter().try_for_each(|user| user.create(cx))
    }
}

// Which accounts and groups there will be is the configuration's to say; `dibw plan` shows it.
element!(
    Users,
    needs! {
        package "sudo";
        user "*";
        user_privileged "*";
        exec "/usr/sbin/chpasswd";
        privileged authorized_keys, sudoers;
    }
);

impl Users {
    fn short_account(&self) -> Option<User> {
        Some(User {
            name: self.username.clone()?,
            uid: None,
            comment: None,
            home: None,
            shell: self.shell.clone(),
            groups: self.groups.clone(),
            password_hash: None,
            password: self.password.clone(),
            authorized_keys: self.authorized_keys.clone(),
            sudo: if self.passwordless_sudo { Sudo::Passwordless } else { Sudo::No },
            system: false,
        })
    }
}

impl User {
    /// Everything is checked before the first account is made.
    fn check(&self) -> Result {
        let name = &self.name;
        let refuse = |what: &str| Err(Error::invalid(format!("account {name}: {what}")));
        let one_line =
            |text: &Option<String>| text.as_deref().is_none_or(|text| !text.chars().any(char::is_control));
        if self.password.is_some() && self.password_hash.is_some() {
            return refuse("give `password` or `password-hash`, not both");
        }
        if self.password.as_deref() == Some("") || !one_line(&self.password) {
            return refuse("a password is one line, not empty");
        }
        if self.password_hash.as_deref().is_some_and(|hash| !is_hash(hash)) {
            return refuse("`password-hash` is not a crypt(3) hash; `mkpasswd` makes one");
        }
        if self.shell.as_deref().is_some_and(|shell| !shell.starts_with('/')) {
            return refuse("`shell` is not an absolute path");
        }
        match self.authorized_keys.iter().find(|key| !is_key(key)) {
            Some(key) => refuse(&format!("`{key}` is not a public key")),
            None => Ok(()),
        }
    }

    fn create(&self, cx: &Cx) -> Result {
        for group in &self.groups {
            cx.add_system_group(group)?;
        }
        if !self.is_bare_root() {
            cx.add_user(self.account())?;
        }
        if let Some(password) = &self.password {
            cx.run_with_stdin(["/usr/sbin/chpasswd"], format!("{}:{password}\n", self.name))?;
        }
        if !self.authorized_keys.is_empty() {
            cx.authorized_keys(&self.name, self.authorized_keys.iter().map(|key| key.trim()))?;
        }
        match self.sudo {
            Sudo::No => Ok(()),
            Sudo::Password => cx.sudo(&self.name),
            Sudo::Passwordless => cx.passwordless_sudo(&self.name),
        }
    }

    /// root exists; it is only changed where the configuration says how.
    fn is_bare_root(&self) -> bool {
        self.name == "root" && self.password_hash.is_none() && self.shell.is_none() && self.groups.is_empty()
    }

    fn account(&self) -> Account {
        let account = if self.system { Account::system(&self.name) } else { Account::new(&self.name) };
        let shell =
            self.shell.as_deref().unwrap_or(if self.system { "/usr/sbin/nologin" } else { "/bin/bash" });
        let account = account
            .shell(shell)
            .groups(&self.groups)
            .home(self.home.clone().unwrap_or_default())
            .comment(self.comment.clone().unwrap_or_default())
            .password_hash(self.password_hash.clone().unwrap_or_default());
        match self.uid {
            Some(uid) => account.uid(uid),
            None => account,
        }
    }
}

/// crypt(5): `$id$...`, or 13 characters of the old kind; `*` and `!` lock. A colon would break /etc/shadow.
fn is_hash(hash: &str) -> bool {
    let plain = hash.chars().all(|letter| letter.is_ascii_graphic() && letter != ':');
    plain
        && (hash.starts_with('$') || hash.starts_with('_') || hash.len() == 13 || hash == "*" || hash == "!")
}

/// sshd(8), AUTHORIZED_KEYS FILE FORMAT: a kind and a base64 text, with options before them or not.
fn is_key(key: &str) -> bool {
    let known = |word: &&str| {
        ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"].iter().any(|kind| word.starts_with(kind))
    };
    let words: Vec<&str> = key.split_whitespace().collect();
    let kind = words.iter().position(known);
    !key.trim().contains('\n')
        && kind.is_some_and(|kind| words.get(kind + 1).is_some_and(|text| text.starts_with("AAAA")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dibw_sdk_testing::Mock;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI ann@home";

    #[test]
    fn makes_accounts() {
        let mock = Mock::strict(Users::MANIFEST);
        let config = format!(
            r#"{{"accounts": [
                {{"name": "ann", "uid": 1500, "comment": "Ann", "groups": ["adm", "backup"], "password-hash": "$y$j9T$x$y",
                  "authorized-keys": ["{KEY}"], "sudo": "passwordless"}},
                {{"name": "worker", "system": true, "home": "/var/lib/worker"}},
                {{"name": "root", "authorized-keys": ["{KEY}"], "password": "s3cret"}}
            ]}}"#
        );
        mock.run_all::<Users>(&config).unwrap();
        let ann = Account::new("ann").uid(1500).comment("Ann").groups(["adm", "backup"]).shell("/bin/bash");
        assert_eq!(mock.account("ann"), Some(ann.password_hash("$y$j9T$x$y")));
        let worker = Account::system("worker").home("/var/lib/worker").shell("/usr/sbin/nologin");
        assert_eq!(mock.account("worker"), Some(worker));
        assert_eq!(mock.account("root"), None, "root is there and is not changed");
        assert_eq!(mock.groups(), ["adm", "backup"]);
        assert_eq!(mock.keys("ann"), [KEY]);
        assert_eq!(mock.keys("root"), [KEY]);
        assert_eq!(mock.sudo("ann"), Some(true));
        assert_eq!(mock.sudo("worker"), None);
        assert_eq!(mock.packages(), ["sudo"]);
        assert_eq!(mock.commands(), [("/usr/sbin/chpasswd".to_owned(), "root:s3cret\n".to_owned())]);
        mock.assert_all_used();
    }

    #[test]
    fn one_account_in_short() {
        let mock = Mock::strict(Users::MANIFEST);
        let config =
            r#"{"username": "dev", "groups": ["docker"], "shell": "/bin/sh", "passwordless-sudo": true}"#;
        mock.run_all::<Users>(config).unwrap();
        assert_eq!(mock.account("dev"), Some(Account::new("dev").group("docker").shell("/bin/sh")));
        assert_eq!(mock.sudo("dev"), Some(true));
    }

    #[test]
    fn no_sudo_needs_no_package() {
        let mock = Mock::strict(Users::MANIFEST);
        mock.run_all::<Users>(r#"{"username": "dev"}"#).unwrap();
        assert_eq!(mock.packages(), [""; 0]);
        assert_eq!(mock.sudo("dev"), None);
    }

    #[test]
    fn mistakes_are_found_before_anything_is_made() {
        let good = r#"{"name": "good"}"#;
        let cases = [
            (r#"{}"#, "accounts[1].name: must be given"),
            (
                r#"{"name": "a", "sudo": "yes"}"#,
                "accounts[1].sudo: expected one of `no`, `password`, `passwordless`, found \"yes\"",
            ),
            (
                r#"{"name": "a", "uid": -1}"#,
                "accounts[1].uid: expected a whole number from 0 to 4294967295, found -1",
            ),
            (
                r#"{"name": "a", "keys": []}"#,
                "accounts[1]: unknown key `keys`; expected `name`, `uid`, `comment`, `home`, `shell`, `groups`, `password-hash`, `password`, `authorized-keys`, `sudo`, `system`",
            ),
            (
                r#"{"name": "a", "password": "x", "password-hash": "*"}"#,
                "account a: give `password` or `password-hash`, not both",
            ),
            (r#"{"name": "a", "password": "x\nroot:y"}"#, "account a: a password is one line, not empty"),
            (
                r#"{"name": "a", "password-hash": "secret"}"#,
                "account a: `password-hash` is not a crypt(3) hash; `mkpasswd` makes one",
            ),
            (r#"{"name": "a", "shell": "bash"}"#, "account a: `shell` is not an absolute path"),
            (
                r#"{"name": "a", "authorized-keys": ["/home/a/.ssh/id.pub"]}"#,
                "account a: `/home/a/.ssh/id.pub` is not a public key",
            ),
        ];
        for (user, expected) in cases {
            let mock = Mock::strict(Users::MANIFEST);
            let config = format!(r#"{{"accounts": [{good}, {user}]}}"#);
            assert_eq!(
                mock.run::<Users>(Phase::PostInstall, &config),
                Err(Error::invalid(expected)),
                "{user}"
            );
            assert_eq!(mock.account("good"), None, "{user}");
        }
        let none = Mock::strict(Users::MANIFEST).run::<Users>(Phase::PostInstall, "{}");
        assert_eq!(none, Err(Error::invalid("no account is named: give `accounts` or `username`")));
    }
}
