//! `dibw boot`: boots an image in QEMU and watches its serial console.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use dibw_engine::Failure;
use dibw_engine::events::printable;
use dibw_plan::{Fault, FaultKind};

use super::Outcome;

/// Boot an image in QEMU; with --expect, until a text appears on its serial console.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dibw boot server.qcow2                                  a console; Ctrl-A X ends it
  dibw boot server.qcow2 --expect 'login:'                for tests: exit 0 once it is there
  dibw boot server.qcow2 --uefi --expect 'login:' --timeout 300

The image is not changed: writes go to a temporary overlay.")]
pub struct Args {
    /// The image, raw or qcow2
    image: PathBuf,

    /// Wait for this text on the serial console, then stop
    #[arg(long, value_name = "TEXT")]
    expect: Option<String>,

    /// Print console lines that contain this text while waiting (repeatable)
    #[arg(long, value_name = "TEXT", requires = "expect")]
    show: Vec<String>,

    /// Boot with UEFI firmware (OVMF) in place of SeaBIOS
    #[arg(long)]
    uefi: bool,

    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,

    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,

    /// QEMU accelerator; `tcg` works everywhere, `kvm` is fast where it works
    #[arg(long, default_value = "tcg", value_parser = ["tcg", "kvm"])]
    accel: String,
}

/// UEFI firmware and its variables, where Debian and Ubuntu put them.
const OVMF: [(&str, &str); 2] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// How many lines of the console are shown when the text does not come.
const TAIL: usize = 20;

/// Boots; console lines go to standard error.
pub fn run(args: &Args) -> Outcome {
    let mut qemu = command(args)?;
    match &args.expect {
        None => {
            let status = qemu.status().with_context(|| format!("running {qemu:?}"))?;
            if status.success() {
                Ok(())
            } else {
                Err(Failure::new(format!("QEMU ended with {status}")).into())
            }
        }
        Some(text) => expect(args, qemu, text),
    }
}

fn command(args: &Args) -> Result<Command, Fault> {
    let image = &args.image;
    let metadata = std::fs::metadata(image)
        .map_err(|error| Fault::new(FaultKind::Usage, format!("image {}: {error}", image.display())))?;
    if !metadata.is_file() {
        return Err(Fault::new(FaultKind::Usage, format!("image {} is not a file", image.display())));
    }
    if dibw_sys::probe::find_tool("qemu-system-x86_64").is_none() {
        return Err(Fault::new(FaultKind::Host, "qemu-system-x86_64 is missing")
            .hint("apt-get install qemu-system-x86"));
    }
    let mut qemu = Command::new("qemu-system-x86_64");
    let drive = format!(
        "file={},format={},if=none,id=disk,snapshot=on,cache=unsafe",
        escaped(image),
        format_of(image)
    );
    let machine = format!("q35,accel={}", args.accel);
    let memory = args.memory.to_string();
    qemu.args([
        "-machine",
        &machine,
        "-cpu",
        "max",
        "-m",
        &memory,
        "-smp",
        "2",
        "-nodefaults",
        "-no-user-config",
    ])
    .args(["-display", "none", "-serial", "mon:stdio", "-no-reboot"])
    .args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk,bootindex=0"])
    .args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"])
    // without it a first boot can wait long for entropy
    .args(["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"]);
    if args.uefi {
        let (code, variables) =
            OVMF.into_iter().find(|(code, _)| Path::new(code).exists()).ok_or_else(|| {
                Fault::new(FaultKind::Host, "UEFI firmware is missing").hint("apt-get install ovmf")
            })?;
        qemu.args(["-drive", &format!("if=pflash,unit=0,format=raw,readonly=on,file={code}")])
            .args(["-drive", &format!("if=pflash,unit=1,format=raw,snapshot=on,file={variables}")]);
    }
    Ok(qemu)
}

/// QEMU takes a comma in a file name doubled.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// By its first bytes, never guessed by QEMU.
fn format_of(image: &Path) -> &'static str {
    let mut magic = [0; 4];
    let read = std::fs::File::open(image).and_then(|mut file| file.read_exact(&mut magic));
    if read.is_ok() && magic == *b"QFI\xfb" { "qcow2" } else { "raw" }
}

fn expect(args: &Args, mut qemu: Command, text: &str) -> Outcome {
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = qemu.spawn().with_context(|| format!("starting {qemu:?}"))?;
    let console = child.stdout.take().expect("standard output was piped");
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || read_console(console, &sender));
    let seen = watch(args, &lines, text);
    stop(&mut child)?;
    if reader.join().is_err() {
        return Err(Failure::new("reading the console failed").into());
    }
    seen.map_err(Into::into)
}

fn stop(child: &mut Child) -> anyhow::Result<()> {
    // It may have ended by itself; then there is nothing to kill.
    if child.try_wait().context("waiting for QEMU")?.is_none() {
        child.kill().context("stopping QEMU")?;
        child.wait().context("waiting for QEMU")?;
    }
    Ok(())
}

/// Sends what the console says, line by line, and unfinished lines (a prompt has no end) as they grow.
fn read_console(console: impl Read, to: &Sender<String>) {
    let mut console = BufReader::new(console);
    let mut line = String::new();
    loop {
        let count = match console.fill_buf() {
            Ok([]) | Err(_) => return,
            Ok(bytes) => {
                line.push_str(&String::from_utf8_lossy(bytes));
                bytes.len()
            }
        };
        console.consume(count);
        while let Some(end) = line.find('\n') {
            let rest = line.split_off(end + 1);
            if to.send(std::mem::replace(&mut line, rest)).is_err() {
                return;
            }
        }
        if !line.is_empty() && to.send(line.clone()).is_err() {
            return;
        }
    }
}

fn watch(args: &Args, lines: &Receiver<String>, text: &str) -> Result<(), Failure> {
    let began = Instant::now();
    let limit = Duration::from_secs(args.timeout);
    let mut tail: Vec<String> = Vec::new();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        let problem = match lines.recv_timeout(left) {
            Ok(line) => {
                let shown = printable(line.trim_end());
                if line.ends_with('\n') {
                    if args.show.iter().any(|wanted| line.contains(wanted)) {
                        say(&shown);
                    }
                    tail.push(shown.clone());
                    tail.drain(..tail.len().saturating_sub(TAIL));
                }
                if line.contains(text) {
                    say(&shown);
                    say(&format!("seen after {:.0} s: {text}", began.elapsed().as_secs_f64()));
                    return Ok(());
                }
                continue;
            }
            Err(RecvTimeoutError::Timeout) => format!("`{text}` did not appear within {} s", args.timeout),
            Err(RecvTimeoutError::Disconnected) => format!("QEMU ended before `{text}` appeared"),
        };
        let failure = Failure { tail, ..Failure::new(format!("{}: {problem}", args.image.display())) };
        return Err(failure.hint("look at the console with: dibw boot IMAGE (without --expect)"));
    }
}

fn say(line: &str) {
    if let Err(error) = writeln!(std::io::stderr(), "{line}") {
        tracing::debug!("standard error: {error}");
    }
}
