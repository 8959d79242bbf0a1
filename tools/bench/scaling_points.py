"""Receive-side scaling: what the host's packets gain from a second CPU, what steering costs packets
that do not need it, and what a second shard gives the engine.

A virtual device has no interrupt of its own: its packets are received on the CPU of who sends them.
So that there is one queue and one CPU that receives, the device's polling thread is bound to the
first core (`threaded` of the device); the senders have the third and the fourth. Two senders send
hardly more than one CPU receives, so the receiver has a firewall, as most have: then its CPU is the
limit. On two or three CPUs there is one sender, which takes its time from the second receiver."""

import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from netlab import DEVICE, LabError, say, wait_until
from points import AGAIN, BULK_PORT, KERNEL, RR_PORT, Point, Variant, request_response
from programs import CpuMeter

FLOOD_PORT, FLOWS = 7100, 32
FIREWALL_RULES = 400
BULK_CONNECTIONS = 8


def _host(name, backend):
    return Variant(name, snpd=True, chimney="disabled", settings={
        "rss_backend": [backend], "rss_max_cpus": 2, "rss_ipv4": "tcp+udp+ip",
        "rss_balancing": "enabled"})


RPS, CPUMAP = _host("rps", "rps"), _host("cpumap", "cpumap")
BESIDE = Variant("beside", snpd=True)  # not attached, while another connection is offloaded
# The point starts its snpd itself: each shard wants a core of its own.
ONE_SHARD = Variant("one shard", attached=True, settings={"shards": 1})
TWO_SHARDS = Variant("two shards", attached=True, settings={"shards": 2})


def _polling_threads():
    threads = set()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().startswith(f"napi/{DEVICE}"[:15]):
                threads.add(int(comm.parent.name))
        except OSError:
            continue  # it ended
    return threads


def _bind_queue(end, core):
    """One receive queue, polled by a thread on that core."""
    threaded = f"/sys/class/net/{DEVICE}/threaded"
    end.run(["ethtool", "-K", DEVICE, "gro", "on"])
    if end.run(["cat", threaded]).stdout.strip() != "1":
        before = _polling_threads()
        end.run(["sh", "-c", f"echo 1 > {threaded}"])
        wait_until(lambda: _polling_threads() - before, 5, f"the polling thread of {DEVICE}")
        end.polling = _polling_threads() - before
    for pid in end.polling:
        subprocess.run(["taskset", "-pc", str(core), str(pid)], check=True, capture_output=True)


def _datagrams(end):
    """That the host has brought to a socket, whether it had room or not."""
    rows = [line.split() for line in end.run(["cat", "/proc/net/snmp"]).stdout.splitlines()
            if line.startswith("Udp:")]
    counts = dict(zip(rows[0][1:], rows[1][1:]))
    return int(counts["InDatagrams"]) + int(counts["InErrors"])


def _firewall(end, rules):
    """A chain that looks at every packet so many times and lets it pass."""
    lines = [f"ip saddr 198.18.{i // 256}.{i % 256} drop" for i in range(rules)]
    chain = "\n".join(["type filter hook input priority 0;", "ct state invalid drop", *lines])
    table = "table ip bench_firewall"
    end.run(["nft", "-f", "-"], stdin=f"{table}\ndelete {table}\n{table} {{\nchain input {{\n"
                                      f"{chain}\n}}\n}}\n")


@functools.cache
def _say_once(text):
    say(text)


def flood(rules):
    """Datagrams a second that reach their sockets, and how busy the two CPUs are that receive."""
    def run(bench):
        cores = sorted(os.sched_getaffinity(0))
        sending = cores[2:4] or cores[-1:]
        if len(cores) < 4:
            _say_once(f"  {len(cores)} CPUs: the sender shares a receiver's or is alone, and is "
                      "the limit; four CPUs show what a second receiver gains")
        end, lab = bench.server_end, bench.lab
        _bind_queue(end, cores[0])
        if rules:
            _firewall(end, rules)
        tool = lab.helpers / "udp_flood"
        sink = end.start([tool, "sink", FLOOD_PORT, "--flows", 2 * FLOWS])
        wait_until(lambda: "ready" in sink.output(), 5, "the sink")
        flows = 2 * FLOWS // len(sending)
        senders = [bench.client_end.start(
            [tool, "send", end.v4, FLOOD_PORT + i * flows, "--flows", flows, "--seconds",
             bench.seconds + 1], cpus=core) for i, core in enumerate(sending)]
        time.sleep(0.5)
        meters = [CpuMeter({core}) for core in cores[:2]]
        first, begin = _datagrams(end), time.monotonic()
        time.sleep(bench.seconds)
        count, passed = _datagrams(end) - first, time.monotonic() - begin
        busy = [meter.stop() for meter in meters]
        sent = sum(json.loads(one.result(30))["packets_per_second"] for one in senders)
        sink.stop()
        return {"packets_per_second": count / passed, "sent_per_second": sent,
                **{f"cpu_{name}_percent": 100 * one["busy_seconds"] / one["seconds"]
                   for name, one in zip(("first", "second"), busy)}}
    return run


