"""What a copy engine gains or costs the receiving shard, by the size of segments.

    sudo python3 tools/bench/netdma_variants.py [--rounds 5] [--seconds 1] [--only TEXT]
                                                [--variants off,thread] [--json FILE] [--real-time]
                                                [--set receive_slot_bytes=65536]

The receiving end's shard has a core of its own, its program another, the engine a third; the sending end
has the fourth. Shard time is that of its thread, kernel included, for each KiB it received. Variants of
a point run in turn; ratios to `off` are medians of pairs. --real-time: shard and engine run
under SCHED_FIFO, and the sending end at nice -20, so that a machine that does something else does not count
(its caches still do); a shard that spins is then never off its CPU. `off`: netdma=disabled. `default`: no setting
at all. Those named after an engine give it every size (netdma_break_even=ignored); `calibrated` is
`thread` as its calibration has it, which is printed: where `thread` crosses 1.00 is what it should have
found. The table goes into doc/netdma.md by hand.
"""

import argparse
import json
import os
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test" / "support"))
from netlab import Lab, LabError, say  # noqa: E402

PORT = 7000
# The sender with its snpd; the receiver's shard, program, engine.
SENDER, SHARD, PROGRAM, ENGINE = "0", "1", "2", "3"

FORCED = {"netdma_break_even": "ignored", "netdma_cpu": ENGINE}
VARIANTS = {
    "off": {"netdma": "disabled"},
    "default": {},
    "cpu": {"netdma_backend": "cpu", "netdma_break_even": "ignored"},
    "thread": {"netdma_backend": "thread", **FORCED},
    "dma_skeleton": {"netdma_backend": "dmadev:dma_skeleton", **FORCED},
    "calibrated": {"netdma_backend": "thread", "netdma_cpu": ENGINE},
}


@dataclass(frozen=True)
class Point:
    name: str
    kind: str  # "bulk": the client sends; "rr": messages of `size` both ways
    connections: int = 1
    size: int = 64
    mtu: int = 1500
    offloads: bool = True


POINTS = (
    Point("64 B messages, 1 connection", "rr"),
    Point("64 B messages, 64 connections", "rr", 64),
    Point("1.5 KB segments, 1 connection", "bulk", offloads=False),
    Point("1.5 KB segments, 8 connections", "bulk", 8, offloads=False),
    Point("9 KB segments, 1 connection", "bulk", mtu=9000, offloads=False),
    Point("9 KB segments, 8 connections", "bulk", 8, mtu=9000, offloads=False),
    Point("64 KB segments, 1 connection", "bulk"),
    Point("64 KB segments, 8 connections", "bulk", 8),
    Point("64 KB messages, 1 connection", "rr", size=65536),
)


def shard_ns(pid):
    """Time on a CPU of the engine process's shards, from the scheduler."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().startswith("snp-shard"):
            total += int((task / "schedstat").read_text().split()[0])
    return total


def clients(lab, point, seconds, prefix=()):
    """Runs the programs of the sending end; their answers."""
    program = f"{point.kind}_client"
    options = (["--direction", "send"] if point.kind == "bulk" else
               ["--connections", point.connections, "--size", point.size])

    def one(number):
        command = [lab.helpers / program, lab.b.v4, PORT + number, *options, "--seconds", seconds]
        out = lab.a.run([*prefix, *command], attached=True, cpus=SENDER)
        return json.loads(out.stdout)
    count = point.connections if point.kind == "bulk" else 1
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def first(pid, priority):
    """Puts the threads of the engine process that carry and copy data before all others."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().startswith(("snp-shard", "snp-copy", "dma_skel")):
            os.sched_setscheduler(int(task.name), os.SCHED_FIFO, os.sched_param(priority))


def start_servers(lab, point):
    """A bulk server serves one connection after the other, so each has its own."""
    options = ["--size", point.size] if point.kind == "rr" else []
    servers = []
    for number in range(point.connections if point.kind == "bulk" else 1):
        servers.append(lab.b.start([lab.helpers / f"{point.kind}_server", PORT + number, *options],
                                   attached=True, cpus=PROGRAM))
        servers[-1].wait_listening(PORT + number)
    return servers


