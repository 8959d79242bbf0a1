"""One ledger: what snp says that host and target have carried is what was on the wire, each frame,
segment and byte once, whatever happened to the connections (reference 3.4, 4.12; STA-1)."""

import json
import os
import random
import signal
import socket
import struct
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import DEVICE, Lab, LabError, wait_until  # noqa: E402

import control  # noqa: E402
from wire_count import WireCount  # noqa: E402

PORT = 7300
MOVES = 50
TWICE = 4096  # see check_connections()
TRIAL_S = 2.5  # daemon/keeper.cpp: an engine that lived so long is followed by one that goes on
# Only commands move connections, and the capture that counts on lo keeps none of them in the host.
BY_COMMAND = {"automatic_bytes": 0, "automatic_calls": 0, "coexist_captures": "ignore"}

# Sends what its seed says and compares what comes back, until the file PAUSE is there; then waits
# for all of it, says how much it was, and stands still.
ECHO_CLIENT = """
import json, os, random, select, socket, sys, time
address, port, seed, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
sock = socket.create_connection((address, port))
sock.setblocking(False)
chance = random.Random(seed)
block = chance.randbytes(1 << 20)
sent = got = 0
begin = time.monotonic()
while got < sent or not os.path.exists(pause):
    may_send = not os.path.exists(pause) and sent - got < 300000 and \\
        sent < (time.monotonic() - begin) * 6e6
    readable, writable, _ = select.select([sock], [sock] if may_send else [], [], 0.005)
    if writable:
        at = sent % len(block)
        try:
            sent += sock.send(block[at:at + chance.randrange(1, 40000)])
        except BlockingIOError:
            pass
    if readable:
        data = sock.recv(100000)
        if not data:
            sys.exit("the connection ended")
        at = got % len(block)
        if (block + block)[at:at + len(data)] != data:
            sys.exit(f"other bytes came back at {got}")
        got += len(data)
print(json.dumps({"bytes": sent}), flush=True)
time.sleep(3600)
"""
ECHO_SERVER = """
import select, socket, sys
listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6,
                                dualstack_ipv6=True)
queues = {}
while True:
    wants = [s for s, q in queues.items() if q]
    reads, writes, _ = select.select([listener] + [s for s, q in queues.items() if len(q) < 1 << 20],
                                     wants, [])
    for sock in reads:
        if sock is listener:
            made, _ = sock.accept()
            made.setblocking(False)
            queues[made] = bytearray()
            continue
        data = sock.recv(60000)
        if data:
            queues[sock] += data
        else:
            del queues[sock]
            sock.close()
    for sock in writes:
        if queues.get(sock):
            try:
                del queues[sock][:sock.send(queues[sock])]
            except BlockingIOError:
                pass
"""


def total(before, after, group, name, part="total"):
    """How much a row of the ledger has grown."""
    return after["ledger"][group][name][part] - before["ledger"][group][name][part]


def by_family(before, after, family, name):
    row = [stats["families"][family]["ip"][name]["total"] for stats in (before, after)]
    return row[1] - row[0]


