"""Real programs on one host: what they do over the kernel's loopback, and through shared memory,
moved there and back while they work. The results must be equal.
"""

import json
import sys
import threading
import unittest

from netlab import Lab
from programs import (IPERF_PORT, NGINX_PORT, REDIS_PORT, iperf3_server, make_file, nginx,
                      redis_server, sha256_of)


# On a busy machine the kernel may have done most of a scenario before a connection has moved.
MOST_TRIES = 6


class Mover(threading.Thread):
    """Brings everything home and offloads it again, until it is told to stop."""

    def __init__(self, end, port):
        super().__init__(daemon=True)
        self.end, self.port, self.stopping = end, port, threading.Event()
        self.rounds = 0

    def run(self):
        while not self.stopping.wait(0.02):
            self.end.snp("upload", "--all", check=False)
            for row in self.end.snp_json("connections")["connections"]:
                if row["local"].endswith(f":{self.port}") and row["target"] == "":
                    # It may be over by now.
                    self.end.snp("offload", f"{row['local']}-{row['remote']}", check=False)
            self.rounds += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()


class Local(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = cls.enterClassContext(Lab())
        cls.end = cls.lab.a
        cls.lab.start_snpd(cls.end, settings={"chimney": "enabled"})

    def setUp(self):
        self.first_process = len(self.lab.processes)

    def tearDown(self):
        for process in reversed(self.lab.processes[self.first_process:]):
            if process is not self.end.snpd:
                process.stop()
        self.end.snpd.expect_running()

    def stats(self):
        return self.end.snp_json("stats")

    def compare(self, scenario, at_least_bytes, port):
        """On the kernel, through the local target, and moved without end: three equal results."""
        on_kernel = scenario(False)
        for _ in range(MOST_TRIES):
            before = self.stats()["local"]["bytes_in"]
            self.assertEqual(scenario(True), on_kernel)
            carried = (after := self.stats())["local"]["bytes_in"] - before
            if carried >= at_least_bytes:
                break
        self.assertGreaterEqual(carried, at_least_bytes, after["declined"])
        for _ in range(MOST_TRIES):
            with Mover(self.end, port) as mover:
                self.assertEqual(scenario(True), on_kernel)
            moved = self.stats()
            if moved["upload"]["done"] > after["upload"]["done"]:
                break
        self.assertGreater(mover.rounds, 0)
        self.assertGreater(moved["upload"]["done"], after["upload"]["done"])
        self.assertEqual(moved["upload"]["failed"], 0, self.end.snpd.output()[-3000:])

    def redis(self, attached):
        server = redis_server(self.end, attached=attached)
        for pipeline, host in ((1, "127.0.0.1"), (16, "::1")):
            self.end.run(["redis-benchmark", "-h", host, "-p", REDIS_PORT, "-c", 50, "-n", 60000,
                          "-P", pipeline, "-d", 500, "-t", "set,get,lpush,mset", "-q"],
                         attached=attached)
        large = "".join(chr(65 + i * 7 % 26) for i in range(3_000_000))

        def cli(*words, stdin=None):
            return self.end.run(["redis-cli", "-p", REDIS_PORT, *words], attached=attached,
                                stdin=stdin).stdout.strip()
        answers = [cli("LLEN", "mylist"), cli("DBSIZE"), cli("-x", "SET", "large", stdin=large),
                   cli("GET", "large") == large]
        server.stop()
        return answers

    def test_redis(self):
        self.compare(self.redis, 30_000_000, REDIS_PORT)

    def nginx_and_curl(self, attached):
        server = nginx(self.end, attached=attached, sendfile=False)
        digest = make_file(server.www / "large", 60_000_000)
        sums = []
        for number, host in enumerate(("127.0.0.1", "[::1]", self.end.v4)):
            out = self.lab.folder / f"got-{number}"
            # Unhindered, the kernel would have sent the file before the hand-over is done.
            self.end.run(["curl", "-sS", "--fail", "--limit-rate", "60M", "-o", out,
                          f"http://{host}:{NGINX_PORT}/large"], attached=attached)
            sums.append(sha256_of(out) == digest)
        server.stop()
        return sums

    def test_nginx(self):
        self.compare(self.nginx_and_curl, 80_000_000, NGINX_PORT)

    def iperf(self, attached):
        server = iperf3_server(self.end, attached=attached)
        for options in ([], ["-R"], ["-P", 4]):
            out = self.end.run(["iperf3", "-c", "127.0.0.1", "-p", IPERF_PORT, "-n", "200M", "-J",
                                *options], attached=attached).stdout
            if "error" in json.loads(out):
                return json.loads(out)["error"]
        server.stop()
        return "done"

    def test_iperf3(self):
        self.compare(self.iperf, 475_000_000, IPERF_PORT)  # some goes by before it moves


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
