//! The element `serial-console`: kernel messages and a login on the serial port.

use dibw_sdk::prelude::*;

/// What the classic element `bootloader` puts on the kernel's command line as `console=`.
const VARIABLE: &str = "DIB_BOOTLOADER_SERIAL_CONSOLE";

/// A login on the serial port.
#[derive(Config)]
struct SerialConsole {
    /// Port and speed as the kernel takes them; left out, `ttyS0,115200`, on arm64 `ttyAMA0,115200`.
    #[config(env = "DIB_BOOTLOADER_SERIAL_CONSOLE")]
    console: Option<String>,
}

#[hooks]
impl Element for SerialConsole {
    fn pre_install(&self, cx: &Cx) -> Result {
        cx.set_variable(VARIABLE, self.console(cx)?)
    }

    fn post_install(&self, cx: &Cx) -> Result {
        let console = self.console(cx)?;
        let port = console.split(',').next().unwrap_or_default();
        cx.enable(format!("serial-getty@{port}.service"))
    }
}

element!(
    SerialConsole,
    needs! {
        enable "serial-getty@*.service";
        set_variable "DIB_BOOTLOADER_SERIAL_CONSOLE";
    }
);

impl SerialConsole {
    fn console(&self, cx: &Cx) -> Result<String> {
        match &self.console {
            None if cx.arch() == "arm64" => Ok("ttyAMA0,115200".to_owned()),
            None => Ok("ttyS0,115200".to_owned()),
            Some(console) if is_console(console) => Ok(console.clone()),
            Some(console) => Err(Error::invalid(format!(
                "console: `{console}` is not a port and speed, as `ttyS0,115200` is"
            ))),
        }
    }
}

/// `<port>[,<speed>[<parity>[<bits>[<flow>]]]]`: <https://docs.kernel.org/admin-guide/serial-console.html>
fn is_console(console: &str) -> bool {
    let (port, options) = console.split_once(',').unwrap_or((console, "9600"));
    let speed_end = options.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(options.len());
    let rest = &options[speed_end..];
    (port.starts_with("tty") || port.starts_with("hvc") || port.starts_with("sclp"))
        && port.chars().all(|letter| letter.is_ascii_alphanumeric())
        && speed_end > 0
        && (rest.is_empty() || rest.starts_with(['n', 'o', 'e']))
        && rest.chars().all(|letter| letter.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dibw_sdk_testing::{Mock, Unit};

    #[test]
    fn tells_the_boot_loader_and_opens_a_login() {
        let cases = [
            ("{}", "amd64", "ttyS0,115200", "ttyS0"),
            ("{}", "arm64", "ttyAMA0,115200", "ttyAMA0"),
            (r#"{"console": "ttyS1,9600n8r"}"#, "amd64", "ttyS1,9600n8r", "ttyS1"),
            (r#"{"console": "hvc0"}"#, "amd64", "hvc0", "hvc0"),
        ];
        for (config, arch, console, port) in cases {
            let mock = Mock::strict(SerialConsole::MANIFEST).fact("arch", arch);
            mock.run_all::<SerialConsole>(config).unwrap();
            assert_eq!(mock.variable_now(VARIABLE).as_deref(), Some(console), "{config}");
            assert_eq!(mock.unit(&format!("serial-getty@{port}.service")), Some(Unit::Enabled), "{config}");
            mock.assert_all_used();
        }
    }

    #[test]
    fn what_is_no_console_is_refused() {
        for console in ["", "sda", "ttyS0,", "ttyS0,fast", "ttyS0,115200 init=/bin/sh", "tty/../S0"] {
            let mock = Mock::strict(SerialConsole::MANIFEST);
            let config = format!("{{\"console\": {console:?}}}");
            let expected = format!("console: `{console}` is not a port and speed, as `ttyS0,115200` is");
            assert_eq!(mock.run_all::<SerialConsole>(&config), Err(Error::invalid(expected)));
        }
    }
}
