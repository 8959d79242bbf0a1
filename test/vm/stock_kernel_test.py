"""On the kernel that Debian 12 comes with, which is older than the one this was built on: everything
that depends on its age has another way (clsact instead of tcx). Streams that verify every byte move
both ways there."""

import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from guest import Guest  # noqa: E402
from netlab import default_build  # noqa: E402

INSIDE = Path(__file__).with_name("streams_inside.py")


class StockKernel(unittest.TestCase):
    def test_streams_move_both_ways(self):
        build = default_build().resolve()
        with tempfile.TemporaryDirectory() as folder, \
                Guest(folder, build / "vm", cpus=4, memory_mb=2048) as guest:
            release = guest.run(["uname", "-r"]).stdout.strip()
            self.assertTrue(release.startswith("6.1."), release)
            done = guest.run(["python3", INSIDE, build], timeout=500, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            result = json.loads(done.stdout.splitlines()[-1])
            print(f"{release}: {result}")
            self.assertEqual(result["programs"], {"ingress": ["snp_ingress"],
                                                  "egress": ["snp_egress"]})
            self.assertGreaterEqual(result["hand_overs"], 2 * result["rounds"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
