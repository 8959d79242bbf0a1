"""A hand-over loses nothing (design 3)."""

import sys
import unittest
from pathlib import Path

import control
import programs
from netlab import DEVICE, Lab, wait_until

SCRIPTS = Path(__file__).resolve().parent / "scripts"


class Room(unittest.TestCase):
    """What the host has sent and not got acknowledged lies in the ring of the next stay below what the
    stay before had acknowledged: the program must not take that for room."""

    PORT = 7700

    def hand_over(self, lab, verb):
        flow, = control.flows(lab.a, self.PORT)
        wait_until(lambda: control.ask(lab.a, verb, FLOW=flow)[0], 10, verb)

    def test_of_an_earlier_stay(self):
        lab = Lab().enter_for(self)
        lab.start_snpd(lab.a, settings={"chimney": "enabled", "ring_max_bytes": 1 << 20})
        peer = lab.b.start([sys.executable, SCRIPTS / "slow_reader.py", self.PORT], name="peer")
        peer.wait_listening(self.PORT)
        client = lab.a.start([sys.executable, SCRIPTS / "room_client.py", lab.b.v4, self.PORT],
                             attached=True)
        wait_until(lambda: [row["offload_state"] for row in control.flows(lab.a, self.PORT).values()]
                   == ["Offloaded"], 10, "the connection is offloaded")

        def has_written(stay):
            is_running = client.running()  # it ends once it has written the last time
            if not (lab.folder / f"written {stay}").exists():
                return None if is_running else client.expect_running()
            return True
        for stay, verb in enumerate(("upload", "offload", None)):
            (lab.folder / f"go {stay}").touch()
            wait_until(lambda: has_written(stay), 10, "the program has written")
            if verb:
                self.hand_over(lab, verb)
        self.assertEqual(peer.result(20).split(), [client.result(20).strip(), "True"])


# What the kernel counts when a segment came too early, and when an answer said that one is missing. Not
# what is sent again because an answer came late: on a busy machine it does.
TOO_EARLY = ("TCPOFOQueue", "BeyondWindow")
MISSED = ("TCPSackRecovery", "TCPFastRetrans", "TCPSACKReorder", "TCPRenoRecovery")


class Order(unittest.TestCase):
    """On a path that loses nothing and keeps the order a hand-over makes nobody believe that it did
    not: what the shard gives to the host comes before what comes after it, and nobody drops what the
    peer was allowed to send."""

    MOVES = 20
    SIZE = 4 << 30  # more than comes while it is moved

    def keep_order(self, end):
        """A veth's packets are as many queues as CPUs that send: one CPU takes them all."""
        end.run(["sh", "-c", f"for q in /sys/class/net/{DEVICE}/queues/rx-*; do echo 1 > $q/rps_cpus; done"])

    def counted(self, process):
        """TcpExt of the namespace of a process."""
        lines = Path(f"/proc/{process.pid}/net/netstat").read_text().splitlines()
        names, values = (line.split()[1:] for line in lines if line.startswith("TcpExt:"))
        return {name: int(value) for name, value in zip(names, values)}

    def move(self, lab, client):
        """Again and again, each time after it has received something."""
        def received():
            return control.flows(lab.a, programs.NGINX_PORT)[flow]["bytes_in"]
        flow, = wait_until(lambda: control.flows(lab.a, programs.NGINX_PORT), 10, "the connection")
        for _ in range(self.MOVES):
            for verb in ("upload", "offload"):
                before = received()
                wait_until(lambda: received() > before + (1 << 20), 10, "bytes come")
                wait_until(lambda: control.ask(lab.a, verb, FLOW=flow)[0], 10, verb)
        client.expect_running()

    def test_of_a_download(self):
        lab = Lab().enter_for(self)
        for end in (lab.a, lab.b):
            self.keep_order(end)
        lab.start_snpd(lab.a, settings={"chimney": "enabled"})
        server = programs.nginx(lab.b, attached=False)
        with open(server.www / "file", "wb") as file:
            file.truncate(self.SIZE)
        client = lab.a.start(["curl", "-sS", "--fail", "-o", "/dev/null",
                              f"http://{lab.b.v4}:{programs.NGINX_PORT}/file"], attached=True)
        ends = (lab.a.snpd, server)
        before = [self.counted(process) for process in ends]
        self.move(lab, client)
        after = [self.counted(process) for process in ends]
        for name in TOO_EARLY + MISSED:
            for end, (then, now) in enumerate(zip(before, after)):
                if name in now:  # not every kernel counts each
                    self.assertEqual(now[name] - then[name], 0, f"{name} of {'ab'[end]}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
