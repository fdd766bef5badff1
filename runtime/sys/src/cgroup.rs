//! Owns the control groups of commands: where they can be made, what they limit, and that none is left behind.
//! Must not know what a command is. Called by `runner`, once per build and once per command; the init of a sandbox joins by the
//! files of [`Group::doors`].
//!
//! Version 2 and version 1 alike, also both at once: a controller is in one hierarchy at a time. Where there is none, or its files
//! can't be written to (containers), the limit is not enforced, and [`Groups::missing`] says so.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::limits::{Exceeded, Limits};

/// What our groups are called; a number follows.
const PREFIX: &str = "dibw-";
/// The kernel's scheduling period for processor time, in microseconds.
const PERIOD: u64 = 100_000;
/// How long a group is waited for that still has ended processes in it.
const PATIENCE: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Memory,
    Processes,
    Cpu,
}

const CONTROLLERS: [Controller; 3] = [Controller::Memory, Controller::Processes, Controller::Cpu];

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Processes => "pids",
            Controller::Cpu => "cpu",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A directory in which groups can be made, and the controllers that they have.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    dir: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

/// Where this build can make groups.
#[derive(Debug)]
pub(crate) struct Groups {
    places: Vec<Place>,
}

impl Groups {
    /// Looks at what is mounted, and removes groups that builds which were killed have left.
    pub fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
        let ours = fs::read_to_string("/proc/self/cgroup").context("/proc/self/cgroup")?;
        let places: Vec<Place> = places(&mounts, &ours).into_iter().filter_map(usable).collect();
        for place in &places {
            clean(&place.dir);
        }
        Ok(Self { places })
    }

    /// Names of the controllers that there are none of.
    pub fn missing(&self) -> Vec<&'static str> {
        let has = |one: &Controller| self.places.iter().any(|place| place.controllers.contains(one));
        CONTROLLERS.iter().filter(|one| !has(one)).map(|one| one.name()).collect()
    }

    /// Makes the group of one command. A controller that refuses is left out, with a warning.
    pub fn make(&self, limits: &Limits) -> Group {
        let mut parts = Vec::new();
        for place in &self.places {
            let wanted: Vec<_> = place.controllers.iter().filter(|one| is_limited(**one, limits)).collect();
            if wanted.is_empty() {
                continue;
            }
            match Part::make(place, limits) {
                Ok(part) => parts.push(part),
                Err(error) => tracing::warn!("no limits by {}: {error:#}", place.dir.display()),
            }
        }
        Group { parts, limits: limits.clone() }
    }
}

fn is_limited(controller: Controller, limits: &Limits) -> bool {
    match controller {
        Controller::Memory => limits.memory.is_some(),
        Controller::Processes => limits.processes.is_some(),
        Controller::Cpu => limits.cpu.is_some(),
    }
}

/// The group of one command, in every hierarchy it needs. It goes away with it.
#[derive(Debug)]
pub(crate) struct Group {
    parts: Vec<Part>,
    limits: Limits,
}

impl Group {
    /// Whoever writes `0` to all of these is in it.
    pub fn doors(&self) -> Vec<PathBuf> {
        self.parts.iter().map(|part| part.dir.join("cgroup.procs")).collect()
    }

    /// Whether its processes are counted.
    pub fn counts_processes(&self) -> bool {
        self.parts.iter().any(|part| part.controllers.contains(&Controller::Processes))
    }

    /// The limit that was reached, if one was.
    pub fn exceeded(&self) -> Option<Exceeded> {
        let memory = self.limits.memory.filter(|_| self.happened(Controller::Memory, "oom_kill"));
        let processes = self.limits.processes.filter(|_| self.happened(Controller::Processes, "max"));
        memory.map(Exceeded::Memory).or(processes.map(Exceeded::Processes))
    }

    fn happened(&self, controller: Controller, event: &str) -> bool {
        let parts = self.parts.iter().filter(|part| part.controllers.contains(&controller));
        let file = |part: &Part| match (controller, part.version) {
            (Controller::Memory, Version::One) => "memory.oom_control",
            (Controller::Memory, Version::Two) => "memory.events",
            (Controller::Processes, _) => "pids.events",
            (Controller::Cpu, _) => "cpu.stat",
        };
        parts.map(|part| part.count(file(part), event)).any(|count| count > 0)
    }
}

/// A group in one hierarchy. Its lock tells the next build that somebody still uses it.
#[derive(Debug)]
struct Part {
    dir: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
    _lock: File,
}

impl Part {
    fn make(place: &Place, limits: &Limits) -> Result<Self> {
        let (dir, lock) = new_directory(&place.dir)?;
        let part = Self { dir, version: place.version, controllers: place.controllers.clone(), _lock: lock };
        for (file, value) in settings(part.version, &part.controllers, limits) {
            match fs::write(part.dir.join(file.name), &value) {
                Err(_) if file.optional => {}
                written => written
                    .with_context(|| format!("write {value:?} to {}", part.dir.join(file.name).display()))?,
            }
        }
        Ok(part)
    }

