#!/usr/bin/env python3
"""Every C and C++ file is as clang-format leaves it. With --fix: makes it so."""

import subprocess
import sys

from sources import files, finish, name

BATCH = 40


def main():
    checked = files(["src", "test", "bpf"], (".h", ".cpp", ".c"))
    if "--fix" in sys.argv[1:]:
        subprocess.run(["clang-format", "-i", *map(str, checked)], check=True)
        return
    problems = []
    for start in range(0, len(checked), BATCH):
        batch = checked[start:start + BATCH]
        done = subprocess.run(["clang-format", "--dry-run", "-Werror", *map(str, batch)],
                              capture_output=True, text=True)
        if done.returncode != 0:
            problems += [f"{name(p)}: run 'make format'" for p in batch if str(p) in done.stderr]
            problems = problems or [done.stderr.strip()]
    finish(problems, f"{len(checked)} files are formatted")


if __name__ == "__main__":
    main()
