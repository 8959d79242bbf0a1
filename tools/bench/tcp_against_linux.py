"""How well the engine's TCP fills an imperfect path, beside Linux's through the same one.

    sudo python3 tools/bench/tcp_against_linux.py [--runs 6] [--seconds 20] [--at-once 3] [--only TEXT]
                                                  [--sender-only | --receiver-only]
                                                  [--congestion-control bbr]

Each figure is the goodput that the receiver saw, every byte compared; the runs differ by the seed of
the relay. Paths with bursts get four times as many: a burst that takes a whole flight is rare, and
costs seconds. The table goes into doc/tcp-against-linux.md by hand, with the text around it.
"""

import argparse
import concurrent.futures
import json
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test" / "support"))
from lossy_path import IMPAIRMENTS, carried, open_lab, path, prepare, transfer  # noqa: E402
from netlab import LabError, say  # noqa: E402

DELAYS_MS = (1, 50)
PAIRS = ("linux to linux", "engine to linux", "linux to engine")
SHARE_OF = {"engine to linux": "engine sends", "linux to engine": "engine receives"}
RATE_MBPS = 100
MORE_RUNS = {"bursts 1 %": 4}


def one_run(name, delay_ms, pair, seed, seconds, settings, congestion_control):
    """Mbit/s of one transfer."""
    config = path(IMPAIRMENTS[name], delay_ms=delay_ms, rate_mbps=RATE_MBPS, seed=seed)
    with open_lab(config, pair, settings) as lab:
        prepare(lab)
        result = transfer(lab, seconds=seconds, timeout=seconds + 60,
                          congestion_control=congestion_control)
        for end, moved in carried(lab).items():
            if moved < 0.9 * result["bytes"]:
                raise LabError(f"the engine of {end} carried {moved} of {result['bytes']} bytes")
        did = lab.stop_relay()
    for way in did.values():
        if way["refused"] + way["missed"] != 0:
            raise LabError(f"the relay lost frames by accident: {did}")
    return {"mbps": result["bytes"] * 8 / result["seconds"] / 1e6,
            "overhead": did["forth"]["packets"] * 1448 / max(result["bytes"], 1)}


def in_own_process(*arguments):
    """A lab needs a main thread of its own."""
    done = subprocess.run([sys.executable, __file__, "--one", json.dumps(arguments)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"{arguments}: {done.stderr[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def seeds(options, name):
    runs = options.runs * MORE_RUNS.get(name, 1)
    return range(options.first_seed, options.first_seed + runs)


def measure(options):
    """{(impairment, delay, pair): [run]}: the pairs of a seed run in turn."""
    cases = [(name, delay) for delay in DELAYS_MS for name in IMPAIRMENTS
             if options.only in f"{name}, {delay} ms"]
    settings = {name: int(value) for name, value in (text.split("=") for text in options.set)}
    jobs = [(name, delay, pair, seed, options.seconds, settings, options.congestion_control)
            for name, delay in cases
            for seed in seeds(options, name) for pair in options.pairs]
    print(f"{len(jobs)} runs, about {len(jobs) * (options.seconds + 3) / options.at_once / 60:.0f} minutes",
        file=sys.stderr)
    results = {}
    with concurrent.futures.ThreadPoolExecutor(options.at_once) as pool:
        for job, run in zip(jobs, pool.map(lambda job: in_own_process(*job), jobs)):
            results.setdefault(job[:3], []).append(run)
            print(f"{job}: {run['mbps']:.2f} Mbit/s, sent {run['overhead']:.3f}", file=sys.stderr,
                  flush=True)
    return cases, results


def show(cases, results, pairs):
    say("| path | " + " | ".join(f"{pair}, Mbit/s" for pair in pairs)
        + "".join(f" | {SHARE_OF[pair]}, of Linux's" for pair in pairs[1:]) + " |")
    say("|---|" + "---|" * (2 * len(pairs) - 1))
    for name, delay in cases:
        means, cells = {}, []
        for pair in pairs:
            rates = [run["mbps"] for run in results[name, delay, pair]]
            means[pair] = statistics.mean(rates)
            error = statistics.stdev(rates) / len(rates) ** 0.5 if len(rates) > 1 else 0
            cells.append(f"{means[pair]:.2f} ± {error:.2f}")
        cells += [f"{means[pair] / means[pairs[0]]:.2f}" for pair in pairs[1:]]
        say(f"| {name}, {delay} ms | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=6, help="of each pair on each path")
    parser.add_argument("--first-seed", type=int, default=1, help="of the relay; the runs count on")
    parser.add_argument("--seconds", type=float, default=20, help="of each run")
    parser.add_argument("--at-once", type=int, default=3, help="runs at the same time")
    parser.add_argument("--only", default="", help="paths whose name has this text")
    parser.add_argument("--sender-only", action="store_const", dest="pairs", const=PAIRS[:2],
                        default=PAIRS, help="the engine only sends")
    parser.add_argument("--receiver-only", action="store_const", dest="pairs",
                        const=PAIRS[::2], help="the engine only receives")
    parser.add_argument("--congestion-control", default="cubic", help="of the sender")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER",
                        help="a setting of snpd")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        say(json.dumps(one_run(*json.loads(options.one))))
        return
    show(*measure(options), options.pairs)


if __name__ == "__main__":
    main()