    /// The number after `event` in a file of events; 0 when there is none.
    fn count(&self, file: &str, event: &str) -> u64 {
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(event)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // The pid namespace has ended and has taken every process along; the kernel may not have forgotten them yet.
        for _ in 0..PATIENCE {
            match rustix::fs::rmdir(&self.dir) {
                Ok(()) | Err(Errno::NOENT) => return,
                Err(Errno::BUSY) => std::thread::sleep(PAUSE),
                Err(error) => return tracing::warn!("remove {}: {error}", self.dir.display()),
            }
        }
        tracing::warn!("{} is still in use; the next build removes it", self.dir.display());
    }
}

/// A new directory for a group, locked.
fn new_directory(parent: &Path) -> Result<(PathBuf, File)> {
    for number in 0..100_000 {
        let dir = parent.join(format!("{PREFIX}{number}"));
        match rustix::fs::mkdir(&dir, rustix::fs::Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => continue,
            Err(error) => return Err(error).with_context(|| format!("make {}", dir.display())),
        }
        // Between the two somebody may have taken it for one that was left, and removed it.
        let locked = File::open(&dir).ok().filter(lock).filter(|_| dir.exists());
        if let Some(file) = locked {
            return Ok((dir, file));
        }
    }
    anyhow::bail!("{}: no free name for a group", parent.display())
}

fn lock(dir: &File) -> bool {
    rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Removes groups that nobody has locked: their builds are dead, and so is what was in them.
fn clean(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !ours || !File::open(entry.path()).is_ok_and(|dir| lock(&dir)) {
            continue;
        }
        // A build's processes die with it. Where the kernel can make sure of it, it does.
        if let Err(error) = fs::write(entry.path().join("cgroup.kill"), "1") {
            tracing::debug!("{}: {error}", entry.path().display());
        }
        match rustix::fs::rmdir(entry.path()) {
            Ok(()) | Err(Errno::NOENT) => tracing::debug!("removed {}", entry.path().display()),
            Err(error) => tracing::warn!("remove the group {}: {error}", entry.path().display()),
        }
    }
}

struct Setting {
    name: &'static str,
    /// Not every kernel has it.
    optional: bool,
}

/// What is written where, in this order.
fn settings(version: Version, controllers: &[Controller], limits: &Limits) -> Vec<(Setting, String)> {
    let mut settings = Vec::new();
    let mut add = |name, optional, value| settings.push((Setting { name, optional }, value));
    let with = |one| controllers.contains(&one);
    if let Some(bytes) = limits.memory.filter(|_| with(Controller::Memory)) {
        match version {
            Version::One => {
                add("memory.limit_in_bytes", false, bytes.to_string());
                // Memory and swap together.
                add("memory.memsw.limit_in_bytes", true, bytes.to_string());
            }
            Version::Two => {
                add("memory.max", false, bytes.to_string());
                add("memory.swap.max", true, "0".to_owned());
                add("memory.oom.group", true, "1".to_owned());
            }
        }
    }
    if let Some(count) = limits.processes.filter(|_| with(Controller::Processes)) {
        add("pids.max", false, count.to_string());
    }
    if let Some(percent) = limits.cpu.filter(|_| with(Controller::Cpu)) {
        let quota = u64::from(percent) * PERIOD / 100;
        match version {
            Version::One => {
                add("cpu.cfs_period_us", false, PERIOD.to_string());
                add("cpu.cfs_quota_us", false, quota.to_string());
            }
            Version::Two => add("cpu.max", false, format!("{quota} {PERIOD}")),
        }
    }
    settings
}

/// Our own place in each hierarchy that has a controller of interest, from `mountinfo` and `cgroup` of /proc.
fn places(mounts: &str, ours: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = before.split(' ').collect();
        let (Some(root), Some(mounted)) = (fields.get(3), fields.get(4)) else { continue };
        let mut after = after.split(' ');
        let (version, options) = match (after.next(), after.nth(1)) {
            (Some("cgroup"), Some(options)) => (Version::One, options),
            (Some("cgroup2"), Some(_)) => (Version::Two, ""),
            _ => continue,
        };
        let controllers: Vec<Controller> = match version {
            Version::One => CONTROLLERS
                .into_iter()
                .filter(|one| options.split(',').any(|option| option == one.name()))
                .collect(),
            // Which ones only its files tell.
            Version::Two => CONTROLLERS.to_vec(),
        };
        if controllers.is_empty() {
            continue;
        }
        let path = own_path(ours, version, &controllers).unwrap_or("/");
        // Below the part that is mounted; a container may show another part than ours.
        let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or("");
        let dir = Path::new(mounted).join(below.trim_start_matches('/'));
        places.push(Place { dir, version, controllers });
    }
    places
}

