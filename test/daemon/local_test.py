"""The local target under everything that can happen to it: uploads and offloads without end, the
engine killed, a program killed or stopped, half-closed connections, snpd told to stop, a program
that is not attached.

Both ends of verified streams (torture_peer: one wrong byte, one reset, and it fails) run in one
network namespace.
"""

import json
import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import Lab, wait_until  # noqa: E402
from streams import Streams  # noqa: E402

import control  # noqa: E402

PORT = 7000
CONNECTIONS = 8

# One connection to each line of its standard input: "shut" shuts the writing side, "close" closes,
# "read" waits for the end of file and prints what came; else what to send.
SCRIPTED = r"""
import socket, sys
role, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
if role == "listen":
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host
                                    else socket.AF_INET)
    print("ready", flush=True)
    s = listener.accept()[0]
else:
    s = socket.create_connection((host, port))
    print("ready", flush=True)
for line in sys.stdin:
    word = line.strip()
    try:
        if word == "shut":
            s.shutdown(socket.SHUT_WR)
        elif word == "close":
            s.close()
        elif word == "read":
            data = b""
            while part := s.recv(1 << 16):
                data += part
            print("read", len(data), data[:20].decode(), flush=True)
            continue
        elif word.startswith("take "):
            data = b""
            while len(data) < int(word[5:]) and (part := s.recv(int(word[5:]) - len(data))):
                data += part
            print("took", len(data), flush=True)
            continue
        else:
            text, times = word.split("*")
            s.sendall(text.encode() * int(times))
        print("did", word, flush=True)
    except OSError as error:
        print("failed", error.errno, flush=True)
"""


