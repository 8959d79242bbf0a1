"""Torture: connections full of verified traffic are moved between host and engine at random moments,
from both ends, while frames are lost, duplicated and reordered.

    torture_test.py [--hand-overs 2000] [--connections 64] [--seed N] [--seconds 300] [--kernel]
    torture_test.py --local    both programs on one host: between host and local target

Passes when every byte arrived, no connection was reset, none waited longer than a second for data
(time in which a program had no processor does not count), and at least so many offloads and so many
uploads were done. Prints its seed.
"""

import argparse
import glob
import json
import random
import re
import signal
import sys
import threading
import time

import control
from netlab import Lab, LabError, say, wait_until

PORT = 7100
LONGEST_WAIT_S = 1
BACK_OFF = 3  # a wait without a processor makes one for data so many times as long, at most
STALL = re.compile(r"stall: connection (\d+) has waited (\d+) ms for byte (\d+)")
# Ends of a connection wait in different ways; each pair gets its share of the connections.
STYLES = (("level", "edge"), ("edge", "blocking"), ("blocking", "poll"), ("select", "level"))
FAULTS = {"fault_drop_permille": 10, "fault_duplicate_permille": 10, "fault_reorder_permille": 10}
ENGINE_COUNTERS = ("frames_in", "frames_unacceptable", "frames_held", "frames_reinjected",
                   "segments_retransmitted", "connections_initiated", "connections_terminated")
# Answers after which a move may be tried again later: the connection is on its way, or just moved.
PASSING = ("tried again", "busy", "out of order", "on its way", "already", "progress")


class Starvation(threading.Thread):
    """How long threads of snpd and of the peers were ready to run and did not get a processor."""

    PERIOD_S, KEPT_S = 0.1, 60

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.lab, self.stopping = lab, threading.Event()
        self.waits = {}  # path of a thread's schedstat -> its waits in ns
        self.history = []  # (when, the longest wait of the period among snpd's threads and the peers')

    def run(self):
        before = time.monotonic()
        while not self.stopping.wait(self.PERIOD_S):
            now = time.monotonic()
            # This thread may have been late itself: a period is what it was.
            self.history.append((now, min(self.sample(), 2 * (now - before))))
            self.history = [entry for entry in self.history if entry[0] > now - self.KEPT_S]
            before = now

    def sample(self):
        longest = {True: 0, False: 0}
        seen = {}
        for process in list(self.lab.processes):
            is_snpd = process.name == "snpd"
            for pid in process.tree():
                for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
                    try:
                        with open(path) as file:
                            seen[path] = int(file.read().split()[1])
                    except OSError:
                        continue
                    longest[is_snpd] = max(longest[is_snpd],
                                           seen[path] - self.waits.get(path, seen[path]))
        self.waits = seen
        return (longest[True] + longest[False]) * 1e-9

    def within(self, seconds):
        """In the last seconds, as the next look shows it."""
        now = time.monotonic()
        since = now - seconds
        wait_until(lambda: self.history and self.history[-1][0] > now or not self.is_alive(), 30,
                   "a look at the threads' waits")
        return sum(wait for when, wait in list(self.history) if when > since)

    def stop(self):
        self.stopping.set()
        self.join()


class Mover(threading.Thread):
    """Moves connections of one end at random until it is told to stop."""

    def __init__(self, end, ports, seed, local=False):
        super().__init__(daemon=True)
        self.end, self.ports, self.dice, self.local = end, ports, random.Random(seed), local
        self.done = {"offload": 0, "upload": 0}
        self.put_off = {}
        self.problem = ""
        self.stopping = threading.Event()

    def run(self):
        try:
            rows = {}
            for port in self.ports:
                rows.update(control.flows(self.end, port))
            offloaded = {flow: row["offload_state"] == "Offloaded" for flow, row in rows.items()
                         if not self.local or is_listening_end(row, self.ports)}
            while not self.stopping.is_set():
                self.move(offloaded, self.dice.choice(list(offloaded)))
                if self.dice.random() < 0.2:
                    time.sleep(self.dice.random() * 0.02)
        except (LabError, OSError) as error:
            self.problem = str(error)

    def move(self, offloaded, flow):
        verb = "upload" if offloaded[flow] else "offload"
        # The two ends of a local connection move together, whichever is named.
        named = self.dice.choice((flow, "-".join(reversed(flow.split("-"))))) if self.local else flow
        done, answer = control.ask(self.end, verb, FLOW=named)
        if done:
            self.done[verb] += 1
            offloaded[flow] = not offloaded[flow]
        elif any(word in answer for word in PASSING):
            self.put_off[answer] = self.put_off.get(answer, 0) + 1
        elif "ring-full" in answer + self.of_the_peer(named, answer):
            # A starved reader: it stays in the host from now on.
            self.put_off["ring-full"] = self.put_off.get("ring-full", 0) + 1
            if len(offloaded) > 1:
                del offloaded[flow]
        else:
            raise LabError(f"{verb} {flow}: {answer} {self.of_the_peer(named, answer)}")

    def of_the_peer(self, named, answer):
        """The reason that the other end of a local connection has when it is the obstacle."""
        if "peer-moves" not in answer:
            return ""
        other = "-".join(reversed(named.split("-")))
        rows = control.ask(self.end, "connections")[1]["connections"]
        return "".join(row["reason"] for row in rows if f"{row['local']}-{row['remote']}" == other)


