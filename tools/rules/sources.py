"""The source files that the house rules look at."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def files(folders, suffixes):
    """All files below the named folders whose names end in one of the suffixes, sorted."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*")
             if path.name.endswith(suffixes) and path.is_file() and "__pycache__" not in path.parts]
    return sorted(found)


def name(path):
    return str(path.relative_to(ROOT))


def finish(problems, praise):
    """Prints what is wrong, one line each, and leaves with the matching exit status."""
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(f"{len(problems)} broken")
    print(praise)
