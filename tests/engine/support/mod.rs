//! A machine that records what it is asked for, holds what it gave out, and fails or is interrupted where a test says; and a small image
//! to build on it: shell hooks at 10 and 30 around a component at 20, packages, two file systems, raw and tar outputs.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its fixture fails")]
#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Result, bail};
use dibw_engine::disks::{Disks, FileSystem, Volume};
use dibw_engine::downloads::{AllowHop, Downloads, Wanted};
use dibw_engine::machine::{Ending, HostTool, Inside, Machine, OnBytes, OnLine, Outside, Stream};
use dibw_engine::offers::Offers;
use dibw_engine::{Artifacts, Caller, Event, Events, Failure, Paths, run};
use dibw_host::LentError;
use dibw_plan::layout::{Geometry, Lvm};
use dibw_plan::{Plan, Request};
use dibw_policy::{Grant, Policy};

/// The machine of a test.
pub struct Double {
    work_dir: PathBuf,
    /// Every call, in order.
    pub calls: Vec<String>,
    /// What was taken, in order.
    pub taken: Vec<String>,
    /// What is held.
    pub held: Vec<String>,
    /// What was given back, in order.
    pub given_back: Vec<String>,
    /// The call that fails.
    pub fail_at: Option<usize>,
    /// The call after which the build is told to stop.
    pub interrupt_after: Option<usize>,
    /// A part of a command that fails with status 7 and many lines.
    pub breaks: Option<&'static str>,
    /// Whether giving back has something to complain about.
    pub complains: bool,
    /// How often everything was given back.
    pub releases: usize,
    /// What a program of the target writes to its standard output: a part of its command, and the text.
    pub prints: Option<(&'static str, &'static str)>,
    /// Hops of a download: URL and the addresses that it leads to.
    pub hops: Vec<(&'static str, Vec<IpAddr>)>,
    /// What a download gives.
    pub contents: &'static str,
    /// Header values that were sent.
    pub sent: Vec<String>,
    /// The last line of a command that fails.
    pub last_words: Option<&'static str>,
    /// What hooks on the host were told of packages that are wanted later; they fetch one when there is a name for its archive.
    pub told_ahead: Vec<(String, String)>,
    pub fetches: Option<&'static str>,
}

impl Double {
    fn new(work_dir: PathBuf) -> Self {
        let target = work_dir.join("target");
        for directory in ["etc", "tmp", "root", "usr/sbin"] {
            fs::create_dir_all(target.join(directory)).unwrap();
        }
        Self {
            work_dir,
            calls: Vec::new(),
            taken: Vec::new(),
            held: Vec::new(),
            given_back: Vec::new(),
            fail_at: None,
            interrupt_after: None,
            breaks: None,
            complains: false,
            releases: 0,
            prints: None,
            hops: Vec::new(),
            contents: "",
            sent: Vec::new(),
            last_words: None,
            told_ahead: Vec::new(),
            fetches: None,
        }
    }

    /// Puts a symbolic link into the target.
    pub fn plant_link(&self, path: &str, to: &str) {
        std::os::unix::fs::symlink(to, self.work_dir.join("target").join(path)).unwrap();
        fs::create_dir_all(self.work_dir.join("target/etc").join(to)).unwrap();
    }

    /// Puts an empty file into the target.
    pub fn plant_file(&self, path: &str) {
        let file = self.work_dir.join("target").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }

    fn call(&mut self, what: impl Into<String>) -> Result<()> {
        assert_eq!(self.releases, 0, "a call after everything was given back");
        let what = what.into().replace(&self.work_dir.display().to_string(), "[WORK]");
        let number = self.calls.len();
        self.calls.push(what.clone());
        if self.fail_at == Some(number) {
            bail!("injected at {number}: {what}");
        }
        Ok(())
    }

    fn take(&mut self, what: String) {
        self.taken.push(what.clone());
        self.held.push(what);
    }

    fn give_back(&mut self, what: &str) {
        let at = self.held.iter().rposition(|held| held == what).expect("what is given back was taken");
        self.given_back.push(self.held.remove(at));
    }

