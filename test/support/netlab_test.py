"""The lab itself: it must leave nothing behind however it ends, and must notice what is left."""

import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from netlab import DEVICE, Lab, LabError, namespaces, wait_until

HERE = Path(__file__).resolve().parent

# A lab that says its names and its server's pid, and then waits to be ended.
SCRIPT = """
import time
from netlab import Lab
with Lab(build="/", needs_product=False) as lab:
    server = lab.b.start(["sleep", "600"])
    print(lab.a.name, lab.b.name, server.pid, lab.folder, flush=True)
    {body}
"""


def lab():
    return Lab(build="/", needs_product=False)


class Ending(unittest.TestCase):
    def run_script(self, body, number=None):
        with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
            script.write(SCRIPT.format(body=body))
            script.flush()
            child = subprocess.Popen([sys.executable, script.name], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True,
                                     env={**os.environ, "PYTHONPATH": str(HERE)})
            a, b, pid, folder = child.stdout.readline().split()
            self.assertLessEqual({a, b}, namespaces())
            if number is not None:
                child.send_signal(number)
            _, errors = child.communicate(timeout=60)
        self.assertFalse({a, b} & namespaces(), errors)
        self.assertFalse(Path(f"/proc/{pid}").exists(), "the server still runs")
        self.assertFalse(Path(folder).exists(), "the temporary folder is still there")
        return child.returncode

    def test_normal_end(self):
        self.assertEqual(self.run_script("pass"), 0)

    def test_exception(self):
        self.assertEqual(self.run_script("raise ValueError('wrong')"), 1)

    def test_interrupt(self):
        self.assertEqual(self.run_script("time.sleep(600)", signal.SIGINT), -signal.SIGINT)

    def test_terminate(self):
        self.assertEqual(self.run_script("time.sleep(600)", signal.SIGTERM), 128 + signal.SIGTERM)

    def test_hang_up(self):
        self.assertEqual(self.run_script("time.sleep(600)", signal.SIGHUP), 128 + signal.SIGHUP)


class Leftovers(unittest.TestCase):
    def test_a_daemon_that_escaped_is_ended_and_reported(self):
        with self.assertRaisesRegex(LabError, "left behind: process .*sleep"):
            with lab() as here:
                # It leaves our session, as a daemon does.
                here.a.run(["sh", "-c", "setsid --fork sleep 600 >/dev/null 2>&1"])
                pids = wait_until(lambda: len(found := here.a.pids()) == 1 and found, 10, "the daemon")
                wait_until(lambda: Path(f"/proc/{pids[0]}/comm").read_text() == "sleep\n", 10,
                           "the daemon as sleep")
        wait_until(lambda: not Path(f"/proc/{pids[0]}").exists(), 10, "the end of the daemon")

    def test_a_program_that_ignores_the_end_is_killed(self):
        with lab() as here:
            stubborn = here.a.start(["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"])
            wait_until(lambda: "deaf" in stubborn.output(), 10, "the trap")
            self.assertFalse(stubborn.stop(seconds=0.3))
            self.assertFalse(stubborn.running())

    def test_both_families_reach_the_other_end(self):
        with lab() as here:
            for address in (here.b.v4, here.b.v6):
                server = here.b.start(["socat", "-u", "TCP6-LISTEN:7000,ipv6-v6only=0,reuseaddr",
                                       "STDOUT"])
                server.wait_listening(7000)
                here.a.run(["socat", "-u", "STDIN",
                            f"TCP:{'[' + address + ']' if ':' in address else address}:7000"],
                           stdin="hello")
                self.assertEqual(server.result(10), "hello")

    def test_offloads_can_be_switched_off(self):
        with Lab(build="/", needs_product=False, offloads=False, mtu=1400) as here:
            features = here.a.run(["ethtool", "-k", DEVICE]).stdout
            self.assertIn("tcp-segmentation-offload: off", features)
            self.assertIn("tx-checksumming: off", features)
            self.assertIn("mtu 1400", here.b.run(["ip", "link", "show", DEVICE]).stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
