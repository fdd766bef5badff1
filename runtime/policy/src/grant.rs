//! `--grant ELEMENT:CAPABILITY=VALUE`: what the person at the command line adds for one element.
//!
//! Callers: the command line parses, [`crate::effective`] uses.

use std::fmt;
use std::str::FromStr;

use crate::need::Need;

/// One grant from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The element that gets it.
    pub element: String,
    /// What it gets; only what the element also needs has an effect.
    pub need: Need,
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("`{text}` is not ELEMENT:CAPABILITY=VALUE, like `motd:host.env=SITE_NAME`");
        let (element, rest) = text.split_once(':').ok_or_else(shape)?;
        let (capability, value) = rest.split_once('=').ok_or_else(shape)?;
        if element.is_empty() || capability.is_empty() {
            return Err(shape());
        }
        Ok(Grant { element: element.to_owned(), need: Need::new(capability.parse()?, value)? })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}={}", self.element, self.need.capability(), self.need.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_print() {
        for text in
            ["motd:host.env=SITE_NAME", "x:target.exec=/bin/a --b=c", "ssh:service.set=enable ssh.service"]
        {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        for text in ["motd", "motd:host.env", ":host.env=X", "motd:=X", "motd:host.env=*", "motd:teleport=X"]
        {
            assert!(text.parse::<Grant>().is_err(), "{text}");
        }
    }
}
