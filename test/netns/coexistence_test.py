"""Firewalls and the like come and go under traffic: whom they may concern goes home, with the
reason, and comes back; whom they cannot concern stays where it is (reference 3.2)."""

import json
import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import DEVICE, Lab, wait_until  # noqa: E402

import control  # noqa: E402
from bpf_objects import pass_all  # noqa: E402
from streams import Streams  # noqa: E402

CONCERNED, SPARED = 7200, 7201
CONNECTIONS = 3
SOON_S = 5  # other work may be on the machine, see netlab.wait_until
# From the kernel's notification to home. A second is promised, and `snp bench` measures it.
MOST_US = 30_000_000


class Coexistence(unittest.TestCase):
    settings = {}
    remote = "v4"  # of the addresses of the peer
    rate = 2_000_000
    ends = 1  # of each connection, that snpd has

    def setUp(self):
        self.lab = Lab().enter_for(self)
        self.seed = int.from_bytes(os.urandom(4), "little")
        self.start_snpd()
        self.streams = [self.start_streams(port) for port in (CONCERNED, SPARED)]

    def start_snpd(self):
        self.lab.start_snpd(self.lab.a, settings={"chimney": "enabled", **self.settings})

    def peer_of(self, _port):
        return getattr(self.lab.b, self.remote)

    def start_streams(self, port):
        """Streams that verify every byte; the end in `a` is attached."""
        return Streams(self.lab.b, self.lab.a, port, CONNECTIONS, seed=self.seed,
                       address=self.peer_of(port), attached=(self.lab.a,))

    def finish_streams(self):
        for streams in self.streams:
            streams.finish()

    def rows(self, port):
        return control.flows(self.lab.a, port)

    def wait_for(self, port, state, reason=None):
        def there():
            rows = self.rows(port).values()
            return len(rows) == CONNECTIONS and all(
                row["offload_state"] == state and reason in (None, row["reason"]) for row in rows)
        def now():
            return [(row["offload_state"], row["reason"], row["reason_detail"])
                    for row in self.rows(port).values()]
        try:
            wait_until(there, SOON_S, "")
        except Exception:
            self.fail(f"port {port}: not {state} {reason} but {now()}, seed {self.seed}; snpd: "
                      f"{self.lab.a.snpd.output()[-2000:]}")

    def wait_all_offloaded(self):
        for port in (CONCERNED, SPARED):
            self.wait_for(port, "Offloaded")

    def moved(self, port):
        return {flow: row["bytes_in"] + row["bytes_out"] for flow, row in self.rows(port).items()}

    def expect_progress(self, port):
        """Every stream moves, wherever it is."""
        before = self.moved(port)
        wait_until(lambda: all(moved > before[flow] for flow, moved in self.moved(port).items()),
                   SOON_S, f"progress of the streams, seed {self.seed}")

    def expect_home(self, port, reason, what):
        self.wait_for(port, "InHost", reason)
        for flow, row in self.rows(port).items():
            self.assertIn(what, row["reason_detail"])
            why = self.lab.a.snp("why", flow).stdout
            self.assertIn(what, why)
            self.assertIn("coexistence", why)
        features = self.lab.a.snp_json("status")["features"]
        # Features end where the rule begins that concerns the connection.
        named = [feature["what"] for feature in features if feature["reason"] == reason and
                 (what.startswith(feature["what"]) or what in feature["what"])]
        self.assertTrue(named, features)
        self.assertIn(named[0], self.lab.a.snp("status").stdout)

    def hand_overs(self, port):
        return {flow: row["hand_overs"] for flow, row in self.rows(port).items()}

    def ways_home(self):
        return self.lab.a.snp_json("stats")["way_home"]

    def expect_counted(self, before, connections):
        """What this change has sent home, and nothing else, counts as sent home by one."""
        ways = self.ways_home()
        # Of a local connection one end may be concerned, and the other one go along.
        self.assertIn(ways["done"] - before["done"],
                      [connections * ends for ends in range(1, self.ends + 1)])
        self.assertLess(ways["max_us"], MOST_US)

    def expect_overruled(self, setting, ports, reason):
        """Pre: the streams of these ports are home for the reason; they are again afterwards."""
        self.lab.a.snp("settings", "set", setting, "ignore")
        self.wait_all_offloaded()
        self.assertIn("a setting overrules it", self.lab.a.snp("status").stdout)
        for port in ports:
            self.expect_progress(port)
        self.lab.a.snp("settings", "reset", setting)
        for port in ports:
            self.wait_for(port, "InHost", reason)

    def comes_and_goes(self, come, go, reason, what, overruled_by=None):
        """come() concerns the streams of one port only, until go()."""
        self.wait_all_offloaded()
        spared = self.hand_overs(SPARED)
        before = self.ways_home()
        come()
        self.expect_home(CONCERNED, reason, what)
        self.expect_counted(before, CONNECTIONS)
        self.expect_progress(CONCERNED)
        self.expect_progress(SPARED)
        if overruled_by:
            self.expect_overruled(overruled_by, (CONCERNED,), reason)
        go()
        self.wait_all_offloaded()
        self.assertEqual(self.hand_overs(SPARED), spared, "moved without need")

    def comes_for_all_and_goes(self, come, go, reason, what, overruled_by=None):
        self.wait_all_offloaded()
        before = self.ways_home()
        come()
        for port in (CONCERNED, SPARED):
            self.expect_home(port, reason, what)
            self.expect_progress(port)
        self.expect_counted(before, 2 * CONNECTIONS)
        if overruled_by:
            self.expect_overruled(overruled_by, (CONCERNED, SPARED), reason)
        go()
        self.wait_all_offloaded()

    def concerns_nobody(self, come, go):
        self.wait_all_offloaded()
        before = [self.hand_overs(port) for port in (CONCERNED, SPARED)]
        come()
        time.sleep(1)
        self.expect_progress(CONCERNED)
        go()
        time.sleep(0.3)
        self.wait_all_offloaded()
        self.assertEqual([self.hand_overs(port) for port in (CONCERNED, SPARED)], before)

    def run_in_a(self, *argv):
        return lambda: self.lab.a.run(list(argv))


