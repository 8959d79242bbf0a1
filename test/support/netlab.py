"""Namespace lab: two network namespaces joined by a veth pair, and the programs inside them.

    with Lab(build="build/release") as lab:
        lab.start_snpd()
        server = lab.b.start(["iperf3", "-s"], attached=True)
        print(lab.a.run(["ping", "-c1", lab.b.v4]).stdout)

With a path, a relay in a third namespace stands between them, which loses, delays and reorders.
Whatever happens inside the block (exception, Ctrl-C, SIGTERM, SIGHUP), leaving it stops every
process that was started, by its own pid, removes the namespaces, and then looks for leftovers:
processes, namespaces, BPF programs, qdiscs. A leftover raises LabError.

Needs root and python3's standard library only. It does not know what the programs do: servers of
real programs are in programs.py.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TCP_ESTABLISHED, _TCP_LISTEN = "01", "0A"
DEVICE = "veth0"
# No wait for something that comes by itself is shorter: the machine may be small and busy with other
# tests, and a wait that ends well costs only what it took.
PATIENCE_S = 60
_labs_made = 0


class LabError(Exception):
    """What went wrong, in words for the person who runs the test."""


def say(text):
    print(text, flush=True)


def default_build():
    """The build folder: $SNP_BUILD, or build/release or build/dev of this source tree."""
    if os.environ.get("SNP_BUILD"):
        return Path(os.environ["SNP_BUILD"])
    root = Path(__file__).resolve().parents[2] / "build"
    for preset in ("release", "dev"):
        if (root / preset / "bin").is_dir():
            return root / preset
    raise LabError(f"no build found under {root}: run 'make' first or set SNP_BUILD")


def wait_until(condition, seconds, what, every=0.01):
    """Waits for condition() to be true; says what did not happen otherwise.

    seconds: what it may take where nothing else runs; it is given PATIENCE_S at least."""
    seconds = max(seconds, PATIENCE_S)
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


def cpu_seconds(pid):
    """CPU time of all threads of a process, living and ended, to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3): CPUCLOCK_SCHED of pid


def bpf_programs():
    """{id: name} of the loaded BPF programs."""
    out = subprocess.run(["bpftool", "prog", "show", "-j"], capture_output=True, text=True)
    if out.returncode != 0:
        raise LabError(f"bpftool prog show: {out.stderr.strip() or out.stdout.strip()}")
    return {p["id"]: p.get("name", "") for p in json.loads(out.stdout)}


def held_bpf_programs(pids):
    """The ids of the BPF programs that the descriptors of these processes hold."""
    ids = set()
    for pid in pids:
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if "bpf-prog" not in os.readlink(f"/proc/{pid}/fd/{fd}"):
                    continue
                for line in Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines():
                    if line.startswith("prog_id:"):
                        ids.add(int(line.split()[1]))
        except OSError:
            continue  # it ended, or closed the descriptor, while we looked
    return ids


def namespaces():
    folder = Path("/run/netns")
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def _must(argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"{' '.join(map(str, argv))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _in_child():
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nothing outlives a killed lab
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


class Process:
    """A program that the lab started; its output goes to a file in the lab's folder."""

    def __init__(self, name, argv, log, cwd, env):
        self.name, self.argv, self.log = name, argv, log
        # A signal between fork and the entry in the lab's list would lose the process.
        old = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            with open(log, "wb") as out:
                self.popen = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd,
                    env=env, start_new_session=True, preexec_fn=_in_child)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        self.pid = self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def output(self):
        return Path(self.log).read_text(errors="replace")

    def wait(self, seconds):
        """Its exit status; LabError if it does not end in time, see wait_until."""
        seconds = max(seconds, PATIENCE_S)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not end within {seconds:g} s") from None

    def result(self, seconds):
        """Waits for its success and gives its output."""
        status = self.wait(seconds)
        if status != 0:
            raise LabError(f"{self.name} failed with status {status}: {self.output()[-800:]}")
        return self.output()

    def expect_running(self):
        if not self.running():
            raise LabError(f"{self.name} ended with status {self.popen.returncode}: "
                           f"{self.output()[-800:]}")

    def wait_listening(self, port, seconds=10):
        """Waits until somebody in its namespace listens on the TCP port."""
        def listening():
            self.expect_running()
            for table in ("tcp", "tcp6"):
                for line in Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
                    fields = line.split()
                    if fields[3] == _TCP_LISTEN and int(fields[1].split(":")[1], 16) == port:
                        return True
            return False
        wait_until(listening, seconds, f"{self.name} listening on port {port}")

    def wait_connected(self, port, count, seconds=10):
        """Waits until its namespace has so many established connections with this local port."""
        def connected():
            self.expect_running()
            found = 0
            for table in ("tcp", "tcp6"):
                for line in Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
                    fields = line.split()
                    found += (fields[3] == _TCP_ESTABLISHED and
                              int(fields[1].split(":")[1], 16) == port)
            return found >= count
        wait_until(connected, seconds, f"{count} connections of {self.name}")

    def tree(self):
        """Its pid and those of its living descendants."""
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    todo += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
            except OSError:
                continue
        return found

    def stop(self, seconds=10, signum=signal.SIGTERM):
        """Asks it to end, and ends it and what it started. False: it had to be killed."""
        willing = True
        if self.running():
            os.kill(self.pid, signum)
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                willing = False
        try:
            os.killpg(self.pid, signal.SIGKILL)  # the session that we made for it
        except ProcessLookupError:
            pass
        self.popen.wait()
        return willing