    fn ends(&self, argv: &[String], on_line: &mut dyn FnMut(&str)) -> Ending {
        match self.breaks {
            Some(part) if argv.iter().any(|word| word.contains(part)) => {
                (1..=30).for_each(|number| on_line(&format!("line {number}")));
                self.last_words.iter().for_each(|words| on_line(words));
                Ending::Exited(7)
            }
            _ => Ending::Exited(0),
        }
    }
}

/// Bytes of an archive that a hook fetches: more than any other file that the runtime writes to the target at once.
pub const ARCHIVE: usize = 17 << 20;

/// What environment.d comes to: printf 'DISTRO_NAME=debian\\0' | base64
const ENVIRONMENT: &str = "RElTVFJPX05BTUU9ZGViaWFuAA==";

fn is_environment(argv: &[String]) -> bool {
    argv.iter().any(|word| word.as_str() == "environment.d")
}

impl Machine for Double {
    fn begin_layer(&mut self, name: &str) -> Result<()> {
        self.call(format!("layer {name}"))
    }

    fn restart_layer(&mut self, name: &str) -> Result<()> {
        self.call(format!("layer {name}"))
    }

    fn target(&mut self) -> Result<PathBuf> {
        self.call("target")?;
        Ok(self.work_dir.join("target"))
    }

    fn inside(&mut self, command: &Inside, on_line: &mut OnLine<'_>) -> Result<Ending> {
        if is_environment(&command.argv) {
            self.call("inside environment.d")?;
            on_line(Stream::Stdout, ENVIRONMENT);
            return Ok(Ending::Exited(0));
        }
        self.call(format!("inside {}", command.argv.join(" ")))?;
        Ok(self.ends(&command.argv, &mut |line| on_line(Stream::Stderr, line)))
    }

    fn inside_exact(&mut self, command: &Inside, on_bytes: &mut OnBytes<'_>) -> Result<Ending> {
        let mounts = command.read_write.iter().map(|(from, to)| format!(" with {} at {to}", from.display()));
        self.call(format!("inside {}{}", command.argv.join(" "), mounts.collect::<String>()))?;
        if let Some((part, text)) = self.prints
            && command.argv.iter().any(|word| word.contains(part))
        {
            on_bytes(Stream::Stdout, text.as_bytes());
        }
        Ok(self.ends(&command.argv, &mut |line| on_bytes(Stream::Stderr, line.as_bytes())))
    }

    fn outside(&mut self, command: &Outside, on_line: &mut OnLine<'_>) -> Result<Ending> {
        if is_environment(&command.argv) {
            self.call("outside environment.d")?;
            on_line(Stream::Stdout, ENVIRONMENT);
            return Ok(Ending::Exited(0));
        }
        self.call(format!("outside {}", command.argv.join(" ")))?;
        if let Some(names) = command.env.get("DIBW_PACKAGES_AHEAD") {
            self.told_ahead.push((command.argv.join(" "), names.clone()));
            let directory = Path::new(&command.env["DIBW_PACKAGES_AHEAD_DIR"]);
            if let Some(name) = self.fetches {
                fs::write(directory.join(name), vec![b'x'; ARCHIVE]).unwrap();
                fs::write(directory.join("log"), "").unwrap();
                std::os::unix::fs::symlink("/etc/passwd", directory.join("link.deb")).unwrap();
            }
        }
        Ok(self.ends(&command.argv, &mut |line| on_line(Stream::Stderr, line)))
    }

    fn drop_hook_mounts(&mut self) -> Result<()> {
        Ok(())
    }

    fn captured(&self, _: &Path) -> PathBuf {
        self.work_dir.join("beside")
    }

    fn tool(&mut self, tool: &HostTool, on_line: &mut OnLine<'_>) -> Result<Ending> {
        self.call(format!("tool {}", tool.argv.join(" ")))?;
        Ok(self.ends(&tool.argv, &mut |line| on_line(Stream::Stderr, line)))
    }

    fn usage(&mut self) -> Result<u64> {
        self.call("usage")?;
        Ok(1 << 20)
    }

    fn move_target_to_disk(&mut self) -> Result<()> {
        self.call("move target")
    }

    fn tmpfs(&mut self, bytes: u64) -> Result<PathBuf> {
        self.call(format!("tmpfs {bytes}"))?;
        Ok(self.work_dir.join("memory"))
    }

    fn drop_tmpfs(&mut self) -> Result<()> {
        Ok(())
    }

    fn mounted_at(&self, mount_point: &str) -> Option<PathBuf> {
        let held = format!("mount {mount_point}");
        self.held
            .contains(&held)
            .then(|| self.work_dir.join("disk").join(mount_point.trim_start_matches('/')))
    }

    fn image(&mut self, name: &str) -> Result<File> {
        self.call(format!("open {name}"))?;
        Ok(File::open(self.work_dir.join(name))?)
    }

