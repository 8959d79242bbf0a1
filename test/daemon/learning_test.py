"""Mode automatic learns which connections are worth a hand-over, and makes room for them."""

import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import Lab, wait_until  # noqa: E402

PORT = 7001
LISTENER = f"listener 0.0.0.0:{PORT}"
SERVER = """
import select, socket, sys
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=256)
sockets = [listener]
while True:
    for s in select.select(sockets, [], [])[0]:
        if s is listener:
            sockets.append(s.accept()[0])
        elif data := s.recv(65536):
            s.sendall(data)
        else:
            sockets.remove(s)
            s.close()
"""
# Makes connections and round trips as it is told, a line each: "open", "talk N TIMES BYTES", "close N".
CLIENT = """
import socket, sys
ends = []
for line in sys.stdin:
    verb, *numbers = line.split()
    numbers = [int(n) for n in numbers]
    if verb == "open":
        ends.append(socket.create_connection((sys.argv[1], int(sys.argv[2]))))
    elif verb == "close":
        ends[numbers[0]].close()
    else:
        size = numbers[2]
        for _ in range(numbers[1]):
            ends[numbers[0]].sendall(b"x" * size)
            got = 0
            while got < size:
                part = ends[numbers[0]].recv(size - got)
                assert part
                got += len(part)
    print(ends[-1].getsockname()[1] if verb == "open" else 0, flush=True)
"""


class Learning(unittest.TestCase):
    settings = {"chimney": "automatic", "automatic_calls": 16, "automatic_bytes": 0}

    def setUp(self):
        self.lab = Lab().enter_for(self)
        self.end = self.lab.b
        self.lab.start_snpd(self.end, settings=self.settings)
        self.server = self.end.start(["python3", "-c", SERVER, PORT], attached=True)
        self.server.wait_listening(PORT)
        self.ports = []
        self.client = self.start_client()

    def start_client(self):
        argv = self.lab.a.command(["python3", "-c", CLIENT, self.end.v4, PORT])
        client = subprocess.Popen([str(word) for word in argv], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        self.addCleanup(client.stdout.close)
        self.addCleanup(client.stdin.close)
        return client

    def say(self, *words):
        self.client.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.client.stdin.flush()
        answer = self.client.stdout.readline()
        self.assertTrue(answer, "the client has ended")
        return int(answer)

    def talk(self, number, times, size=100):
        self.say("talk", number, times, size)

    def carry_much(self, number):
        """What pays for a hand-over however slow the machine is just now: 5 MB."""
        self.talk(number, 40, 65536)

    def open(self):
        """The number of a new connection."""
        self.ports.append(self.say("open"))
        return len(self.ports) - 1

    def row(self, number):
        """What snpd says of the server's end; None when it is gone."""
        remote = f"{self.lab.a.v4}:{self.ports[number]}"
        return next((row for row in self.end.snp_json("connections")["connections"]
                     if row["remote"] == remote), None)

    def wait_state(self, number, state):
        def is_so():
            row = self.row(number)
            return row is not None and row["offload_state"] == state
        wait_until(is_so, 10, f"connection {number} {state}")

    def learned(self):
        """The row of the listener in `snp policy show`."""
        origins = self.end.snp_json("policy", "show")["learned"]["origins"]
        return next((row for row in origins if row["origin"] == LISTENER),
                    {"earned": 0, "of": 0, "next": "unknown"})

    def offloads(self):
        return self.end.snp_json("stats")["offload"]["done"]

    def teach(self, count):
        """So many connections that are worth it."""
        before = self.learned()["earned"]
        for _ in range(count):
            number = self.open()
            self.carry_much(number)
            self.say("close", number)
        wait_until(lambda: self.learned()["earned"] >= before + count - 1, 10, "earned")

    def test_history_of_a_listener(self):
        # A connection that says little stays in the host, and snpd is not even told of it.
        number = self.open()
        self.talk(number, 4)
        row = self.row(number)
        self.assertEqual((row["offload_state"], row["reason"]), ("InHost", "not-asked-yet"))
        self.say("close", number)
        wait_until(lambda: self.learned()["of"] == 1, 10, "tally taken")
        self.assertEqual(self.learned()["earned"], 0)

        self.teach(16)
        known = self.learned()
        self.assertEqual(known["next"], "at once", known)
        self.assertGreater(known["message_bytes"], 1000)

        # The next one has said nothing and is offloaded, and it is said why.
        number = self.open()
        self.wait_state(number, "Offloaded")
        row = self.row(number)
        self.assertRegex(row["reason_detail"], LISTENER + r": 1[5-9] of the last 1[6-9] connections "
                         "earned their hand-over")
        why = self.end.snp("why", f"{row['local']}-{row['remote']}").stdout
        self.assertIn("earned their hand-over", why)
        figures = self.end.snp_json("policy", "show")["learned"]["targets"][0]
        self.assertGreater(figures["hand_overs"], 0)
        # One that does not exist yet would be, too.
        why = self.end.snp_json("why", f"{self.end.v4}:{PORT}-{self.lab.a.v4}:9")["policy"]
        self.assertEqual((why["verdict"], why["step"]), ("offload", "worth"), why)
        self.assertIn(LISTENER, why["reason_detail"])

        # A setting switches that off, for the connections to come.
        self.end.snp("settings", "set", "automatic_eager_percent", 0)
        quiet = self.open()
        self.talk(quiet, 4)
        self.assertEqual(self.row(quiet)["offload_state"], "InHost")
        self.end.snp("settings", "set", "automatic_eager_percent", 80)

        # What was learned survives the engine.
        engine = self.end.snp_json("status")["pid"]
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: self.end.snp("status", check=False).returncode == 0 and
                   self.end.snp_json("status")["pid"] != engine, 10, "the next engine")
        self.assertGreaterEqual(self.learned()["earned"], 15)
        number = self.open()
        self.wait_state(number, "Offloaded")

    def test_short_connections_lose_the_eager_offload(self):
        self.teach(10)
        self.assertEqual(self.learned()["next"], "at once")

        def short(count):
            for _ in range(count):
                number = self.open()
                self.talk(number, 1)
                self.say("close", number)
            return self.learned()
        for _ in range(20):
            if short(10)["next"] != "at once":
                break
        self.assertNotEqual(short(1)["next"], "at once")
        before = self.offloads()
        after = short(50)
        self.assertEqual(self.offloads(), before)  # not one of them
        self.assertEqual((after["earned"], after["of"]), (0, 50))
        # Now one has to carry four times the price.
        self.assertEqual(after["next"], "when it has earned it four times over")
        number = self.open()
        self.talk(number, 20)
        self.assertIn(self.row(number)["reason"], ("not-earned", "not-asked-yet"))
        for _ in range(5):
            self.carry_much(number)
        self.wait_state(number, "Offloaded")


