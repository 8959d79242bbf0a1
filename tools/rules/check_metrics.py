#!/usr/bin/env python3
"""Every row of the metric tables is counted somewhere: a metric that never moves is a lie."""

import re

from sources import ROOT, files, finish

ROW = re.compile(r"^SNP_METRIC\((\w+), *\"", re.M)
TABLES = {"EngineMetric": ("M", "engine_metrics.def"),
          "PathMetric": ("P", "path_metrics.def"),
          "NetdmaMetric": ("M", "netdma_metrics.def")}


def main():
    code = "\n".join(path.read_text() for path in files(["src/snp"], (".h", ".cpp"))
                     if path.parent.name != "stats" and not path.name.endswith("_test.cpp"))
    problems, rows = [], 0
    for metric, (short, table) in TABLES.items():
        for symbol in ROW.findall((ROOT / "src/snp/stats" / table).read_text()):
            rows += 1
            if not re.search(rf"\b(?:{metric}|{short})::{symbol}\b", code):
                problems.append(f"src/snp/stats/{table}: {symbol} is never counted")
    if rows == 0:
        problems.append("no SNP_METRIC rows found, are the tables still there?")
    finish(problems, f"{rows} metrics, all counted")


if __name__ == "__main__":
    main()
