#!/usr/bin/env python3
"""A skewed load on the engine: 1,000 connections whose requests follow Zipf's law, all buckets on one
shard at the start, then two shards and the balancer. How long until the shards' loads differ by less
than 10 %, was a segment reordered on the wire, and what became of p99.

    sudo tools/bench/rss_zipf.py [--build DIR] [--connections 1000] [--zipf 1.0] [--json FILE]
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "support"))
from netlab import Lab, wait_until  # noqa: E402

PORT = 7000
BEFORE_S, AFTER_S, WINDOW_S = 3, 6, 0.25
GOAL = 0.10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--build")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--zipf", type=float, default=1.0)
    parser.add_argument("--json")
    return parser.parse_args()


def buckets(end):
    """Whose each bucket is, and its packets since the start."""
    show = end.snp_json("rss", "show")
    return show["table"], show["packets"]


def wire_counters(end):
    """What a kernel at the other end sees of segments that did not come in order, or not at all."""
    text = end.run(["nstat", "-asz", "TcpExtTCPOFOQueue", "TcpRetransSegs"]).stdout
    return {row.split()[0]: int(row.split()[1]) for row in text.splitlines()
            if row and not row.startswith("#")}


def imbalance(before, after):
    """Of the two shards, in between; a bucket counts for the shard that has it at the end."""
    loads = [0, 0]
    for shard, was, now in zip(after[0], before[1], after[1]):
        loads[shard] += now - was
    mean = sum(loads) / len(loads)
    return max(loads) / mean - 1 if mean else 0


def main():
    args = arguments()
    with Lab(args.build) as lab:
        a, b = lab.a, lab.b
        lab.start_snpd(b, settings={"chimney": "enabled", "shards": 2, "rss_max_cpus": 1,
                                    "rss_balancing": "enabled"})
        server = b.start([lab.helpers / "rr_server", PORT], attached=True, cpus=0)
        server.wait_listening(PORT)
        client = a.start([lab.helpers / "rr_client", b.v4, PORT, "--connections", args.connections,
                          "--zipf", args.zipf, "--outstanding", 64, "--warmup", 1, "--window",
                          WINDOW_S, "--seconds", BEFORE_S + AFTER_S], cpus=1)
        wait_until(lambda: b.snp_json("status")["offloaded"] == args.connections, 60,
                   "the connections in the engine", every=0.2)
        time.sleep(1 + BEFORE_S - 0.5)
        wire = wire_counters(a)
        one = buckets(b)
        time.sleep(0.2)
        skew = imbalance(one, buckets(b))
        b.snp("rss", "set", "max_cpus", "2")
        start, balanced, steps = time.monotonic(), None, []
        last = buckets(b)
        while time.monotonic() - start < AFTER_S - 2:
            time.sleep(0.2)
            now = buckets(b)
            steps.append((round(time.monotonic() - start, 2), round(imbalance(last, now), 3)))
            last = now
            if balanced is None and steps[-1][1] < GOAL:
                balanced = steps[-1][0]
        reordered = {name: value - wire[name] for name, value in wire_counters(a).items()}
        lines = [json.loads(line) for line in client.result(60).splitlines()]
        server.stop()
        show = b.snp_json("rss", "show")
    windows = [line for line in lines if "at" in line]
    def p99(lo, hi):
        values = sorted(w["p99_us"] for w in windows if lo <= w["at"] < hi)
        return values[len(values) // 2] if values else None
    result = {"connections": args.connections, "zipf": args.zipf, "imbalance_at_start": skew,
              "seconds_to_balance": balanced, "imbalance": steps, "on_the_wire": reordered,
              "p99_us_before": p99(0, BEFORE_S - 1), "p99_us_after": p99(BEFORE_S + 2, 1e9),
              "requests_per_second": lines[-1]["requests_per_second"],
              "buckets_moved": show["buckets_moved"], "connections_moved": show["connections_moved"],
              "quiet_p99_us": show["quiet_p99_us"]}
    print(json.dumps(result, indent=1))
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    good = balanced is not None and balanced <= 1 and reordered["TcpExtTCPOFOQueue"] == 0
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