class Namespace:
    """One end of the lab."""

    def __init__(self, lab, name, number):
        self.lab, self.name, self.number = lab, name, number
        self.v4, self.v6 = f"10.77.0.{number}", f"fd77::{number}"
        self.snpd = None

    def command(self, argv, attached=False, cpus=None):
        """argv as it is run in the namespace."""
        prefix = ["ip", "netns", "exec", self.name]
        if cpus is not None:
            prefix += ["taskset", "-c", str(cpus)]
        if attached:
            prefix += [str(self.lab.snp), "run", "--"]
        return prefix + [str(word) for word in argv]

    def run(self, argv, *, attached=False, cpus=None, check=True, timeout=120, stdin=None, env=None):
        """Runs a command to its end; gives the CompletedProcess with text output."""
        try:
            done = subprocess.run(self.command(argv, attached, cpus), capture_output=True,
                                  text=True, timeout=timeout, input=stdin, cwd=self.lab.folder,
                                  env={**os.environ, **(env or {})},
                                  preexec_fn=_in_child)
        except subprocess.TimeoutExpired:
            raise LabError(f"{argv[0]} in {self.name} did not end within {timeout} s") from None
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(map(str, argv))} in {self.name} failed with status "
                           f"{done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}")
        return done

    def start(self, argv, *, attached=False, cpus=None, name=None, env=None):
        """Starts a program; the lab stops it at the end at the latest."""
        name = name or Path(str(argv[0])).name
        log = self.lab.folder / f"{len(self.lab.processes):03d}-{self.name[-1]}-{name}.log"
        process = Process(name, self.command(argv, attached, cpus), log, self.lab.folder,
                          {**os.environ, **(env or {})})
        self.lab.processes.append(process)
        return process

    def snp(self, *words, check=True, timeout=120):
        """Runs the snp command in the namespace."""
        return self.run([self.lab.snp, *words], check=check, timeout=timeout)

    def snp_json(self, *words):
        out = self.snp(*words, "--json").stdout
        try:
            return json.loads(out)
        except ValueError as error:
            raise LabError(f"snp {' '.join(words)} --json printed no JSON ({error}): "
                           f"{out[:400]!r}") from None

    def qdiscs(self):
        out = _must(["tc", "-n", self.name, "-j", "qdisc", "show", "dev", DEVICE])
        return sorted(q["kind"] for q in json.loads(out or "[]"))

    def has_v6(self):
        """Packets to the IPv6 address arrive: its local route comes some time after the address."""
        return _must(["ip", "-n", self.name, "-6", "route", "show", "table", "local", self.v6]) != ""

    def hooked_programs(self, device=DEVICE, *acts):
        """{"ingress": [names], "egress": [names]}: BPF programs on the device's tcx and clsact hooks,
        after acts of tc_hooks.py."""
        return json.loads(self.run(["python3", Path(__file__).with_name("tc_hooks.py"), device,
                                    *acts]).stdout)

    def pids(self):
        return list(map(int, _must(["ip", "netns", "pids", self.name]).split()))


