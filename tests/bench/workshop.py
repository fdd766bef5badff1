"""Where the benchmarks work, how they run a command and measure it, and how results are written down.

Everything lies below one directory; what is left mounted or attached there after an interruption is taken away again.
Knows nothing of what is measured. Used by `run` and every scenario.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

# The program that is measured, unless $DIBW names another.
PROGRAM = Path(__file__).resolve().parents[2] / "target/release/dibw"

# How often memory is looked at, in seconds. A process remembers its own peak, so only the sum of several can be missed.
SAMPLE_EVERY = 0.1


class Failed(Exception):
    """A command that did not do what it was run for; the message is one line."""


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


class Memory(threading.Thread):
    """Peaks of all processes of one program while it runs: the largest resident set of any, and the largest sum of
    proportional set sizes (pages that processes share count once)."""

    def __init__(self, program):
        super().__init__(daemon=True)
        self.program = os.path.realpath(program)
        self.one = self.sum = 0
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(SAMPLE_EVERY):
            together = 0
            for process in filter(str.isdigit, os.listdir("/proc")):
                try:
                    if os.readlink(f"/proc/{process}/exe") != self.program:
                        continue
                    self.one = max(self.one, kibibytes(f"/proc/{process}/status", "VmHWM:"))
                    together += kibibytes(f"/proc/{process}/smaps_rollup", "Pss:")
                except OSError:
                    continue  # it has ended
            self.sum = max(self.sum, together)

    def end(self):
        self.done.set()
        self.join()


def kibibytes(path, key):
    with open(path) as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1])
    return 0


class Workshop:
    """One run's directories, programs and results."""

    def __init__(self, repository, shared, work, results, rounds):
        self.repository, self.shared, self.work, self.rounds = repository, shared, work, rounds
        for directory in ("bin", "tmp", "logs", "elements"):
            (work / directory).mkdir(parents=True, exist_ok=True)
        # A path of its own, so that other builds on this machine are not counted.
        self.dibw = work / "bin" / "dibw"
        program = os.environ.get("DIBW", PROGRAM)
        self.dibw.unlink(missing_ok=True)
        shutil.copy2(program, self.dibw)
        self.variables = {
            key: os.environ[key] for key in ("PATH", "LANG", "TERM", "SSL_CERT_FILE") if key in os.environ
        }
        self.variables |= {
            "HOME": str(work),
            "LC_ALL": "C.UTF-8",
            "DIB_RELEASE": os.environ.get("DIB_RELEASE", "bookworm"),
            "DIBW_ELEMENTS": os.environ.get("DIBW_ELEMENTS") or ":".join(
                str(repository / path) for path in ("elements", "plugins/target/elements", "tests/fixtures/elements")
            ),
        }
        # The qcow2 of the last cold build by dibw, for who wants a real image.
        self.image = work / "image.qcow2"
        self.image.unlink(missing_ok=True)
        self.results = results
        self.log = None

    def record(self, **values):
        """One line of results.jsonl."""
        with open(self.results, "a") as file:
            file.write(json.dumps(values) + "\n")

    def attempt(self, scenario, number, what, measure):
        """Records what `measure` returns, or that it failed, and why. Returns the values, or None."""
        try:
            values = measure()
        except Failed as error:
            self.record(scenario=scenario, round=number, what=what, failed=str(error))
            say(f"  {scenario}: {what}: FAILED: {error}")
            return None
        self.record(scenario=scenario, round=number, what=what, **values)
        shown = ", ".join(f"{key} {value}" for key, value in values.items() if isinstance(value, (int, float, bool)))
        say(f"  {scenario}: {what}: {shown}")
        return values

    def run(self, command, log, variables=None, watch=None):
        """Runs a command to its end: its wall time and processor time in seconds; `watch` names a program whose memory is
        looked at. Raises Failed with the last line it printed."""
        path = self.work / "logs" / f"{log}.log"
        memory = Memory(watch) if watch else None
        with open(path, "wb") as output:
            began = time.monotonic()
            process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=self.variables | (variables or {}), cwd=self.work, start_new_session=True)
            if memory:
                memory.start()
            try:
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                took = time.monotonic() - began
            except KeyboardInterrupt:
                end_group(process)
                raise
            finally:
                if memory:
                    memory.end()
        if process.returncode:
            raise Failed(f"{Path(command[0]).name} ended with {process.returncode}: {last_line(path)} ({path})")
        values = {"seconds": round(took, 3), "cpu": round(usage.ru_utime + usage.ru_stime, 2)}
        if memory:
            values |= {"largest_process_kib": memory.one, "together_kib": memory.sum}
        self.log = path
        return values

    def build(self, log, arguments, cache, output, variables=None):
        """A build by dibw; its steps come from its events."""
        command = [self.dibw, "build", "--log-format", "json", "--overwrite", "--work-dir", self.work / "tmp",
                   "--cache-dir", cache, "-o", output, *arguments]
        values = self.run(command, log, variables, watch=self.dibw)
        return values | read_events(self.log)

    def remove(self, path):
        """Removes a file or tree of ours."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def remove_outputs(self, prefix):
        for path in prefix.parent.glob(f"{prefix.name}.*"):
            self.remove(path)

    def clean_up(self):
        """Takes away what interrupted commands left mounted or attached below the work directory."""
        for point in self.mounted():
            subprocess.run(["umount", point], check=False)
        loops = subprocess.run(["losetup", "-nlO", "NAME,BACK-FILE"], capture_output=True, text=True, check=False).stdout
        for name, _, file in (line.strip().partition(" ") for line in loops.splitlines()):
            if Path(file.strip().removesuffix(" (deleted)")).is_relative_to(self.work):
                subprocess.run(["losetup", "-d", name], check=False)
        # Below a mount of theirs may be the machine's own /dev: nothing is removed while one is left.
        if left := self.mounted():
            say(f"still mounted, to be unmounted by hand: {' '.join(left)}")
            return
        for directory in (self.work / "tmp").glob("*"):
            self.remove(directory)

    def mounted(self):
        """What is mounted below the work directory, deepest first."""
        with open("/proc/self/mounts") as file:
            points = [line.split()[1].encode().decode("unicode_escape") for line in file]
        # The last mounted comes first where one covers another.
        return sorted((point for point in reversed(points) if Path(point).is_relative_to(self.work)), key=len, reverse=True)


def end_group(process):
    """Ends a command and what it started, and waits until it is gone."""
    for number, patience in ((signal.SIGTERM, 60), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def last_line(path):
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    wanted = [line for line in lines if line.startswith("error")] or lines or ["no output"]
    return wanted[-1][:300]


def read_events(path):
    """Steps with what they took and what the cache said, and artifacts with their digests, of `--log-format json`."""
    steps, artifacts, titles = [], {}, {}
    for line in path.read_text(errors="replace").splitlines():
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        if event["event"] == "step":
            titles[event["number"]] = ": ".join(filter(None, (event["phase"], event["title"])))
        elif event["event"] == "step-done":
            cached = event.get("cache", {}).get("state", "no") if isinstance(event.get("cache"), dict) else "no"
            steps.append([titles.get(event["number"], "?"), event["took"], cached])
        elif event["event"] == "artifact":
            artifacts[Path(event["path"]).suffix] = {"bytes": event["bytes"], "sha256": event["sha256"]}
    return {"steps": steps, "artifacts": artifacts}


def ask(*command):
    """What a command prints, or nothing where it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def load():
    return os.getloadavg()[0]


def main_interrupted(*_):
    raise KeyboardInterrupt


signal.signal(signal.SIGTERM, main_interrupted)
sys.dont_write_bytecode = True
