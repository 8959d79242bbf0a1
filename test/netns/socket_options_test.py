"""TCP_NOTSENT_LOWAT with epoll, and SO_LINGER with a time: the same program on the kernel and
offloaded, before a peer that does not read. And what SIOCOUTQ and SIOCOUTQNSD tell, over a path with a delay."""

import json
import sys
import time
import unittest
from pathlib import Path

from netlab import Lab, wait_until

SCRIPTS = Path(__file__).resolve().parent / "scripts"
FIRST_PORT = 7500


class Clients(unittest.TestCase):
    path = None

    @classmethod
    def setUpClass(cls):
        cls.lab = cls.enterClassContext(Lab(path=cls.path))
        cls.lab.start_snpd(cls.lab.a, settings={"chimney": "enabled"})
        cls.port = FIRST_PORT

    def setUp(self):
        for name in ("go", "read"):
            (self.lab.folder / name).unlink(missing_ok=True)

    def start(self, attached, *words):
        """The peer, and the client once its connection is where it is to be."""
        type(self).port += 1
        peer = self.lab.b.start([sys.executable, SCRIPTS / "slow_reader.py", self.port], name="peer")
        peer.wait_listening(self.port)
        what, *rest = words
        client = self.lab.a.start([sys.executable, SCRIPTS / "option_client.py", what, self.lab.b.v4,
                                   self.port, *rest], attached=attached, name=what)
        if attached:
            wait_until(self.is_offloaded, 10, "the connection is offloaded")
        (self.lab.folder / "go").touch()
        return client, peer

    def is_offloaded(self):
        rows = self.lab.a.snp_json("connections")["connections"]
        return any(row["remote"].endswith(f":{self.port}") and row["offload_state"] == "Offloaded"
                   for row in rows)

    def let_read(self):
        (self.lab.folder / "read").touch()

    def check_peer(self, peer, facts):
        self.assertEqual(peer.result(20).split(), [str(facts.pop("total")), "True"])

    def check_facts(self, facts):
        for name, is_so in facts.items():
            self.assertTrue(is_so, name)


# What the program says of the IP header in the middle of a connection.
MARK = """
import os, socket, sys, time
address, port, family = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with socket.create_connection((address, port)) as s:
    s.sendall(b"unmarked")
    while not os.path.exists("go"):
        time.sleep(0.01)
    if family == "v4":
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, b"\\x28")
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 9)
    else:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x28)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 9)
    s.sendall(b"marked")
    s.shutdown(socket.SHUT_WR)
    s.recv(1)
"""

# Says of each segment with text its Diffserv field and its time to live.
TELL_MARKS = """
import socket, struct, sys
port = int(sys.argv[1])
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
with socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
    connection = listener.accept()[0]
    while b"marked" not in connection.recv(100)[:6]:
        pass
    connection.close()
    tap.settimeout(1)
    while True:
        packet = tap.recv(2000)
        is_v4 = packet[0] >> 4 == 4
        if packet[9 if is_v4 else 6] != 6:
            continue
        at = (packet[0] & 15) * 4 if is_v4 else 40
        if struct.unpack_from("!H", packet, at + 2)[0] != port:
            continue
        text = packet[at + (packet[at + 12] >> 4) * 4:]
        field = packet[1] if is_v4 else struct.unpack_from("!H", packet)[0] >> 4 & 255
        if text:
            print(text.decode(), field, packet[8 if is_v4 else 7], flush=True)
        if text == b"marked":
            break
"""


# RFC 9293 3.9.1.9 SHLD-21, 3.9.2 MUST-49.
class HeaderFields(Clients):
    def check(self, family):
        type(self).port += 1
        peer = self.lab.b.start([sys.executable, "-c", TELL_MARKS, self.port], name="peer")
        peer.wait_listening(self.port)
        self.lab.a.start([sys.executable, "-c", MARK, getattr(self.lab.b, family), self.port, family],
                         attached=True, name="mark")
        wait_until(self.is_offloaded, 10, "the connection is offloaded")
        (self.lab.folder / "go").touch()
        self.assertEqual(peer.result(20).splitlines(), ["unmarked 0 64", "marked 40 9"])

    def test_change_while_it_is_offloaded(self):
        for family in ("v4", "v6"):
            with self.subTest(family):
                self.setUp()
                self.check(family)


class SocketOptions(Clients):
    def check_notsent(self, attached):
        client, peer = self.start(attached, "notsent")
        facts = json.loads(client.result(30))
        self.check_peer(peer, facts)
        self.check_facts(facts)

    def test_notsent_low_water_on_the_kernel(self):
        self.check_notsent(False)

    def test_notsent_low_water_offloaded(self):
        self.check_notsent(True)

    def check_time_is_up(self, attached, *blocking):
        client, peer = self.start(attached, "linger", 1, *blocking)
        facts = json.loads(client.result(30))
        self.assertGreater(facts.pop("took"), 0.9, "nobody has read it")
        self.let_read()
        self.check_peer(peer, facts)

    def check_all_is_read(self, attached):
        client, peer = self.start(attached, "linger", 300, "blocking")
        time.sleep(1)
        self.assertTrue(client.running(), "it waits for the peer")
        self.let_read()
        facts = json.loads(client.result(30))
        facts.pop("took")
        self.check_peer(peer, facts)

    def test_linger_until_the_time_is_up_on_the_kernel(self):
        self.check_time_is_up(False, "blocking")
        self.setUp()
        self.check_time_is_up(False)

    def test_linger_until_the_time_is_up_offloaded(self):
        self.check_time_is_up(True, "blocking")

    def test_linger_of_a_nonblocking_socket_offloaded(self):
        self.check_time_is_up(True)

    def test_linger_until_all_is_read_on_the_kernel(self):
        self.check_all_is_read(False)

    def test_linger_until_all_is_read_offloaded(self):
        self.check_all_is_read(True)


class Queues(Clients):
    path = {"forth": "delay_ms=100,rate_mbps=100,queue_kb=500",
            "back": "delay_ms=100,rate_mbps=100,queue_kb=500", "seed": 1}

    def check_queues(self, attached):
        self.let_read()
        client, peer = self.start(attached, "queued")
        facts = json.loads(client.result(30))
        self.check_peer(peer, facts)
        self.check_facts(facts)

    def test_what_is_queued_on_the_kernel(self):
        self.check_queues(False)

    def test_what_is_queued_offloaded(self):
        self.check_queues(True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