/// Our group, from lines like `4:memory:/path` and `0::/path`.
fn own_path<'a>(ours: &'a str, version: Version, controllers: &[Controller]) -> Option<&'a str> {
    ours.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let fits = match version {
            Version::One => controllers.iter().any(|one| names.split(',').any(|name| name == one.name())),
            Version::Two => names.is_empty(),
        };
        fits.then_some(path)
    })
}

/// The place where groups can really be made. In version 2 a group with processes can't hand its controllers down, so that the
/// nearest ancestor that can, or already does, is taken.
fn usable(place: Place) -> Option<Place> {
    if place.version == Version::One {
        return place.dir.join("cgroup.procs").exists().then_some(place);
    }
    place.dir.ancestors().take_while(|dir| dir.join("cgroup.subtree_control").exists()).find_map(|dir| {
        let listed = |file: &str| -> Vec<Controller> {
            let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
            let has = |one: &Controller| text.split_whitespace().any(|name| name == one.name());
            CONTROLLERS.into_iter().filter(has).collect()
        };
        let given = listed("cgroup.subtree_control");
        for one in listed("cgroup.controllers").iter().filter(|one| !given.contains(one)) {
            let asked = fs::write(dir.join("cgroup.subtree_control"), format!("+{}", one.name()));
            asked.unwrap_or_else(|error| tracing::debug!("{} {}: {error}", dir.display(), one.name()));
        }
        let controllers = listed("cgroup.subtree_control");
        let found = !controllers.is_empty();
        found.then(|| Place { dir: dir.to_owned(), version: Version::Two, controllers })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "\
35 31 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:37 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
22 1 254:0 / / rw - ext4 /dev/vda rw
";

    #[test]
    fn places_are_found_in_either_version() {
        let place = |dir: &str, version, controllers: &[Controller]| Place {
            dir: dir.into(),
            version,
            controllers: controllers.to_vec(),
        };
        let [memory, pids, cpu] = CONTROLLERS;
        let ours = "4:memory:/a/b\n8:pids:/\n2:cpu,cpuacct:/c\n0::/d\n";
        let expected = [
            place("/sys/fs/cgroup/memory/a/b", Version::One, &[memory]),
            place("/sys/fs/cgroup/pids", Version::One, &[pids]),
            place("/sys/fs/cgroup/cpu,cpuacct/c", Version::One, &[cpu]),
        ];
        assert_eq!(places(ONE, ours), expected);
        let two = "41 31 0:38 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let expected = [place("/sys/fs/cgroup/user.slice/session-1.scope", Version::Two, &CONTROLLERS)];
        assert_eq!(places(two, "0::/user.slice/session-1.scope\n"), expected);
        // A container sees its own part, mounted as the root.
        let part = "41 31 0:38 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(places(part, "0::/box/inner\n")[0].dir, Path::new("/sys/fs/cgroup/inner"));
        assert_eq!(places(part, "0::/elsewhere\n")[0].dir, Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn settings_are_those_of_the_version() {
        let limits = Limits { memory: Some(1024), processes: Some(7), cpu: Some(150), ..Limits::default() };
        let written = |version, controllers: &[Controller]| {
            let settings = settings(version, controllers, &limits).into_iter();
            settings.map(|(file, value)| format!("{} {value}", file.name)).collect::<Vec<_>>()
        };
        let one = [
            "memory.limit_in_bytes 1024",
            "memory.memsw.limit_in_bytes 1024",
            "pids.max 7",
            "cpu.cfs_period_us 100000",
            "cpu.cfs_quota_us 150000",
        ];
        assert_eq!(written(Version::One, &CONTROLLERS), one);
        let two = [
            "memory.max 1024",
            "memory.swap.max 0",
            "memory.oom.group 1",
            "pids.max 7",
            "cpu.max 150000 100000",
        ];
        assert_eq!(written(Version::Two, &CONTROLLERS), two);
        assert_eq!(written(Version::Two, &[Controller::Processes]), ["pids.max 7"]);
    }

    /// A directory that looks like version 2 of the kernel.
    #[test]
    fn the_nearest_group_that_hands_controllers_down_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let (slice, scope) = (dir.path().join("slice"), dir.path().join("slice/scope"));
        fs::create_dir_all(&scope).unwrap();
        for (group, given) in [(&slice, "cpu io memory pids\n"), (&scope, "")] {
            fs::write(group.join("cgroup.controllers"), given).unwrap();
            fs::write(group.join("cgroup.subtree_control"), given).unwrap();
        }
        let place = Place { dir: scope, version: Version::Two, controllers: CONTROLLERS.to_vec() };
        let found = usable(place).unwrap();
        assert_eq!((found.dir, found.controllers), (slice, CONTROLLERS.to_vec()));
    }
}
