#!/usr/bin/env python3
"""shellcheck has nothing to say about our shell scripts."""

import re
import subprocess
import sys

from sources import ROOT, files

SHEBANG = re.compile(rb"#!.*\b(ba)?sh\b")


def is_shell(path):
    with path.open("rb") as f:
        return bool(SHEBANG.match(f.readline(100)))


def main():
    candidates = files(["tools", "test", ".ci", "src"], ("",))
    scripts = [str(path) for path in candidates if is_shell(path)]
    if not scripts:
        sys.exit("no shell script found, are they still there?")
    return subprocess.run(["shellcheck", "--external-sources", *scripts], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
