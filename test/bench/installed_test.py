"""What `cmake --install` makes works by itself: snp, snpd, the switch, and snp bench with its programs."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from netlab import default_build

POINT = "not offloaded: request-response"


class Installed(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="snp-installed-")
        self.addCleanup(folder.cleanup)
        self.prefix = Path(folder.name)
        self.prefix.chmod(0o755)
        self.run_it("cmake", "--install", default_build(), "--prefix", self.prefix)

    def run_it(self, *argv):
        # Nothing of the source tree may help.
        env = {name: value for name, value in os.environ.items()
               if name not in ("SNP_BUILD", "PYTHONPATH")}
        done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=300,
                              cwd="/", env=env)
        self.assertEqual(done.returncode, 0, done.stdout[-800:] + done.stderr[-800:])
        return done.stdout

    def test_bench(self):
        # Whether the traffic went the way of its variant, snp-bench judges itself.
        results = self.prefix / "results.json"
        self.run_it(self.prefix / "bin" / "snp", "bench", "--quick", "--rounds", 1, "--seconds", 0.3,
                    "--points", POINT, "--json", results)
        self.assertIn(POINT, json.dumps(json.loads(results.read_text())))


if __name__ == "__main__":
    unittest.main(verbosity=2)