class Nftables(Coexistence):
    def nft(self, text):
        return lambda: self.lab.a.run(["nft", "-f", "-"], stdin=text)

    def test_a_rule_for_a_port(self):
        self.comes_and_goes(
            self.nft(f"table inet guard {{ chain incoming {{ type filter hook input priority 0; "
                     f"tcp sport {CONCERNED} counter; }}; }}"),
            self.nft("delete table inet guard"),
            "firewall", "nftables: table inet guard, chain incoming")
        self.finish_streams()

    def test_an_element_of_a_set_and_a_rule_that_goes(self):
        self.nft("table ip guard { set ports { type inet_service; }; chain outgoing { type filter "
                 "hook output priority 0; tcp dport @ports counter accept; }; }")()
        for _ in range(2):
            self.comes_and_goes(self.nft(f"add element ip guard ports {{ {CONCERNED} }}"),
                                self.nft(f"delete element ip guard ports {{ {CONCERNED} }}"),
                                "firewall", "nftables: table ip guard, chain outgoing")
        self.comes_and_goes(self.nft(f"add rule ip guard outgoing tcp dport {CONCERNED} meta mark set 7"),
                            self.nft("flush chain ip guard outgoing"),
                            "firewall", "nftables: table ip guard, chain outgoing")
        self.finish_streams()

    def test_a_rule_of_address_translation(self):
        self.comes_and_goes(
            self.nft(f"table ip nat {{ chain out {{ type nat hook postrouting priority 100; "
                     f"tcp dport {CONCERNED} masquerade; }}; }}"),
            self.nft("delete table ip nat"), "nat", "nftables: table ip nat, chain out",
            "coexist_nat")
        self.finish_streams()

    def test_iptables_on_nftables(self):
        rule = ["OUTPUT", "-p", "tcp", "--dport", str(CONCERNED), "-j", "ACCEPT"]
        self.comes_and_goes(self.run_in_a("iptables-nft", "-A", *rule),
                            self.run_in_a("iptables-nft", "-D", *rule),
                            "firewall", "nftables: table ip filter, chain OUTPUT")
        self.finish_streams()

    def test_state_concerns_all(self):
        self.comes_for_all_and_goes(
            self.nft("table inet guard { chain in { type filter hook input priority 0; policy drop;"
                     " ct state established,related counter accept; accept; }; }"),
            self.nft("flush ruleset"), "firewall", "nftables: table inet guard, chain in")
        self.finish_streams()

    def test_rules_for_others(self):
        self.concerns_nobody(
            self.nft(f"table inet guard {{ chain in {{ type filter hook input priority 0; "
                     f"iif lo drop; udp dport 53 drop; ip saddr 192.0.2.0/24 drop; "
                     f"ip6 saddr ::/0 drop; tcp dport {CONCERNED} drop; }}; "
                     f"chain forward {{ type filter hook forward priority 0; policy drop; }}; }};"
                     f"table netdev other {{ chain in {{ type filter hook ingress device lo priority"
                     f" 0; drop; }}; }}"),
            self.nft("flush ruleset"))
        self.finish_streams()

    def test_a_setting_overrules_it(self):
        self.nft(f"table inet guard {{ chain in {{ type filter hook input priority 0; "
                 f"tcp sport {CONCERNED} counter; }}; }}")()
        self.wait_for(SPARED, "Offloaded")
        self.expect_home(CONCERNED, "firewall", "nftables: table inet guard, chain in")
        self.lab.a.snp("settings", "set", "coexist_firewall", "ignore")
        self.wait_all_offloaded()
        self.assertIn("a setting overrules it", self.lab.a.snp("status").stdout)
        self.lab.a.snp("settings", "set", "coexist_firewall", "respect")
        self.expect_home(CONCERNED, "firewall", "nftables: table inet guard, chain in")
        self.finish_streams()

    def test_an_engine_that_died_meanwhile(self):
        self.wait_all_offloaded()
        engine = self.lab.a.snp_json("status")["pid"]
        os.kill(engine, signal.SIGSTOP)
        self.nft(f"table inet guard {{ chain in {{ type filter hook input priority 0; "
                 f"tcp sport {CONCERNED} counter; }}; }}")()
        os.kill(engine, signal.SIGKILL)
        self.wait_for(SPARED, "Offloaded")
        self.expect_home(CONCERNED, "firewall", "nftables: table inet guard, chain in")
        self.finish_streams()


    def test_what_the_rules_let_pass_unseen(self):
        """A verdict that is always the same needs nobody to ask for it; one that may change does."""
        self.concerns_nobody(
            self.nft(f"table inet guard {{ chain in {{ type filter hook input priority 0; policy "
                     f"drop; ip saddr {self.lab.b.v4} tcp sport {{ {CONCERNED}, {SPARED} }} accept;"
                     f" }}; chain out {{ type filter hook output priority 0; tcp dport "
                     f"{CONCERNED} accept; ct state established accept; }}; }}"),
            self.nft("flush ruleset"))
        self.comes_for_all_and_goes(
            self.nft("table inet guard { chain in { type filter hook input priority 0; policy drop;"
                     " ct state established accept; }; }"),
            self.nft("flush ruleset"), "firewall", "nftables: table inet guard, chain in, policy")
        self.finish_streams()


