"""Receive-side scaling: what the host's packets gain from a second CPU, what steering costs packets
that do not need it, and what a second shard gives the engine.

A virtual device has no interrupt of its own: its packets are received on the CPU of who sends them.
So that there is one queue and one CPU that receives, the device's polling thread is bound to the
first core (`threaded` of the device); the senders have the third and the fourth."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from netlab import DEVICE, LabError, wait_until
from points import AGAIN, KERNEL, RR_PORT, Point, Variant, request_response

FLOOD_PORT, FLOWS = 7100, 32


def _host(name, backend):
    return Variant(name, snpd=True, chimney="disabled", settings={
        "rss_backend": [backend], "rss_max_cpus": 2, "rss_ipv4": "tcp+udp+ip"})


RPS, CPUMAP = _host("rps", "rps"), _host("cpumap", "cpumap")
BESIDE = Variant("beside", snpd=True)  # not attached, while another connection is offloaded
ONE_SHARD = Variant("one shard", snpd=True, attached=True, settings={"shards": 1})
TWO_SHARDS = Variant("two shards", snpd=True, attached=True, settings={"shards": 2})


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


def flood(bench):
    """Datagrams a second that reach their sockets; the senders send more than one CPU receives."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 4:
        raise LabError("four cores are needed: two receive, two send")
    end, lab = bench.server_end, bench.lab
    _bind_queue(end, cores[0])
    tool = lab.helpers / "udp_flood"
    sink = end.start([tool, "sink", FLOOD_PORT, "--flows", 2 * FLOWS])
    wait_until(lambda: "ready" in sink.output(), 5, "the sink")
    senders = [bench.client_end.start(
        [tool, "send", end.v4, FLOOD_PORT + i * FLOWS, "--flows", FLOWS, "--seconds",
         bench.seconds + 1], cpus=cores[2 + i]) for i in range(2)]
    time.sleep(0.5)
    first, begin = _datagrams(end), time.monotonic()
    time.sleep(bench.seconds)
    count, passed = _datagrams(end) - first, time.monotonic() - begin
    sent = sum(json.loads(sender.result(30))["packets_per_second"] for sender in senders)
    sink.stop()
    return {"packets_per_second": count / passed, "sent_per_second": sent}


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


def shards(bench):
    """Request-response of 256 connections over two threads of the server: frames are what costs."""
    server = bench.server_end.start([bench.lab.helpers / "rr_server", RR_PORT, "--threads", 2],
                                    attached=True)
    server.wait_listening(RR_PORT)
    clients = [bench.client_end.start(
        [bench.lab.helpers / "rr_client", bench.server_address, RR_PORT, "--connections", 128,
         "--seconds", bench.seconds]) for _ in range(2)]
    results = [json.loads(client.result(bench.seconds + 60)) for client in clients]
    server.stop()
    return {"requests_per_second": sum(one["requests_per_second"] for one in results),
            "p99_us": max(one["p99_us"] for one in results)}


ALL = (
    Point("host receive, one queue: UDP 64 flows, 60 B, a second CPU", "packets_per_second",
          "packets/s", flood, (KERNEL, AGAIN, RPS, CPUMAP), tso=False),
    Point("not offloaded beside an offloaded one: request-response 64 B, 64 connections",
          "requests_per_second", "requests/s", beside(64), (KERNEL, AGAIN, BESIDE), rounds=12),
    Point("engine with two shards against one: request-response 64 B, 256 connections",
          "requests_per_second", "requests/s", shards, (ONE_SHARD, TWO_SHARDS), base="one shard"),
)