class Lab:
    """Two namespaces, a and b. See the top of the file."""

    def __init__(self, build=None, *, mtu=1500, offloads=True, needs_product=True, path=None):
        """path: {"forth": CONFIG, "back": CONFIG, "seed": N}: the ends are joined by the relay
        (test/path/impairment.h has CONFIG; forth is a to b), without segmentation offload."""
        global _labs_made
        _labs_made += 1
        self.build = Path(build).resolve() if build else default_build().resolve()
        self.bin = self.build / "bin"
        self.snp, self.snpd = self.bin / "snp", self.bin / "snpd"
        # Programs that only measure stand aside in an installed tree.
        installed = self.build / "libexec" / "snp" / "bench"
        self.helpers = installed if installed.is_dir() else self.bin
        self.mtu, self.needs_product = mtu, needs_product
        self.offloads = offloads and path is None
        self.path, self.relay = path, None
        name = f"snp-{os.getpid()}-{_labs_made}"
        self.a, self.b = Namespace(self, f"{name}-a", 1), Namespace(self, f"{name}-b", 2)
        self.middle = Namespace(self, f"{name}-m", 3)  # only with a path
        self.ends = (self.a, self.b) if path is None else (self.a, self.b, self.middle)
        self.processes, self._programs = [], set()
        self._old_handlers, self.folder = {}, None

    def __enter__(self):
        if os.geteuid() != 0:
            raise LabError("network namespaces need root: run it with sudo")
        for tool in ("ip", "tc", "ethtool", "bpftool", "taskset"):
            if shutil.which(tool) is None:
                raise LabError(f"{tool} is not installed: sudo make install-deps")
        if self.needs_product:
            for program in (self.snp, self.snpd):
                if not program.exists():
                    raise LabError(f"{program} is missing: build first ('make')")
        # SIGINT too: it may have been inherited as ignored (a background job of a script).
        for number in _SIGNALS:
            self._old_handlers[number] = signal.signal(number, self._on_signal)
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="snp-lab-"))
            self.folder.chmod(0o755)  # servers drop their privileges
            self._make()
        except BaseException:
            self._clean()
            raise
        return self

    def enter_for(self, test):
        """Entered now, left when the test (a unittest.TestCase) is over; when that has failed, the
        programs' last words are shown."""
        def leave():
            told = test._outcome.result  # unittest has no other way to ask
            if any(who is test for who, _ in told.errors + told.failures):
                self._show_logs()
            self.__exit__(None, None, None)
        self.__enter__()
        test.addCleanup(leave)
        return self

    @staticmethod
    def _on_signal(number, _frame):
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def _make(self):
        for end in self.ends:
            _must(["ip", "netns", "add", end.name])
            self._hush(end)
        if self.path is None:
            self._join(self.a, DEVICE, self.b, DEVICE)
        else:
            self.middle.run(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])
            self._join(self.a, DEVICE, self.middle, "left")
            self._join(self.b, DEVICE, self.middle, "right")
        for end in (self.a, self.b):
            _must(["ip", "-n", end.name, "addr", "add", f"{end.v4}/24", "dev", DEVICE])
            _must(["ip", "-n", end.name, "addr", "add", f"{end.v6}/64", "dev", DEVICE, "nodad"])
            _must(["ip", "-n", end.name, "link", "set", "lo", "up"])
            _must(["ip", "-n", end.name, "link", "set", DEVICE, "up"])
            if not self.offloads:
                _must(["ip", "netns", "exec", end.name, "ethtool", "-K", DEVICE, "tso", "off",
                       "gso", "off", "gro", "off", "tx", "off"])
        for end in (self.a, self.b):
            wait_until(end.has_v6, 30, f"the local route to {end.v6}")
        self._qdiscs_before = {end: end.qdiscs() for end in (self.a, self.b)}
        if self.path is not None:
            self._start_relay()

    @staticmethod
    def _hush(end):
        """Nobody looks for routers, other owners of its addresses or groups by itself: frames are
        those of the test, and the questions for neighbours that these need."""
        for name, value in (("conf.default.router_solicitations", 0), ("conf.default.accept_dad", 0),
                            ("conf.default.accept_ra", 0), ("mld_qrv", 1)):
            # Not every kernel has each of them.
            subprocess.run(["ip", "netns", "exec", end.name, "sysctl", "-qw",
                            f"net.ipv6.{name}={value}"], capture_output=True, check=False)

    def _join(self, one, device, other, other_device):
        _must(["ip", "link", "add", "name", device, "netns", one.name, "mtu", str(self.mtu), "type",
               "veth", "peer", "name", other_device, "netns", other.name, "mtu", str(self.mtu)])

    def _start_relay(self):
        for device in ("left", "right"):
            _must(["ip", "-n", self.middle.name, "link", "set", device, "up"])
        self.relay = self.middle.start(
            [self.bin / "snp_relay", "left", "right", "--seed", self.path.get("seed", 1),
             "--forth", self.path["forth"], "--back", self.path["back"]], name="relay")

        def ready():
            self.relay.expect_running()
            return "ready" in self.relay.output()
        wait_until(ready, 10, "the relay")

    def stop_relay(self):
        """Ends the relay; gives what it did: {"forth": {"packets", "lost", ...}, "back": ...}."""
        self.relay.stop()
        if self.relay.popen.returncode != 0:
            raise LabError(f"the relay failed: {self.relay.output()[-400:]}")
        return json.loads(self.relay.output().splitlines()[-1])

    def start_snpd(self, *ends, settings=None, cpus=None, devices=(DEVICE,)):
        """Starts snpd in the given ends (default both) and waits until it answers.

        settings: {name: value}; cpus: {end: "0"} pins it to the core of its program."""
        for end in ends or (self.a, self.b):
            config = self.folder / f"snpd-{end.name[-1]}.toml"
            config.write_text("".join(f"{name} = {_toml(value)}\n"
                                      for name, value in (settings or {}).items()))
            served = [word for device in devices for word in ("--device", device)]
            end.snpd = end.start([self.snpd, "--config", config, *served], name="snpd",
                                 cpus=(cpus or {}).get(end))
        for end in ends or (self.a, self.b):
            self._wait_ready(end)

    def _wait_ready(self, end):
        def ready():
            end.snpd.expect_running()
            unix = Path(f"/proc/{end.snpd.pid}/net/unix").read_text()
            return "@snp.control" in unix and end.snp("status", check=False).returncode == 0
        wait_until(ready, 20, f"snpd in {end.name} ready", every=0.02)
        self._note_programs(end)

    def stop_snpd(self, *ends):
        """Clean stop of snpd; it must end by itself and leave nothing on the device."""
        for end in ends or (self.a, self.b):
            if end.snpd is None:
                continue
            self._note_programs(end)
            end.snpd.expect_running()
            if not end.snpd.stop(seconds=PATIENCE_S):
                raise LabError(f"snpd in {end.name} did not stop within {PATIENCE_S} s of SIGTERM")
            status = end.snpd.popen.returncode
            end.snpd = None
            if status != 0:
                raise LabError(f"snpd in {end.name} ended with status {status}")
            if end.qdiscs() != self._qdiscs_before[end]:
                raise LabError(f"snpd in {end.name} left qdiscs behind: {end.qdiscs()}")

    def _note_programs(self, end):
        """Remembers the BPF programs that snpd of this end uses, to look for them later."""
        self._programs |= held_bpf_programs(end.snpd.tree())

    def __exit__(self, kind, value, trace):
        if kind is not None and not issubclass(kind, (KeyboardInterrupt, SystemExit)):
            self._show_logs()
        problems = self._clean()
        if problems:
            text = "left behind: " + "; ".join(problems)
            if kind is None:
                raise LabError(text)
            print(text, file=sys.stderr, flush=True)
        return False

    def _show_logs(self, lines=25):
        for process in self.processes:
            tail = process.output().splitlines()[-lines:]
            if tail:
                state = "running" if process.running() else f"status {process.popen.returncode}"
                print(f"--- {process.name} ({Path(process.log).name}, {state})", file=sys.stderr)
                print("\n".join(tail), file=sys.stderr, flush=True)

    def _clean(self):
        """Stops and removes everything; gives what would not go. Never raises, never stops early."""
        old = {n: signal.signal(n, signal.SIG_IGN) for n in _SIGNALS}  # a second Ctrl-C must wait
        problems = []

        def attempt(action, *args):
            try:
                return action(*args)
            except Exception as error:  # whatever fails, the rest must still be removed
                problems.append(str(error))
                return None

        daemons = [end.snpd for end in (self.a, self.b) if end.snpd is not None]
        for process in reversed(self.processes):
            if process not in daemons:
                attempt(process.stop)
        attempt(self.stop_snpd)
        for process in daemons:
            attempt(process.stop)
        made = namespaces() & {end.name for end in self.ends}
        for end in self.ends:
            if end.name in made:
                for pid in attempt(end.pids) or []:
                    problems.append(f"process {pid} ({_program(pid)}) in {end.name}")
                    attempt(os.kill, pid, signal.SIGKILL)  # only ours can be in there
                attempt(_must, ["ip", "netns", "del", end.name])
        problems += attempt(self._leftovers) or []
        if self.folder and not os.environ.get("SNP_KEEP_LAB"):
            shutil.rmtree(self.folder, ignore_errors=True)
        for number, handler in {**old, **self._old_handlers}.items():
            signal.signal(number, handler)
        return problems

    def _leftovers(self):
        """Namespaces, processes and BPF programs of this lab that are still there."""
        found = [f"namespace {name}" for name in namespaces() & {end.name for end in self.ends}]
        found += [f"process {p.pid} ({p.name})" for p in self.processes if p.running()]

        end = time.monotonic() + 30
        while (left := self._programs & bpf_programs().keys()) and time.monotonic() < end:
            time.sleep(0.05)  # a removed namespace lets go of its programs a moment later
        return found + [f"BPF program {i}" for i in sorted(left)]


def _toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)


def _program(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "ended"