def is_listening_end(row, ports):
    return any(row["local"].endswith(f":{port}") for port in ports)


def ends_of(lab, args):
    return (lab.a,) if args.local else (lab.a, lab.b)


def start_pairs(lab, args):
    """[(port, listening process, connecting process)], one pair for each of STYLES."""
    pairs = []
    far_end = ends_of(lab, args)[-1]
    share = max(args.connections // len(STYLES), 1)
    for number, (near, far) in enumerate(STYLES):
        port = PORT + number
        host = ("127.0.0.1", "::1", lab.a.v4, lab.a.v6)[number % 4] if args.local else \
            (lab.b.v4, lab.b.v6)[number % 2]
        common = ["--connections", share, "--seed", args.seed + number, "--rate", args.rate]
        server = far_end.start([lab.bin / "torture_peer", "listen", port, *common, "--style", far],
                               attached=not args.kernel, name=f"peer-{far}")
        server.wait_listening(port)
        client = lab.a.start([lab.bin / "torture_peer", "connect", host, port, *common, "--style",
                              near], attached=not args.kernel, name=f"peer-{near}")
        server.stalls_judged = client.stalls_judged = 0
        pairs.append((port, server, client))
    return pairs


def expect_connections(lab, pairs, args):
    """Both programs of each pair have all their connections."""
    share = max(args.connections // len(STYLES), 1)

    def are_there():
        for _, *peers in pairs:
            for peer in peers:
                peer.expect_running()
        return all(len(control.flows(end, port)) >= share * (2 if args.local else 1)
                   for end in ends_of(lab, args) for port, _, _ in pairs)
    wait_until(are_there, 60, "all connections at both ends", every=0.1)


def expect_local(lab, pairs):
    """Every connection is at the local target before the moves begin."""
    def arrived():
        rows = [row for port, _, _ in pairs for row in control.flows(lab.a, port).values()]
        return rows and all(row["target"] == "local" for row in rows)
    wait_until(arrived, 10, "all connections at the local target")


def expect_peers(lab, pairs, starvation):
    """Both ends run and none of them complains."""
    for _, *peers in pairs:
        for peer in peers:
            peer.expect_running()
    expect_no_stall(lab, pairs, starvation)


def expect_no_stall(lab, pairs, starvation):
    for port, *peers in pairs:
        for peer in peers:
            stalls = STALL.findall(peer.output())
            for _, waited_ms, _ in stalls[peer.stalls_judged:]:
                judge_stall(lab, port, peer, int(waited_ms) / 1000, starvation)
            peer.stalls_judged = len(stalls)


def judge_stall(lab, port, peer, waited, starvation):
    """Who gets no processor answers late, and is then waited for by timers that back off."""
    starved = starvation.within(waited + 1)
    if waited - BACK_OFF * starved < LONGEST_WAIT_S:
        say(f"  {peer.name} of port {port} waited {waited:g} s; programs had no processor for "
            f"{starved:.1f} s")
        return
    for end in (lab.a, lab.b):
        if end.snpd is not None:
            for flow, row in control.flows(end, port).items():
                print(end.name, flow, row, file=sys.stderr)
        print(end.run(["ss", "-tnoim", f"( sport = {port} or dport = {port} )"]).stdout,
              file=sys.stderr)
    raise LabError(f"port {port}, {peer.name}: {peer.output()}\nprograms had no processor for "
                   f"{starved:.1f} s")


def move_until_done(lab, pairs, args, starvation):
    """Runs the movers of both ends until there were enough hand-overs; gives the counts."""
    if args.kernel:
        time.sleep(args.seconds)
        return {}
    movers = [Mover(end, [port for port, _, _ in pairs], args.seed + number, args.local)
              for number, end in enumerate(ends_of(lab, args))]
    for mover in movers:
        mover.start()
    deadline = time.monotonic() + args.seconds
    counts, told = {}, time.monotonic()
    try:
        while min(counts.values(), default=0) < args.hand_overs:
            time.sleep(0.1)
            expect_peers(lab, pairs, starvation)
            counts = {verb: sum(m.done[verb] for m in movers) for verb in ("offload", "upload")}
            for mover in movers:
                if mover.problem:
                    raise LabError(f"{mover.end.name}: {mover.problem}")
            if time.monotonic() > deadline:
                raise LabError(f"only {counts} hand-overs in {args.seconds} s; put off: "
                               f"{[m.put_off for m in movers]}")
            if time.monotonic() > told + 5:
                told = time.monotonic()
                say(f"  {counts}")
    finally:
        for mover in movers:
            mover.stopping.set()
        for mover in movers:
            mover.join(60)
    say(f"  put off, to be tried again: {[m.put_off for m in movers]}")
    return counts


def finish(lab, pairs, starvation):
    """Ends the traffic and compares what each end sent with what the other received."""
    for _, _, client in pairs:
        client.popen.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 60
    while any(peer.running() for _, *peers in pairs for peer in peers):
        expect_no_stall(lab, pairs, starvation)
        if time.monotonic() > deadline:
            raise LabError("the connections did not end within 60 s")
        time.sleep(0.1)
    expect_no_stall(lab, pairs, starvation)
    total = longest = 0
    for port, server, client in pairs:
        near, far = (json.loads(peer.result(60).splitlines()[-1]) for peer in (client, server))
        for number, ours in near["connections"].items():
            theirs = far["connections"][number]
            if (ours["sent"], ours["received"]) != (theirs["received"], theirs["sent"]):
                raise LabError(f"port {port}, connection {number}: sent and received differ: "
                               f"{ours} and {theirs}")
            total += ours["sent"] + ours["received"]
        longest = max(longest, near["longest_wait_ms"], far["longest_wait_ms"])
    say(f"  {total >> 20} MB compared; the longest wait for data was {longest:.0f} ms")


def show_counters(lab, args, faults):
    for end in ends_of(lab, args):
        _, stats = control.ask(end, "stats")
        for verb in ("offload", "upload"):
            row = stats[verb]
            say(f"  quiet time of {verb}s in {end.name}: p50 {row['quiet_p50_us']} us, p99 "
                f"{row['quiet_p99_us']} us, max {row['quiet_max_us']} us; {row['done']} done, "
                f"{row['failed']} failed, {row['queued_bytes']} bytes moved in queues")
        if args.local:
            continue
        engine = stats["engine"]
        say("  " + ", ".join(f"{name} {engine[name]}" for name in ENGINE_COUNTERS))
        if faults and not (engine["segments_retransmitted"] and engine["frames_unacceptable"]):
            raise LabError(f"{end.name}: no frame was lost or duplicated: the faults did not happen")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hand-overs", type=int, default=2000, help="of each direction")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--seconds", type=int, default=300, help="most time for the hand-overs")
    parser.add_argument("--rate", type=int, default=400_000, help="bytes/s of each direction")
    parser.add_argument("--no-faults", action="store_true")
    parser.add_argument("--local", action="store_true", help="both programs on one host")
    parser.add_argument("--kernel", action="store_true", help="the program alone, without snp")
    args = parser.parse_args()
    say(f"seed {args.seed}")
    faults = {} if args.no_faults or args.local else {**FAULTS, "fault_seed": args.seed}
    try:
        with Lab(needs_product=not args.kernel) as lab:
            if not args.kernel:
                lab.start_snpd(*ends_of(lab, args), settings={"chimney": "enabled", **faults})
            pairs = start_pairs(lab, args)
            if not args.kernel:
                expect_connections(lab, pairs, args)
            if args.local and not args.kernel:
                expect_local(lab, pairs)
            starvation = Starvation(lab)
            starvation.start()
            counts = move_until_done(lab, pairs, args, starvation)
            finish(lab, pairs, starvation)
            starvation.stop()
            if not args.kernel:
                show_counters(lab, args, faults)
                lab.stop_snpd()
    except LabError as error:
        sys.exit(f"FAILED: {error}\nrepeat with --seed {args.seed}")
    say(f"passed: {counts}")


if __name__ == "__main__":
    main()
