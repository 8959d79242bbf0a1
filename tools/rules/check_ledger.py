#!/usr/bin/env python3
"""doc/rfc-ledger.toml is complete, and every test and file that it names is there; so are those of each
row of doc/hand-over-rules.md. And who cites a numbered requirement cites one that there is."""

import re
import tomllib

from sources import ROOT, files, finish

LEDGER = "doc/rfc-ledger.toml"
HAND_OVER = "doc/hand-over-rules.md"
# RFC 9293 numbers its requirements; appendix B has all of them.
NUMBERED = {9293: [f"MUST-{n}" for n in range(1, 70)] + [f"SHLD-{n}" for n in range(1, 32)] + ["REC-1"]}
STANDARDS = {9293, 5681, 6298, 6675, 7323, 8985, 9438, 5961, 6937, 1122}
NUMBER = re.compile(r"\b(?:MUST|SHLD|REC)-\d+\b")
PYTHON_TEST = re.compile(r"^    def (test_\w+)\(", re.M)
GTEST = re.compile(r"^TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)", re.M)
KINDS = ({"code", "tests"}, {"reason"}, {"see"})
COMMON = {"rfc", "id", "clause", "text"}


def known_tests():
    """Suite.Name of every unit test, script/TOPIC/NAME of every packet script, FOLDER/NAME.test_it of
    every test with real programs."""
    names = set()
    for path in files(["src", "test"], ("_test.cpp",)):
        names |= {".".join(match) for match in GTEST.findall(path.read_text())}
    scripts = ROOT / "test" / "script"
    names |= {f"script/{path.relative_to(scripts).with_suffix('')}"
              for path in files(["test/script"], (".pkt",))}
    for folder in ("netns", "daemon"):
        for path in files([f"test/{folder}"], ("_test.py",)):
            names |= {f"{folder}/{path.name.removesuffix('_test.py')}.{test}"
                      for test in PYTHON_TEST.findall(path.read_text())}
    return names


def check_rows(text, tests):
    """A row of a table: | rule | what is done | `test`, `test` |."""
    rows = [line.strip("|").split("|") for line in text.splitlines()
            if line.startswith("| ") and not line.startswith("| Rule ")]
    problems = [] if rows else ["there is no table"]
    for row in rows:
        named = re.findall(r"`([^`]+)`", row[-1])
        if len(row) != 3 or not named:
            problems.append(f"not rule, deed and tests: {row[0].strip()}")
        problems += [f"{row[0].strip()}: there is no test {name}" for name in named
                     if name not in tests]
    return problems


def is_numbered(entry):
    return NUMBER.fullmatch(str(entry.get("id"))) is not None


def wrong_citations(text):
    """The numbers in a file that RFC 9293 does not have."""
    return sorted(set(NUMBER.findall(text)) - set(NUMBERED[9293]))


def check_citations():
    paths = files(["src", "test", "bpf"], (".cpp", ".h", ".c", ".pkt", ".py"))
    return [f"{path.relative_to(ROOT)}: RFC 9293 has no {name}"
            for path in paths for name in wrong_citations(path.read_text())]


def problems_of(entry, tests, ids):
    given = set(entry) - COMMON - {"note"}
    if not COMMON <= set(entry) or not all(entry[key] for key in entry):
        yield "something is missing or empty"
    if given not in KINDS:
        yield f"is neither tested nor excepted nor like others: {sorted(given)}"
    if entry.get("rfc") not in STANDARDS:
        yield "is of a standard that the ledger does not cover"
    if is_numbered(entry) and entry.get("id") not in NUMBERED.get(entry.get("rfc"), []):
        yield "the standard has no such number"
    for name in entry.get("tests", []):
        if name not in tests:
            yield f"there is no test {name}"
        if "DISABLED_" in name or entry["tests"].count(name) > 1:
            yield f"{name} does not run, or is named twice"
    for name in entry.get("code", []):
        if not (ROOT / "src" / "snp" / name).is_file():
            yield f"there is no file src/snp/{name}"
    for name in entry.get("see", []):
        if name not in ids:
            yield f"there is no entry {name}"


def check(ledger, tests):
    entries = ledger.get("requirement", [])
    labels = [f"{entry.get('rfc')} {entry.get('id')}" for entry in entries]
    problems = [f"{label}: {text}" for label, entry in zip(labels, entries)
                for text in problems_of(entry, tests, set(labels))]
    problems += [f"{label}: twice" for label in sorted(set(labels)) if labels.count(label) > 1]
    problems += [f"{rfc} {name}: not in the ledger" for rfc, names in NUMBERED.items()
                 for name in names if f"{rfc} {name}" not in labels]
    problems += [f"RFC {rfc}: no entry" for rfc in sorted(STANDARDS)
                 if not any(entry.get("rfc") == rfc for entry in entries)]
    return problems


def main():
    ledger = tomllib.loads((ROOT / LEDGER).read_text())
    entries = ledger["requirement"]
    tested = sum("tests" in entry for entry in entries)
    tests = known_tests()
    rules = (ROOT / HAND_OVER).read_text()
    finish([f"{LEDGER}: {problem}" for problem in check(ledger, tests)]
           + [f"{HAND_OVER}: {problem}" for problem in check_rows(rules, tests)]
           + check_citations(),
           f"{len(entries)} requirements: {tested} tested, "
           f"{sum('reason' in entry for entry in entries)} excepted")


if __name__ == "__main__":
    main()
