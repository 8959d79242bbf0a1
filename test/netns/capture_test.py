"""A capture on a device sees every segment of an offloaded connection, both ways: nothing has to go
home for it (reference 7.2, "capture tools: offloaded connections are invisible")."""

import os
import random
import signal
import socket
import struct
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import DEVICE, Lab, wait_until  # noqa: E402

import control  # noqa: E402

PORT = 7300
BYTES = 4 << 20
# Reads its input of BYTES bytes from file 1, sends it, and writes what it receives into file 2.
ECHO_END = """
import socket, sys, threading, time, pathlib
role, address, port, source, sink, gate = sys.argv[1:]
data = pathlib.Path(source).read_bytes()
if role == "listen":
    server = socket.create_server(("0.0.0.0", int(port)))
    peer, _ = server.accept()
else:
    peer = socket.create_connection((address, int(port)))
while not pathlib.Path(gate).exists():
    time.sleep(0.01)
def send():
    for at in range(0, len(data), 20000):
        peer.sendall(data[at:at + 20000])
        time.sleep(0.001)
sender = threading.Thread(target=send)
sender.start()
got = bytearray()
while len(got) < len(data):
    part = peer.recv(1 << 16)
    assert part, "the stream ended early"
    got += part
sender.join()
pathlib.Path(sink).write_bytes(got)
time.sleep(3600)
"""


def segments(path):
    """(source port, sequence number, payload) of each TCP segment over IPv4 in a pcap file."""
    data = Path(path).read_bytes()
    assert struct.unpack_from("<I", data)[0] == 0xA1B2C3D4, "a pcap file in microseconds"
    at = 24
    while at + 16 <= len(data):
        _, _, kept, length = struct.unpack_from("<IIII", data, at)
        if at + 16 + kept > len(data):
            return  # it is still being written
        frame, at = data[at + 16:at + 16 + kept], at + 16 + kept
        assert kept == length, "captured whole"
        if frame[12:14] != b"\x08\x00" or frame[23] != 6:
            continue
        ip = frame[14:14 + struct.unpack_from(">H", frame, 16)[0]]
        tcp = ip[(ip[0] & 15) * 4:]
        port, _, seq = struct.unpack_from(">HHI", tcp)
        yield port, seq, tcp[(tcp[12] >> 4) * 4:]


def stream_of(parts, first):
    """The bytes from sequence number `first` on, each byte wherever it was seen first."""
    stream, known = bytearray(BYTES), bytearray(BYTES)
    for seq, payload in parts:
        offset = (seq - first) & 0xFFFFFFFF
        if offset + len(payload) > BYTES:
            continue  # before the first byte, or a probe of the window
        stream[offset:offset + len(payload)] = payload
        known[offset:offset + len(payload)] = b"\1" * len(payload)
    missing = known.count(0)
    return bytes(stream), missing


class Capture(unittest.TestCase):
    def setUp(self):
        self.lab = Lab().enter_for(self)
        self.seed = int.from_bytes(os.urandom(4), "little")
        self.random = random.Random(self.seed)
        self.lab.start_snpd(self.lab.a, settings={"chimney": "enabled"})

    def start_ends(self):
        folder = self.lab.folder
        self.files = {}
        for role in ("listen", "connect"):
            source, sink = folder / f"{role}.in", folder / f"{role}.out"
            source.write_bytes(self.random.randbytes(BYTES))
            self.files[role] = (source, sink)
        self.gate = folder / "gate"

        def start(end, role, **how):
            return end.start([sys.executable, "-c", ECHO_END, role, self.lab.b.v4, PORT,
                              *self.files[role], self.gate], name=role, **how)
        self.listener = start(self.lab.b, "listen")
        self.listener.wait_listening(PORT)
        self.connector = start(self.lab.a, "connect", attached=True)
        wait_until(lambda: [row["offload_state"] for row in self.rows()] == ["Offloaded"], 10,
                   "the connection offloaded")

    def rows(self):
        return list(control.flows(self.lab.a, PORT).values())

    def capture(self, device):
        file = self.lab.folder / f"{device}.pcap"
        tcpdump = self.lab.a.start(["tcpdump", "-i", device, "-w", file, "-U", "--immediate-mode", "-s", "0", "-B",
                                    "65536", "-Z", "root", f"tcp port {PORT}"], name="tcpdump")
        wait_until(lambda: "listening on" in tcpdump.output(), 10, "tcpdump")
        return tcpdump, file

    def transfer(self):
        self.gate.touch()
        for role in ("listen", "connect"):
            sink = self.files[role][1]
            wait_until(lambda sink=sink: sink.exists() and sink.stat().st_size == BYTES, 60,
                       f"all bytes at {role}")
        for one, other in (("listen", "connect"), ("connect", "listen")):
            self.assertEqual(self.files[one][0].read_bytes(), self.files[other][1].read_bytes())
        row, = self.rows()
        self.assertEqual((row["offload_state"], row["hand_overs"]), ("Offloaded", 1))

    def expect_whole(self, tcpdump, file):
        # What its ring still holds when it is told to end, tcpdump leaves there.
        wait_until(lambda: sum(len(payload) for _, _, payload in segments(file)) >= 2 * BYTES, 10,
                   "the capture of all bytes", every=0.2)
        os.kill(tcpdump.pid, signal.SIGINT)
        wait_until(lambda: not tcpdump.running(), 10, "tcpdump ended")
        self.assertIn("0 packets dropped by kernel", tcpdump.output())
        seen = list(segments(file))
        for role, is_sender in (("listen", lambda port: port == PORT),
                                ("connect", lambda port: port != PORT)):
            parts = [(seq, payload) for port, seq, payload in seen if is_sender(port) and payload]
            self.assertTrue(parts, role)
            stream, missing = stream_of(parts, parts[0][0])
            self.assertEqual(missing, 0, f"{role}, seed {self.seed}")
            self.assertEqual(stream, self.files[role][0].read_bytes(), f"seed {self.seed}")
        return seen

    def test_a_capture_sees_every_segment(self):
        self.start_ends()
        capture = self.capture(DEVICE)
        self.transfer()
        seen = self.expect_whole(*capture)
        self.assertGreater(max(len(payload) for _, _, payload in seen), 1460, "nothing aggregated")

    def test_one_by_one(self):
        """Without segmentation offload: frames as on a wire."""
        for end in (self.lab.a, self.lab.b):
            end.run(["ethtool", "-K", DEVICE, "tso", "off", "gso", "off", "gro", "off"])
        self.start_ends()
        capture = self.capture(DEVICE)
        self.transfer()
        self.expect_whole(*capture)

    def test_packet_sockets_of_others_change_nothing(self):
        """Promiscuous, in a fanout group, and with a ring: they get copies."""
        def open_socket():
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            made.bind((DEVICE, 3))
            member = struct.pack("iHH8s", socket.if_nametoindex(DEVICE), 1, 0, b"")
            made.setsockopt(263, 1, member)                       # PACKET_ADD_MEMBERSHIP, promiscuous
            made.setsockopt(263, 18, struct.pack("I", 0x1000007))  # PACKET_FANOUT: a group of its own
            return made
        sockets = [control.in_namespace(self.lab.a.name, open_socket) for _ in range(2)]
        self.start_ends()
        capture = self.capture("any")
        self.transfer()
        os.kill(capture[0].pid, signal.SIGINT)
        for one in sockets:
            one.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
