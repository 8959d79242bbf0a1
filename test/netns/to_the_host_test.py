"""What the engine leaves to the host: urgent data, and the SYN of a new connection in TIME_WAIT. The
segments that it did not take are given to the host, so that the peer has nothing to repeat. And IP
fragments, which the peer has to."""

import subprocess
import sys
import unittest
from pathlib import Path

from netlab import Lab, Namespace, wait_until

PORT, CLIENT_PORT = 7400, 41000
LEAVER = Path(__file__).resolve().parent / "scripts" / "leaver.py"

# Runs in the peer's namespace: an ordinary program on the kernel.
SEND_URGENT = """
import os, socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
s.sendall(b"before ")
while not os.path.exists("go"):
    time.sleep(0.01)
s.send(b"!", socket.MSG_OOB)
s.sendall(b"after")
s.shutdown(socket.SHUT_WR)
s.recv(1)
"""

# The same four-tuple again and again: the server's end of the one before is in TIME_WAIT.
COME_AGAIN = """
import os, socket, sys, time
for number in range(4):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", int(sys.argv[3])))
    s.connect((sys.argv[1], int(sys.argv[2])))
    while not os.path.exists(f"go-{number}"):
        time.sleep(0.01)
    s.sendall(b"x")
    assert s.recv(10) == b"", "the server closes first"
    s.close()
    time.sleep(0.1)
"""


# The peer repeats a segment also when a busy machine acknowledges it late: then once more from the
# beginning. What we lose it has to repeat each time.
MOST_TRIES = 6

# Forbids routers to say that a segment is too large, so they cut it.
SEND_IN_PARTS = """
import os, socket, sys, time
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
s = socket.socket()
s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
s.connect((sys.argv[1], int(sys.argv[2])))
s.sendall(b"small")
while not os.path.exists("go"):
    time.sleep(0.01)
s.sendall(bytes(100_000))
s.shutdown(socket.SHUT_WR)
s.recv(1)
"""

# Wants to hear of ICMP errors, which come to the host, once the file "go" is there.
WANT_REPORTS = """
import os, socket, sys, time
IP_RECVERR = 11
with socket.create_server(("", int(sys.argv[1]))) as listener:
    connection = listener.accept()[0]
    while not os.path.exists("go"):
        time.sleep(0.01)
    connection.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    assert connection.getsockopt(socket.IPPROTO_IP, IP_RECVERR) == 1
    while text := connection.recv(1000):
        connection.sendall(text)
"""

SEND_TWICE = """
import os, socket, sys, time
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as s:
    s.sendall(b"before ")
    while not os.path.exists("home"):
        time.sleep(0.01)
    s.sendall(b"after")
    s.shutdown(socket.SHUT_WR)
    text = b""
    while part := s.recv(1000):
        text += part
    print("echo", text.decode(), flush=True)
"""

COUNT = """
import socket, sys
with socket.create_server(("", int(sys.argv[1]))) as listener:
    connection = listener.accept()[0]
    total = 0
    while text := connection.recv(1 << 16):
        total += len(text)
    print("bytes", total, flush=True)
"""