class Iptables(Coexistence):
    """iptables-legacy: the kernel announces nothing."""

    def tables(self, verb, *rule, table="filter", family=""):
        return self.run_in_a(f"ip{family}tables-legacy", "-w", "-t", table, verb, *map(str, rule))

    def rule_comes_and_goes(self, rule, reason, what, table="filter"):
        self.comes_and_goes(self.tables("-A", *rule, table=table),
                            self.tables("-D", *rule, table=table), reason, what)

    def test_each_table(self):
        to, of = ["-p", "tcp", "--dport", CONCERNED], ["-p", "tcp", "--sport", CONCERNED]
        self.rule_comes_and_goes(["INPUT", *of, "-j", "ACCEPT"], "firewall",
                                 "iptables: table filter, chain INPUT, rule 1")
        self.rule_comes_and_goes(["POSTROUTING", *to, "-j", "MASQUERADE"], "nat",
                                 "iptables: table nat, chain POSTROUTING, rule 1", "nat")
        self.rule_comes_and_goes(["OUTPUT", *to, "-j", "MARK", "--set-mark", "7"], "firewall",
                                 "iptables: table mangle, chain OUTPUT, rule 1", "mangle")
        self.rule_comes_and_goes(["PREROUTING", "-m", "multiport", "-p", "tcp", "--sports",
                                  f"22,{CONCERNED}", "-j", "CT", "--notrack"], "firewall",
                                 "iptables: table raw, chain PREROUTING, rule 1", "raw")
        self.rule_comes_and_goes(["OUTPUT", *to, "-o", DEVICE[:-1] + "+"], "firewall",
                                 "iptables: table security, chain OUTPUT, rule 1", "security")
        self.finish_streams()

    def test_a_rule_of_another_chain(self):
        self.tables("-N", "guard")()
        self.tables("-A", "OUTPUT", "-p", "udp", "-j", "DROP")()
        self.tables("-A", "OUTPUT", "-j", "guard")()
        self.tables("-A", "guard", "-d", "192.0.2.1", "-j", "DROP")()
        self.rule_comes_and_goes(["guard", "-p", "tcp", "--dport", CONCERNED, "-j", "ACCEPT"],
                                 "firewall", "iptables: table filter, chain OUTPUT, chain guard, rule 2")
        self.finish_streams()

    def test_a_policy_concerns_all(self):
        accept = ["INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"]
        self.tables("-A", *accept)()
        self.tables("-P", "INPUT", "DROP")()
        for port in (CONCERNED, SPARED):
            self.expect_home(port, "firewall", "iptables: table filter, chain INPUT, rule 1")
        self.tables("-P", "INPUT", "ACCEPT")()
        self.tables("-F", "INPUT")()
        self.wait_all_offloaded()
        self.finish_streams()

    def test_rules_for_others(self):
        def come():
            for table, *rule in [
                    ("filter", "INPUT", "-i", "lo", "-j", "DROP"),
                    ("filter", "INPUT", "-p", "udp", "--dport", 53, "-j", "DROP"),
                    ("filter", "INPUT", "-p", "tcp", "--dport", CONCERNED, "-j", "DROP"),
                    ("filter", "INPUT", "!", "-s", f"{self.lab.b.v4}/24", "-j", "DROP"),
                    ("filter", "FORWARD", "-j", "DROP"),
                    ("raw", "PREROUTING", "-s", "192.0.2.0/24", "-j", "DROP"),
                    ("nat", "POSTROUTING", "-s", "192.0.2.0/24", "-j", "MASQUERADE")]:
                self.tables("-A", *rule, table=table)()
            self.tables("-P", "FORWARD", "DROP")()
            self.tables("-A", "INPUT", "-j", "DROP", family="6")()
        def go():
            for table in ("filter", "raw", "nat"):
                self.tables("-F", table=table)()
            self.tables("-F", family="6")()
        self.concerns_nobody(come, go)
        self.finish_streams()

    def test_a_setting_overrules_it(self):
        self.tables("-A", "INPUT", "-p", "tcp", "--sport", CONCERNED, "-j", "ACCEPT")()
        self.expect_home(CONCERNED, "firewall", "iptables: table filter, chain INPUT")
        self.wait_for(SPARED, "Offloaded")
        for choice in ("ignore", "accepted"):
            self.lab.a.snp("settings", "set", "coexist_firewall", choice)
            self.wait_all_offloaded()
            self.lab.a.snp("settings", "set", "coexist_firewall", "respect")
            self.expect_home(CONCERNED, "firewall", "iptables: table filter, chain INPUT")
        self.finish_streams()


