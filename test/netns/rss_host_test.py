"""Receive-side scaling of the host's packets: RPS and an XDP CPU map carry real traffic, show says
what is there, CPUs come and go, and whoever is stopped or killed, the device is as before."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import DEVICE, Lab, LabError, wait_until  # noqa: E402
from streams import Streams  # noqa: E402

import control  # noqa: E402

SO_NETNS_COOKIE = 71
PORT = 7300
MASK = f"/sys/class/net/{DEVICE}/queues/rx-0/rps_cpus"
CPUS = sorted(os.sched_getaffinity(0))


class Base(unittest.TestCase):
    def setUp(self):
        self.lab = Lab().enter_for(self)
        self.end = self.lab.a

    def start(self, **settings):
        self.lab.start_snpd(self.end, settings={"chimney": "disabled", "rss_max_cpus": 64,
                                                **settings})

    def row(self):
        return self.end.snp_json("rss", "show")["host"][0]

    def set(self, name, value, **more):
        return self.end.snp("rss", "set", name, value, **more)

    def mask(self):
        text = self.end.run(["cat", MASK]).stdout.strip()
        return int(text.replace(",", ""), 16)

    def has_xdp(self):
        return "xdp" in self.end.run(["ip", "link", "show", "dev", DEVICE]).stdout

    def has_journal(self):
        def cookie():
            with socket.socket() as any_socket:
                return struct.unpack("Q", any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))
        return Path(f"/run/snp/rss.{control.in_namespace(self.end.name, cookie)[0]}").exists()

    def received(self):
        shown = self.end.run(["ip", "-s", "-j", "link", "show", DEVICE]).stdout
        return json.loads(shown)[0]["stats64"]["rx"]["bytes"]

    def move_bytes(self, address, is_enough=lambda: True, bytes_wanted=6_000_000, connections=8):
        """A peer that verifies every byte, without us between."""
        before = self.received()
        streams = Streams(self.end, self.lab.b, PORT, connections, seed=7, address=address,
                          rate=20_000_000)
        wait_until(lambda: self.received() > before + bytes_wanted and is_enough(), 20,
                   "the traffic", every=0.1)
        streams.finish()


class Backends(Base):
    def test_a_virtual_device_is_left_alone_unless_told(self):
        self.start()
        row = self.row()
        self.assertEqual(row["backend"], "none")
        self.assertIn("virtual", row["why"])
        self.assertFalse(self.has_xdp())
        self.assertEqual(self.mask(), 0)

    def test_rps_spreads_over_the_set_and_goes_again(self):
        self.start(rss_backend=["rps"])
        wanted = sum(1 << cpu for cpu in self.cpus_of(self.row()["cpus"]))
        self.assertEqual(self.mask(), wanted)
        self.assertGreater(wanted.bit_count(), 1)
        self.assertIn("kernel's own", self.row()["remark"])
        self.move_bytes(self.end.v4)
        self.set("enabled", "no")
        self.assertEqual(self.mask(), 0)
        self.set("enabled", "yes")
        self.assertEqual(self.mask(), wanted)
        self.set("max_cpus", "2")
        self.assertEqual(self.mask().bit_count(), 2)
        self.set("backend", f"{DEVICE}=none")
        self.assertEqual(self.mask(), 0)
        self.lab.stop_snpd(self.end)
        self.assertEqual(self.mask(), 0)

    def test_what_was_there_before_is_there_again(self):
        self.end.run(["sh", "-c", f"echo 2 > {MASK}"])
        self.start(rss_backend=["rps"])
        self.assertNotEqual(self.mask(), 2)
        self.lab.stop_snpd(self.end)
        self.assertEqual(self.mask(), 2)

    def test_an_administrator_who_sets_the_mask_has_the_last_word(self):
        self.start(rss_backend=["rps"])
        self.end.run(["sh", "-c", f"echo 1 > {MASK}"])
        wait_until(lambda: self.row()["failed"], 10, "that it is noticed")
        self.assertIn("somebody has changed", self.row()["why"])
        self.lab.stop_snpd(self.end)
        self.assertEqual(self.mask(), 1)

    def test_cpumap_carries_both_families_by_our_hash(self):
        self.start(rss_backend=["cpumap"])
        row = self.row()
        self.assertEqual((row["backend"], row["remark"]), ("cpumap", "generic XDP"))
        self.move_bytes(self.end.v4)
        self.move_bytes(self.end.v6, is_enough=lambda: sum(
            1 for count in self.row()["packets"] if count > 100) > 8)
        self.assertEqual(self.counter("TcpInCsumErrors"), 0)
        self.set("enabled", "no")
        self.assertFalse(self.has_xdp())

    def test_cpumap_puts_a_flow_where_show_and_hash_say(self):
        key = "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
        self.start(rss_backend=["cpumap"], rss_key=[key], rss_ipv4="ip", rss_ipv6="none")
        answer = self.end.snp_json("rss", "hash", self.lab.b.v4, self.end.v4)
        bucket = int(answer["hash"], 16) % 128
        before = self.row()["packets"]
        self.lab.b.run([sys.executable, "-c",
                        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); "
                        f"[s.sendto(b'x', ('{self.end.v4}', 9)) for _ in range(50)]"])
        wait_until(lambda: self.row()["packets"][bucket] >= before[bucket] + 50, 10, "the packets")
        after = self.row()["packets"]
        self.assertEqual(after[bucket] - before[bucket], 50)
        self.assertLess(sum(after) - sum(before), 60, "hardly anything else went by")

    def test_somebody_elses_xdp_program_stays(self):
        self.start(rss_backend=["cpumap"])
        other = self.lab.folder / "other.o"
        subprocess.run(["clang", "-O2", "-target", "bpf", "-x", "c", "-", "-c", "-o", other],
                       input=b'int other(void* c) __attribute__((section("xdp"))); '
                             b'int other(void* c) { return 2; } '
                             b'char l[] __attribute__((section("license"))) = "GPL";', check=True)
        self.set("backend", "none")
        self.end.run(["ip", "link", "set", "dev", DEVICE, "xdpgeneric", "obj", other, "sec",
                      "xdp"])
        self.set("backend", "cpumap")
        row = self.row()
        self.assertEqual(row["backend"], "none")
        self.assertTrue(row["failed"])
        self.assertIn("somebody else", row["why"])
        self.assertTrue(self.has_xdp())
        self.end.run(["ip", "link", "set", "dev", DEVICE, "xdpgeneric", "off"])

    def test_a_device_that_goes_is_no_accident(self):
        self.start(rss_backend=["cpumap"])
        self.end.run(["ip", "link", "del", DEVICE])
        wait_until(lambda: self.row()["failed"], 10, "that it is noticed")
        self.assertIn("gone", self.row()["why"])
        self.end.snpd.expect_running()
        self.assertTrue(self.end.snpd.stop(seconds=20))
        self.end.snpd = None
        # The lab looks at the devices when it ends.
        self.end.run(["ip", "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns",
                      self.lab.b.name])

    def test_the_balancer_moves_buckets_of_the_host(self):
        self.start(rss_backend=["cpumap"], rss_ipv4="tcp+ip", rss_max_cpus=2)
        streams = Streams(self.end, self.lab.b, PORT, 12, seed=3, rate=5_000_000)
        before = self.row()["table"]
        self.end.snp_json("rss", "rebalance", "--dry-run")
        self.assertEqual(self.row()["table"], before)
        self.set("balancing", "enabled")
        self.assertTrue(self.row()["balancing"])
        # Everything on one CPU, then two may be used: the balancer has to act.
        moved = wait_until(lambda: self.row()["buckets_moved"], 20, "a move")
        row = self.row()
        self.assertEqual(len(row["last_moves"]), min(row["buckets_moved"], 16), moved)
        self.assertNotEqual(row["table"], before)
        streams.finish()

    def test_offloaded_connections_go_on_behind_a_cpu_map(self):
        """Our own XDP program is no reason to stay in the host, and the tap comes after it."""
        self.start(rss_backend=["cpumap"], chimney="enabled")
        streams = Streams(self.end, self.lab.b, PORT, 6, seed=11, attached=(self.end,),
                          rate=5_000_000)
        wait_until(lambda: self.end.snp_json("status")["offloaded"] == 6, 20, "the offloads")
        time.sleep(1)
        self.set("backend", "rps")
        time.sleep(0.5)
        self.assertEqual(self.end.snp_json("status")["offloaded"], 6)
        streams.finish()

    def test_bad_values_are_refused_whole(self):
        self.start(rss_backend=["cpumap"])
        before = self.row()
        for name, value in (("backend", "magic"), ("backend", "=rps"), ("table_size", "100"),
                            ("key", "aa"), ("avoid_cpus", "x"), ("avoid_cpus", "5000")):
            done = self.set(name, value, check=False)
            self.assertNotEqual(done.returncode, 0, name)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        after = self.row()
        self.assertEqual([before[key] for key in ("backend", "table", "cpus")],
                         [after[key] for key in ("backend", "table", "cpus")])
        self.set("base_cpu", "1000")  # no such CPU: a sentence, and the host as it is
        row = self.row()
        self.assertEqual((row["backend"], row["failed"]), ("none", True))
        self.assertIn("INVALID_DATA", row["why"])
        self.assertFalse(self.has_xdp())
        self.set("base_cpu", "0")
        self.assertEqual(self.row()["backend"], "cpumap")
        self.set("backend", "card")  # veth has no table
        self.assertIn("indirection table", self.row()["why"])
        self.assertIn("INVALID_PORT_STATE", self.row()["why"])
        self.assertFalse(self.has_xdp())

    def counter(self, name):
        for line in self.end.run(["nstat", "-asz"]).stdout.splitlines():
            if line.split()[0] == name:
                return int(line.split()[1])
        raise LabError(f"nstat has no {name}")

    @staticmethod
    def cpus_of(text):
        cpus = []
        for part in text.split(","):
            first, _, last = part.partition("-")
            cpus += range(int(first), int(last or first) + 1)
        return cpus


class Doctor(Base):
    def ask(self):
        done = self.end.snp("doctor", "--json", check=False)
        answer = json.loads(done.stdout)
        self.assertEqual(done.returncode == 0, answer["good"])
        for finding in answer["findings"]:
            self.assertIn(finding["kind"], ("good", "note", "wrong"))
            if finding["kind"] == "wrong":
                self.assertTrue(finding["hint"], finding)
        return answer

    def test_it_looks_at_the_machine_alone_and_with_snpd(self):
        alone = self.ask()
        self.assertTrue(alone["good"], alone)
        self.assertIn("none serves", alone["findings"][-1]["text"])
        self.start()
        well = self.ask()
        self.assertTrue(well["good"], well)
        self.assertIn(f"device {DEVICE}", [f["about"] for f in well["findings"]])
        self.set("backend", "card")  # which veth has not
        ill = self.ask()
        self.assertFalse(ill["good"])
        wrong = [f for f in ill["findings"] if f["kind"] == "wrong"]
        self.assertEqual([f["about"] for f in wrong], [f"scaling of {DEVICE}"])
        self.set("backend", "automatic")
        self.end.run(["ip", "link", "set", "dev", DEVICE, "down"])
        self.assertFalse(self.ask()["good"])
        text = self.end.snp("doctor", check=False).stdout
        self.assertIn(f"ip link set dev {DEVICE} up", text)
        self.end.run(["ip", "link", "set", "dev", DEVICE, "up"])


class Killed(Base):
    def kill_engine(self):
        old = self.end.snp_json("status")["pid"]
        os.kill(old, signal.SIGKILL)
        return old

    def wait_new(self, old):
        def is_new():
            done = self.end.snp("status", "--json", check=False)
            return done.returncode == 0 and json.loads(done.stdout)["pid"] != old
        wait_until(is_new, 20, "a new engine", every=0.05)

    def test_the_next_engine_spreads_again_and_knows_what_was_before(self):
        self.end.run(["sh", "-c", f"echo 2 > {MASK}"])
        self.start(rss_backend=["rps"])
        ours = self.mask()
        self.wait_new(self.kill_engine())
        wait_until(lambda: self.mask() == ours, 10, "our mask again")
        self.lab.stop_snpd(self.end)
        self.assertEqual(self.mask(), 2)

    def test_a_killed_engine_takes_its_program_along_and_the_next_has_one(self):
        self.start(rss_backend=["cpumap"])
        self.wait_new(self.kill_engine())
        wait_until(lambda: self.row()["backend"] == "cpumap", 10, "the program again")
        self.assertTrue(self.has_xdp())
        self.lab.stop_snpd(self.end)
        self.assertFalse(self.has_xdp())

    def test_a_killed_keeper_is_followed_by_an_engine_that_tidies_up(self):
        self.end.run(["sh", "-c", f"echo 2 > {MASK}"])
        self.start(rss_backend=["rps"])
        engine = self.end.snp_json("status")["pid"]
        os.kill(self.end.snpd.pid, signal.SIGKILL)  # it alone: the engine is of the same group
        self.end.snpd.popen.wait()
        self.end.snpd = None
        wait_until(lambda: self.mask() == 2, 20, "the mask that was there before")
        wait_until(lambda: not Path(f"/proc/{engine}").exists(), 20, "the end of the engine")

    def test_both_killed_leave_it_to_the_next_start(self):
        self.end.run(["sh", "-c", f"echo 2 > {MASK}"])
        self.start(rss_backend=["rps"])
        ours = self.mask()
        keeper = self.end.snpd.popen.pid
        engine = self.end.snp_json("status")["pid"]
        os.kill(keeper, signal.SIGSTOP)  # or it would see the engine die
        os.kill(engine, signal.SIGKILL)
        os.kill(keeper, signal.SIGKILL)
        self.end.snpd.popen.wait(10)
        self.end.snpd = None
        wait_until(lambda: "@snp.control" not in self.end.run(["cat", "/proc/net/unix"]).stdout, 10,
                   "the end of both")
        self.assertEqual(self.mask(), ours, "nobody is left who could put it back")
        self.assertTrue(self.has_journal())
        self.start()  # automatic: nothing for veth
        self.assertEqual(self.mask(), 2)
        self.assertFalse(self.has_journal())


if __name__ == "__main__":
    unittest.main()
