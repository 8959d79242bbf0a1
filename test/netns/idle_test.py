"""An idle attached program and an idle snpd use no processor.

Voluntary context switches are counted too: a thread that wakes up a hundred times a second to look
for work may hide below a tick of processor time."""

import time
import unittest
from pathlib import Path

from netlab import cpu_seconds, wait_until
from two_paths import KERNEL_ONLY, TwoPaths, main

import control

SECONDS = 2
TRIES = 20  # tables of iptables that may have changed wake every snpd of the machine (bpf/watch.bpf.c)
# Of each process: less than half a tick of the clock that the kernel charges by.
MOST_CPU_S = 0.004
MOST_WAKES = 10 * SECONDS
CONNECTIONS = 16


def wakes(pid):
    """Voluntary context switches of all threads."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def wait_offloaded(lab, port, count):
    """Waits until both ends have count open connections with the port, all offloaded."""
    for end in (lab.a, lab.b):
        def all_there(end=end):
            open_rows = [row for row in control.flows(end, port).values() if row["pid"] != 0]
            return ([row["offload_state"] for row in open_rows] == ["Offloaded"] * count)
        wait_until(all_there, 20, f"{count} offloaded connections in {end.name}")


class Idle(TwoPaths):
    def quiet(self, what, processes):
        """Looks at all processes and their offspring for SECONDS. Who looks for work again and again
        does so all the time; what the start or the last traffic left to do comes to its end."""
        pids = [pid for process in processes for pid in process.tree()]
        for _ in range(TRIES):
            time.sleep(0.5)
            before = {pid: (cpu_seconds(pid), wakes(pid)) for pid in pids}
            time.sleep(SECONDS)
            busy = []
            for pid in pids:
                spent, woken = cpu_seconds(pid) - before[pid][0], wakes(pid) - before[pid][1]
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                line = f"{what}: {name} ({pid}) {spent * 1e6:.0f} us, {woken} wakes in {SECONDS} s"
                print(f"  {line}", flush=True)
                if spent > MOST_CPU_S or woken > MOST_WAKES:
                    busy.append(line)
            if not busy:
                return
        self.fail(f"never idle, at last {busy}")

    def daemons(self):
        return [end.snpd for end in (self.lab.a, self.lab.b) if end.snpd]

    def test_without_programs(self):
        self.quiet("nobody attached", self.daemons())

    def test_with_idle_connections(self):
        attached = not KERNEL_ONLY
        server = self.lab.b.start([self.lab.bin / "rr_server", 7000], attached=attached)
        server.wait_listening(7000)
        # Some traffic first, so that everything has been awake; then only its silence.
        self.lab.a.run([self.lab.bin / "rr_client", self.lab.b.v4, 7000, "--connections",
                        CONNECTIONS, "--seconds", 0.5], attached=attached)
        keeper = self.lab.a.start(
            ["python3", "-c", "import socket, time\n"
             f"all = [socket.create_connection(('{self.lab.b.v4}', 7000)) for _ in range({CONNECTIONS})]\n"
             "for s in all: s.sendall(bytes(64)); s.recv(64, socket.MSG_WAITALL)\n"
             "print('quiet', flush=True)\ntime.sleep(600)"], attached=attached)
        wait_until(lambda: "quiet" in keeper.output(), 20, "the connections to be open")
        if attached:
            wait_offloaded(self.lab, 7000, CONNECTIONS)
        self.quiet("idle connections", [*self.daemons(), server, keeper])

    def test_a_thread_that_waits_in_a_blocking_call(self):
        attached = not KERNEL_ONLY
        server = self.lab.b.start([self.lab.bin / "rr_server", 7001], attached=attached)
        server.wait_listening(7001)
        reader = self.lab.a.start(
            ["python3", "-c", "import socket\n"
             f"s = socket.create_connection(('{self.lab.b.v4}', 7001))\n"
             "s.sendall(bytes(64)); s.recv(64, socket.MSG_WAITALL)\n"
             "print('quiet', flush=True)\ns.recv(1)"], attached=attached)
        wait_until(lambda: "quiet" in reader.output(), 20, "the connection to be open")
        self.quiet("blocking call", [*self.daemons(), server, reader])


class QuietTime(TwoPaths):
    """The quiet time of a hand-over is measured and shown; `snp bench` judges it."""

    @unittest.skipIf(KERNEL_ONLY, "nothing moves without snpd")
    def test_every_hand_over_has_one(self):
        server = self.lab.b.start([self.lab.bin / "rr_server", 7002], attached=True)
        server.wait_listening(7002)
        client = self.lab.a.start([self.lab.bin / "rr_client", self.lab.b.v4, 7002, "--connections",
                                   8, "--seconds", 3600], attached=True)
        wait_offloaded(self.lab, 7002, 8)
        for end in (self.lab.a, self.lab.b):
            before = control.ask(end, "stats")[1]
            moves = 0
            for flow in control.flows(end, 7002):
                for verb in ("upload", "offload"):
                    wait_until(lambda: control.ask(end, verb, FLOW=flow)[0], 10, f"{verb} {flow}")
                moves += 1
            after = control.ask(end, "stats")[1]
            for verb in ("upload", "offload"):
                self.assertEqual(after[verb]["done"] - before[verb]["done"], moves)
                row = after[verb]
                print(f"  {verb}s in {end.name}: p50 {row['quiet_p50_us']} us, p99 "
                      f"{row['quiet_p99_us']} us, max {row['quiet_max_us']} us", flush=True)
                self.assertGreater(row["quiet_p50_us"], 0)
                self.assertLessEqual(row["quiet_p50_us"], row["quiet_p99_us"])
                self.assertLessEqual(row["quiet_p99_us"], row["quiet_max_us"])
            for row in control.flows(end, 7002).values():
                self.assertGreaterEqual(row["hand_overs"], 3)
                self.assertGreater(row["last_quiet_us"], 0)
        client.expect_running()


if __name__ == "__main__":
    main()