class Ip6tables(Coexistence):
    remote = "v6"

    def test_a_rule_for_a_port(self):
        rule = ["OUTPUT", "-p", "tcp", "-d", "fd77::/64", "--dport", str(CONCERNED), "-j", "ACCEPT"]
        self.comes_and_goes(self.run_in_a("ip6tables-legacy", "-w", "-A", *rule),
                            self.run_in_a("ip6tables-legacy", "-w", "-D", *rule),
                            "firewall", "ip6tables: table filter, chain OUTPUT, rule 1")
        self.concerns_nobody(self.run_in_a("iptables-legacy", "-w", "-A", "INPUT", "-j", "DROP"),
                             self.run_in_a("iptables-legacy", "-w", "-F"))
        self.finish_streams()


class Ipsec(Coexistence):
    def policy(self, verb, *words):
        return lambda: self.lab.a.run(["ip", "xfrm", "policy", verb, *map(str, words)])

    def test_a_policy_selects(self):
        selector = ["src", f"{self.lab.a.v4}/32", "dst", f"{self.lab.b.v4}/32", "proto", "tcp",
                    "dport", CONCERNED, "dir", "out"]
        # "use": without a state, which this test has not, packets go as they are
        transform = ["tmpl", "proto", "esp", "mode", "transport", "level", "use"]
        self.comes_and_goes(self.policy("add", *selector, *transform),
                            self.policy("delete", *selector),
                            "ipsec", f"ip xfrm policy: src {self.lab.a.v4}/32 dst",
                            "coexist_ipsec")
        self.finish_streams()

    def test_policies_for_others_and_that_let_pass(self):
        others = ["src", "192.0.2.1/32", "dst", "192.0.2.2/32", "dir", "out"]
        udp = ["src", "0.0.0.0/0", "dst", "0.0.0.0/0", "proto", "udp", "dir", "in"]
        passes = ["src", "0.0.0.0/0", "dst", f"{self.lab.b.v4}/32", "dir", "out"]
        def come():
            self.policy("add", *others, "action", "block")()
            self.policy("add", *udp, "action", "block")()
            self.policy("add", *passes, "action", "allow")()
        self.concerns_nobody(come, self.run_in_a("ip", "xfrm", "policy", "flush"))
        self.finish_streams()


