//! `users`: accounts of the target.

use dibw_policy::Operation;

use crate::bindings::dibw::element::types::Error;
use crate::bindings::dibw::element::users::{Account as WitAccount, Host};
use crate::gate::{Answer, Halt, State};
use crate::lent::{Account, GroupKind, Sudo};

impl Host for State {
    fn add(&mut self, account: WitAccount) -> Answer<()> {
        self.answer(|state| {
            let (name, uid, groups) = (account.name.clone(), account.uid, account.groups.clone());
            state.permit(&Operation::AddUser { name, uid, groups })?;
            // These land in a line of /etc/passwd or /etc/shadow.
            for (what, text) in [
                ("shell", &account.shell),
                ("home", &account.home),
                ("comment", &account.comment),
                ("password hash", &account.password_hash),
            ] {
                check_field(what, text)?;
            }
            Ok(state.lent.add_user(&Account {
                name: account.name,
                system: account.system,
                uid: account.uid,
                shell: account.shell,
                home: account.home,
                comment: account.comment,
                groups: account.groups,
                password_hash: account.password_hash,
            })?)
        })
    }

    fn add_group(&mut self, name: String, system: bool) -> Answer<()> {
        self.answer(|state| {
            state.permit(&Operation::AddGroup { name: name.clone() })?;
            let kind = if system { GroupKind::System } else { GroupKind::Regular };
            Ok(state.lent.add_group(&name, kind)?)
        })
    }

    fn set_authorized_keys(&mut self, name: String, keys: Vec<String>) -> Answer<()> {
        self.answer(|state| {
            state.permit(&Operation::SetAuthorizedKeys { name: name.clone() })?;
            if let Some(key) = keys.iter().find(|key| key.contains(['\n', '\r', '\0'])) {
                let shown = dibw_policy::subject::escape(key);
                return Err(Halt::Guest(Error::Invalid(format!("`{shown}` is more than one line"))));
            }
            Ok(state.lent.set_authorized_keys(&name, &keys)?)
        })
    }

    fn grant_sudo(&mut self, name: String, passwordless: bool) -> Answer<()> {
        self.answer(|state| {
            state.permit(&Operation::GrantSudo { name: name.clone() })?;
            let sudo = if passwordless { Sudo::Passwordless } else { Sudo::WithPassword };
            Ok(state.lent.grant_sudo(&name, sudo)?)
        })
    }
}

fn check_field(what: &str, text: &str) -> Result<(), Halt> {
    if text.contains(':') || text.chars().any(char::is_control) {
        let shown = dibw_policy::subject::escape(text);
        return Err(Halt::Guest(Error::Invalid(format!(
            "{what} `{shown}` contains `:` or control characters"
        ))));
    }
    Ok(())
}
