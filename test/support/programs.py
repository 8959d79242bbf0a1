"""Real programs in the lab: how each is started, known to be ready, and asked for its figures.

`attached` says whether the program runs through the chimney (under `snp run`) or on the kernel.
"""

import csv
import hashlib
import io
import json
import time
from pathlib import Path

from netlab import LabError, cpu_seconds

REDIS_PORT, NGINX_PORT, IPERF_PORT, MEMCACHED_PORT = 6379, 8080, 5201, 11211


def redis_server(end, *, attached, port=REDIS_PORT, cpus=None, options=()):
    folder = end.lab.folder / f"redis-{end.name[-1]}-{port}"
    folder.mkdir(exist_ok=True)
    server = end.start(["redis-server", "--port", port, "--bind", "0.0.0.0", "::",
                        "--protected-mode", "no", "--save", "", "--appendonly", "no",
                        "--dir", folder, "--daemonize", "no", *options],
                       attached=attached, cpus=cpus, name=f"redis-server-{port}")
    server.wait_listening(port)
    return server


def redis_benchmark(end, host, *, attached, clients, requests, port=REDIS_PORT, cpus=None,
                    tests="get,set", pipeline=1):
    """{"GET": {"requests_per_second", "p50_us", "p99_us"}, "SET": ...}"""
    out = end.run(["redis-benchmark", "-h", host, "-p", port, "-c", clients, "-n", requests, "-P",
                   pipeline, "-t", tests, "--csv"], attached=attached, cpus=cpus, timeout=300).stdout
    figures = {}
    for row in csv.DictReader(io.StringIO(out)):
        figures[row["test"]] = {"requests_per_second": float(row["rps"]),
                                "p50_us": float(row["p50_latency_ms"]) * 1000,
                                "p99_us": float(row["p99_latency_ms"]) * 1000}
    if not figures:
        raise LabError(f"redis-benchmark printed no figures: {out[:400]!r}")
    return figures


_NGINX_CONF = """
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
user root;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile {sendfile};
  tcp_nopush {sendfile};
  keepalive_requests 100000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen {port};
    listen [::]:{port};
    root {folder}/www;
  }}
}}
"""


def nginx(end, *, attached, sendfile=True, workers=1, port=NGINX_PORT, cpus=None):
    """An nginx whose root folder is server.www."""
    folder = end.lab.folder / f"nginx-{end.name[-1]}-{port}"
    (folder / "www").mkdir(parents=True, exist_ok=True)
    conf = folder / "nginx.conf"
    conf.write_text(_NGINX_CONF.format(folder=folder, port=port, workers=workers,
                                       sendfile="on" if sendfile else "off"))
    server = end.start(["nginx", "-e", folder / "error.log", "-c", conf], attached=attached,
                       cpus=cpus)
    server.www = folder / "www"
    server.wait_listening(port)
    return server


def make_file(path, size, seed=1):
    """A file of pseudo-random bytes; gives its SHA-256."""
    digest = hashlib.sha256()
    block = hashlib.shake_256(seed.to_bytes(8, "little")).digest(1 << 20)
    with open(path, "wb") as out:
        for number in range(0, size, len(block)):
            # The number makes blocks differ, so that swapped or repeated ones are noticed.
            piece = (number.to_bytes(8, "little") + block[8:])[:size - number]
            out.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as data:
        while piece := data.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def iperf3_server(end, *, attached, port=IPERF_PORT, cpus=None):
    server = end.start(["iperf3", "-s", "-p", port], attached=attached, cpus=cpus)
    server.wait_listening(port)
    return server


def iperf3(end, host, *, attached, seconds=2, reverse=False, streams=1, port=IPERF_PORT, cpus=None,
           extra=()):
    """iperf3's own report."""
    argv = ["iperf3", "-J", "-c", host, "-p", port, "-t", seconds, "-P", streams, "-O", 1, *extra]
    done = end.run(argv + (["-R"] if reverse else []), attached=attached, cpus=cpus, check=False,
                   timeout=seconds + 30)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise LabError(f"iperf3 printed no report: {(done.stderr or done.stdout)[-400:]!r}") from None
    if "error" in report:
        raise LabError(f"iperf3: {report['error']}")
    return report


def gigabits(report):
    return report["end"]["sum_received"]["bits_per_second"] / 1e9


def memcached(end, *, attached, threads=4, port=MEMCACHED_PORT, cpus=None):
    server = end.start(["memcached", "-u", "root", "-p", port, "-U", 0, "-l", "0.0.0.0,::",
                        "-t", threads], attached=attached, cpus=cpus)
    server.wait_listening(port)
    return server


_WRK_UNITS = {"us": 1, "ms": 1000, "s": 1e6, "m": 60e6}


def wrk(end, url, *, attached, connections, seconds, cpus=None, headers=()):
    """{"requests", "requests_per_second", "p50_us", "p99_us"} of one thread of wrk."""
    extra = [word for header in headers for word in ("-H", header)]
    out = end.run(["wrk", "-t", 1, "-c", connections, "-d", seconds, "--latency", *extra, url],
                  attached=attached, cpus=cpus, timeout=seconds + 60).stdout
    found = {}
    for line in out.splitlines():
        words = line.split()
        if "Socket errors" in line or "Non-2xx" in line:
            raise LabError(f"wrk: {line.strip()}")
        if words[:1] in (["50%"], ["99%"]):
            unit = words[1].lstrip("0123456789.")
            found[f"p{words[0][:2]}_us"] = float(words[1].removesuffix(unit)) * _WRK_UNITS[unit]
        elif words[1:3] == ["requests", "in"]:
            found["requests"] = int(words[0])
        elif words[:1] == ["Requests/sec:"]:
            found["requests_per_second"] = float(words[1])
    if len(found) != 4:
        raise LabError(f"wrk printed no figures: {out[-400:]!r}")
    return found


class CpuMeter:
    """Busy time of some cores (everything that ran on them) and of some processes."""

    def __init__(self, cores=None, processes=()):
        self._cores, self._processes = cores, list(processes)
        self._start = (time.monotonic(), self._busy(), self._spent())

    def _busy(self):
        wanted = None if self._cores is None else {f"cpu{core}" for core in self._cores}
        busy = 0
        for line in Path("/proc/stat").read_text().splitlines():
            name, *fields = line.split()
            if name in wanted if wanted is not None else name == "cpu":
                user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[:7])
                busy += user + nice + system + irq + softirq
        return busy / 100  # /proc counts in USER_HZ

    def _spent(self):
        return sum(cpu_seconds(pid) for process in self._processes for pid in process.tree())

    def stop(self):
        """{"seconds", "busy_seconds", "process_seconds"} since the meter was made."""
        start, busy, spent = self._start
        return {"seconds": time.monotonic() - start, "busy_seconds": self._busy() - busy,
                "process_seconds": self._spent() - spent}
