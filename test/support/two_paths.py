"""The same scenario on the kernel and through the chimney: the results must be equal.

A test class of TwoPaths shares one lab with snpd running at both ends, chimney=enabled.
`--kernel` on the command line runs both paths on the kernel, to develop a scenario.
"""

import sys
import unittest

from netlab import Lab

KERNEL_ONLY = "--kernel" in sys.argv
SETTINGS = {"chimney": "enabled"}
# On a busy machine the kernel may have done most of a scenario before the connection has moved.
MOST_TRIES = 6


class TwoPaths(unittest.TestCase):
    settings = {}
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.lab = cls.enterClassContext(Lab(needs_product=not KERNEL_ONLY))
        if not KERNEL_ONLY:
            cls.lab.start_snpd(settings={**SETTINGS, **cls.settings})

    def setUp(self):
        self.first_process = len(self.lab.processes)

    def tearDown(self):
        for process in reversed(self.lab.processes[self.first_process:]):
            if process not in (self.lab.a.snpd, self.lab.b.snpd):
                process.stop()
        if not KERNEL_ONLY:
            for end in (self.lab.a, self.lab.b):
                end.snpd.expect_running()

    def carried(self, end):
        """Bytes that the engine of this end has carried for its programs."""
        if KERNEL_ONLY:
            return 0
        target = end.snp_json("stats")["target"]
        return target["bytes_in"] + target["bytes_out"]

    def compare(self, scenario, at_least_bytes, *arguments):
        """scenario(attached, *arguments) on both paths; gives the result that both had.

        at_least_bytes: what the engines of both ends must have carried in the second run."""
        on_kernel = scenario(False, *arguments)
        ends = (self.lab.a, self.lab.b)
        for _ in range(MOST_TRIES):
            before = [self.carried(end) for end in ends]
            through_chimney = scenario(not KERNEL_ONLY, *arguments)
            self.assertEqual(on_kernel, through_chimney,
                             "the kernel's result and the chimney's differ")
            moved = [self.carried(end) - old for end, old in zip(ends, before)]
            if KERNEL_ONLY or min(moved) >= at_least_bytes:
                return through_chimney
        self.fail(f"the engines carried {moved} of {at_least_bytes} bytes; declined: " +
                  str([end.snp_json("stats")["declined"] for end in ends]))


def url_host(address):
    return f"[{address}]" if ":" in address else address


def main():
    sys.argv = [word for word in sys.argv if word != "--kernel"]
    unittest.main(verbosity=2)
