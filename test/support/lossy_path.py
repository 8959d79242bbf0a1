"""Linux or the engine as either end of an imperfect path: the labs, scenarios and transfers that the
functional test (test/netns/relay_test.py) and the table (tools/bench/tcp_against_linux.py) share."""

import json
import sys
from pathlib import Path

from netlab import Lab, LabError, wait_until

SCRIPT = Path(__file__).resolve().parents[1] / "netns" / "scripts" / "stream.py"
PORT = 7200

# What happens to the sender's packets, beside delay and rate. The bursts lose 1 % in runs of four in
# the mean; one packet in fifty comes up to 20 ms late.
IMPAIRMENTS = {
    "loss 0.1 %": "loss=0.001",
    "loss 1 %": "loss=0.01",
    "loss 3 %": "loss=0.03",
    "bursts 1 %": "burst_begin=0.002525,burst_end=0.25",
    "reordering 20 ms": "reorder=0.02,reorder_ms=20",
}

# Who sends and who receives.
PAIRS = {"linux to linux": (), "engine to linux": ("a",), "linux to engine": ("b",),
         "engine to engine": ("a", "b")}


def path(impairment, *, delay_ms, rate_mbps, queue_kb=250, seed=1, back=""):
    """A path for Lab: impairment and delay forth, delay back (and `back`); the same rate both ways."""
    common = f"delay_ms={delay_ms},rate_mbps={rate_mbps},queue_kb={queue_kb}"
    return {"forth": ",".join(filter(None, [common, impairment])),
            "back": ",".join(filter(None, [common, back])), "seed": seed}


def open_lab(config, pair, settings=None):
    """A lab for one of PAIRS, entered by the caller; call prepare() inside."""
    lab = Lab(path=config)
    lab.pair, lab.settings = PAIRS[pair], settings or {}
    return lab


def prepare(lab):
    """Nothing is remembered of earlier connections; snpd where it is due."""
    for end in (lab.a, lab.b):
        end.run(["sysctl", "-qw", "net.ipv4.tcp_no_metrics_save=1"])
    if lab.pair:
        lab.start_snpd(*attached_ends(lab), settings={"chimney": "enabled", **lab.settings})


def transfer(lab, *, seconds=None, size=None, v6=False, timeout=120, congestion_control="cubic"):
    """One stream from a to b: {"bytes", "seconds"} of the receiver, which compared every byte. With a
    size, it flows when every attached end is offloaded."""
    length = ["--seconds", seconds] if seconds else []
    receiver = lab.b.start([sys.executable, SCRIPT, "receive", PORT, *length],
                           attached="b" in lab.pair, name="receive")
    receiver.wait_listening(PORT)
    begin = lab.folder / "begin"
    length = ["--seconds", seconds + 30] if seconds else ["--bytes", size, "--wait-for", begin]
    sender = lab.a.start([sys.executable, SCRIPT, "send", lab.b.v6 if v6 else lab.b.v4, PORT,
                          *length, "--congestion-control", congestion_control],
                         attached="a" in lab.pair, name="send")
    if size is not None:
        wait_until(lambda: all(is_offloaded(end) for end in attached_ends(lab)), 30, "the offload")
        begin.touch()
    result = json.loads(receiver.result(timeout))
    if size is not None:
        sender.result(timeout)
        if result["bytes"] != size:
            raise LabError(f"{result['bytes']} bytes of {size} arrived")
    sender.stop()
    return result


def attached_ends(lab):
    return [{"a": lab.a, "b": lab.b}[name] for name in lab.pair]


def is_offloaded(end):
    return {row["offload_state"] for row in end.snp_json("connections")["connections"]} == {"Offloaded"}


def carried(lab):
    """{"a": bytes} that the engine of each attached end carried."""
    stats = {name: end.snp_json("stats")["target"]
             for name, end in zip(lab.pair, attached_ends(lab))}
    return {name: target["bytes_in"] + target["bytes_out"] for name, target in stats.items()}
