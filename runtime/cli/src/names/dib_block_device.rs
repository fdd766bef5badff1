//! The command `dib-block-device`. Facts: compat/CONTRACT.md section 3.4.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dibw_engine::Failure;
use dibw_engine::block_device::BlockDevice;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Make the block device of an image, ask about it, take it apart
#[derive(Parser)]
#[command(name = "dib-block-device", disable_help_subcommand = true)]
struct Arguments {
    /// YAML file of parameters
    #[arg(long, value_name = "FILE", env = "DIB_BLOCK_DEVICE_PARAMS_YAML", hide_env_values = true)]
    params: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read the configuration
    Init,
    /// Print a value
    Getval {
        /// root-label, root-fstype, boot-label, mount-points; once it is made: image-path, image-block-device, image-block-devices
        symbol: String,
    },
    /// Make the block device and mount its file systems
    Create,
    /// Unmount and detach; the image stays
    Umount,
    /// Forget a block device that is unmounted
    Cleanup,
    /// Unmount, detach and delete the image
    Delete,
    /// Write the fstab into the tree that is built
    Writefstab,
}

/// Runs it.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let name = OsString::from("dib-block-device");
    let arguments = match Arguments::try_parse_from([name].into_iter().chain(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    start_log();
    match act(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{}", failure.to_string().trim_start_matches("error: "));
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: &Arguments) -> Result<(), Failure> {
    tracing::info!("params [{}]", arguments.params.display());
    let device = BlockDevice::new(&arguments.params)?;
    match &arguments.command {
        Command::Init => device.init(sector_size()?),
        Command::Getval { symbol } => {
            println!("{}", device.value(symbol)?);
            Ok(())
        }
        Command::Create => device.create(),
        Command::Umount => device.umount(),
        Command::Cleanup => device.cleanup(),
        Command::Delete => device.delete(),
        Command::Writefstab => device.write_fstab(),
    }
}

/// `DIB_BLOCK_SIZE`, which beats what the configuration says.
fn sector_size() -> Result<Option<u32>, Failure> {
    let Some(text) = std::env::var("DIB_BLOCK_SIZE").ok().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let wrong =
        |_| Failure::new(format!("DIB_BLOCK_SIZE={text} is no size of a sector")).hint("use 512 or 4096");
    text.parse().map(Some).map_err(wrong)
}

/// Lines on standard error; with `DIB_DEBUG_TRACE` above 0 those about every command and mount too.
fn start_log() {
    let trace: u32 = std::env::var("DIB_DEBUG_TRACE").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let level = if trace > 0 { tracing::Level::DEBUG } else { tracing::Level::INFO };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(false);
    lines.event_format(Lines).init();
}

/// `LEVEL logger [-] message`.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "{} dib-block-device [-] ", event.metadata().level())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
