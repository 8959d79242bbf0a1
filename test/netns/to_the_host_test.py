"""What the engine leaves to the host: urgent data, and the SYN of a new connection in TIME_WAIT. The
segments that it did not take are given to the host, so that the peer has nothing to repeat."""

import sys
import unittest
from pathlib import Path

from netlab import Lab, wait_until

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

    def wait_offloaded(self):
        wait_until(lambda: self.row().get("offload_state") == "Offloaded", 10,
                   "the connection is offloaded")

    def counted(self, name):
        return self.lab.b.snp_json("stats")["engine"][name]

    def repeated(self):
        """Segments that the peer's kernel has sent again."""
        return int(self.lab.a.run(["nstat", "-asz", "TcpRetransSegs"]).stdout.split()[-2])

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