class Script:
    """A SCRIPTED program: say() gives its answer to one line."""

    def __init__(self, lab, role, host, attached=True):
        self.popen = subprocess.Popen(
            lab.a.command([sys.executable, "-c", SCRIPTED, role, host, PORT], attached=attached),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=lab.folder)
        self.pid = self.popen.pid
        if role == "listen":
            self.answer()

    def answer(self):
        return self.popen.stdout.readline().strip()

    def say(self, line):
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()
        return self.answer()

    def stop(self):
        if self.popen.poll() is None:
            os.kill(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self.popen.stdin.close()
        self.popen.stdout.close()


class LocalCase(unittest.TestCase):
    settings = {"chimney": "enabled"}

    def setUp(self):
        self.lab = Lab().enter_for(self)
        self.end = self.lab.a
        self.lab.start_snpd(self.end, settings=self.settings)

    def rows(self, target=None):
        rows = self.end.snp_json("connections")["connections"]
        return [row for row in rows if target is None or row["target"] == target]

    def wait_local(self, count):
        wait_until(lambda: len(self.rows("local")) == count, 20, f"{count} local ends", every=0.05)

    def kill_engine(self):
        """And waits for the next one."""
        old = self.end.snp_json("status")["pid"]
        os.kill(old, signal.SIGKILL)
        self.wait_next_engine(old)

    def wait_next_engine(self, old):
        def is_there():
            done = self.end.snp("status", "--json", check=False)
            return done.returncode == 0 and json.loads(done.stdout)["pid"] != old
        wait_until(is_there, 20, "the next engine", every=0.05)

    def move_home(self):
        self.end.snp("upload", "--all")

    def move_away(self):
        for row in self.rows():
            if row["target"] == "" and row["local"].endswith(f":{PORT}"):
                flow = f"{row['local']}-{row['remote']}"
                wait_until(lambda flow=flow: control.ask(self.end, "offload", FLOW=flow)[0], 20,
                           f"offload of {flow}")  # one that is busy is asked again


class LocalStreams(LocalCase):
    def start_streams(self, host="127.0.0.1", style="level", rate=0, connections=CONNECTIONS):
        self.seed = int.from_bytes(os.urandom(4), "little")
        self.streams = Streams(self.end, self.end, PORT, connections, seed=self.seed,
                               address=host, attached=(self.end,), style=style, rate=rate)
        self.wait_local(2 * connections)

    def finish_streams(self):
        self.streams.finish()

    def test_there_and_back_a_hundred_times(self):
        """The whole load comes home and goes away again, one connection at a time and all at once."""
        for host, style in (("127.0.0.1", "level"), ("::1", "edge")):
            with self.subTest(host=host, style=style):
                self.start_streams(host, style)
                for _ in range(50):
                    self.move_home()
                    self.move_away()
                self.assertEqual(len(self.rows("local")), 2 * CONNECTIONS)
                self.finish_streams()
        stats = self.end.snp_json("stats")
        self.assertGreaterEqual(stats["upload"]["done"], 4 * 50 * CONNECTIONS)
        self.assertEqual(stats["upload"]["failed"], 0)
        self.assertGreater(stats["local"]["bytes_in"], 1_000_000)

    def test_between_addresses_of_a_device(self):
        self.start_streams(self.end.v4)
        self.move_home()
        self.move_away()
        row = self.rows("local")[0]
        self.assertIn(row["peer_pid"], [r["pid"] for r in self.rows()])
        self.assertEqual(row["peer_program"], "torture_peer")
        self.finish_streams()

    def test_engine_killed(self):
        """Local connections go on meanwhile, and the next engine knows them: it can bring them home."""
        self.start_streams()
        for _ in range(2):
            time.sleep(2.2)  # an engine that dies sooner is not trusted with resuming
            self.kill_engine()
            self.assertIn("went on with", self.end.snpd.output())
            self.assertEqual(len(self.rows("local")), 2 * CONNECTIONS)
            self.move_home()
            self.assertEqual(len(self.rows("local")), 0)
            self.move_away()
            self.wait_local(2 * CONNECTIONS)
        self.finish_streams()

    def test_engine_killed_in_the_middle_of_moves(self):
        self.start_streams()
        for round_ in range(3):
            pid = self.end.snp_json("status")["pid"]
            mover = self.end.start([self.lab.snp, "upload", "--all"], name="upload")
            time.sleep(0.01 * round_)
            os.kill(pid, signal.SIGKILL)
            mover.wait(30)
            self.wait_next_engine(pid)
            self.move_away()
            self.wait_local(2 * CONNECTIONS)
        self.finish_streams()

    def test_snpd_stops_and_starts(self):
        self.start_streams()
        self.lab.stop_snpd(self.end)
        time.sleep(0.3)
        self.finish_streams()

    def test_a_stopped_program_holds_nobody_up(self):
        self.start_streams()
        for process in (self.streams.server, self.streams.client):
            inner = process.tree()[-1]  # below `ip` and `snp run`
            os.kill(inner, signal.SIGSTOP)
            try:
                begin = time.monotonic()
                self.move_home()
                self.assertLess(time.monotonic() - begin, 30)
                self.assertEqual(len(self.rows("local")), 0)
            finally:
                os.kill(inner, signal.SIGCONT)
            self.move_away()
            self.wait_local(2 * CONNECTIONS)
        self.finish_streams()

    def test_chimney_disabled_brings_all_home(self):
        self.start_streams()
        self.end.snp("settings", "set", "chimney", "disabled")
        wait_until(lambda: not self.rows("local"), 20, "all at home")
        self.assertEqual({row["reason"] for row in self.rows()} - {"peer-moves"},
                         {"chimney-disabled"})
        self.end.snp("settings", "set", "chimney", "enabled")
        self.wait_local(2 * CONNECTIONS)
        self.finish_streams()

    def test_a_killed_program(self):
        """Its peers see what the kernel would show them; nothing of it is left in the books."""
        self.start_streams()
        os.kill(self.streams.client.tree()[-1], signal.SIGKILL)
        self.streams.server.wait(20)  # its streams have ended, in a reset where bytes were unread
        wait_until(lambda: not self.rows(), 20, "nothing is left", every=0.05)
        self.assertEqual(self.end.snp_json("status")["offloaded"], 0)

    def test_the_memory_of_a_pair_goes_with_its_last_connection(self):
        self.start_streams()
        self.finish_streams()
        def pairs():
            return sum("snp.pair" in line for pid in self.end.snpd.tree()
                       for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
        wait_until(lambda: pairs() == 0, 20, "no pair memory is mapped", every=0.1)


class Endings(LocalCase):
    """What a program sees when connections end, whether they are carried, at home, or on the way."""

    def start_scripts(self, host="127.0.0.1", attached=True):
        self.server = Script(self.lab, "listen", host)
        self.addCleanup(self.server.stop)
        self.client = Script(self.lab, "connect", host, attached)
        self.addCleanup(self.client.stop)
        self.client.answer()
        # A call makes each end known.
        self.assertEqual(self.client.say("x*1"), "did x*1")
        self.assertEqual(self.server.say("take 1"), "took 1")
        if attached:
            self.wait_local(2)

    def test_half_closed_goes_home_and_away(self):
        self.start_scripts()
        self.assertEqual(self.client.say("a*100000"), "did a*100000")
        self.assertEqual(self.client.say("shut"), "did shut")
        for _ in range(5):
            self.move_home()
            self.move_away()
            self.wait_local(2)
        self.assertEqual(self.server.say("b*50000"), "did b*50000")
        self.move_home()
        self.assertEqual(self.server.say("read"), "read 100000 " + "a" * 20)
        self.assertEqual(self.server.say("close"), "did close")
        self.assertEqual(self.client.say("read"), "read 50000 " + "b" * 20)

    def test_closed_by_one_and_read_at_home(self):
        """What was written before close() is read after snpd has gone, and then the end of file."""
        self.start_scripts()
        self.assertEqual(self.client.say("c*70000"), "did c*70000")
        self.assertEqual(self.client.say("close"), "did close")
        time.sleep(0.1)
        self.lab.stop_snpd(self.end)
        self.assertEqual(self.server.say("read"), "read 70000 " + "c" * 20)

    def test_closed_by_one_and_killed_engine(self):
        self.start_scripts()
        self.assertEqual(self.client.say("c*70000"), "did c*70000")
        self.assertEqual(self.client.say("close"), "did close")
        time.sleep(0.1)
        os.kill(self.end.snp_json("status")["pid"], signal.SIGKILL)
        wait_until(lambda: "serving" in self.end.snpd.output().split("killed")[-1], 20, "an engine")
        self.assertEqual(self.server.say("read"), "read 70000 " + "c" * 20)

    def test_both_shut_and_unread_comes_home(self):
        self.start_scripts()
        self.client.say("c*60000")
        self.server.say("s*60000")
        self.client.say("shut")
        self.server.say("shut")
        self.move_home()
        self.assertEqual(self.server.say("read"), "read 60000 " + "c" * 20)
        self.assertEqual(self.client.say("read"), "read 60000 " + "s" * 20)

    def test_a_reset_is_told_at_home(self):
        """Closed with unread data: the peer sees ECONNRESET, or EPIPE, wherever it looks."""
        self.start_scripts()
        self.server.say("s*5000")
        self.client.say("close")
        self.lab.stop_snpd(self.end)
        self.assertIn(self.server.say("take 1"), ("failed 104", "failed 32"))

    def test_one_program_is_not_attached(self):
        self.start_scripts(attached=False)
        row = wait_until(lambda: next(iter(self.rows()), None), 10, "a connection")
        wait_until(lambda: self.rows()[0]["reason"] == "loopback", 10, "its reason", every=0.05)
        flow = f"{row['local']}-{row['remote']}"
        done = self.end.snp("offload", flow, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("not attached", done.stderr)
        self.assertEqual(self.client.say("d*9"), "did d*9")
        self.assertEqual(self.server.say("take 9"), "took 9")


if __name__ == "__main__":
    unittest.main(verbosity=2)
