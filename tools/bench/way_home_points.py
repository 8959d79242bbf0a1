"""How soon connections are home when the host changes so that it must see their packets: firewall, NAT,
IPsec, forwarding, bridge, another's XDP or tc program, a capture on lo.

50 connections of a request-response that never rests, offloaded; the client's end changes. The change
comes CHANGES times; the worst counts. `home_ms` is from before the command was started until snpd's
event says that the last connection is home, so it holds the command's own time, too; `command_ms` is
how long the command took. `seen_p50_ms` and `seen_max_ms` are snpd's own figures (`snp stats`): from
when it saw the kernel's notification."""

import json
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime

from netlab import DEVICE, LabError, wait_until
from points import CHIMNEY, RR_PORT, Point

CONNECTIONS = 50
CHANGES = 5


@dataclass(frozen=True)
class Change:
    """What the host is made to do. Each is argv, or nftables text; {device} and {folder} are filled
    in."""
    name: str
    reason: str
    come: object
    go: object
    before: tuple = ()
    after: tuple = ()
    local: bool = False


def _nft(text):
    return lambda end: end.run(["nft", "-f", "-"], stdin=text)


def _run(*words):
    def run(end):
        end.run([word.format(device=DEVICE, folder=end.lab.folder) for word in words])
    return run


def _program(section, result):
    """A BPF program of somebody else, in the lab's folder."""
    def make(end):
        source, program = (end.lab.folder / f"{section}.{ending}" for ending in ("bpf.c", "o"))
        source.write_text(f'__attribute__((section("{section}"), used)) int pass_all(void *context)'
                          f' {{ return {result}; }}\n'
                          'char terms[] __attribute__((section("license"), used)) = "GPL";\n')
        subprocess.run(["clang", "-O2", "-target", "bpf", "-c", source, "-o", program], check=True)
    return make


def _make_hooks(end):
    """Steering may be on hooks of another kind."""
    end.has_hooks = "clsact" in end.qdiscs()
    if not end.has_hooks:
        end.run(["tc", "qdisc", "add", "dev", DEVICE, "clsact"])


def _remove_hooks(end):
    if not end.has_hooks:
        end.run(["tc", "qdisc", "delete", "dev", DEVICE, "clsact"])


def _capture(end):
    end.capture = end.start(["tcpdump", "-i", "lo", "-n", "-w", "/dev/null", "-Z", "root"],
                            name="tcpdump")
    wait_until(lambda: "listening on" in end.capture.output(), 10, "tcpdump")


ANYWHERE = "0.0.0.0/0"
POLICY = ("ip", "xfrm", "policy")
SELECTOR = ("src", ANYWHERE, "dst", ANYWHERE, "proto", "tcp", "dport", str(RR_PORT), "dir", "out")
TRANSFORM = ("tmpl", "proto", "esp", "mode", "transport", "level", "use")

CHANGES_OF_THE_HOST = (
    Change("nftables rule", "firewall",
           _nft("table inet guard { chain in { type filter hook input priority 0; "
                f"tcp sport {RR_PORT} counter; }}; }}"), _nft("delete table inet guard")),
    Change("iptables-legacy rule", "firewall",
           _run("iptables-legacy", "-w", "-A", "INPUT", "-p", "tcp", "--sport", str(RR_PORT), "-j",
                "ACCEPT"), _run("iptables-legacy", "-w", "-F")),
    Change("NAT rule", "nat",
           _nft("table ip nat { chain out { type nat hook postrouting priority 100; "
                f"tcp dport {RR_PORT} masquerade; }}; }}"), _nft("delete table ip nat")),
    Change("IPsec policy", "ipsec", _run(*POLICY, "add", *SELECTOR, *TRANSFORM),
           _run(*POLICY, "delete", *SELECTOR)),
    Change("forwarding beside NAT", "forwarding", _run("sysctl", "-qw", "net.ipv4.ip_forward=1"),
           _run("sysctl", "-qw", "net.ipv4.ip_forward=0"),
           (_nft("table ip nat { chain out { type nat hook postrouting priority 100; "
                 "ip saddr 192.0.2.0/24 masquerade; }; }"),)),
    Change("port of a bridge", "bridge", _run("ip", "link", "set", "{device}", "master", "br7"),
           _run("ip", "link", "set", "{device}", "nomaster"),
           (_run("ip", "link", "add", "br7", "type", "bridge"),)),
    Change("XDP program", "device-program",
           _run("ip", "link", "set", "{device}", "xdpgeneric", "obj", "{folder}/xdp.o", "sec",
                "xdp"), _run("ip", "link", "set", "{device}", "xdpgeneric", "off"),
           (_program("xdp", 2),)),
    Change("tc program", "device-program",
           _run("tc", "filter", "add", "dev", "{device}", "ingress", "pref", "7", "bpf", "da", "obj",
                "{folder}/tc.o", "sec", "tc"),
           _run("tc", "filter", "delete", "dev", "{device}", "ingress", "pref", "7"),
           (_program("tc", -1), _make_hooks), (_remove_hooks,)),
    Change("capture on lo", "capture", _capture, lambda end: end.capture.stop(), local=True),
)


def _events(listener):
    """Complete lines of `snp events --json`."""
    lines = listener.output().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def _one_change(bench, change, listener, ends):
    """Comes, and goes again. Milliseconds until all are home, and of the command."""
    end = bench.client_end
    wait_until(lambda: end.snp_json("status")["offloaded"] == ends, 30, f"{ends} offloaded")
    time.sleep(0.3)  # traffic
    seen = len(_events(listener))
    begin = time.time()
    change.come(end)
    command = time.time() - begin

    def homes():
        events = [event for event in _events(listener)[seen:] if event["event"] == "uploaded"]
        return len(events) == ends and events
    events = wait_until(homes, 30, f"{ends} connections home")
    wrong = [event["reason"] for event in events if event["reason"] != change.reason]
    if wrong:
        raise LabError(f"{change.name}: home because of {wrong[0]}")
    last = max(datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()
               for event in events)
    change.go(end)
    return 1e3 * (last - begin), 1e3 * command


def way_home(change):
    def run(bench):
        end = bench.client_end
        for step in change.before:
            step(end)
        server = bench.serve("rr_server", RR_PORT)
        client = end.start([bench.lab.helpers / "rr_client", bench.server_address, RR_PORT,
                            "--connections", CONNECTIONS, "--seconds", 3600], attached=True,
                           cpus=bench.client_core)
        listener = end.start([bench.lab.snp, "events", "--json"], name="events")
        wait_until(lambda: end.snp_json("status")["clients"], 10, "the listener")
        ends = CONNECTIONS * (2 if bench.local else 1)
        took = [_one_change(bench, change, listener, ends) for _ in range(CHANGES)]
        client.expect_running()
        stats = end.snp_json("stats")["way_home"]
        if stats["done"] != CHANGES * ends:
            raise LabError(f"{stats['done']} counted, not {CHANGES * ends}")
        for process in (client, listener, server):
            process.stop()
        for step in change.after:
            step(end)
        return {"home_ms": max(home for home, _ in took),
                "command_ms": max(command for _, command in took),
                "seen_p50_ms": stats["p50_us"] / 1e3, "seen_max_ms": stats["max_us"] / 1e3}
    return run


ALL = tuple(Point(f"{'local: ' if change.local else ''}way home: {change.name}, {CONNECTIONS} "
                  "connections", "home_ms", "ms", way_home(change), (CHIMNEY,),
                  higher_is_better=False, local=change.local, rounds=1)
            for change in CHANGES_OF_THE_HOST)