class Ledger(unittest.TestCase):
    def open_lab(self, **options):
        self.lab = Lab(**options).enter_for(self)
        self.seed = int.from_bytes(os.urandom(4), "little")
        self.random = random.Random(self.seed)
        self.lab.start_snpd(self.lab.a, settings=BY_COMMAND)
        self.pause = self.lab.folder / "pause"
        self.clients = []

    def start_clients(self, addresses, server=None):
        if server is None:
            server = self.lab.b.start(["python3", "-c", ECHO_SERVER, PORT], name="server")
        server.wait_listening(PORT)
        self.wire = WireCount(self.lab.b, DEVICE)
        self.addCleanup(self.wire.stop)
        while True:  # a namespace asks for routers now and then
            self.wire.frames()
            self.wire.forget()
            self.before = self.stats()
            time.sleep(0.05)
            if self.wire.frames() == 0:
                break
        for address in addresses:
            self.clients.append(self.lab.a.start(
                ["python3", "-c", ECHO_CLIENT, address, PORT, self.random.randrange(1 << 30),
                 self.pause], attached=True, name="client"))
        wait_until(lambda: [row["bytes_in"] > 0 for row in self.flows().values()] ==
                   [True] * len(addresses), 30, "the connections, with bytes in the host")

    def stats(self):
        return control.ask(self.lab.a, "stats")[1]

    def flows(self):
        return control.flows(self.lab.a, PORT)

    def rows(self):
        rows = control.ask(self.lab.a, "connections")[1]["connections"]
        return [row for row in rows if row["remote"].endswith(f":{PORT}")]

    def move(self, verb, flow):
        wait_until(lambda: control.ask(self.lab.a, verb, FLOW=flow)[0], 20,
                   f"seed {self.seed}: {verb} of {flow}", every=0.005)

    def move_about(self, moves=MOVES):
        """Each connection is moved so often, at random moments."""
        for flow in list(self.flows()):
            for number in range(moves):
                self.move("offload" if number % 2 == 0 else "upload", flow)
                time.sleep(self.random.uniform(0, 0.02))

    def stand_still(self):
        """Nothing is sent any more; gives the bytes that each client sent and got, and the stats."""
        self.pause.touch()
        for client in self.clients:
            wait_until(lambda client=client: client.output() or not client.running(), 60,
                       f"seed {self.seed}: the echo")
            client.expect_running()
        while True:  # delayed acknowledgements, forged answers
            frames = self.wire.frames()
            time.sleep(0.4)
            after = self.stats()
            time.sleep(0.05)
            if frames == self.wire.frames():
                break
        self.wire.check()
        return [json.loads(client.output())["bytes"] for client in self.clients], after

    def check_totals(self, after, slack=0, offloads=True):
        """The wire is seen from the other end: what it received, we have sent. `slack`: segments
        that a killed engine had counted and not sent; or it has died behind the call that sent one
        frame, and before it counted that."""
        note = f"seed {self.seed}"
        wire, before = self.wire, self.before
        for family in ("ipv4", "ipv6"):
            got, sent = wire.sent[family], wire.received[family]
            self.assertEqual(by_family(before, after, family, "InReceives"), got["frames"], note)
            self.assertEqual(by_family(before, after, family, "InOctets"), got["octets"], note)
            if not offloads:  # the host's frames are cut behind the counter
                continue
            over = by_family(before, after, family, "OutRequests") - sent["frames"]
            self.assertTrue(-(slack > 0) <= over <= slack,
                            f"{note}: {over} frames more than were sent")
            if over == 0:
                self.assertEqual(by_family(before, after, family, "OutOctets"), sent["octets"],
                                 note)
        both = wire.sent["ipv4"] + wire.sent["ipv6"]
        self.assertEqual(total(before, after, "tcp", "InSegs"), both["tcp_frames"], note)
        both = wire.received["ipv4"] + wire.received["ipv6"]
        out = total(before, after, "tcp", "OutSegs") + total(before, after, "tcp", "RetransSegs")
        self.assertTrue(-slack <= out - both["segments"] <= slack * 64,
                        f"{note}: {out} segments, {both['segments']} on the wire")
        self.assertEqual(total(before, after, "tcp", "OutRsts"), both["resets"], note)
        self.assertEqual(total(before, after, "tcp", "EstabResets"), 0, note)
        self.assertEqual(total(before, after, "tcp", "ActiveOpens"), len(self.clients), note)
        self.assertEqual(total(before, after, "tcp", "PassiveOpens"), 0, note)
        self.assertEqual(total(before, after, "tcp", "AttemptFails"), 0, note)
        self.assertEqual(total(before, after, "tcp", "CurrEstab"), len(self.clients), note)

    def check_connections(self, sent, slack=64):
        """Bytes to the byte. `slack`: segments that were counted and not sent. A frame that waits in
        the socket's backlog while it is parked may count twice, and a busy machine lets many wait:
        see doc/decisions/0014-one-ledger.md."""
        rows = self.rows()
        self.assertEqual(len(rows), len(sent))
        for row in rows:
            host, target = row["ledger"]["host"], row["ledger"]["target"]
            note = f"seed {self.seed}: {row['local']}: {json.dumps(row['ledger'])}"
            family = "ipv6" if row["local"].startswith("[") else "ipv4"
            key = (family, PORT, int(row["local"].rsplit(":", 1)[1]))
            to_us, from_us = self.wire.sent[key], self.wire.received[key]
            over = host["segments_in"] + target["segments_in"] - to_us["segments"]
            self.assertTrue(0 <= over <= TWICE, f"{note}: {over} segments more than came")
            over = host["segments_out"] + target["segments_out"] - from_us["segments"]
            self.assertTrue(0 <= over <= slack, f"{note}: {over} segments more than were sent")
            # Each client's bytes, all of which came back.
            self.assertIn(host["bytes_out"] + target["bytes_out"], sent, note)
            self.assertEqual(host["bytes_in"] + target["bytes_in"],
                             host["bytes_out"] + target["bytes_out"], note)
            for part in (host, target):
                self.assertGreater(part["bytes_in"], 0, note)
                self.assertGreater(part["segments_out"], 0, note)

    def moved(self, **options):
        self.open_lab(**options)
        self.start_clients([self.lab.b.v4, self.lab.b.v6])
        self.move_about()
        sent, after = self.stand_still()
        self.check_totals(after, offloads=options.get("offloads", True))
        self.check_connections(sent)
        self.assertEqual({row["hand_overs"] for row in self.rows()}, {MOVES})

    # STA-1 (c), (d): both families at once.
    def test_moved_fifty_times_with_frames_of_many_segments(self):
        self.moved()

    def test_moved_fifty_times_with_a_frame_for_each_segment(self):
        self.moved(offloads=False)

    def test_gauges_while_parked(self):
        self.open_lab()
        self.start_clients([self.lab.b.v4])
        self.move("offload", list(self.flows())[0])
        row = self.stats()["ledger"]["tcp"]["CurrEstab"]
        self.assertEqual((row["host"], row["target"], row["total"]), (0, 1, 1))
        self.assertEqual(row["corrected"], 1)
        time.sleep(0.3)
        sent, after = self.stand_still()
        self.check_totals(after)
        self.check_connections(sent)


    # An engine dies in the middle of it all; the next one goes on with what it had counted.
    def test_across_a_kill_of_the_engine(self):
        self.open_lab()
        started = time.monotonic()
        self.start_clients([self.lab.b.v4, self.lab.b.v6])
        self.move_about(7)
        for flow in list(self.flows()):
            self.move("offload", flow)
        time.sleep(max(0.3, started + TRIAL_S - time.monotonic()))
        before = self.stats()
        engine = self.engine()
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: self.engine() not in (None, engine), 20, "the next engine")
        wait_until(lambda: {row["offload_state"] for row in self.rows()} == {"Offloaded"}, 20,
                   "its connections")
        self.assertGreaterEqual(self.stats()["engine"]["frames_in"], before["engine"]["frames_in"])
        self.assertGreaterEqual(self.stats()["offload"]["done"], before["offload"]["done"])
        self.move_about(4)
        sent, after = self.stand_still()
        # What it had counted as sent and not sent yet: what a device's queue holds.
        self.check_totals(after, slack=64)
        self.check_connections(sent, slack=64 * 64)

    # STA-1 (a): what the target finds wrong is an error of the target alone.
    def test_a_damaged_segment_counts_once(self):
        self.open_lab()
        self.start_clients([self.lab.b.v4])
        flow = list(self.flows())[0]
        self.move("offload", flow)
        time.sleep(0.2)
        self.stand_still()
        before = self.stats()
        self.send_damaged(int(flow.split("-")[0].rsplit(":", 1)[1]), count=5)
        wait_until(lambda: total(before, self.stats(), "tcp", "InErrs") == 5, 10, "the errors")
        after = self.stats()
        for part, grown in (("host", 0), ("target", 5), ("total", 5)):
            for name in ("InSegs", "InErrs", "InCsumErrors"):
                self.assertEqual(total(before, after, "tcp", name, part), grown, (name, part))
            received = [stats["families"]["ipv4"]["ip"]["InReceives"][part]
                        for stats in (before, after)]
            self.assertEqual(received[1] - received[0], grown, part)
        self.assertEqual(by_family(before, after, "ipv4", "InDelivers"), 0)

    # STA-1 (b): whoever asks, device or family or all, the parts add up.
    def test_parts_add_up(self):
        self.open_lab()
        self.start_clients([self.lab.b.v4, self.lab.b.v6])
        self.move_about(6)
        _, after = self.stand_still()
        families, whole = after["families"], after["ledger"]
        for name, row in whole["ip"].items():
            for part in ("host", "target", "total"):
                self.assertEqual(families["ipv4"]["ip"][name][part] +
                                 families["ipv6"]["ip"][name][part], row[part], (name, part))
        for group in ("tcp", "ip"):
            for name, row in whole[group].items():
                self.assertEqual(sum(device[group][name]["target"] for device in after["devices"]),
                                 row["target"], name)
                if group == "tcp":
                    self.assertIsNone(families["ipv4"][group][name]["host"])
        device = after["devices"][0]
        self.assertEqual(device["name"], DEVICE)
        link = self.check_link()
        for row in link.values():
            self.assertEqual(row["host"] + row["target"], row["total"])
            self.assertGreater(row["target"], 0)
        for by, words in (("device", (DEVICE, "LINK", "InFrames")), ("family", ("IPv4", "IPv6"))):
            text = self.lab.a.snp("stats", "--by", by).stdout
            for word in words:
                self.assertIn(word, text)

    # The device's own counts before and after are bounds: a frame of neither end (a neighbour's
    # question, a report of groups) may come at any moment.
    def check_link(self):
        before = self.link_counts()
        link = self.stats()["devices"][0]["link"]
        after = self.link_counts()
        for name, way, what in (("InFrames", "rx", "packets"), ("OutBytes", "tx", "bytes")):
            self.assertGreaterEqual(link[name]["total"], before[way][what], name)
            self.assertLessEqual(link[name]["total"], after[way][what], name)
        return link

    def link_counts(self):
        shown = self.lab.a.run(["ip", "-s", "-j", "link", "show", DEVICE]).stdout
        return json.loads(shown)[0]["stats64"]

    # Both ends here, no packet while it is local.
    def test_local_pair_moved_about(self):
        self.open_lab()
        server = self.lab.a.start(["python3", "-c", ECHO_SERVER, PORT], attached=True,
                                  name="server")
        server.wait_listening(PORT)
        self.wire = WireCount(self.lab.a, "lo")
        self.addCleanup(self.wire.stop)
        self.clients.append(self.lab.a.start(
            ["python3", "-c", ECHO_CLIENT, "127.0.0.1", PORT, self.random.randrange(1 << 30),
             self.pause], attached=True, name="client"))
        wait_until(lambda: len(self.flows()) == 2, 30, "both ends")
        flow = next(f for f in self.flows() if f.endswith(f":{PORT}"))
        for number in range(10):
            self.move("offload" if number % 2 == 0 else "upload", flow)
            time.sleep(self.random.uniform(0.02, 0.1))
        sent, after = self.stand_still()
        rows = control.flows(self.lab.a, PORT)
        self.assertEqual(len(rows), 2)
        for row in rows.values():
            host, target = row["ledger"]["host"], row["ledger"]["target"]
            note = f"seed {self.seed}: {json.dumps(row['ledger'])}"
            for bytes_of in ("bytes_in", "bytes_out"):
                self.assertEqual(host[bytes_of] + target[bytes_of], sent[0], note)
                self.assertGreater(target[bytes_of], 0, note)
            self.assertEqual(target["segments_in"] + target["segments_out"], 0, note)
        self.assertEqual(after["ledger"]["tcp"]["CurrEstab"]["total"], 2)
        self.assertEqual(after["ledger"]["tcp"]["EstabResets"]["total"], 0)

    # --- help ---

    def engine(self):
        """The pid of the keeper's child; None: there is none just now."""
        children = Path(f"/proc/{self.lab.a.snpd.pid}/task/{self.lab.a.snpd.pid}/children")
        pids = children.read_text().split()
        return int(pids[0]) if pids else None

    def send_damaged(self, port, count):
        """Segments of the connection, from the other end, with a checksum that is wrong."""
        def make():
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            raw.bind((DEVICE, 0))
            return raw
        macs = [bytes.fromhex(json.loads(
            end.run(["ip", "-j", "link", "show", DEVICE]).stdout)[0]["address"].replace(":", ""))
                for end in (self.lab.a, self.lab.b)]
        tcp = struct.pack("!HHIIBBHHH", PORT, port, 1, 1, 5 << 4, 0x10, 100, 0xdead, 0)
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0x4000, 64, 6, 0,
                         socket.inet_aton(self.lab.b.v4), socket.inet_aton(self.lab.a.v4))
        words = sum(struct.unpack("!10H", ip))
        words = (words & 0xffff) + (words >> 16)
        ip = ip[:10] + struct.pack("!H", ~((words & 0xffff) + (words >> 16)) & 0xffff) + ip[12:]
        with control.in_namespace(self.lab.b.name, make) as raw:
            for _ in range(count):
                raw.send(macs[0] + macs[1] + b"\x08\x00" + ip + tcp)


if __name__ == "__main__":
    unittest.main(verbosity=2)