class DevicePrograms(Coexistence):
    """A program of another owner on the device; others' devices concern nobody."""

    def tc(self, *words):
        return self.run_in_a("tc", *words)

    def test_xdp(self):
        program = pass_all(self.lab.folder, "xdp")
        self.comes_for_all_and_goes(
            self.run_in_a("ip", "link", "set", DEVICE, "xdpgeneric", "obj", program, "sec", "xdp"),
            self.run_in_a("ip", "link", "set", DEVICE, "xdpgeneric", "off"),
            "device-program", f"device {DEVICE}, XDP program", "coexist_device_programs")
        self.concerns_nobody(
            self.run_in_a("ip", "link", "set", "lo", "xdpgeneric", "obj", program, "sec", "xdp"),
            self.run_in_a("ip", "link", "set", "lo", "xdpgeneric", "off"))
        self.finish_streams()

    def test_tc(self):
        program = pass_all(self.lab.folder, "tc")
        self.wait_all_offloaded()
        if "clsact" not in self.lab.a.qdiscs():  # steering may be on hooks of another kind
            self.tc("qdisc", "add", "dev", DEVICE, "clsact")()
            self.addCleanup(self.tc("qdisc", "delete", "dev", DEVICE, "clsact"))
        for hook in ("ingress", "egress"):
            self.comes_for_all_and_goes(
                self.tc("filter", "add", "dev", DEVICE, hook, "pref", "7", "bpf", "da", "obj",
                        program, "sec", "tc"),
                self.tc("filter", "delete", "dev", DEVICE, hook, "pref", "7"),
                "device-program", f"device {DEVICE}, tc {hook} filter bpf")
        self.finish_streams()

    def test_tcx(self):
        """Nobody tells of it, so it is seen with the next thing that changes."""
        def changed(act, device):
            self.lab.a.hooked_programs(device, act)
            for verb in ("add", "delete"):
                self.lab.a.run(["nft", verb, "table", "inet", "harmless"])
        self.comes_for_all_and_goes(
            lambda: changed("add", DEVICE), lambda: changed("empty", DEVICE),
            "device-program", f"device {DEVICE}, tcx ingress program stranger")
        self.concerns_nobody(lambda: changed("add", "lo"), lambda: changed("empty", "lo"))
        self.finish_streams()

    def test_tc_on_another_device(self):
        program = pass_all(self.lab.folder, "tc")
        def come():
            self.tc("qdisc", "add", "dev", "lo", "clsact")()
            self.tc("filter", "add", "dev", "lo", "ingress", "bpf", "da", "obj", program, "sec",
                    "tc")()
        self.concerns_nobody(come, self.tc("qdisc", "delete", "dev", "lo", "clsact"))
        self.finish_streams()


