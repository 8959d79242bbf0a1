"""The socket API over kernel loopback and over the local target, compared: random programs.

    socket_fuzz.py [--seed N] [--episodes N] [--operations N] [--variants kernel,local,moving] [--all]

A seed makes a list of operations on a few connections between two processes (or within one): sends,
receives, shutdowns, closes, options, readiness calls, blocked threads, kills. The same list is run on
the kernel, with both ends offloaded to the local target, and while they move to and fro; every
answer that the programs get must be the same. Prints its seed and the first difference; --all goes on
and prints that of every program. `--variants kernel` compares the kernel with itself: what differs there
is open.
"""

import argparse
import random
import subprocess
import sys
import threading
import time

import control
from netlab import Lab, LabError, say, wait_until

MOST_UNREAD = 20_000  # per direction: far below what both would take without EAGAIN
ADDRESSES = ("127.0.0.1", "::1", "own4", "own6")
NEVER = ("still blocked", "WRONG-BYTE", "bad line", "no data")  # in any variant
ARRIVES_S, ENDS_S, REFUSES_S = 2, 0.3, 1  # longest waits until the other side has learned of it


def until(condition, seconds):
    """Waits for what will usually come; what did not come shows in the answers that follow."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.0005)


class Worker:
    """A process that does what lines say (socket_worker.cpp)."""

    def __init__(self, lab, attached):
        command = lab.a.command([lab.bin / "socket_worker"], attached)
        self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True, bufsize=1)

    def ask(self, line):
        try:
            self.popen.stdin.write(line + "\n")
            answer = self.popen.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise LabError(f"the worker died at '{line}' with status {self.popen.wait(5)}")
        return answer.rstrip("\n")

    def kill(self):
        self.popen.kill()
        self.popen.wait()

    def stop(self):
        if self.popen.poll() is None:
            self.popen.stdin.close()
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


class Side:
    """What the generator knows of one end of a connection, so that its operations make sense."""

    def __init__(self, worker, number):
        self.worker, self.numbers = worker, [number]
        self.is_open, self.has_shut_write, self.has_shut_read = True, False, False
        self.blocked = 0  # bytes that a thread of it waits for, beyond what was there
        self.unread = 0  # sent by the other side and not received
        self.low_water = 1
        self.watched = {}  # epoll -> mode


class Plan:
    """A seed's operations: [(worker, line)], and what happens between them."""

    def __init__(self, seed, operations, calm):
        self.dice = random.Random(seed)
        self.calm = calm  # nothing whose answer may differ after a move (edges)
        self.steps = []
        self.next_number = 100
        self.two_processes = self.dice.random() < 0.8
        self.address = self.dice.choice(ADDRESSES)
        self.connections = []
        self.listen()
        for _ in range(self.dice.randint(1, 3)):
            self.connect()
        self.steps.append(("settled", 0, ""))
        for epoll in (1, 2):
            for worker in {0, self.other()}:
                self.tell(worker, f"epoll {epoll}")
        for _ in range(operations):
            self.operation()

    def other(self):
        return 1 if self.two_processes else 0

    def tell(self, worker, line):
        self.steps.append(("tell", worker, line))

    def number(self):
        self.next_number += 1
        return self.next_number

    def listen(self):
        self.steps.append(("listen", 0, ""))

    def connect(self):
        key = len(self.connections) * 2 + 1
        near, far = Side(self.other(), self.number()), Side(0, self.number())
        self.steps.append(("connect", near.worker,
                           f"{near.numbers[0]} {self.address} PORT {key} {key + 1}"))
        self.tell(0, f"accept 1 {far.numbers[0]} {key + 1} {key}")
        self.connections.append((near, far))

    def operation(self):
        alive = [c for c in self.connections if c[0].is_open or c[1].is_open]
        if not alive:
            return
        sides = self.dice.choice(alive)
        which = self.dice.randrange(2)
        me, peer = sides[which], sides[1 - which]
        if not me.is_open:
            me, peer = peer, me
        verbs = [(self.send, 30), (self.receive, 30), (self.look, 12), (self.watch, 6),
                 (self.wait, 12), (self.option, 5), (self.timed, 2), (self.block, 3),
                 (self.duplicate, 2), (self.flood, 0.7), (self.shut, 2.5), (self.close, 1.5)]
        if self.two_processes:
            verbs.append((self.kill, 0.3))
        verb = self.dice.choices([v for v, _ in verbs], [w for _, w in verbs])[0]
        verb(me, peer)

    def send(self, me, peer):
        n = self.dice.choice((0, 1, 2, 100, 1000, 4096, self.dice.randint(1, 9000)))
        if me.has_shut_write or peer.has_shut_read or not peer.is_open:
            n = min(n, 100)
        elif peer.unread + n > MOST_UNREAD:
            return self.receive(peer, me) if peer.is_open else None
        if self.dice.random() < 0.2 and n > 2:
            a = self.dice.randint(0, n)
            b = self.dice.randint(0, n - a)
            self.tell(me.worker, f"writev {me.numbers[0]} {a} {b} {n - a - b}")
        else:
            flag = self.dice.choice(("-", "-", "dontwait", "nosignal"))
            self.tell(me.worker, f"send {self.dice.choice(me.numbers)} {n} {flag}")
        if me.has_shut_write:
            return
        if peer.is_open and not peer.has_shut_read:
            peer.unread += n
            if peer.blocked and peer.unread < peer.blocked:
                self.steps.append(("consume", (me.worker, me.numbers[0]),
                                   (peer.worker, peer.numbers[0])))
            elif peer.blocked:
                self.join(peer)
            else:
                self.steps.append(("arrive", (me.worker, me.numbers[0]),
                                   (peer.worker, peer.numbers[0])))
        elif n > 0:
            self.steps.append(("notice", REFUSES_S, (me.worker, me.numbers[0]), "HUP"))

    def receive(self, me, _peer):
        if me.blocked:
            return
        n = self.dice.choice((1, 10, 500, 5000, 30_000))
        if self.dice.random() < 0.2 and me.low_water == 1:  # else it could block
            self.tell(me.worker, f"readv {me.numbers[0]} {n} {self.dice.choice((0, 1, 700))}")
            n = 31_000
        else:
            flag = self.dice.choice(("-", "-", "-", "peek", "trunc", "waitall"))
            self.tell(me.worker, f"recv {self.dice.choice(me.numbers)} {n} {flag}")
            if flag == "peek":
                return
        me.unread = max(0, me.unread - n)

    def look(self, me, _peer):
        verb = self.dice.choice(("poll", "poll", "queued", "names"))
        self.tell(me.worker, f"{verb} {me.numbers[0]}")

    def watch(self, me, _peer):
        epoll = self.dice.choice((1, 2))
        modes = ("level", "in", "once") if self.calm else ("level", "edge", "in", "in-edge", "once")
        if epoll in me.watched and self.dice.random() < 0.4:
            del me.watched[epoll]
            return self.tell(me.worker, f"epoll_ctl {epoll} del {me.numbers[0]} -")
        verb = "mod" if epoll in me.watched else "add"
        me.watched[epoll] = self.dice.choice(modes)
        return self.tell(me.worker, f"epoll_ctl {epoll} {verb} {me.numbers[0]} {me.watched[epoll]}")

    def wait(self, me, _peer):
        # While some are in rings and some in the host, one call need not report both.
        verb = "epoll_all" if self.calm else "epoll_wait"
        self.tell(me.worker, f"{verb} {self.dice.choice((1, 2))}")

    def option(self, me, _peer):
        if self.dice.random() < 0.3 and not me.blocked:
            me.low_water = self.dice.choice((1, 1, 100, 3000))
            return self.tell(me.worker, f"setopt {me.numbers[0]} rcvlowat {me.low_water}")
        name = self.dice.choice(("nodelay", "cork", "keepalive", "keepidle", "error", "type"))
        if name in ("error", "type") or self.dice.random() < 0.5:
            return self.tell(me.worker, f"getopt {me.numbers[0]} {name}")
        value = self.dice.choice((5, 60)) if name == "keepidle" else 0 if name == "cork" else \
            self.dice.randrange(2)
        return self.tell(me.worker, f"setopt {me.numbers[0]} {name} {value}")

    def timed(self, me, _peer):
        if me.blocked:
            return
        n = self.dice.choice((1, 1000))
        self.tell(me.worker, f"timed {me.numbers[0]} {n} 30")
        me.unread = max(0, me.unread - n)

    def block(self, me, peer):
        """A thread of `me` waits for more than there is; what ends the wait joins it."""
        if me.blocked or not peer.is_open or peer.has_shut_write or not me.is_open:
            return
        if me.low_water != 1 or me.has_shut_read:
            return  # the kernel wakes nobody for less, not even for the end of what is wanted
        me.blocked, me.unread = self.dice.choice((1, 500, 3000)), 0
        self.steps.append(("block", (me.worker, me.numbers[0]), me.blocked))
        self.steps.append(("consume", (peer.worker, peer.numbers[0]),
                           (me.worker, me.numbers[0])))

    def join(self, me):
        me.unread -= me.blocked
        self.end_block(me)

    def end_block(self, me):
        me.blocked = 0
        self.tell(me.worker, f"join {me.numbers[0]}")

    def duplicate(self, me, _peer):
        if len(me.numbers) > 1:
            return self.tell(me.worker, f"close {me.numbers.pop()}")
        number = self.number()
        self.tell(me.worker, f"dup {me.numbers[0]} {number}")
        return me.numbers.append(number)

    def flood(self, me, peer):
        if not peer.is_open or me.has_shut_write or peer.has_shut_read or peer.blocked:
            return
        self.steps.append(("flood", (me.worker, me.numbers[0]), (peer.worker, peer.numbers[0])))
        peer.unread, peer.low_water = 0, 1

    def shut(self, me, peer):
        how = self.dice.choice(("write", "write", "both"))
        if me.blocked and how != "write":
            return
        self.tell(me.worker, f"shutdown {me.numbers[0]} {how}")
        self.steps.append(("acknowledged", (me.worker, me.numbers[0])))
        me.has_shut_write, me.has_shut_read = True, how == "both"
        self.expect_end(peer)
        if peer.blocked:
            peer.unread = 0
            self.end_block(peer)

    def close(self, me, peer):
        if me.blocked:
            return
        if peer.blocked:  # Nagle may hold bytes back for it, which an abort would discard
            self.tell(me.worker, f"setopt {me.numbers[0]} nodelay 1")
        elif self.dice.random() < 0.3:
            self.tell(me.worker, f"linger {me.numbers[0]} 1 0")
        for number in reversed(me.numbers):
            self.tell(me.worker, f"close {number}")
        me.is_open = False
        self.after_end(me, peer)

    def after_end(self, me, peer):
        me.watched, me.has_shut_write = {}, True
        self.expect_end(peer)
        if peer.is_open and peer.blocked:
            peer.unread = 0
            self.end_block(peer)
        if peer.is_open:
            self.tell(peer.worker, f"poll {peer.numbers[0]}")

    def kill(self, _me, _peer):
        """The connecting process dies, and with it its end of every connection."""
        victims = [c for c in self.connections if c[0].is_open]
        if any(c[0].blocked for c in victims):
            return
        self.steps.append(("kill", 1, " ".join(str(far.numbers[0]) for _, far in victims
                                               if far.is_open)))
        for near, far in victims:
            near.is_open = False
            self.after_end(near, far)

    def expect_end(self, side):
        if side.is_open and not side.blocked:
            self.steps.append(("notice", ENDS_S, (side.worker, side.numbers[0]), "RDHUP"))