    fn release(&mut self) -> Vec<anyhow::Error> {
        self.releases += 1;
        while let Some(last) = self.held.pop() {
            self.given_back.push(last);
        }
        self.complains.then(|| anyhow::anyhow!("busy")).into_iter().collect()
    }

    fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    fn interrupted(&self) -> bool {
        self.interrupt_after.is_some_and(|after| self.calls.len() > after)
    }
}

impl Downloads for Double {
    fn download(&mut self, wanted: &Wanted<'_>, allow: &mut AllowHop<'_>) -> Result<File, LentError> {
        for (url, addresses) in self.hops.clone() {
            allow(url, &addresses).map_err(|reason| LentError::Io(format!("{url}: {reason}")))?;
            self.call(format!("connect {url}")).map_err(|error| LentError::Io(error.to_string()))?;
        }
        self.sent.extend(wanted.header.map(|header| format!("{}: {}", header.name, header.value)));
        let file = self.work_dir.join("download");
        fs::write(&file, self.contents).unwrap();
        Ok(File::open(file).unwrap())
    }
}

impl Disks for Double {
    fn create_image(&mut self, name: &str, bytes: u64, _: u32) -> Result<()> {
        self.call(format!("image {name}"))?;
        File::create(self.work_dir.join(name))?.set_len(bytes)?;
        self.take(format!("image {name}"));
        Ok(())
    }

    fn write_table(&mut self, image: &str, _: &Geometry) -> Result<()> {
        self.call(format!("table {image}"))
    }

    fn attach(&mut self, device: &str, image: &str, _: u64, _: u64, _: u32) -> Result<()> {
        self.call(format!("attach {device} on {image}"))?;
        self.take(format!("device {device}"));
        Ok(())
    }

    fn device(&mut self, device: &str) -> Result<PathBuf> {
        self.call(format!("device {device}"))?;
        Ok(Path::new("/dev").join(device))
    }

    fn make_volume(&mut self, volume: Volume<'_>) -> Result<()> {
        self.call(format!("make volume {}", volume.name()))?;
        self.take(format!("volume {}", volume.name()));
        Ok(())
    }

    fn take_down(&mut self, lvm: &Lvm) -> Result<()> {
        self.call(format!("take down {}", lvm.name))?;
        while let Some(volume) = self.held.iter().rfind(|held| held.starts_with("volume ")).cloned() {
            self.give_back(&volume);
        }
        Ok(())
    }

    fn make_file_system(&mut self, device: &str, file_system: &FileSystem) -> Result<()> {
        self.call(format!("mkfs {} on {device}", file_system.kind))
    }

    fn mount(&mut self, device: &str, _: &str, mount_point: &str) -> Result<()> {
        self.call(format!("mount {device} at {mount_point}"))?;
        self.take(format!("mount {mount_point}"));
        Ok(())
    }

    fn unmount(&mut self, mount_point: &str) -> Result<()> {
        self.call(format!("unmount {mount_point}"))?;
        self.give_back(&format!("mount {mount_point}"));
        Ok(())
    }

    fn detach(&mut self, device: &str) -> Result<()> {
        self.call(format!("detach {device}"))?;
        self.give_back(&format!("device {device}"));
        Ok(())
    }
}

/// What a build told.
#[derive(Default)]
pub struct Heard(pub RefCell<Vec<Event>>);

impl Events for Heard {
    fn tell(&self, event: Event) {
        self.0.borrow_mut().push(event);
    }
}

/// A build on a double, ended.
pub struct Built {
    /// How it ended.
    pub outcome: Result<Artifacts, Failure>,
    /// The machine afterwards.
    pub machine: Rc<RefCell<Double>>,
    /// What was told.
    pub events: Vec<Event>,
    /// Files in the directory of the artifacts.
    pub files: Vec<String>,
    /// Text of the plan and the audit log beside them.
    pub records: String,
    /// Small files of the target, by path.
    pub target: BTreeMap<String, String>,
}

/// The fixture, planned once.
pub struct Fixture {
    scratch: tempfile::TempDir,
    plan: Plan,
    /// What is offered by name.
    pub offers: Offers,
}

/// Two partitions.
pub const PARTITIONS: &str = "\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: boot, type: '8300', size: 8MiB, mkfs: {type: ext2, mount: {mount_point: /boot}}}
      - {name: root, type: '8300', size: 100%, mkfs: {mount: {mount_point: /}}}
";

/// A volume group over two partitions, with a thin pool.
pub const VOLUMES: &str = "\
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions: [{name: a, size: 100MiB, type: 8E00}, {name: b, size: 100MiB, type: 8E00}]
- lvm:
    name: lvm
    pvs: [{name: pa, base: a, options: ['--force']}, {name: pb, base: b}]
    vgs: [{name: vg, base: [pa, pb]}]
    lvs:
      - {name: pool, base: vg, size: 120MiB, type: thin-pool}
      - {name: root, base: vg, size: 100MiB, type: thin, thin-pool: pool}
      - {name: var, base: vg, extents: 50%FREE}
- mkfs: {name: fs_root, base: root, type: ext2, mount: {mount_point: /}}
- mkfs: {name: fs_var, base: var, type: ext2, mount: {mount_point: /var}}
";

impl Fixture {
    /// With `guest` as the component at 20, on a disk of that layout.
    pub fn new(guest: &[u8], layout: &str) -> Self {
        Self::granting(guest, layout, &[])
    }

