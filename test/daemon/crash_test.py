"""snpd on bad days: the engine killed, snpd told to stop, programs killed, all under traffic.

Both ends of verified streams (torture_peer: one wrong byte, one reset, and it fails) are attached
and offloaded while it happens.
"""

import json
import os
import signal
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import Lab, wait_until  # noqa: E402
from streams import Streams  # noqa: E402

import control  # noqa: E402

PORT = 7000
CONNECTIONS = 16
AN_ENGINES_TRIAL = 2.2  # what an engine has for longer the next one resumes


def offloaded(end):
    rows = end.snp_json("connections")["connections"]
    return [row for row in rows if row["offload_state"] == "Offloaded"]


class Crash(unittest.TestCase):
    def setUp(self):
        self.lab = Lab().enter_for(self)
        self.seed = int.from_bytes(os.urandom(4), "little")

    def start_streams(self, style="level", rate=0):
        self.streams = Streams(self.lab.b, self.lab.a, PORT, CONNECTIONS, seed=self.seed,
                               attached=(self.lab.a, self.lab.b), style=style, rate=rate)

    def wait_offloaded(self, *ends):
        for end in ends:
            wait_until(lambda end=end: len(offloaded(end)) == CONNECTIONS, 20,
                       f"all connections offloaded in {end.name}", every=0.1)

    def finish_streams(self):
        time.sleep(0.3)  # traffic goes on
        self.streams.finish()

    def kill_engine(self, end):
        """And waits for the next one."""
        before = end.snp_json("status")["pid"]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: end.snp("status", check=False).returncode == 0
                   and end.snp_json("status")["pid"] != before, 20, f"a new engine in {end.name}",
                   every=0.05)

    def kill_and_resume(self, style, times):
        """The next engine goes on with what the killed one had, in its rings and records."""
        self.lab.start_snpd(settings={"chimney": "enabled"})
        self.start_streams(style)
        self.wait_offloaded(self.lab.a, self.lab.b)
        for _ in range(times):
            time.sleep(AN_ENGINES_TRIAL)
            for end in (self.lab.a, self.lab.b):
                self.kill_engine(end)
            self.streams.expect_running()
            self.wait_offloaded(self.lab.a, self.lab.b)
        self.finish_streams()
        for end in (self.lab.a, self.lab.b):
            self.assertEqual(end.snp_json("status")["engine_restarts"], times)
            self.assertEqual(end.snpd.output().count(f"{CONNECTIONS} wait for the next engine"),
                             times, end.snpd.output())

    def test_engine_killed_under_epoll(self):
        self.kill_and_resume("edge", 3)

    def test_engine_killed_under_blocking_threads(self):
        self.kill_and_resume("blocking", 1)

    def test_engine_killed_under_poll(self):
        self.kill_and_resume("poll", 1)

    def test_engine_killed_again_and_again(self):
        """One that dies soon may have died of what it resumed: everything goes home, the next one
        offloads it again."""
        self.lab.start_snpd(settings={"chimney": "enabled"})
        self.start_streams()
        self.wait_offloaded(self.lab.a, self.lab.b)
        kills = {end: 0 for end in (self.lab.a, self.lab.b)}

        def came_home(end):
            """One dies, and what it had has it in its turn: the next one, a moment later."""
            for wait in (0.3, 0):
                self.kill_engine(end)
                kills[end] += 1
                time.sleep(wait)
                self.streams.expect_running()
            self.wait_offloaded(end)
            # On a busy machine it has lived too long before its turn came.
            return "connections came home" in end.snpd.output()
        for end in kills:
            wait_until(lambda end=end: came_home(end), 20, f"an engine in {end.name} that dies soon")
        self.wait_offloaded(self.lab.a, self.lab.b)
        self.finish_streams()
        for end, count in kills.items():
            self.assertEqual(end.snp_json("status")["engine_restarts"], count)
            self.assertNotIn("cannot bring", end.snpd.output())

    def echo(self, how, count):
        """Requests and answers while engines are killed, at both ends."""
        self.lab.start_snpd(settings={"chimney": "enabled"})
        echo = Path(__file__).resolve().parent / "scripts/echo.py"
        server = self.lab.b.start(["python3", echo, "serve", PORT], attached=True, name="echo")
        server.wait_listening(PORT)
        client = self.lab.a.start(["python3", echo, how, self.lab.b.v4, PORT, self.seed],
                                  attached=True, name=how)
        wait_until(lambda: len(offloaded(self.lab.b)) >= count, 20, "offloaded connections")
        for wait in (AN_ENGINES_TRIAL, 0.2, 0.5):
            time.sleep(wait)
            for end in (self.lab.a, self.lab.b):
                self.kill_engine(end)

        def are_offloaded_again():
            client.expect_running()
            return len(offloaded(self.lab.b)) >= count
        wait_until(are_offloaded_again, 20, "offloaded again")
        time.sleep(0.5)
        os.kill(client.pid, signal.SIGTERM)
        result = client.result(60)
        answer = json.loads(result.splitlines()[-1])
        self.assertEqual(answer["problems"], [], f"seed {self.seed}")
        self.assertGreater(answer["done"], 100)
        server.expect_running()

    def test_engine_killed_between_requests_and_answers(self):
        self.echo("ask", 8)

    def test_engine_killed_while_connections_come_and_go(self):
        """Each is closed by both ends soon: FINs, what is behind them and TIME_WAIT survive."""
        self.echo("visit", 1)

    def test_told_to_stop(self):
        """SIGTERM: all goes home, nothing is left, the streams go on in the host."""
        self.lab.start_snpd(settings={"chimney": "enabled"})
        self.start_streams()
        self.wait_offloaded(self.lab.a, self.lab.b)
        self.lab.stop_snpd(self.lab.a)  # checks qdiscs and exit status
        time.sleep(0.5)
        self.lab.stop_snpd(self.lab.b)
        self.finish_streams()

    def test_keeper_killed(self):
        """The engine notices, takes everything home and cleans up by itself."""
        self.lab.start_snpd(settings={"chimney": "enabled"})
        self.start_streams()
        self.wait_offloaded(self.lab.a, self.lab.b)
        status = self.lab.b.snp_json("status")
        os.kill(status["keeper_pid"], signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{status['pid']}").exists(), 20, "the engine gone")
        self.assertNotIn("clsact", self.lab.b.qdiscs())
        self.lab.b.snpd.popen.wait()
        self.lab.b.snpd = None
        self.finish_streams()

    def test_program_killed(self):
        """Its peer sees the end that the kernel would have given it; snpd forgets it."""
        self.lab.start_snpd(settings={"chimney": "enabled"})
        self.start_streams()
        self.wait_offloaded(self.lab.a, self.lab.b)
        os.kill(self.streams.client.pid, signal.SIGKILL)
        self.streams.server.wait(20)  # end of file, or a reset when unread data was left
        for end in (self.lab.a, self.lab.b):
            wait_until(lambda end=end: end.snp_json("status")["programs"] == 0, 20,
                       f"no program in {end.name}")
            wait_until(lambda end=end: {row["tcp_state"] for row in offloaded(end)}
                       <= {"TIME_WAIT"}, 20, f"no connection in {end.name}")

    def test_moved_again_and_again(self):
        """Every connection home and back under traffic, from both ends."""
        self.lab.start_snpd(settings={"chimney": "enabled"})
        self.start_streams()
        self.wait_offloaded(self.lab.a, self.lab.b)
        for _ in range(5):
            for end in (self.lab.a, self.lab.b):
                flows = [f"{row['local']}-{row['remote']}" for row in offloaded(end)]
                end.snp("upload", "--all")
                for flow in flows:  # one that is busy is asked again
                    wait_until(lambda end=end, flow=flow: control.ask(end, "offload", FLOW=flow)[0],
                               20, f"offload of {flow}")
        stats = self.lab.b.snp_json("stats")
        self.assertGreaterEqual(stats["upload"]["done"], 5 * CONNECTIONS)
        self.finish_streams()


if __name__ == "__main__":
    unittest.main(verbosity=2)
