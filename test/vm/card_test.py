"""A network card with an indirection table: what `snp rss` shows is what ethtool shows, packets land
on the queues that hash and table say, and whoever is stopped or killed, the card is as before."""

import json
import re
import subprocess
import sys
import tempfile
import time
import unittest
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from guest import Card, Guest, must  # noqa: E402
from netlab import default_build, wait_until  # noqa: E402

QUEUES = 4
CARD = "eth0"
HERE, THERE = "10.77.9.{}", "10.77.9.2"
SENDERS, PACKETS = range(10, 26), 40
SLOW_S = 60  # the machine is emulated
KEY = "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
CONFIG = ('chimney = "disabled"\nrss_max_cpus = 64\nrss_ipv4 = "ip"\nrss_ipv6 = "none"\n'
          f'rss_key = "{KEY}"\n')
SEND = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind((sys.argv[1], 0))
for _ in range(int(sys.argv[3])):
    s.sendto(b"x", (sys.argv[2], 9))
"""


class CardTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        build = default_build().resolve()
        cls.bin = build / "bin"
        cls.netns = f"snp-vm-{uuid.uuid4().hex[:8]}"
        must(["ip", "netns", "add", cls.netns])
        cls.addClassCleanup(must, ["ip", "netns", "delete", cls.netns])
        for words in ("tuntap add dev tap0 mode tap multi_queue vnet_hdr", "link set tap0 up",
                      f"neigh replace {THERE} lladdr {Card.mac} dev tap0 nud permanent",
                      *(f"addr add {HERE.format(n)}/24 dev tap0" for n in SENDERS)):
            must(["ip", "-n", cls.netns, *words.split()])
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.guest = Guest(folder.name, build / "vm", cpus=4, netns=cls.netns,
                          cards=[Card("tap0", QUEUES)])
        cls.enterClassContext(cls.guest)
        for words in (f"ip link set {CARD} up", f"ip addr add {THERE}/24 dev {CARD}",
                      f"ethtool -L {CARD} combined {QUEUES}"):
            cls.guest.run(words.split())

    def setUp(self):
        self.before = self.card()
        self.guest.run(["tee", "/tmp/snp.toml"], stdin=CONFIG)  # settings are written there
        self.start()

    def tearDown(self):
        self.snpd("TERM")
        self.assertEqual(self.card(), self.before)

    def start(self):
        self.keeper = self.guest.start([self.bin / "snpd", "--config", "/tmp/snp.toml", "--device",
                                        CARD], log="/tmp/snpd.log")
        wait_until(lambda: self.guest.run([self.bin / "snp", "status"], check=False).returncode == 0,
                   SLOW_S, "snpd", every=0.3)

    def snpd(self, signal):
        self.guest.run(["kill", f"-{signal}", self.keeper])
        wait_until(lambda: not self.guest.run(
            ["pgrep", "-x", "snpd", "-r", "DRST"], check=False).stdout, SLOW_S, "its end", every=0.3)

    def snp(self, *words, **options):
        return self.guest.run([self.bin / "snp", *words], **options)

    def row(self):
        return json.loads(self.snp("rss", "show", "--json").stdout)["host"][0]

    def card(self):
        """(queue of each entry, key), as ethtool shows them."""
        text = self.guest.run(["ethtool", "-x", CARD]).stdout
        rows = re.findall(r"^ *\d+: +([\d ]+)$", text, re.MULTILINE)
        key = re.search(r"RSS hash key:\n([0-9a-f:]+)", text).group(1)
        return [int(queue) for row in rows for queue in row.split()], key.replace(":", "")

    def received(self):
        """Packets of each queue."""
        text = self.guest.run(["ethtool", "-S", CARD]).stdout
        return [int(re.search(rf"rx_queue_{queue}_packets: (\d+)", text).group(1))
                for queue in range(QUEUES)]

    def expect_agreement(self):
        row = self.row()
        self.assertEqual(row["backend"], "card", row)
        self.assertEqual((row["queues"], KEY), self.card())
        return row["queues"]

    def expect_packets_where_the_table_says(self):
        table = self.expect_agreement()
        expected = [0] * QUEUES
        for sender in SENDERS:
            answer = json.loads(self.snp("rss", "hash", "--key", KEY, "--json", HERE.format(sender),
                                         THERE).stdout)
            expected[table[int(answer["hash"], 16) % len(table)]] += PACKETS
        before = self.received()
        for sender in SENDERS:
            must(["ip", "netns", "exec", self.netns, "python3", "-c", SEND, HERE.format(sender),
                  THERE, PACKETS])
        def came():
            return [now - then for now, then in zip(self.received(), before)]
        wait_until(lambda: sum(came()) >= sum(expected), SLOW_S, "the packets", every=0.3)
        for queue, (got, wanted) in enumerate(zip(came(), expected)):
            # The guest may ask who each sender is: an answer each, less than any flow.
            self.assertTrue(wanted <= got <= wanted + len(SENDERS) + 5, f"queue {queue}: {came()} for {expected}")

    def test_packets_land_where_show_and_ethtool_say(self):
        self.expect_packets_where_the_table_says()
        self.snp("rss", "set", "max_cpus", "1")
        self.assertEqual(self.row()["backend"], "none", "nothing to spread over")
        self.assertEqual(self.card(), self.before)
        self.snp("rss", "set", "max_cpus", "2")
        self.assertEqual(set(self.row()["table"]), {0, 1}, "CPUs")
        self.expect_packets_where_the_table_says()
        self.snp("rss", "set", "max_cpus", "64")
        self.expect_packets_where_the_table_says()
        self.snp("rss", "set", "enabled", "no")
        self.assertEqual(self.card(), self.before)
        self.snp("rss", "set", "enabled", "yes")
        self.expect_agreement()

    def test_somebody_changes_the_table(self):
        """The administrator has the last word, and snpd says so."""
        self.expect_agreement()
        self.guest.run(["ethtool", "-X", CARD, "equal", "2"])
        theirs = self.card()
        wait_until(lambda: "somebody" in self.row()["why"], SLOW_S, "that it is noticed", every=0.5)
        self.assertEqual(self.card(), theirs)
        self.snpd("TERM")
        self.assertEqual(self.card()[0], theirs[0])
        self.guest.run(["ethtool", "-X", CARD, "equal", QUEUES, "hkey",
                        ":".join(re.findall("..", self.before[1]))])
        self.start()

    def test_a_kill_of_all_is_made_good_by_the_next(self):
        self.expect_agreement()
        self.guest.run(["pkill", "-KILL", "-x", "snpd"])
        time.sleep(1)
        self.assertNotEqual(self.card(), self.before, "nobody was left to put it back")
        self.start()
        self.expect_agreement()

    def test_a_dry_run_changes_nothing_and_a_rebalance_what_it_says(self):
        table = self.expect_agreement()
        self.expect_packets_where_the_table_says()
        self.snp("rss", "rebalance", "--dry-run")
        self.assertEqual(self.expect_agreement(), table)
        self.snp("rss", "rebalance")
        self.expect_packets_where_the_table_says()


if __name__ == "__main__":
    unittest.main(verbosity=2)
