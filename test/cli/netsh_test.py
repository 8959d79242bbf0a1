"""`snp netsh` and `snp netstat` as people see them, against netsh.txt: one-shot, from a file, from a
pipe, and in a terminal. `netsh_test.py --write` writes the transcript anew."""

import os
import pty
import re
import select
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import Lab, wait_until  # noqa: E402

GOLDEN = Path(__file__).with_name("netsh.txt")
WRITE = "--write" in sys.argv

COMMANDS = """
netsh interface tcp show global
netsh int ip set chimney disabled
netsh int tcp show chimneystats
netsh int ip set chimney enabled
netsh interface tcp set global chimney=automatic rss=enabled netdma=default
netsh int tcp set global congestionprovider=newreno dca=enabled netdma=disabled
netsh int tcp sh gl
netsh int tcp set global timestamps=disabled
netsh int tcp set global chimney=sometimes
netsh int tcp show chimneystats
netsh int tcp show chimneystats 2
netsh int tcp show chimneystats 77
netsh int tcp show netdmastats
netsh int tcp add chimneyapplication application=/usr/bin/redis-server
netsh int tcp add chimneyapplication /usr/sbin/nginx state=disabled
netsh int tcp add chimneyport localport=80 remoteport=*
netsh int tcp show chimneyapplications
netsh int tcp show chimneyports
netsh int tcp delete chimneyport 80 *
netsh int tcp delete chimneyport 80 *
netsh interface ip show offload
netsh interface tcp dump
netsh interface tcp reset
netsh interface tcp dump
netsh -c "interface tcp" show global
netsh interface tcp ?
netsh interface tcp set global ?
netsh help
netsh interface fly
netsh int tcp s global
""".strip().splitlines()

PIPE = "interface tcp\nset global chimney=enabled\nshow chimneyports\n..\nip set chimney disabled\nbye\nno\n"
SERVER = ("import socket; s=socket.create_server(('0.0.0.0', 7001)); c=s.accept()[0]\n"
          "while d := c.recv(65536): c.sendall(d)\n")
CLIENT = ("import socket, sys, time; s=socket.create_connection((sys.argv[1], 7001), "
          "source_address=('', 7002)); s.send(b'x'); s.recv(1); time.sleep(60)")


