"""What `snp bench` found, as JSON-ready data and as a Markdown table."""

import os
import platform
import statistics
from pathlib import Path

BEGIN, END = "<!-- snp bench: begin -->", "<!-- snp bench: end -->"


def machine(cores):
    model = next((line.split(":", 1)[1].strip()
                  for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    return {"cpu": model, "cpus_online": os.cpu_count(), "cores_used": list(cores),
            "kernel": platform.release(), "machine": platform.machine()}


def summarise(point, runs):
    """runs: {variant name: [figures of each round]}. Medians, and the median of paired ratios."""
    variants = {}
    for variant, rounds in runs.items():
        variants[variant] = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    ratios = {}
    base = runs.get(point.base)
    for variant, rounds in runs.items():
        if base is None or variant == point.base:
            continue
        ratios[variant] = {
            name: statistics.median(new[name] / old[name] for new, old in zip(rounds, base))
            for name in rounds[0] if all(old[name] for old in base)}
    return {"point": point.name, "figure": point.figure, "unit": point.unit, "medians": variants,
            "base": point.base, "ratios_to_kernel": ratios, "rounds": runs}


def number(value):
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def markdown(report):
    lines = [_machine_line(report["machine"], report["seconds"], report["rounds"]), ""]
    compared = [row for row in report["points"] if row["ratios_to_kernel"]]
    lines += ["| point | variant | kernel | variant's | ratio | p50 µs kernel / variant (ratio) | "
              "p99 µs kernel / variant | CPU of 200 % kernel / variant |",
              "|---|---|---|---|---|---|---|---|"]
    for row in compared:
        lines += [_line(row, variant) for variant in row["ratios_to_kernel"]]
    for row in report["points"]:
        if row not in compared:
            for variant, figures in row["medians"].items():
                lines += ["", f"{row['point']} ({variant}): " + ", ".join(
                    f"{name.replace('_', ' ')} {number(value)}" for name, value in figures.items())]
    for problem in report["problems"]:
        lines += ["", f"**Failed**: {problem}"]
    return "\n".join(lines) + "\n"


def _line(row, variant):
    old, new = row["medians"][row["base"]], row["medians"][variant]
    ratios = row["ratios_to_kernel"][variant]

    def pair(name, with_ratio=False):
        if name not in old:
            return ""
        text = f"{number(old[name])} / {number(new[name])}"
        return text + (f" ({ratios[name]:.2f})" if with_ratio and name in ratios else "")
    figure = row["figure"]
    ratio = f"**{ratios[figure]:.2f}**" if figure in ratios else ""
    return (f"| {row['point']} | {variant} | {number(old[figure])} {row['unit']} "
            f"| {number(new[figure])} | {ratio} | {pair('p50_us', True)} | {pair('p99_us')} "
            f"| {pair('cpu_percent')} |")


def _machine_line(machine_facts, seconds, rounds):
    cores = " and ".join(map(str, machine_facts["cores_used"]))
    return (f"Machine: {machine_facts['cpu']}, {machine_facts['cpus_online']} CPUs, Linux "
            f"{machine_facts['kernel']} ({machine_facts['machine']}); client on core "
            f"{cores.replace(' and ', ', server on core ')}. {rounds} alternating rounds of "
            f"{seconds:g} s; medians, ratios are medians of pairs.")


def write_markdown(path, table):
    """Writes the table, between the marks if the file has them, else as the whole file."""
    path = Path(path)
    old = path.read_text() if path.exists() else ""
    if BEGIN in old and END in old:
        head, rest = old.split(BEGIN, 1)
        table = f"{head}{BEGIN}\n{table}{END}{rest.split(END, 1)[1]}"
    path.write_text(table)
