"""Runs in the guest: streams between two namespaces, both ends attached, moved there and back while
every byte is verified. Prints one line of JSON.

    python3 streams_inside.py BUILD
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import Lab, wait_until  # noqa: E402

import control  # noqa: E402
from streams import Streams  # noqa: E402

PORT = 7000
CONNECTIONS = 2
ROUNDS = 5
SLOW_S = 60  # this machine is emulated
BY_COMMAND = {"automatic_bytes": 0, "automatic_calls": 0}


def flows(lab):
    return control.flows(lab.a, PORT)


def move(lab, verb):
    for flow in flows(lab):
        wait_until(lambda flow=flow: control.ask(lab.a, verb, FLOW=flow)[0], SLOW_S,
                   f"{verb} of {flow}", every=0.1)


def wait_progress(lab):
    before = {flow: row["bytes_in"] for flow, row in flows(lab).items()}
    wait_until(lambda: all(row["bytes_in"] > before[flow] for flow, row in flows(lab).items()),
               SLOW_S, "progress", every=0.2)


def main():
    with Lab(sys.argv[1]) as lab:
        lab.start_snpd(lab.a, lab.b, settings=BY_COMMAND)
        streams = Streams(lab.b, lab.a, PORT, CONNECTIONS, seed=1, attached=(lab.a, lab.b),
                          rate=200_000, seconds=SLOW_S)
        wait_until(lambda: len(flows(lab)) == CONNECTIONS, SLOW_S, "the streams")
        for _ in range(ROUNDS):
            for verb in ("offload", "upload"):
                move(lab, verb)
                wait_progress(lab)
        programs = lab.a.hooked_programs()
        hand_overs = min(row["hand_overs"] for row in flows(lab).values())
        streams.finish(SLOW_S)
    print(json.dumps({"programs": programs, "rounds": ROUNDS, "hand_overs": hand_overs}))


if __name__ == "__main__":
    main()