class BridgingAndRouting(Coexistence):
    """The trap of the original: what was turned on together must be turned off one by one."""

    def test_forwarding_with_translation(self):
        what = f"IPv4 forwarding over {DEVICE}"
        forward = lambda value: self.run_in_a("sysctl", "-qw", f"net.ipv4.ip_forward={value}")
        self.concerns_nobody(forward(1), lambda: None)  # routing alone
        self.comes_for_all_and_goes(
            lambda: self.lab.a.run(["nft", "-f", "-"], stdin="table ip nat { chain out { type nat "
                                   "hook postrouting priority 100; ip saddr 192.0.2.0/24 "
                                   "masquerade; }; }"),
            forward(0), "forwarding", what, "coexist_forwarding")
        # Translation is still on: it concerns nobody here, but says so, and how it ends.
        status = self.lab.a.snp("status").stdout
        self.assertIn("table ip nat, chain out", status)
        self.assertIn("coexist_nat", status)
        forward(1)()
        for port in (CONCERNED, SPARED):
            self.expect_home(port, "forwarding", what)
        self.run_in_a("nft", "delete", "table", "ip", "nat")()
        self.wait_all_offloaded()
        forward(0)()
        self.finish_streams()

    def test_a_port_of_a_bridge(self):
        """The addresses stay on the port, as they do while somebody is about to make a bridge."""
        self.wait_all_offloaded()
        self.run_in_a("ip", "link", "add", "br7", "type", "bridge")()
        time.sleep(0.5)
        self.wait_all_offloaded()
        self.run_in_a("ip", "link", "set", DEVICE, "master", "br7")()
        for port in (CONCERNED, SPARED):
            self.expect_home(port, "bridge", f"device {DEVICE} is a port of bridge br7")
        self.run_in_a("ip", "link", "delete", "br7")()
        self.wait_all_offloaded()
        for port in (CONCERNED, SPARED):
            self.expect_progress(port)
        self.finish_streams()