def beside(connections):
    """A request-response that is not offloaded; with BESIDE, steering is at work for another."""
    inner = request_response(connections)

    def run(bench):
        if bench.variant is not BESIDE:
            return inner(bench)
        quiet = ("import socket, sys, time; s = socket.create_connection((sys.argv[1], 7090)); "
                 "s.send(b'x'); time.sleep(3600)")
        listen = "import socket, time; l = socket.create_server(('', 7090)); c = l.accept()[0]; " \
                 "c.recv(1); time.sleep(3600)"
        server = bench.server_end.start([sys.executable, "-c", listen], attached=True,
                                        name="quiet-server")
        server.wait_listening(7090)
        client = bench.client_end.start([sys.executable, "-c", quiet, bench.server_address],
                                        attached=True, name="quiet-client")
        for end in bench.ends:
            wait_until(lambda end=end: end.snp_json("status")["offloaded"], 10, "its offload")
        figures = inner(bench)
        client.stop()
        server.stop()
        return figures
    return run


def _shard_cores():
    """Those of the shards, and those of the programs at both ends."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 4:
        _say_once(f"  {len(cores)} CPUs: shards and programs share them, so the programs are the "
                  "limit; four CPUs show what a second shard gains")
        return cores, cores
    return cores[:2], cores[2:4]


def _in_shards(bench, run):
    """`run` gives figures while the server's snpd, and nothing else of ours, has the shards' cores.
    The client is the kernel's: it needs no cores but the programs'."""
    of_shards, of_programs = _shard_cores()
    end = bench.server_end
    bench.lab.start_snpd(end, settings={"chimney": "enabled", **bench.variant.settings,
                                        **bench.settings},
                         cpus={end: ",".join(map(str, of_shards))})
    figures, moved_bytes = run(",".join(map(str, of_programs)))
    stats = end.snp_json("stats")
    carried = stats["target"]["bytes_in"] + stats["target"]["bytes_out"]
    if carried < 0.5 * moved_bytes:
        raise LabError(f"only {carried} of {moved_bytes:.0f} bytes went through the engine")
    return figures


def requests_in_shards(bench):
    """Request-response of 256 connections over two threads of the server."""
    def run(cpus):
        server = bench.server_end.start([bench.lab.helpers / "rr_server", RR_PORT, "--threads", 2],
                                        attached=True, cpus=cpus)
        server.wait_listening(RR_PORT)
        clients = [bench.client_end.start(
            [bench.lab.helpers / "rr_client", bench.server_address, RR_PORT, "--connections", 128,
             "--seconds", bench.seconds], cpus=cpus) for _ in range(2)]
        results = [json.loads(client.result(bench.seconds + 60)) for client in clients]
        server.stop()
        figures = {"requests_per_second": sum(one["requests_per_second"] for one in results),
                   "p99_us": max(one["p99_us"] for one in results)}
        return figures, 128 * sum(one["requests"] for one in results)
    return _in_shards(bench, run)


def bulk_in_shards(bench):
    """Bulk of 8 connections that the server sends; the kernel cuts segments in the shard's call."""
    def run(cpus):
        tools, ports = bench.lab.helpers, [BULK_PORT + i for i in range(BULK_CONNECTIONS)]
        servers = [bench.server_end.start([tools / "bulk_server", port], attached=True, cpus=cpus)
                   for port in ports]
        for server, port in zip(servers, ports):
            server.wait_listening(port)
        clients = [bench.client_end.start(
            [tools / "bulk_client", bench.server_address, port, "--direction", "receive",
             "--seconds", bench.seconds], cpus=cpus) for port in ports]
        results = [json.loads(client.result(bench.seconds + 60)) for client in clients]
        for server in servers:
            server.stop()
        return ({"gigabits_per_second": sum(one["gigabits_per_second"] for one in results)},
                sum(one["bytes"] for one in results))
    return _in_shards(bench, run)


ALL = (
    Point(f"host receive, one queue: UDP 64 flows, 60 B, firewall of {FIREWALL_RULES} rules, "
          "a second CPU", "packets_per_second", "packets/s", flood(FIREWALL_RULES),
          (KERNEL, AGAIN, RPS, CPUMAP), tso=False),
    Point("host receive, one queue: UDP 64 flows, 60 B, no firewall, a second CPU",
          "packets_per_second", "packets/s", flood(0), (KERNEL, AGAIN, RPS, CPUMAP), tso=False),
    Point("not offloaded beside an offloaded one: request-response 64 B, 64 connections",
          "requests_per_second", "requests/s", beside(64), (KERNEL, AGAIN, BESIDE), rounds=12),
    Point("engine with two shards against one: bulk, the server sends, TSO off, 8 connections",
          "gigabits_per_second", "Gbit/s", bulk_in_shards, (ONE_SHARD, TWO_SHARDS),
          base="one shard", tso=False),
    Point("engine with two shards against one: request-response 64 B, 256 connections",
          "requests_per_second", "requests/s", requests_in_shards, (ONE_SHARD, TWO_SHARDS),
          base="one shard"),
)
