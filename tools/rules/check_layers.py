#!/usr/bin/env python3
"""Arrows go down only.

Reads the rows of src/snp/CMakeLists.txt, `snp_folder(NAME USES a b ...)` or, for what is not an
ordinary library, the comment `# row: NAME USES a b ...`, and the include lines of every source. A folder may include itself and what its row names; a row may name only rows above it,
so there are no cycles; a third-party header may appear only where the table below says.
"""

import re
import sys

from sources import ROOT, files, finish, name

# Header prefix -> folders that may include it; "test" stands for tests.
THIRD_PARTY = {
    "tl/": {"base"},
    "fmt/": {"commands", "cli", "daemon"},
    "spdlog/": {"daemon"},
    "nlohmann/": {"host", "commands", "cli", "daemon"},
    "CLI/": {"commands", "cli", "daemon"},
    "toml++/": {"settings"},
    "absl/": {"engine", "daemon"},
    "bpf/": {"steer", "rss/backends", "device/drivers/af_packet", "host"},
    "libmnl/": {"host", "daemon"},
    "nftables/": {"host"},
    "libiptc/": {"host"},
    "cap-ng": {"daemon"},
    "rte_": {"netdma/dmadev"},
    "histedit.h": {"cli"},
    "gtest/": {"test"},
    "gmock/": {"test"},
    "rapidcheck": {"test"},
}
# The kernel's and libc's own headers are not for the pure folders: what they need is C++.
SYSTEM = re.compile(r"^(sys|net|netinet|linux|arpa|asm)/|^(unistd|fcntl|poll|pthread|time|signal|errno"
                    r"|sched|dlfcn|semaphore)\.h$|^(thread|mutex|condition_variable|random|fstream)$")
PURE = {"wire", "state", "stats", "tcp", "chimney", "rss"}
PURE_EXCEPTIONS = {("wire", "arpa/inet.h")}  # inet_pton and inet_ntop: text only
# BPF sources share plain C headers with those that load them.
SHARED_BPF = {"steer", "rss/backends", "device/drivers/af_packet", "host", "test"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
ROW = re.compile(r"^snp_folder\(([^)]*)\)", re.M)
KEYWORDS = {"USES", "LIBS", "TEST_LIBS", "SYSTEM_LIBS", "TSAN"}


def read_rows(text, keyword_wanted="USES"):
    """{folder: [used folders]} in the order of the file; or what follows another keyword."""
    text = re.sub(r"^# row: (.*)$", r"snp_folder(\1)", text, flags=re.M)
    rows = {}
    for body in ROW.findall(re.sub(r"#.*", "", text)):
        words = body.split()
        uses, keyword = [], None
        for word in words[1:]:
            if word in KEYWORDS:
                keyword = word
            elif keyword == keyword_wanted:
                uses.append(word)
        rows[words[0]] = uses
    return rows


def check_rows(rows):
    seen = set()
    for folder, uses in rows.items():
        for used in uses:
            if used not in seen:
                yield f"src/snp/CMakeLists.txt: {folder} uses {used}, which is not a row above it"
        seen.add(folder)


def folder_of(path, rows):
    """The longest row that the path lies in, or None."""
    parts = path.split("/")
    for length in range(len(parts) - 1, 0, -1):
        if "/".join(parts[:length]) in rows:
            return "/".join(parts[:length])
    return None


def is_for_tests(path):
    return path.name.endswith(("_test.cpp", "_bench.cpp")) or "testing" in path.parts


def rows_of_tests(text, rows):
    """The rows as tests see them: a folder's tests may also use the folders in its TEST_LIBS."""
    targets = {"snp_" + folder.replace("/", "_"): folder for folder in rows}
    more = read_rows(text, "TEST_LIBS")
    return {folder: uses + [targets[lib] for lib in more[folder] if lib in targets]
            for folder, uses in rows.items()}


def check_include(folder, bracket, header, rows, is_test):
    """What is wrong with one include line, or None."""
    if header.startswith("snp/"):
        owner = folder_of(header[len("snp/"):], rows)
        if owner is None:
            return "lies in no folder of src/snp/CMakeLists.txt"
        if owner != folder and owner not in rows[folder]:
            return f"{owner} is not in the row of {folder}"
        return None
    if header.startswith("bpf/shared/") or header.endswith(".skel.h"):
        return None if is_test or folder in SHARED_BPF else "only those that load programs may use it"
    if header.startswith("test/"):
        return None if is_test else "only tests use test/"
    if bracket == '"':
        return "write it from the root: snp/..."
    for prefix, allowed in THIRD_PARTY.items():
        if header.startswith(prefix):
            mine = folder in allowed or (is_test and "test" in allowed)
            return None if mine else f"only {', '.join(sorted(allowed))} may use {prefix}"
    if folder in PURE and not is_test and SYSTEM.search(header):
        if (folder, header) not in PURE_EXCEPTIONS:
            return f"{folder} is pure: no system call, clock, thread or lock"
    return None


def main():
    text = (ROOT / "src/snp/CMakeLists.txt").read_text()
    rows = read_rows(text)
    test_rows = rows_of_tests(text, rows)
    problems = list(check_rows(rows))
    for path in files(["src/snp"], (".h", ".cpp", ".c", ".def")):
        inside = str(path.relative_to(ROOT / "src/snp"))
        folder = folder_of(inside, rows)
        if folder is None:
            problems.append(f"{name(path)}: its folder has no row in src/snp/CMakeLists.txt")
            continue
        is_test = is_for_tests(path.relative_to(ROOT))
        for bracket, header in INCLUDE.findall(path.read_text()):
            wrong = check_include(folder, bracket, header, test_rows if is_test else rows,
                                  is_test)
            if wrong:
                problems.append(f"{name(path)}: #include {header}: {wrong}")
    if len(rows) < 5:
        problems.append("src/snp/CMakeLists.txt: hardly any rows found, is the table still there?")
    finish(problems, f"{len(rows)} folders, all arrows go down")


if __name__ == "__main__":
    sys.exit(main())
