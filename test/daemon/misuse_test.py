"""snpd and snp used wrongly: one clear line each, nothing disturbed, nothing left behind."""

import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import DEVICE, Lab, cpu_seconds, wait_until  # noqa: E402

MAGIC = 0x31504E53
ATTACH, WAIT_SET, COMMAND = 1, 3, 5
ARENA_VERSION = int(re.search(r"kArenaVersion = (\d+)", (Path(__file__).resolve().parents[2] /
                                  "src/snp/ipc/arena.h").read_text())[1])
NOBODY = 65534

# Runs in a namespace: sends the messages that stdin lists (hex, one a line; + after it: with a
# descriptor), says what comes back.
SENDER = """
import array, os, socket, sys
for line in sys.stdin.read().split():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(60)
    s.connect("\\0snp.control")
    data = bytes.fromhex(line.rstrip("+"))
    fds = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))] if "+" in line else []
    try:
        s.sendmsg([data], fds)
        answer = s.recv(65536)
        print(int.from_bytes(answer[4:6], "little") if answer else "end")
    except ConnectionResetError:
        print("end")
    s.close()
"""


def header(kind):
    return struct.pack("<IHH", MAGIC, kind, 0)


class Misuse(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.lab.__enter__()
        cls.addClassCleanup(cls.lab.__exit__, None, None, None)
        cls.lab.start_snpd(cls.lab.a)

    def snpd(self, *words, end=None, **options):
        return (end or self.lab.b).run([self.lab.snpd, *words], check=False, **options)

    def expect_line(self, done, text, status=1):
        self.assertEqual(done.returncode, status, done.stderr)
        lines = done.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertIn(text, lines[0])

    def send(self, *messages):
        return self.lab.a.run(["python3", "-c", SENDER],
                              stdin="\n".join(messages)).stdout.split()

    def test_second_snpd(self):
        self.expect_line(self.snpd("--device", DEVICE, end=self.lab.a), "another snpd serves")
        self.lab.a.snp("status")

    def test_unknown_device(self):
        self.expect_line(self.snpd("--device", "nope0"), "there is no device 'nope0'")

    def test_device_that_is_no_ethernet(self):
        self.expect_line(self.snpd("--device", "lo"), "lo")

    def test_unknown_driver(self):
        self.expect_line(self.snpd("--device", f"{DEVICE},driver=magic"), "no driver 'magic'")

    def test_missing_privilege(self):
        done = subprocess.run(
            ["ip", "netns", "exec", self.lab.b.name, "setpriv", "--reuid", str(NOBODY), "--regid",
             str(NOBODY), "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
             str(self.lab.snpd), "--device", DEVICE],
            capture_output=True, text=True, timeout=120, cwd="/")
        self.expect_line(done, "CAP_")

    def test_wrong_setting(self):
        self.expect_line(self.snpd("--set", "shards=0"), "give 1..64 threads")
        self.expect_line(self.snpd("--set", "nonsense"), "give NAME=VALUE")
        config = self.lab.folder / "wrong.toml"
        config.write_text("chimney = \"enabled\"\nring_bytes = true\n")
        self.expect_line(self.snpd("--config", config), f"{config}:2:14: setting 'ring_bytes'")

    def test_wrong_option(self):
        self.assertEqual(self.snpd("--nonsense").returncode, 2)

    def test_commands_without_snpd(self):
        self.expect_line(self.lab.b.snp("status", check=False), "no snpd serves")

    def test_wrong_commands(self):
        snp = self.lab.a.snp
        self.assertEqual(snp("fly", check=False).returncode, 2)
        self.assertEqual(snp("offload", check=False).returncode, 2)
        self.assertEqual(snp("run", check=False).returncode, 2)
        self.expect_line(snp("offload", "6379", check=False), "is no flow")
        self.expect_line(snp("upload", "10.0.0.1:1-10.0.0.2:2", check=False),
                         "no attached program has a connection")
        self.expect_line(snp("why", "1:0", check=False), "no attached program")
        self.expect_line(snp("settings", "set", "shards", "0", check=False), "give 1..64 threads")
        self.expect_line(snp("settings", "set", "chimney", "on", check=False), "is not allowed")
        self.expect_line(snp("run", "--", "/nonexistent/program", check=False),
                         "cannot run /nonexistent/program")

    def test_settings_change_live(self):
        snp = self.lab.a.snp
        self.assertEqual(snp("settings", "set", "ring_bytes", "2M").stdout,
                         "ring_bytes is 2097152\n")
        self.assertEqual(snp("settings", "get", "ring_bytes").stdout, "2097152\n")
        config = self.lab.folder / "snpd-a.toml"
        self.assertEqual(config.read_text(), "ring_bytes = 2097152\n")
        self.assertEqual(snp("settings", "set", "shards", "2").stdout,
                         "shards is 1, and 2 when snpd starts again\n")
        self.assertEqual(config.read_text(), "ring_bytes = 2097152\nshards = 2\n")
        snp("settings", "reset", "shards")
        snp("settings", "reset")
        self.assertEqual(snp("settings", "get", "ring_bytes").stdout, "1048576\n")
        self.assertEqual(config.read_text(), "")

    def test_a_file_that_cannot_be_changed_is_left_alone(self):
        config = self.lab.folder / "snpd-a.toml"
        config.write_text("shards = 0\n")
        self.addCleanup(config.write_text, "")
        self.expect_line(self.lab.a.snp("settings", "set", "ring_bytes", "2M", check=False),
                         f"{config}:1:10: setting 'shards': '0' is not allowed")
        self.assertEqual(self.lab.a.snp("settings", "get", "ring_bytes").stdout, "1048576\n")
        self.assertEqual(config.read_text(), "shards = 0\n")

    def test_reload(self):
        config = self.lab.folder / "snpd-a.toml"
        config.write_text("chimney = \"disabled\"\n")
        os.kill(self.lab.a.snpd.pid, signal.SIGHUP)
        wait_until(lambda: self.lab.a.snp_json("status")["chimney"] == "disabled", 10, "reloaded")
        config.write_text("chimney = 7\n")
        os.kill(self.lab.a.snpd.pid, signal.SIGHUP)
        wait_until(lambda: "not reloaded" in self.lab.a.snpd.output(), 10, "refused")
        self.assertEqual(self.lab.a.snp_json("status")["chimney"], "disabled")
        config.write_text("")
        os.kill(self.lab.a.snpd.pid, signal.SIGHUP)
        wait_until(lambda: self.lab.a.snp_json("status")["chimney"] == "automatic", 10, "reset")

    def test_only_root_changes_things(self):
        done = subprocess.run(
            ["ip", "netns", "exec", self.lab.a.name, "setpriv", "--reuid", str(NOBODY), "--regid",
             str(NOBODY), "--clear-groups", str(self.lab.snp), "settings", "set", "chimney",
             "disabled"], capture_output=True, text=True, timeout=120, cwd="/")
        self.expect_line(done, "only root and the owner")
        self.assertEqual(self.lab.a.snp_json("status")["chimney"], "automatic")

    def test_malformed_messages_end_their_session_only(self):
        attach = header(ATTACH) + struct.pack("<II", ARENA_VERSION, 1) + bytes(64)
        wrong = [b"", b"x", header(ATTACH), header(99), header(2), attach + b"x",
                 b"\0" * 8, header(ATTACH) + struct.pack("<II", 77, 1) + bytes(64),
                 header(WAIT_SET) + struct.pack("<HH", 1, 0)]
        answers = self.send(*(m.hex() for m in wrong if m))
        self.assertLessEqual(set(answers), {"4", "end"}, answers)
        answers = self.send(*((m.hex() + "+") for m in wrong if m))
        self.assertLessEqual(set(answers), {"4", "end"}, answers)
        # Commands that are no JSON, or not ours, are answered.
        commands = [b"", b"{", b"[]", b"\xff\xfe", b'{"command": 1}', b'{"command": "fly"}',
                    b'{"command": "offload", "arguments": []}',
                    b'{"command": "offload", "arguments": {"FLOW": 5}}', b"[" * 20000]
        answers = self.send(*((header(COMMAND) + c).hex() for c in commands))
        self.assertEqual(set(answers), {"7"}, answers)
        self.lab.a.snp("status")

    def test_random_messages(self):
        seed = int.from_bytes(os.urandom(4), "little")
        rng = random.Random(seed)
        messages = []
        for _ in range(300):
            body = rng.randbytes(rng.randrange(1, 200))
            if rng.random() < 0.7:
                body = header(rng.choice([2, 3, 4, 5, 6, 7, 8])) + body
            messages.append(body.hex() + rng.choice(["", "+"]))
        self.send(*messages)
        self.assertEqual(self.lab.a.snp_json("status")["programs"], 0, f"seed {seed}")
        self.assertEqual(self.lab.a.snp_json("status")["engine_restarts"], 0, f"seed {seed}")

    def test_callers_that_vanish(self):
        """Attached or not, in the middle of anything: forgotten."""
        attach = (header(ATTACH) + struct.pack("<II", ARENA_VERSION, 1) + bytes(64)).hex()
        self.assertEqual(self.send(*[attach] * 20), ["2"] * 20)
        wait_until(lambda: self.lab.a.snp_json("status")["programs"] == 0, 10, "all forgotten")

    def test_idle_costs_nothing(self):
        pid = self.lab.a.snp_json("status")["pid"]

        def spent():
            return sum(cpu_seconds(p) for p in (pid, self.lab.a.snpd.pid))

        def is_idle():
            before = spent()
            time.sleep(1)
            return spent() - before < 0.01
        wait_until(is_idle, 20, "an idle second")


class PrivateSnpd(unittest.TestCase):
    """`snp run` where no snpd serves: it brings its own, which ends with the last program."""

    def setUp(self):
        self.lab = Lab().enter_for(self)

    def programs(self, end):
        names = []
        for pid in end.pids():
            try:
                names.append(Path(f"/proc/{pid}/comm").read_text().strip())
            except OSError:
                continue
        return names

    def test_ends_with_its_program(self):
        end = self.lab.b
        before = end.qdiscs()
        code = ("import socket,time; s=socket.create_server(('0.0.0.0', 7001)); c=s.accept()[0]\n"
                "while c.recv(9): pass\n")
        server = end.start(["python3", "-c", code], attached=True)
        server.wait_listening(7001)
        client = self.lab.a.start(["python3", "-c", "import socket,time;"
                                   f"s=socket.create_connection(('{end.v4}', 7001));"
                                   "s.send(b'x'); time.sleep(60)"])
        wait_until(lambda: end.snp_json("connections")["connections"], 10, "one connection")
        row = end.snp_json("connections")["connections"][0]
        flow = f"{row['local']}-{row['remote']}"
        end.snp("offload", flow)
        self.assertEqual(end.snp_json("connections")["connections"][0]["offload_state"],
                         "Offloaded")
        self.assertIn("offloaded", end.snp("why", f"{row['pid']}:{row['fd']}").stdout)
        client.stop()
        server.wait(20)
        wait_until(lambda: "snpd" not in self.programs(end), 30, "the private snpd gone")
        self.assertEqual(end.qdiscs(), before)

    def test_program_without_tcp(self):
        done = self.lab.b.run(["sh", "-c", "exit 3"], attached=True, check=False)
        self.assertEqual(done.returncode, 3)
        wait_until(lambda: "snpd" not in self.programs(self.lab.b), 30, "the private snpd gone")

    def test_without_privilege_it_runs_plainly(self):
        done = subprocess.run(
            ["ip", "netns", "exec", self.lab.b.name, "setpriv", "--reuid", str(NOBODY), "--regid",
             str(NOBODY), "--clear-groups", str(self.lab.snp), "run", "--", "echo", "works"],
            capture_output=True, text=True, timeout=120, cwd="/")
        self.assertEqual((done.returncode, done.stdout), (0, "works\n"))
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn("only root may start one", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
