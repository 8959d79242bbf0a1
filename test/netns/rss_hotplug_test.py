"""CPUs that go offline and come back under receive-side scaling of the host's packets, with the real
switch of the machine. Whatever happens, the CPU is online again at the end: a process of its own
sees to that, which notices when this one ends."""

import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import Lab, wait_until  # noqa: E402
from streams import Streams  # noqa: E402

PORT = 7310
SWITCHES = sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/online"))
GUARD = "import sys; sys.stdin.read(); open(sys.argv[1], 'w').write('1')"


@unittest.skipIf(len(SWITCHES) < 2, "this machine does not let its CPUs be switched off")
class Hotplug(unittest.TestCase):
    def setUp(self):
        self.switch = SWITCHES[-1]
        self.cpu = int(self.switch.parent.name[3:])
        guard = subprocess.Popen([sys.executable, "-c", GUARD, self.switch],
                                 stdin=subprocess.PIPE, start_new_session=True)
        self.addCleanup(guard.wait, 30)
        self.addCleanup(guard.stdin.close)
        self.lab = Lab().enter_for(self)
        self.end = self.lab.a

    def start(self, **settings):
        self.lab.start_snpd(self.end, settings={"chimney": "disabled", "rss_max_cpus": 64,
                                                **settings})

    def row(self):
        return self.end.snp_json("rss", "show")["host"][0]

    def turn(self, value):
        self.switch.write_text(value)

    def test_buckets_leave_with_the_cpu_and_return_with_the_next_rebalance(self):
        self.start(rss_backend=["cpumap"])
        streams = Streams(self.end, self.lab.b, PORT, 8, seed=5, rate=5_000_000)
        before = self.row()["table"]
        self.assertIn(self.cpu, before)
        self.turn("0")
        wait_until(lambda: self.cpu not in self.row()["table"], 10, "the buckets elsewhere")
        away = self.row()["table"]
        others = [(old, new) for old, new in zip(before, away) if old != self.cpu]
        self.assertTrue(all(old == new for old, new in others), "nothing else moves")
        self.turn("1")
        time.sleep(1.5)
        self.assertEqual(self.row()["table"], away, "a CPU that comes waits for a rebalance")
        self.end.snp("rss", "rebalance")
        self.assertIn(self.cpu, self.row()["table"])
        streams.finish()

    def test_a_cpu_can_be_cleared_before_it_goes(self):
        self.start(rss_backend=["rps"])
        self.assertIn(self.cpu, self.row()["table"] or self.masked())
        self.end.snp("rss", "set", "avoid_cpus", str(self.cpu))
        self.assertNotIn(self.cpu, self.masked())
        mask = self.masked()
        self.turn("0")
        self.turn("1")
        time.sleep(1.5)
        self.assertEqual(self.masked(), mask)

    def masked(self):
        text = self.end.run(["cat", "/sys/class/net/veth0/queues/rx-0/rps_cpus"]).stdout
        bits = int(text.strip().replace(",", ""), 16)
        return [cpu for cpu in range(bits.bit_length()) if bits >> cpu & 1]


if __name__ == "__main__":
    unittest.main()