class Transcript(unittest.TestCase):
    maxDiff = 6000

    @classmethod
    def setUpClass(cls):
        cls.lab = cls.enterClassContext(Lab())
        cls.end = cls.lab.b
        for name, value in {"tcp_ecn": 2, "tcp_timestamps": 1, "tcp_moderate_rcvbuf": 1}.items():
            cls.end.run(["sh", "-c", f"echo {value} >/proc/sys/net/ipv4/{name}"])
        cls.lab.start_snpd(cls.end)

    def setUp(self):
        self.end.snp("netsh", "interface", "tcp", "reset")

    def say(self, line, stdin=None):
        words = [word.replace("\0", " ") for word in quoted(line)]
        done = self.end.run([self.lab.snp, *words], check=False, stdin=stdin)
        return f"$ snp {line}\n{(done.stdout + done.stderr).rstrip()}\n[{done.returncode}]\n\n"

    def test_transcript(self):
        text = "".join(self.say(line) for line in COMMANDS)
        text += "$ snp netsh < script\n" + self.say("netsh", stdin=PIPE).split("\n", 1)[1]
        if WRITE:
            GOLDEN.write_text(text)
        self.assertEqual(GOLDEN.read_text(), text)

    def test_dump_is_replayable(self):
        for words in (["set", "global", "chimney=enabled", "rss=disabled"],
                      ["add", "chimneyapplication", "/opt/a b", "disabled"],
                      ["add", "chimneyport", "80", "*"]):
            self.end.snp("netsh", "interface", "tcp", *words)
        before = self.end.snp_json("settings")
        script = self.lab.folder / "dump.netsh"
        script.write_text(self.end.snp("netsh", "dump").stdout)
        self.end.snp("netsh", "interface", "tcp", "reset")
        self.assertNotEqual(self.end.snp_json("settings"), before)
        self.end.snp("netsh", "-f", script)
        self.assertEqual(self.end.snp_json("settings"), before)

    def test_netstat(self):
        self.end.snp("netsh", "int", "ip", "set", "chimney", "enabled")
        server = self.end.start(["python3", "-c", SERVER], attached=True)
        server.wait_listening(7001)
        self.addCleanup(server.stop)
        client = self.lab.a.start(["python3", "-c", CLIENT, self.end.v4])
        self.addCleanup(client.stop)
        wanted = f"  TCP    {self.end.v4}:7001         {self.lab.a.v4}:7002         ESTABLISHED     "
        wait_until(lambda: wanted + "Offloaded\n" in self.end.snp("netstat", "-t").stdout, 10,
                   "offloaded")
        self.assertIn("LISTENING       InHost", self.end.snp("netstat", "-nta").stdout)
        self.assertRegex(self.end.snp("netstat", "-ton").stdout, r"ESTABLISHED +\d+ +Offloaded\n")
        self.end.snp("netsh", "int", "ip", "set", "chimney", "disabled")
        wait_until(lambda: wanted + "InHost\n" in self.end.snp("netstat", "-t").stdout, 10, "home")
        self.assertNotIn("InHost", self.end.snp("netstat").stdout)

    def test_shell_completes_and_remembers(self):
        """In a terminal: Tab completes, Up brings the last line back, the history stays."""
        home = self.lab.folder / "home"
        home.mkdir()
        shown = self.shell(home, [b"int\ttc\tshow chimneyp\t\n", b"bye\n"])
        self.assertIn("interface tcp show chimneyports", shown)
        self.assertNotIn("not found", shown)
        self.assertIn(r"show\040chimneyports", (home / ".snp_netsh_history").read_text())
        shown = self.shell(home, [b"interface tcp\n", b"set gl\tchimney=dis\t\n", b"show global\n",
                                  b"set global chimney=def\n", b"\x1b[A\n", b"bye\n"])
        self.assertIn("netsh interface tcp>", shown)
        self.assertRegex(shown, r"Chimney Offload State +: disabled")
        self.assertEqual(shown.count("Ok."), 3)
        self.assertEqual(self.end.snp("settings", "get", "chimney").stdout, "automatic\n")

    def shell(self, home, lines):
        """What a terminal shows in which these are typed."""
        pid, master = pty.fork()
        if pid == 0:
            os.environ.update(HOME=str(home), TERM="xterm")
            command = self.end.command([self.lab.snp, "netsh"])
            os.execvp(command[0], command)
        shown = b""
        try:
            for line in lines:
                shown += read_until(master, b">")
                os.write(master, line)
            while part := read_some(master, 60):
                shown += part
        finally:
            os.close(master)
            os.waitpid(pid, 0)
        return re.sub(r"\r?\x1b\[[0-9;]*[A-Za-z]", "", shown.decode(errors="replace"))


def quoted(line):
    """The words of a line as a shell takes them; blanks in quotes come out as NUL."""
    parts = line.split('"')
    parts[1::2] = [part.replace(" ", "\0") for part in parts[1::2]]
    return "".join(parts).split()


def read_some(fd, seconds):
    if not select.select([fd], [], [], seconds)[0]:
        return b""
    try:
        return os.read(fd, 65536)
    except OSError:  # the other end is closed
        return b""


def read_until(fd, end):
    """Up to a prompt after which nothing comes for a moment."""
    shown, limit = b"", time.monotonic() + 60
    while time.monotonic() < limit:
        part = read_some(fd, 0.3)
        shown += part
        if not part and end in shown:
            return shown
    raise AssertionError(f"no prompt: {shown!r}")


if __name__ == "__main__":
    sys.argv = [word for word in sys.argv if word != "--write"]
    unittest.main(verbosity=2)
