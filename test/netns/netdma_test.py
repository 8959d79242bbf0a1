"""NetDMA with real programs: an engine in software copies what arrives while connections move between
host and engine, the engine process is killed, and settings change. The programs verify every byte."""

import os
import random
import shutil
import signal
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import DEVICE, Lab, default_build, wait_until  # noqa: E402

import control  # noqa: E402
from bpf_objects import pass_all  # noqa: E402
from streams import Streams  # noqa: E402

PORT = 7300
CONNECTIONS = 6
AN_ENGINES_TRIAL = 2.2  # what an engine has for longer the next one resumes
SETTINGS = {"automatic_bytes": 0, "automatic_calls": 0, "netdma_backend": "thread",
            "netdma_break_even": "ignored", "netdma_min_bytes": 512, "shards": 2}


class Netdma(unittest.TestCase):
    def start(self, **settings):
        self.lab = Lab().enter_for(self)
        self.seed = int.from_bytes(os.urandom(4), "little")
        self.dice = random.Random(self.seed)
        self.lab.start_snpd(settings={**SETTINGS, **settings})
        self.ends = (self.lab.a, self.lab.b)
        self.streams = Streams(self.lab.b, self.lab.a, PORT, CONNECTIONS, seed=self.seed,
                               attached=self.ends, style="edge", rate=20_000_000)
        wait_until(lambda: all(len(control.flows(end, PORT)) == CONNECTIONS for end in self.ends),
                   20, "the streams")
        for end in self.ends:
            for flow in control.flows(end, PORT):
                wait_until(lambda: control.ask(end, "offload", FLOW=flow)[0], 20,
                           f"offload of {flow}", every=0.02)

    def finish(self):
        self.streams.finish()
        for end in self.ends:
            wait_until(lambda: end.snp_json("netdma", "show")["counters"]["frames_kept"] == 0, 5,
                       "no frame of a device is left behind")

    @staticmethod
    def copied(end):
        """Bytes that the engine of an end has copied."""
        return sum(row["bytes"] for row in end.snp_json("netdma", "show")["copies"]
                   if row["outcome"] == "engine")

    @staticmethod
    def received(end):
        return sum(row["bytes_in"] for row in control.flows(end, PORT).values())

    def expect_copying(self, end):
        before = self.copied(end)
        wait_until(lambda: self.copied(end) > before + 100_000, 20, "the engine copies")

    @unittest.skipUnless((default_build() / "lib/libsnp_netdma_dpdk.so").exists(), "without DPDK")
    def test_devices_of_dpdk(self):
        """One for each shard, and a spare one to measure with meanwhile."""
        self.start(netdma_backend="dmadev:dma_skeleton,dma_skeleton1,dma_skeleton2")
        for end in self.ends:
            self.expect_copying(end)
            self.assertEqual(end.snp_json("netdma", "show")["channels"], 2)
        calibrated = self.lab.b.snp_json("netdma", "calibrate")
        self.assertEqual(calibrated["calibration"]["failure"], "")
        for end in self.ends:
            self.expect_copying(end)
        self.finish()

    @unittest.skipIf(Path("/usr/lib/snp").exists(), "snp is installed here")
    def test_without_dpdk_there_is_one_line(self):
        """A snpd that finds its library of DPDK neither beside itself nor installed."""
        self.lab = Lab().enter_for(self)
        self.lab.snpd = Path(shutil.copy2(self.lab.snpd, self.lab.folder))
        end = self.lab.b
        self.lab.start_snpd(end, settings={"netdma_backend": "dmadev:dma_skeleton"})
        shown = end.snp_json("netdma", "show")
        self.assertEqual(shown["engine"], "")
        self.assertIn("the CPU copies: dmadev dma_skeleton: libsnp_netdma_dpdk.so is not installed",
                      shown["state"])
        said = [line for line in end.snpd.output().splitlines() if "NetDMA" in line]
        self.assertEqual(len(said), 1, said)

    def test_hand_overs(self):
        self.start()
        for end in self.ends:
            self.expect_copying(end)
        for _ in range(50):
            end = self.dice.choice(self.ends)
            flow, row = self.dice.choice(list(control.flows(end, PORT).items()))
            verb = "upload" if row["offload_state"] == "Offloaded" else "offload"
            wait_until(lambda: control.ask(end, verb, FLOW=flow)[0], 20,
                       f"seed {self.seed}: {verb} of {flow}")  # a busy one is asked again
            time.sleep(self.dice.random() * 0.03)
        self.finish()

    def test_the_engine_process_is_killed(self):
        self.start()
        time.sleep(AN_ENGINES_TRIAL)
        for end in self.ends:
            self.expect_copying(end)
            before = end.snp_json("status")["pid"]
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: end.snp("status", check=False).returncode == 0
                       and end.snp_json("status")["pid"] != before, 20, "the next engine")
            self.expect_copying(end)
        self.finish()

    def test_settings_change_live(self):
        self.start()
        self.expect_copying(self.lab.b)
        for name, value in (("netdma", "disabled"), ("netdma_min_bytes", "1M")):
            old = self.lab.b.snp("settings", "get", name).stdout.split()[-1]
            self.lab.b.snp("settings", "set", name, value)

            def is_idle():
                """Though the streams go on. What was under way is finished first."""
                before = self.copied(self.lab.b), self.received(self.lab.b)
                wait_until(lambda: self.received(self.lab.b) > before[1] + 100_000, 20, "traffic")
                return self.copied(self.lab.b) == before[0]
            wait_until(is_idle, 20, f"no copies by {name}")
            self.lab.b.snp("settings", "set", name, old)
            self.expect_copying(self.lab.b)
        # Waits at once: less room than this is always left.
        self.lab.b.snp("settings", "set", "netdma_sync_below_bytes", "1G")
        wait_until(lambda: self.lab.b.snp_json("netdma", "show")["counters"]["waits_at_once"] > 10,
                   10, "copies are waited for")
        self.finish()

    def wait_all(self, end, state, reason=None):
        def there():
            rows = control.flows(end, PORT).values()
            return len(rows) == CONNECTIONS and all(
                row["offload_state"] == state and reason in (None, row["reason"]) for row in rows)
        wait_until(there, 20, f"seed {self.seed}: connections {state} {reason or ''}")

    def switches_it_off(self, come, go, reason, has_traffic=True):
        """Reference 3.2: from come() to go() the engine copies nothing, and snpd says why."""
        end = self.lab.b
        self.expect_copying(end)
        come()
        self.wait_all(end, "InHost", reason)
        copied, received = self.copied(end), self.received(end)
        if has_traffic:
            wait_until(lambda: self.received(end) > received + 1_000_000, 20, "traffic by the host")
        self.assertEqual(self.copied(end), copied)
        details = {row["reason_detail"] for row in control.flows(end, PORT).values()}
        what, = {feature["what"] for feature in end.snp_json("netdma", "show")["not_for"]
                 if any(detail.startswith(feature["what"]) for detail in details)}
        sentence = f"ot for connections that {what} ({reason}) may concern"
        for words in (["netsh", "int", "tcp", "show", "global"],
                      ["netsh", "int", "tcp", "show", "netdmastats"]):
            self.assertIn(f"** N{sentence}", end.snp(*words).stdout)
        go()
        self.wait_all(end, "Offloaded")
        self.assertNotIn(sentence, end.snp("netsh", "int", "tcp", "show", "global").stdout)
        self.expect_copying(end)

    def test_what_excludes_chimney_excludes_it(self):
        """The five features of the original, and those with which they come along."""
        self.start(chimney="enabled")
        end = self.lab.b
        run = lambda *argv: lambda: end.run(list(argv))
        nft = lambda text: lambda: end.run(["nft", "-f", "-"], stdin=text)
        flush = nft("flush ruleset")
        guard = (f"table ip guard {{ chain in {{ type filter hook input priority 0; "
                 f"tcp dport {PORT} counter; }}; }}")
        masquerade = ("table ip nat {{ chain out {{ type nat hook postrouting priority 100; "
                      "{} masquerade; }}; }}").format
        self.switches_it_off(nft(guard), flush, "firewall")
        self.switches_it_off(
            run("iptables-legacy", "-w", "-A", "INPUT", "-p", "tcp", "-j", "ACCEPT"),
            run("iptables-legacy", "-w", "-F"), "firewall")
        self.switches_it_off(nft(masquerade(f"tcp sport {PORT}")), flush, "nat")
        self.switches_it_off(
            run("ip", "xfrm", "policy", "add", "dir", "in", "proto", "tcp", "tmpl", "proto", "esp",
                "mode", "transport", "level", "use"),
            run("ip", "xfrm", "policy", "flush"), "ipsec")
        # The trap of bridging and routing.
        end.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        self.switches_it_off(nft(masquerade("ip saddr 192.0.2.0/24")),
                             run("sysctl", "-qw", "net.ipv4.ip_forward=0"), "forwarding")
        flush()
        self.switches_it_off(
            lambda: (run("ip", "link", "add", "br7", "type", "bridge")(),
                     run("ip", "link", "set", DEVICE, "master", "br7")()),
            run("ip", "link", "delete", "br7"), "bridge", has_traffic=False)
        # Programs between the device and TCP: the intermediate drivers of the original.
        xdp = ["ip", "link", "set", DEVICE, "xdpgeneric"]
        self.switches_it_off(run(*xdp, "obj", pass_all(self.lab.folder, "xdp"), "sec", "xdp"),
                             run(*xdp, "off"), "device-program")
        if "clsact" not in end.qdiscs():  # steering may be on hooks of another kind
            end.run(["tc", "qdisc", "add", "dev", DEVICE, "clsact"])
            self.addCleanup(run("tc", "qdisc", "delete", "dev", DEVICE, "clsact"))
        at = ["dev", DEVICE, "ingress", "pref", "7"]
        self.switches_it_off(
            run("tc", "filter", "add", *at, "bpf", "da", "obj", pass_all(self.lab.folder, "tc"),
                "sec", "tc"), run("tc", "filter", "delete", *at), "device-program")
        self.finish()


if __name__ == "__main__":
    unittest.main(verbosity=2)