class Run:
    """A plan carried out in one variant; its transcript."""

    def __init__(self, lab, plan, variant, seed):
        self.lab, self.plan, self.variant = lab, plan, variant
        self.attached = variant != "kernel"
        self.dice = random.Random(seed ^ 0x5eed)
        self.transcript = []
        self.moves, self.is_settled = 0, False
        self.workers = [Worker(lab, self.attached)]
        if plan.two_processes:
            self.workers.append(Worker(lab, self.attached))
        self.port = 0
        self.stopping = threading.Event()
        self.mover = None

    def close(self):
        self.stopping.set()
        if self.mover is not None:
            self.mover.join(30)
        for worker in self.workers:
            worker.stop()

    def play(self):
        for kind, *arguments in self.plan.steps:
            getattr(self, "do_" + kind)(*arguments)
            self.is_settled = self.is_settled or kind == "settled"
            if self.variant == "moving" and self.is_settled and self.dice.random() < 0.15:
                self.move()
        return self.transcript

    def ask(self, worker, line):
        answer = self.workers[worker].ask(line)
        self.transcript.append((line, answer))
        if any(sign in answer for sign in NEVER):
            raise LabError(f"'{line}': {answer}")
        return answer

    def do_listen(self, worker, _text):
        self.port = int(self.workers[worker].ask("listen 1"))

    def do_connect(self, worker, text):
        text = text.replace("own4", self.lab.a.v4).replace("own6", self.lab.a.v6)
        answer = self.workers[worker].ask("connect " + text.replace("PORT", str(self.port)))
        self.transcript.append(("connect", answer))

    def do_settled(self, _worker, _text):
        """Both ends of every connection are where the variant wants them."""
        if self.variant == "kernel":
            return

        def offloaded():
            rows = control.flows(self.lab.a, self.port).values()
            return len(rows) == 2 * len(self.plan.connections) and all(
                row["offload_state"] == "Offloaded" and row["target"] == "local" for row in rows)
        wait_until(offloaded, 10, f"all connections at the local target: "
                                  f"{list(control.flows(self.lab.a, self.port).items())}")

    def do_tell(self, worker, line):
        self.ask(worker, line)

    def do_arrive(self, sender, receiver):
        """Loopback delivers in a softirq, which may run a little later."""
        if not self.transcript[-1][1].isdigit():
            return  # it was refused
        sent = self.workers[sender[0]].ask(f"offsets {sender[1]}").split()[0]
        until(lambda: self.workers[receiver[0]].ask(f"offsets {receiver[1]}").split()[1] == sent,
              ARRIVES_S)

    def do_consume(self, sender, receiver):
        """A blocked thread takes what there is, and what Nagle's algorithm holds back for a while."""
        until(lambda: self.workers[sender[0]].ask(f"unsent {sender[1]}") == "0", ARRIVES_S)
        until(lambda: self.workers[receiver[0]].ask(f"queued {receiver[1]}") == "0", ARRIVES_S)

    def do_acknowledged(self, side):
        """That its FIN has arrived is an edge on the kernel, some time later. No program can use it."""
        until(lambda: self.workers[side[0]].ask(f"finishing {side[1]}") == "0", ARRIVES_S)
        for epoll in (1, 2):
            self.workers[side[0]].ask(f"{'epoll_all' if self.plan.calm else 'epoll_wait'} {epoll}")

    def do_notice(self, seconds, side, sign):
        until(lambda: sign in self.workers[side[0]].ask(f"poll {side[1]}").split("|"), seconds)

    def do_block(self, side, beyond):
        there = int(self.workers[side[0]].ask(f"queued {side[1]}"))
        self.ask(side[0], f"background {side[1]} {there + beyond}")

    def do_flood(self, sender, receiver):
        there = int(self.workers[receiver[0]].ask(f"queued {receiver[1]}"))
        answer, total = self.workers[sender[0]].ask(f"flood {sender[1]}").split(" ; ")
        self.transcript.append((f"flood {sender[1]}", answer))
        self.ask(sender[0], f"poll {sender[1]}")
        self.ask(receiver[0], f"setopt {receiver[1]} rcvlowat 1")
        drained = self.workers[receiver[0]].ask(f"drain {receiver[1]} {there + int(total)}")
        if any(sign in drained for sign in NEVER):
            raise LabError(f"drain {receiver[1]} of {there} and {total}: {drained}")
        self.ask(sender[0], f"poll {sender[1]}")

    def do_kill(self, worker, text):
        self.workers[worker].kill()
        if self.attached:
            self.wait_buried(self.workers[worker].popen.pid)
        for number in text.split():  # snpd hears of a death a little later than the kernel

            def told(number=number):
                return "RDHUP" in self.workers[0].ask(f"poll {number}")
            wait_until(told, 5, f"socket {number} is told of its peer's death")

    def wait_buried(self, pid):
        """snpd knows of the death. A side that has had its end of file sees nothing of it."""
        wait_until(lambda: f"ended: socket_worker (pid {pid})" in self.lab.a.snpd.output(), 10,
                   f"snpd is told that {pid} has ended")
        control.flows(self.lab.a, self.port)  # answered behind what follows from it

    def move(self):
        rows = list(control.flows(self.lab.a, self.port).items())
        if not rows:
            return
        flow, row = self.dice.choice(rows)
        verb = "upload" if row["offload_state"] == "Offloaded" else "offload"
        done, _ = control.ask(self.lab.a, verb, FLOW=flow)
        self.moves += bool(done)


