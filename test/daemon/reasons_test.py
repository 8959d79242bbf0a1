"""Reasons that are easily wrong: of connections that end while they are being moved, and of the other
end of a local connection."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import Lab, wait_until  # noqa: E402

PORT = 7001
SERVER = """
import socket, struct, sys
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=256)
while True:
    s = listener.accept()[0]
    try:
        s.send(s.recv(100) or b"-")
    except OSError:
        pass
    s.close()
"""
# Ends its connections in every way: before the answer, after it, with a reset.
CLIENT = """
import socket, struct, sys
for i in range(400):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    if i % 4 != 2:
        s.send(b"x")
    if i % 2:
        s.recv(100)
    if i % 3 == 0:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
"""
# One end sets an option that only the host stack knows. It comes late: the other one has been told
# that nobody is there.
ODD_SERVER = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(0.5)
s = listener.accept()[0]
s.setsockopt(socket.SOL_SOCKET, 29, 1)  # SO_TIMESTAMP
while data := s.recv(100):
    s.send(data)
"""
TALKER = """
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while True:
    s.send(b"x")
    s.recv(1)
    time.sleep(0.005)
"""


class Reasons(unittest.TestCase):
    def setUp(self):
        self.lab = Lab().enter_for(self)
        self.end = self.lab.b
        self.lab.start_snpd(self.end, settings={"chimney": "enabled"})

    def serve(self, program):
        server = self.end.start(["python3", "-c", program, PORT], attached=True)
        server.wait_listening(PORT)
        return server

    def test_what_ended_meanwhile_was_in_no_state_to_move(self):
        self.serve(SERVER)
        self.lab.a.run(["python3", "-c", CLIENT, self.end.v4, PORT])
        stats = self.end.snp_json("stats")
        declined = stats["declined"]
        self.assertNotIn("park-failed", declined)
        self.assertNotIn("not-tcp", declined)
        self.assertGreater(stats["offload"]["done"] + sum(declined.values()), 0)

    def test_the_other_end_is_told_whose_fault_it_is(self):
        self.end.snp("settings", "set", "chimney", "automatic")
        self.serve(ODD_SERVER)
        self.end.start(["python3", "-c", TALKER, PORT], attached=True)

        def reasons():
            return {("server" if row["local"].endswith(f":{PORT}") else "client"): row
                    for row in self.end.snp_json("connections")["connections"]}

        def is_told():
            rows = reasons()
            return len(rows) == 2 and rows["client"]["reason"] == "peer-moves" and \
                rows["server"]["reason"] == "unsupported-call"
        wait_until(is_told, 20, "both ends are told")


if __name__ == "__main__":
    unittest.main(verbosity=2)