class Conntrack(Coexistence):
    """Conntrack saw a connection begin, and not what the target carried: what it sees afterwards is
    far out of the window that it knows."""

    settings = {"coexist_firewall": "ignore"}
    rate = 30_000_000
    enough = 30_000_000  # more than any window

    def start_snpd(self):
        drop = "priority 0; ct state invalid counter name refused drop;"
        self.lab.a.run(["nft", "-f", "-"], stdin="table inet guard { counter refused { }; "
                       f"chain in {{ type filter hook input {drop} }}; "
                       f"chain out {{ type filter hook output {drop} }}; }}")
        super().start_snpd()

    def invalid_packets(self):
        listed = self.lab.a.run(["nft", "-j", "list", "counters"]).stdout
        counter, = (item["counter"] for item in json.loads(listed)["nftables"] if "counter" in item)
        return counter["packets"]

    def test_what_it_did_not_see(self):
        self.wait_all_offloaded()
        for port in (CONCERNED, SPARED):
            wait_until(lambda port=port: min(self.moved(port).values()) > self.enough, 40, "bytes")
        before = self.invalid_packets()
        self.lab.a.snp("settings", "set", "chimney", "disabled")
        for port in (CONCERNED, SPARED):
            self.wait_for(port, "InHost")
            self.expect_progress(port)
        self.assertEqual(self.invalid_packets(), before)
        self.finish_streams()


class Local(Coexistence):
    """Rules on lo concern the connections of the local target just as well."""

    ends = 2

    def start_streams(self, port):
        return Streams(self.lab.a, self.lab.a, port, CONNECTIONS, seed=self.seed,
                       address="127.0.0.1", attached=(self.lab.a,))

    def rows(self, port):
        """Those of the listening end: both ends are programs of this host."""
        return {flow: row for flow, row in super().rows(port).items()
                if row["local"].endswith(f":{port}")}

    def test_a_rule_on_lo(self):
        nft = lambda text: lambda: self.lab.a.run(["nft", "-f", "-"], stdin=text)
        self.comes_and_goes(
            nft(f"table inet guard {{ chain in {{ type filter hook input priority 0; iif lo tcp "
                f"dport {CONCERNED} counter; }}; }}"), nft("delete table inet guard"),
            "firewall", "nftables: table inet guard, chain in")
        self.concerns_nobody(
            nft(f"table inet guard {{ chain in {{ type filter hook input priority 0; iifname "
                f"{DEVICE} drop; }}; }}"), nft("delete table inet guard"))
        self.finish_streams()


    def tcpdump(self, device):
        """come() and go() of a capture."""
        started = []

        def come():
            file = self.lab.folder / f"{device}-{len(started)}.pcap"
            started.append(self.lab.a.start(["tcpdump", "-i", device, "-w", file, "-Z", "root",
                                             f"tcp port {CONCERNED}"], name="tcpdump"))
            wait_until(lambda: "listening on" in started[-1].output(), 10, "tcpdump")

        def go():
            os.kill(started[-1].pid, signal.SIGINT)
            started[-1].result(10)
        return come, go

    def test_a_capture_on_lo(self):
        self.comes_for_all_and_goes(*self.tcpdump("lo"), "capture", "a capture on lo")
        # One on every device is announced by nobody, neither when it comes nor when it goes.
        self.comes_for_all_and_goes(*self.tcpdump("any"), "capture", "a capture on every device")
        self.concerns_nobody(*self.tcpdump(DEVICE))
        self.lab.a.snp("settings", "set", "coexist_captures", "ignore")
        self.concerns_nobody(*self.tcpdump("lo"))
        self.finish_streams()

    def test_local_connections_have_a_switch(self):
        self.wait_all_offloaded()
        self.lab.a.snp("settings", "set", "chimney_devices", "lo=disabled")
        for port in (CONCERNED, SPARED):
            self.wait_for(port, "InHost", "device-disabled")
            self.expect_progress(port)
        self.lab.a.snp("settings", "reset", "chimney_devices")
        self.wait_all_offloaded()
        self.finish_streams()