def measure(lab, point, seconds, real_time=False):
    servers = start_servers(lab, point)
    pid = lab.b.snp_json("status")["pid"]
    if real_time:
        first(pid, 10)
        os.setpriority(os.PRIO_PROCESS, lab.a.snp_json("status")["pid"], -20)
    before, bytes_before = shard_ns(pid), lab.b.snp_json("stats")["target"]["bytes_in"]
    answers = clients(lab, point, seconds, ["nice", "-n", "-20"] if real_time else [])
    spent = shard_ns(pid) - before
    stats = lab.b.snp_json("stats")
    received = stats["target"]["bytes_in"] - bytes_before
    for server in servers:
        server.stop()
    if received < 1e5:
        raise LabError(f"{point.name}: the engine received only {received} bytes: "
                       f"{stats['declined']}")
    figures = {"shard_ns_per_kib": 1024 * spent / received}
    if point.kind == "bulk":
        figures["gbit_per_second"] = sum(a["gigabits_per_second"] for a in answers)
    else:
        figures.update({name: answers[0][name] for name in
                        ("requests_per_second", "p50_us", "p99_us")})
    return figures


def one_run(options, point, variant):
    """Figures, and what snpd says of its engine."""
    with Lab(options.build, mtu=point.mtu, offloads=point.offloads) as lab:
        common = {"chimney": "enabled", **dict(word.split("=", 1) for word in options.set)}
        lab.start_snpd(lab.a, settings={**common, **VARIANTS["off"]}, cpus={lab.a: SENDER})
        lab.start_snpd(lab.b, settings={**common, **VARIANTS[variant]}, cpus={lab.b: SHARD})
        figures = measure(lab, point, options.seconds, options.real_time)
        engine = lab.b.snp_json("netdma", "show")
        lab.stop_snpd()
    copied = sum(row["bytes"] for row in engine["copies"] if row["outcome"] == "engine")
    forced = VARIANTS[variant].get("netdma_break_even") == "ignored"
    if forced != (copied > 0) and variant != "calibrated":
        raise LabError(f"{point.name}, {variant}: the engine copied {copied} bytes: {engine['state']}")
    return figures, engine


def run_point(options, point):
    runs = {variant: [] for variant in options.variants}
    said = {}
    for number in range(options.rounds):
        for variant in options.variants[number % 2::] + options.variants[:number % 2]:
            figures, said[variant] = one_run(options, point, variant)
            runs[variant].append(figures)
        say(f"{point.name}: round {number + 1} of {options.rounds}")
    return runs, said


def cell(runs, base, name):
    value = statistics.median(run[name] for run in runs)
    if runs is base:
        return f"{value:,.1f}"
    ratio = statistics.median(new[name] / old[name] for new, old in zip(runs, base))
    return f"{value:,.1f} (**{ratio:.2f}**)"


def table(results):
    lines = ["| point | variant | shard ns a KiB | Gbit/s, requests/s | p50 us | p99 us |",
             "|---|---|---|---|---|---|"]
    for name, runs in results.items():
        base = runs["off"]
        rate = "gbit_per_second" if "gbit_per_second" in base[0] else "requests_per_second"
        for variant, rounds in runs.items():
            cells = [cell(rounds, base, "shard_ns_per_kib"), cell(rounds, base, rate)]
            cells += [cell(rounds, base, p) if p in base[0] else "" for p in ("p50_us", "p99_us")]
            lines.append(f"| {name} | {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--only", default="", help="points with this in their name")
    parser.add_argument("--variants", default=",".join(VARIANTS), type=lambda text: text.split(","))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--build", default=None)
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE, a setting of both")
    parser.add_argument("--real-time", action="store_true")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 4 or "off" not in options.variants:
        parser.error("it needs four CPUs, and the variant off to compare with")
    results, calibrations = {}, {}
    for point in POINTS:
        if options.only in point.name:
            results[point.name], calibrations = run_point(options, point)
    print(table(results))
    for variant, engine in calibrations.items():
        print(f"\n{variant}: {engine['state']}")
        for row in engine["classes"] if engine["engine"] else ():
            print(f"  from {row['from_bytes']}: {row['verdict']}: {row['why']}")
    if options.json:
        options.json.write_text(json.dumps({"points": results, "engines": calibrations}, indent=1))


if __name__ == "__main__":
    main()
