"""Receive-side scaling of the engine: connections go where hash and table say, and follow the table
while their programs verify every byte."""

import json
import os
import signal
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import Lab, wait_until  # noqa: E402

import control  # noqa: E402
from streams import Streams  # noqa: E402

PORT = 7200
CONNECTIONS = 12
SHARDS = 2
BY_COMMAND = {"automatic_bytes": 0, "automatic_calls": 0}
KEY = "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"


class Rss(unittest.TestCase):
    def setUp(self):
        self.lab = Lab().enter_for(self)
        self.seed = int.from_bytes(os.urandom(4), "little")
        self.lab.start_snpd(self.lab.a, settings={**BY_COMMAND, "shards": SHARDS,
                                                  "rss_balancing": "disabled"})
        self.snp = self.lab.a.snp
        self.streams = Streams(self.lab.b, self.lab.a, PORT, CONNECTIONS, seed=self.seed,
                               attached=(self.lab.a,))
        wait_until(lambda: len(self.flows()) == CONNECTIONS, 20, "the streams")
        for flow in self.flows():
            wait_until(lambda flow=flow: control.ask(self.lab.a, "offload", FLOW=flow)[0], 20,
                       f"offload of {flow}", every=0.02)

    def flows(self):
        return control.flows(self.lab.a, PORT)

    def show(self):
        return self.lab.a.snp_json("rss", "show")

    def shards(self):
        """Shard of each connection, by its four-tuple."""
        return {row["local"] + "-" + row["remote"]: row["shard"]
                for row in self.lab.a.snp_json("connections")["connections"]
                if row["offload_state"] == "Offloaded"}

    def expected(self, key):
        """The same by the table that is shown and the hash that the command computes."""
        table = self.show()["table"]
        places = {}
        for flow in self.shards():
            local, remote = flow.split("-")
            answer = self.lab.a.snp_json("rss", "hash", "--key", key, remote, local)
            places[flow] = table[int(answer["hash"], 16) % len(table)]
        return places

    def counter(self, name):
        return self.lab.a.snp_json("stats")["engine"][name]

    def set(self, name, value):
        self.snp("rss", "set", name, value)

    def settle(self, key):
        wait_until(lambda: self.shards() == self.expected(key), 20,
                   f"connections where the table says (seed {self.seed})", every=0.1)

    def test_connections_follow_hash_and_table(self):
        self.set("key", KEY)
        self.settle(KEY)
        other = KEY[::-1]
        self.set("key", other)
        self.settle(other)
        self.set("table_size", "16")
        self.settle(other)
        self.set("max_cpus", "1")
        wait_until(lambda: set(self.shards().values()) == {0}, 20, "all on one shard")
        self.set("max_cpus", "4")
        self.settle(other)
        for _ in range(10):
            for value in ("no", "yes"):
                self.set("enabled", value)
                time.sleep(0.02)
        self.settle(other)
        self.assertGreater(self.show()["connections_moved"], 0)
        self.assertEqual(self.counter("frames_held_expired"), 0, f"seed {self.seed}")
        self.assertEqual(self.counter("frames_held_dropped"), 0, f"seed {self.seed}")
        self.streams.finish()

    def test_the_balancer_says_what_it_would_do_and_does_it(self):
        self.set("max_cpus", "1")
        wait_until(lambda: set(self.shards().values()) == {0}, 20, "all on one shard")
        self.assertIn("nothing to move", self.snp("rss", "rebalance", "--dry-run").stdout)
        self.set("max_cpus", "2")
        self.set("key", KEY)
        self.settle(KEY)
        before = self.show()["table"]
        self.lab.a.snp_json("rss", "rebalance", "--dry-run")
        self.assertEqual(self.show()["table"], before, "a dry run changes nothing")
        self.set("balancing", "enabled")
        time.sleep(2)
        self.settle(KEY)
        shown = self.show()
        self.assertTrue(shown["balancing"])
        self.assertEqual(len(shown["last_moves"]), min(shown["buckets_moved"], 16))
        self.streams.finish()

    def test_a_killed_engine_leaves_connections_that_go_on(self):
        self.set("key", KEY)
        self.settle(KEY)
        time.sleep(3)  # an engine that lived so long is followed by one that goes on
        old = self.lab.a.snp_json("status")["pid"]
        os.kill(old, signal.SIGKILL)

        def is_new():
            done = self.snp("status", "--json", check=False)
            return done.returncode == 0 and json.loads(done.stdout)["pid"] != old
        wait_until(is_new, 20, "a new engine", every=0.05)
        self.settle(KEY)
        self.streams.finish()

    def test_bad_values_are_refused_whole(self):
        before = self.show()
        for name, value, error in (
                ("key", "aa", "INVALID_LENGTH"), ("table_size", "100", "INVALID_PARAMETER"),
                ("ipv4", "tcp+udp", "INVALID_PARAMETER"), ("base_cpu", "-1", "INVALID_DATA"),
                ("profile", "7", "INVALID_PARAMETER"), ("nonsense", "1", "none of")):
            done = self.snp("rss", "set", name, value, check=False)
            self.assertNotEqual(done.returncode, 0, name)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            self.assertIn(error, done.stderr)
        after = self.show()
        self.assertEqual([before[key] for key in ("table", "key", "types")],
                         [after[key] for key in ("table", "key", "types")])
        self.streams.finish()


if __name__ == "__main__":
    unittest.main()
