"""An idle snpd costs next to nothing: packet taps are hooked only while flows are steered."""

import os
import random
import signal
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import DEVICE, Lab, LabError, wait_until  # noqa: E402

import control  # noqa: E402
from streams import Streams  # noqa: E402

PORT = 7100
CONNECTIONS = 4
LINGER_S = 1.5  # the least that the setting takes
RETRY_S = 10  # daemon/presence.h
TRIAL_S = 2.5  # daemon/keeper.cpp: an engine that lived so long is followed by one that goes on
# Only commands move connections.
SETTINGS = {"automatic_bytes": 0, "automatic_calls": 0, "presence_linger_ms": int(LINGER_S * 1000)}


def hooks(end):
    """The packet sockets of the namespace that are hooked into a receive path."""
    lines = Path(f"/proc/{end.snpd.pid}/net/packet").read_text().splitlines()[1:]
    return sum(line.split()[5] == "1" for line in lines)


def programs(end, device=DEVICE):
    """The hooks where a program of ours is."""
    return [where for where, names in end.hooked_programs(device).items()
            if f"snp_{where}" in names]


class Case(unittest.TestCase):
    def setUp(self):
        self.lab = Lab().enter_for(self)
        self.seed = int.from_bytes(os.urandom(4), "little")
        self.random = random.Random(self.seed)

    def start(self, shards=1, **settings):
        self.shards = shards
        self.lab.start_snpd(self.lab.a, settings={**SETTINGS, "shards": shards, **settings})

    def start_streams(self):
        """Streams that verify every byte; one end attached."""
        self.streams = Streams(self.lab.b, self.lab.a, PORT, CONNECTIONS, seed=self.seed,
                               attached=(self.lab.a,))
        wait_until(lambda: len(self.flows()) == CONNECTIONS, 20, "the streams")

    def finish_streams(self):
        time.sleep(0.5)
        self.streams.finish()

    def flows(self):
        return control.flows(self.lab.a, PORT)

    def move(self, verb, count=CONNECTIONS):
        """Offloads or uploads some of the streams; a busy one is asked again."""
        for flow in list(self.flows())[:count]:
            wait_until(lambda flow=flow: control.ask(self.lab.a, verb, FLOW=flow)[0], 20,
                       f"{verb} of {flow}", every=0.02)

    def expect_here(self):
        self.assertEqual(programs(self.lab.a), ["ingress", "egress"], f"seed {self.seed}")
        self.assertEqual(hooks(self.lab.a), self.shards, f"seed {self.seed}")

    def is_away(self):
        return hooks(self.lab.a) == 0 and not programs(self.lab.a)

    def wait_away(self):
        wait_until(self.is_away, LINGER_S + 10, f"taps off (seed {self.seed})")

    def engine(self):
        return self.lab.a.snp_json("status")["pid"]

    def kill_engine(self):
        old = self.engine()
        os.kill(old, signal.SIGKILL)
        def is_new():
            try:
                return self.engine() != old
            except LabError:
                return False  # it does not answer yet
        wait_until(is_new, 20, "a new engine", every=0.05)


class Presence(Case):
    def comes_and_goes(self):
        self.assertTrue(self.is_away(), "an idle snpd")
        self.start_streams()
        self.assertTrue(self.is_away(), "an attached program whose connections are in the host")
        self.move("offload", 1)
        self.expect_here()
        self.move("offload")
        self.move("upload", CONNECTIONS - 1)
        time.sleep(LINGER_S + 0.5)
        self.expect_here()  # one flow is left
        began = time.monotonic()
        self.move("upload")
        here = hooks(self.lab.a)
        if time.monotonic() - began < LINGER_S:  # or the machine was busy, and it may be over
            self.assertEqual(here, self.shards, "for a while")
        self.wait_away()
        self.move("offload")
        self.expect_here()
        self.finish_streams()

    def test_comes_with_the_first_flow_and_goes_after_the_last(self):
        self.start()
        self.comes_and_goes()
        self.lab.stop_snpd()  # with connections in TIME_WAIT; looks at the qdiscs

    def test_with_several_shards(self):
        self.start(shards=3)
        self.comes_and_goes()

    def test_a_late_refusal_is_a_reason(self):
        self.start(coexist_device_programs="ignore")
        self.start_streams()
        self.lab.a.hooked_programs(DEVICE, "fill")
        flow = next(iter(self.flows()))
        for _ in range(3):
            done, error = control.ask(self.lab.a, "offload", FLOW=flow)
            self.assertFalse(done)
            self.assertIn("no-steering", error)
        self.assertEqual(self.flows()[flow]["reason"], "no-steering")
        self.assertEqual(self.lab.a.snpd.output().count("tcx hook"), 1, "one line")
        self.assertEqual(hooks(self.lab.a), 0)
        self.lab.a.hooked_programs(DEVICE, "empty")
        wait_until(lambda: control.ask(self.lab.a, "offload", FLOW=flow)[0], RETRY_S + 10,
                   "another try", every=0.5)
        self.expect_here()
        self.finish_streams()

    def test_a_device_that_disappears(self):
        """Another device than the flows': they go on, and the rest is still taken off."""
        a = self.lab.a
        a.run(["ip", "link", "add", "extra0", "up", "type", "veth", "peer", "name", "extra1"])
        self.shards = 1
        self.lab.start_snpd(a, settings=SETTINGS, devices=[DEVICE, "extra0"])
        self.start_streams()
        self.assertTrue(self.is_away())
        self.move("offload")
        self.assertEqual(hooks(a), 2)
        self.assertEqual(programs(a, "extra0"), ["ingress", "egress"])
        a.run(["ip", "link", "del", "extra0"])
        time.sleep(0.2)
        self.move("upload")
        self.wait_away()
        self.move("offload")
        self.assertEqual(programs(a), ["ingress", "egress"])
        self.assertEqual(hooks(a), 1)
        self.finish_streams()


class Churn(Case):
    def test_churn_around_the_going(self):
        self.start(shards=2)
        self.start_streams()
        for _ in range(5):
            self.move("offload")
            self.expect_here()
            self.move("upload")
            time.sleep(LINGER_S + self.random.uniform(-0.05, 0.08))
        self.wait_away()
        self.finish_streams()

    def test_engine_killed(self):
        """With flows the next engine goes on; without, or when they came home, the device is clear."""
        self.start(shards=2)
        self.start_streams()
        self.move("offload")
        time.sleep(TRIAL_S)
        self.kill_engine()
        wait_until(lambda: [row["offload_state"] for row in self.flows().values()] ==
                   ["Offloaded"] * CONNECTIONS, 2, "the next engine has them", every=0.05)
        self.expect_here()

        def came_home():
            """By one that is killed at once; on a busy machine it had lived too long by then."""
            self.kill_engine()
            return {row["offload_state"] for row in self.flows().values()} == {"InHost"}
        wait_until(came_home, 20, "they come home")
        self.wait_away()
        for _ in range(2):
            self.move("offload")
            self.expect_here()
            self.move("upload")
            time.sleep(LINGER_S + self.random.uniform(-0.02, 0.05))
            self.kill_engine()
            self.wait_away()
        self.finish_streams()


if __name__ == "__main__":
    unittest.main(verbosity=2)
