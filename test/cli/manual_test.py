"""What the build makes of the tables: manual pages that groff takes without a warning, and a
completion that bash runs. `manual_test.py FOLDER`."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

FOLDER = Path(sys.argv.pop())
ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_snp; printf '%s\\n' "${COMPREPLY[@]}"
"""


class Manual(unittest.TestCase):
    def test_groff_has_nothing_to_say(self):
        for name in ("snp.1", "snpd.8", "snp.toml.5", "snp.rules.5"):
            done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", FOLDER / name],
                                  capture_output=True, text=True, timeout=30)
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
            text = re.sub(".\\x08", "", done.stdout)  # bold is a letter over itself
            self.assertIn("\nNAME\n", text)
            self.assertIn("\nSEE ALSO\n", text)


class Completion(unittest.TestCase):
    def complete(self, *words):
        done = subprocess.run(["bash", "-c", ASK, "bash", FOLDER / "snp.bash", "snp", *words],
                              capture_output=True, text=True, timeout=10)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.split()

    def test_words(self):
        self.assertLessEqual({"connections", "run", "netsh", "policy"}, set(self.complete("")))
        self.assertEqual(self.complete("settings", "g"), ["get"])
        self.assertEqual(self.complete("settings", "set", "chimn"),
                         ["chimney", "chimney_applications", "chimney_devices", "chimney_ports"])
        self.assertEqual(self.complete("settings", "set", "chimney", "dis"), ["disabled"])
        self.assertEqual(self.complete("netsh", "interface", "tcp", "show", "chimneys"),
                         ["chimneystats"])
        self.assertEqual(self.complete("netsh", "interface", "tcp", "set", "global", "chimney=a"),
                         ["chimney=automatic"])
        self.assertEqual(self.complete("why", "10.0.0.1:1-10.0.0.2:2", "--pro"), ["--program"])
        self.assertIn("bash", self.complete("run", "bas"))
        self.assertEqual(self.complete("policy", "check", str(FOLDER / "snpd.")),
                         [str(FOLDER / "snpd.8")])


if __name__ == "__main__":
    unittest.main(verbosity=2)
