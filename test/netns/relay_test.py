"""The engine and Linux as ends of a path that loses, delays, reorders and duplicates: every byte
arrives. How fast is another question: doc/tcp-against-linux.md."""

import unittest

from lossy_path import carried, open_lab, path, prepare, transfer
from netlab import LabError

SIZE = 1_500_000

# Everything at once, in both directions. A burst goes on from packet to packet, however long nothing
# is sent, and a sender that is left with its timeout doubles that for each: without a bound to the
# bursts the mean duration of a transfer would have none either.
WORST = ("loss=0.02,burst_begin=0.002,burst_end=0.3,longest_burst=4,reorder=0.05,reorder_ms=4,"
         "duplicate=0.02")


class Relay(unittest.TestCase):
    def run_pair(self, pair, impairment, *, back="", seed=1, v6=False):
        """One transfer; gives what the relay did."""
        config = path(impairment, delay_ms=1, rate_mbps=100, back=back, seed=seed)
        with open_lab(config, pair) as lab:
            prepare(lab)
            transfer(lab, size=SIZE, v6=v6)
            for name, moved in carried(lab).items():
                self.assertGreaterEqual(moved, SIZE * 9 // 10, f"the engine of {name} carried it")
            return lab.stop_relay()

    def test_the_relay_does_what_it_says(self):
        did = self.run_pair("linux to linux", WORST)
        forth, back = did["forth"], did["back"]
        self.assertGreater(forth["packets"], 1000)
        for what in ("lost", "reordered", "duplicated"):
            self.assertGreater(forth[what], 0, what)
            self.assertEqual(back[what], 0, what)
        for way in (forth, back):
            self.assertEqual(way["refused"] + way["missed"], 0, "frames lost by accident")

    def test_a_relay_that_cannot_start_says_so(self):
        with self.assertRaisesRegex(LabError, "not a path: .*loss=2"):
            self.run_pair("linux to linux", "loss=2")

    def test_engine_sends(self):
        for seed in (1, 2):
            self.run_pair("engine to linux", WORST, back=WORST, seed=seed)

    def test_engine_receives(self):
        for seed in (3, 4):
            self.run_pair("linux to engine", WORST, back=WORST, seed=seed)

    def test_both(self):
        self.run_pair("engine to engine", WORST, back=WORST, seed=5, v6=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