class Room(Learning):
    settings = {"chimney": "automatic", "automatic_calls": 16, "automatic_bytes": 0,
                "automatic_eager_percent": 0, "automatic_idle_s": 1, "max_connections": 2}
    test_history_of_a_listener = None
    test_short_connections_lose_the_eager_offload = None

    def talk_until(self, number, state):
        def is_so():
            self.carry_much(number)
            return self.row(number)["offload_state"] == state
        wait_until(is_so, 20, f"connection {number} {state}", every=0.1)

    def test_an_idle_connection_makes_room(self):
        first, second, third = self.open(), self.open(), self.open()
        self.talk_until(first, "Offloaded")
        self.talk_until(second, "Offloaded")
        # One that stood idle goes, and says why.
        self.talk_until(third, "Offloaded")
        wait_until(lambda: self.row(first)["offload_state"] == "InHost" or
                   self.row(second)["offload_state"] == "InHost", 10, "one is home")
        demoted = first if self.row(first)["offload_state"] == "InHost" else second
        self.assertEqual(self.row(demoted)["reason"], "idle")
        # It comes back when it has something to say, and another one goes.
        self.talk_until(demoted, "Offloaded")
        others = {number: self.row(number) for number in (first, second, third)
                  if number != demoted}
        self.assertIn("idle", [row["reason"] for row in others.values()])
        for number in (first, second, third):
            self.talk(number, 5)

    def test_nobody_who_is_busy_makes_room(self):
        self.end.snp("settings", "set", "automatic_idle_s", 0)
        first, second, third = self.open(), self.open(), self.open()
        self.talk_until(first, "Offloaded")
        self.talk_until(second, "Offloaded")
        for _ in range(5):
            self.carry_much(third)
        row = self.row(third)
        wait_until(lambda: self.row(third)["reason"] == "target-full", 10, "declined")
        self.assertEqual(row["offload_state"], "InHost")
        self.assertEqual(self.row(first)["offload_state"], "Offloaded")


if __name__ == "__main__":
    unittest.main(verbosity=2)