    /// The same with grants of the command line.
    pub fn granting(guest: &[u8], layout: &str, grants: &[Grant]) -> Self {
        let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
        let at = |path: &str| scratch.path().join(path);
        for (path, text) in [
            ("e/os/element-provides", "operating-system\n"),
            ("e/os/root.d/10-os", "#!/bin/bash\n"),
            ("e/os/block-device-default.yaml", layout),
            ("e/shell/extra-data.d/10-extra", "#!/bin/bash\n"),
            ("e/shell/install.d/10-first", "#!/bin/bash\n"),
            ("e/shell/install.d/30-third", "#!/bin/bash\n"),
            ("e/shell/finalise.d/10-last", "#!/bin/bash\n"),
            ("e/shell/cleanup.d/10-away", "#!/bin/bash\n"),
            ("e/shell/package-installs.yaml", "vim:\n"),
            ("e/shell/static/etc/x", "x\n"),
        ] {
            let file = at(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            if path.contains(".d/") {
                fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
            }
        }
        fs::write(at("e/guest.wasm"), guest).unwrap();
        fs::create_dir(at("out")).unwrap();
        let catalogue = dibw_engine::catalogue::read(&[at("e")], &[]).unwrap();
        let mut request = crate::planning::request();
        request.elements = ["os", "shell", "guest"].map(str::to_owned).to_vec();
        request.types = ["raw", "tar"].map(str::to_owned).to_vec();
        request.output = at("out/image").display().to_string();
        request.variables.insert("DISTRO_NAME".into(), "debian".into());
        request.image_size = Some(256 << 20);
        let plan =
            dibw_plan::planner::plan(&Request { ..request }, &catalogue, &Policy::default(), grants).unwrap();
        Self { scratch, plan, offers: Offers::default() }
    }

    /// The directory of the artifacts, which is empty when a build is prepared.
    pub fn out(&self) -> PathBuf {
        self.scratch.path().join("out")
    }

    /// Changes the plan of the builds that follow.
    pub fn change(&mut self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan);
    }

    /// Builds on a new double that `prepare` has set up.
    pub fn build(&self, prepare: impl FnOnce(&mut Double)) -> Built {
        let work = tempfile::tempdir_in(self.scratch.path()).unwrap();
        let out = self.out();
        fs::remove_dir_all(&out).unwrap();
        fs::create_dir(&out).unwrap();
        let mut double = Double::new(work.path().to_path_buf());
        prepare(&mut double);
        let machine = Rc::new(RefCell::new(double));
        let heard = Rc::new(Heard::default());
        let cache = self.scratch.path().join("cache");
        let paths = Paths {
            work_base: work.path().to_path_buf(),
            cache,
            tmpfs: false,
            least_memory: None,
            image_cache: None,
            lockfiles: None,
            layers: None,
        };
        let caller = Caller { offers: self.offers.clone(), ..Caller::default() };
        let outcome = run::build_on(&self.plan, &paths, &caller, machine.clone(), heard.clone());
        let files = fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let files = files.collect();
        let records = ["image.plan.json", "image.audit.jsonl"].map(|name| fs::read_to_string(out.join(name)));
        let records = records.into_iter().flatten().collect();
        let mut target = BTreeMap::new();
        read_all(&work.path().join("target"), "", &mut target);
        Built { outcome, machine, events: heard.0.take(), files, records, target }
    }
}

fn read_all(directory: &Path, below: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = format!("{below}/{}", entry.file_name().to_string_lossy());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => read_all(&entry.path(), &path, found),
            kind if kind.is_file() => {
                found.insert(path, String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned());
            }
            _ => {}
        }
    }
}
