use dibw_sdk::prelude::*;

/// The message of the day.
#[derive(Config)]
struct Motd {
    /// Shown at login.
    #[config(env = "DIB_MOTD")]
    text: String,
}

#[hooks]
impl Element for Motd {
    fn post_install(&self, cx: &Cx) -> Result {
        cx.write("/etc/motd", format!("{}\n", self.text))
    }
}

element!(Motd, needs! { write "/etc/motd" });