def first_difference(ours, reference):
    for i, (here, there) in enumerate(zip(ours, reference)):
        if here != there:
            before = "\n".join(f"    {line} -> {answer}" for line, answer in ours[max(0, i - 12):i])
            return f"{before}\n  step {i}: {here[0]}\n    kernel: {there[1]}\n    ours:   {here[1]}"
    return None if len(ours) == len(reference) else "one transcript is longer"


def compare(lab, variant, seed, args):
    plan = Plan(seed, args.operations, calm=variant == "moving")
    transcripts, moves = [], 0
    for name in ("kernel", variant):
        run = Run(lab, plan, name, seed)
        try:
            transcripts.append(run.play())
        except LabError as error:
            tail = "\n".join(f"    {line} -> {answer}" for line, answer in run.transcript[-12:])
            raise LabError(f"{name}, seed {seed}:\n{tail}\n  {error}") from None
        finally:
            run.close()
        moves += run.moves
    difference = first_difference(transcripts[1], transcripts[0])
    if difference:
        raise LabError(f"{variant} and kernel differ, seed {seed}:\n{difference}")
    return len(transcripts[1]), moves


def run_episodes(lab, variant, args):
    answers = moves = 0
    problems = []
    for episode in range(args.episodes):
        try:
            done = compare(lab, variant, args.seed + episode, args)
        except LabError as error:
            if not args.all:
                raise
            problems.append(str(error))
            say(str(error))
        else:
            answers, moves = answers + done[0], moves + done[1]
    if problems:
        raise LabError(f"{variant}: {len(problems)} of {args.episodes} programs differ")
    return answers, moves


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--operations", type=int, default=250)
    parser.add_argument("--variants", default="local,moving", help="compared with the kernel")
    parser.add_argument("--all", action="store_true", help="go on after a difference")
    args = parser.parse_args()
    say(f"seed {args.seed}")
    try:
        with Lab(needs_product=args.variants != "kernel") as lab:
            if args.variants != "kernel":
                lab.start_snpd(lab.a, settings={"chimney": "enabled"})
            for variant in args.variants.split(","):
                answers, moves = run_episodes(lab, variant, args)
                say(f"{variant}: {args.episodes} programs, {answers} answers as on the kernel"
                    + (f", {moves} moves" if moves else ""))
            if args.variants != "kernel":
                lab.stop_snpd(lab.a)
    except LabError as error:
        sys.exit(f"FAILED: {error}\nrepeat with --seed of that line, --episodes 1")


if __name__ == "__main__":
    main()