class Devices(Coexistence):
    """What happens to a device, or is said of it, touches no connection over another (CFG-5, CHM-11).
    Streams of CONCERNED go over the first device, those of SPARED over the second."""

    OTHER = "veth1"

    def start_snpd(self):
        subprocess.run(["ip", "link", "add", "name", self.OTHER, "netns", self.lab.a.name, "type",
                        "veth", "peer", "name", self.OTHER, "netns", self.lab.b.name], check=True)
        for end in (self.lab.a, self.lab.b):
            end.run(["ip", "addr", "add", f"10.78.0.{end.number}/24", "dev", self.OTHER])
            end.run(["ip", "link", "set", self.OTHER, "up"])
        self.lab.start_snpd(self.lab.a, settings={"chimney": "enabled"}, devices=[DEVICE, self.OTHER])

    def peer_of(self, port):
        return self.lab.b.v4 if port == CONCERNED else "10.78.0.2"

    def switch(self, *switches):
        return lambda: self.lab.a.snp("settings", "set", "chimney_devices", ";".join(switches))

    def test_switches_of_single_devices(self):
        self.wait_all_offloaded()
        spared = self.hand_overs(SPARED)
        for state, shown in (("disabled", "disabled"), ("ipv6", "IPv6 only")):
            self.switch(f"{DEVICE}={state}", f"{self.OTHER}=ipv4")()
            self.wait_for(CONCERNED, "InHost", "device-disabled")
            flow = next(iter(self.rows(CONCERNED)))
            self.assertIn("step 'device'", self.lab.a.snp("why", flow).stdout)
            self.assertIn(f"chimney_devices {DEVICE}={state}", self.lab.a.snp("status").stdout)
            stats = self.lab.a.snp("netsh", "int", "tcp", "show", "chimneystats").stdout
            line = next(line for line in stats.splitlines() if DEVICE in line)
            self.assertTrue(line.endswith(shown), stats)
            self.expect_progress(CONCERNED)
            self.switch(f"{DEVICE}=ipv4", f"{self.OTHER}=enabled")()
            self.wait_all_offloaded()
        # Chimney has the last word: both must be on.
        self.lab.a.snp("settings", "set", "chimney", "disabled")
        self.wait_for(SPARED, "InHost", "chimney-disabled")
        self.lab.a.snp("settings", "set", "chimney", "enabled")
        self.wait_all_offloaded()
        self.assertEqual({flow: n - 2 for flow, n in self.hand_overs(SPARED).items()}, spared)
        self.finish_streams()

    def test_a_change_of_one_device(self):
        self.wait_all_offloaded()
        spared = self.hand_overs(SPARED)
        on_device = lambda *words: self.run_in_a("ip", "link", "set", DEVICE, *words)
        nft = lambda text: self.lab.a.run(["nft", "-f", "-"], stdin=text)
        changes = [
            (lambda: nft(f"table inet guard {{ chain in {{ type filter hook input priority 0; policy"
                         f" drop; iifname != {DEVICE} accept; ct state established accept; }}; }}"),
             lambda: nft("flush ruleset"), "firewall"),
            (self.run_in_a("iptables-legacy", "-w", "-A", "INPUT", "-i", DEVICE, "-j", "ACCEPT"),
             self.run_in_a("iptables-legacy", "-w", "-F"), "firewall"),
            (self.run_in_a("ip", "link", "add", "br7", "type", "bridge"),
             self.run_in_a("ip", "link", "delete", "br7"), None),
            (on_device("mtu", "1400"), on_device("mtu", "1500"), None),
            (self.run_in_a("ip", "addr", "add", "10.79.0.1/24", "dev", DEVICE),
             self.run_in_a("ip", "addr", "delete", "10.79.0.1/24", "dev", DEVICE), None),
        ]
        for come, go, reason in changes:
            come()
            if reason:
                self.wait_for(CONCERNED, "InHost", reason)
            self.expect_progress(SPARED)
            self.expect_progress(CONCERNED)
            go()
            self.wait_all_offloaded()
        self.lab.b.run(["ip", "link", "set", DEVICE, "down"])  # no carrier
        self.expect_progress(SPARED)
        self.lab.b.run(["ip", "link", "set", DEVICE, "up"])
        self.expect_progress(CONCERNED)
        self.assertEqual(self.hand_overs(SPARED), spared, "moved without need")
        self.finish_streams()


if __name__ == "__main__":
    unittest.main(verbosity=2)