class ToTheHost(unittest.TestCase):
    def without_repetition(self, scenario):
        for _ in range(MOST_TRIES):
            with Lab() as self.lab:
                self.lab.start_snpd(self.lab.b, settings={"chimney": "enabled"})
                scenario()
                if (repeated := self.repeated()) == 0:
                    return
        self.fail(f"the peer has repeated {repeated} segments")

    def serve(self, what):
        server = self.lab.b.start([sys.executable, LEAVER, what, PORT], attached=True, name=what)
        server.wait_listening(PORT)
        return server

    def row(self):
        """The connection that is open; {}: none is."""
        rows = self.lab.b.snp_json("connections")["connections"]
        return next((row for row in rows if row["tcp_state"] == "ESTABLISHED"), {})

    def only_row(self):
        row, = self.lab.b.snp_json("connections")["connections"]
        return row

    def wait_offloaded(self):
        wait_until(lambda: self.row().get("offload_state") == "Offloaded", 10,
                   "the connection is offloaded")

    def counted(self, name):
        return self.lab.b.snp_json("stats")["engine"][name]

    def repeated(self):
        """Segments that the peer's kernel has sent again."""
        return int(self.lab.a.run(["nstat", "-asz", "TcpRetransSegs"]).stdout.split()[-2])

    def add_a_network_behind_a(self):
        """A client's namespace; a is its router, and the route from there to b has a small MTU."""
        client = Namespace(self.lab, self.lab.a.name + "-c", 4)
        self.lab.ends += (client,)
        ip = ["ip", "netns", "add", client.name], [
            "ip", "-n", self.lab.a.name, "link", "add", "inner", "type", "veth", "peer", "name",
            "veth0", "netns", client.name]
        for argv in ip:
            subprocess.run(argv, check=True)
        for end, argv in (
                (self.lab.a, "ip addr add 10.78.0.1/24 dev inner"),
                (self.lab.a, "ip link set inner up"),
                (self.lab.a, "sysctl -qw net.ipv4.ip_forward=1"),
                (self.lab.a, f"ip route change 10.77.0.0/24 dev veth0 src {self.lab.a.v4} mtu 600"),
                (self.lab.b, f"ip route add 10.78.0.0/24 via {self.lab.a.v4}"),
                (client, "ip addr add 10.78.0.2/24 dev veth0"),
                (client, "ip link set veth0 up"),
                (client, "ip route add default via 10.78.0.1")):
            end.run(argv.split())
        return client

    # RFC 9293 3.9.1.8 MUST-47.
    def test_a_program_that_wants_reports_of_errors(self):
        with Lab() as self.lab:
            self.lab.start_snpd(self.lab.b, settings={"chimney": "enabled"})
            server = self.lab.b.start([sys.executable, "-c", WANT_REPORTS, PORT], attached=True,
                                      name="reports")
            server.wait_listening(PORT)
            client = self.lab.a.start([sys.executable, "-c", SEND_TWICE, self.lab.b.v4, PORT],
                                      name="client")
            self.wait_offloaded()
            (self.lab.folder / "go").touch()
            wait_until(lambda: self.only_row()["offload_state"] == "InHost", 10,
                       "the connection is home")
            self.assertEqual(self.only_row()["reason"], "unsupported-call")
            (self.lab.folder / "home").touch()
            self.assertEqual(client.result(20), "echo before after\n")

    def test_fragments(self):
        with Lab() as self.lab:
            self.lab.start_snpd(self.lab.b, settings={"chimney": "enabled"})
            self.fragments()

    def fragments(self):
        client = self.add_a_network_behind_a()
        server = self.lab.b.start([sys.executable, "-c", COUNT, PORT], attached=True, name="count")
        server.wait_listening(PORT)
        client.start([sys.executable, "-c", SEND_IN_PARTS, self.lab.b.v4, PORT], name="send")
        self.wait_offloaded()
        (self.lab.folder / "go").touch()
        wait_until(lambda: "bytes 100005" in server.output(), 10, "all of it has come")
        self.assertGreaterEqual(self.counted("connections_terminated"), 1)
        fragments = self.lab.b.run(["nstat", "-asz", "IpReasmOKs"]).stdout.split()[-2]
        self.assertGreater(int(fragments), 50, "the path has cut them")

    def test_urgent_data(self):
        self.without_repetition(self.urgent_data)

    def urgent_data(self):
        server = self.serve("urgent")
        client = self.lab.a.start([sys.executable, "-c", SEND_URGENT, self.lab.b.v4, PORT], name="send")
        self.wait_offloaded()
        (self.lab.folder / "go").touch()
        # What was read before and after, and the byte between them, once and out of line.
        wait_until(lambda: "!|before after" in server.output(), 10, "all of it has come")
        self.assertEqual(self.counted("connections_terminated"), 1)
        client.result(10)

    def test_a_new_connection_in_time_wait(self):
        self.without_repetition(self.a_new_connection_in_time_wait)

    def a_new_connection_in_time_wait(self):
        self.serve("closer")
        client = self.lab.a.start([sys.executable, "-c", COME_AGAIN, self.lab.b.v4, PORT, CLIENT_PORT],
                                  name="come")
        for number in range(4):
            wait_until(lambda: self.counted("connections_initiated") > number, 10,
                       f"offload {number + 1}")
            self.wait_offloaded()
            (self.lab.folder / f"go-{number}").touch()
        client.result(20)
        self.assertGreaterEqual(self.counted("connections_initiated"), 4, "all were offloaded")
        self.assertGreaterEqual(self.counted("connections_terminated"), 3, "for those that followed")


if __name__ == "__main__":
    unittest.main(verbosity=2)
