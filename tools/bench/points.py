"""The points that `snp bench` measures: each is a name, its figures, and how one run is made.

A run is made in one *variant*: who carries the traffic, and what else runs. Variants of a point
alternate, so that the machine's drift hits all of them alike.
"""

import json
import time
from dataclasses import dataclass, field

import programs
from netlab import LabError
from programs import CpuMeter

RR_PORT, BULK_PORT = 7000, 7001
FLOW_RETRY_S = 5


@dataclass(frozen=True)
class Variant:
    name: str
    snpd: bool = False
    attached: bool = False
    chimney: str = "enabled"
    settings: dict = field(default_factory=dict)


KERNEL = Variant("kernel")  # without us: no snpd, no preloaded library
AGAIN = Variant("again")  # the same once more: what a ratio is worth here
CHIMNEY = Variant("chimney", snpd=True, attached=True)
AUTOMATIC = Variant("automatic", snpd=True, attached=True, chimney="automatic")
UNATTACHED = Variant("unattached", snpd=True)
DISABLED = Variant("disabled", snpd=True, attached=True, chimney="disabled")


@dataclass
class Bench:
    """One run's surroundings: the lab, the two cores, how long, and whether the two programs are on
    one host."""
    lab: object
    client_core: int
    server_core: int
    seconds: float
    variant: Variant = KERNEL
    settings: dict = field(default_factory=dict)
    local: bool = False

    def __enter__(self):
        if self.variant.snpd:
            cores = {self.lab.a: self.client_core, self.lab.b: self.server_core}
            self.lab.start_snpd(*self.ends, cpus=cores,
                                settings={"chimney": self.variant.chimney,
                                          **self.variant.settings, **self.settings})
        return self

    @property
    def client_end(self):
        return self.lab.a

    @property
    def server_end(self):
        return self.lab.a if self.local else self.lab.b

    @property
    def ends(self):
        return (self.lab.a,) if self.local else (self.lab.a, self.lab.b)

    @property
    def server_address(self):
        return "127.0.0.1" if self.local else self.lab.b.v4

    def __exit__(self, kind, _value, _trace):
        if kind is None:
            self.lab.stop_snpd()
        return False

    def serve(self, program, port, *options):
        server = self.server_end.start([self.lab.helpers / program, port, *options],
                                       attached=self.variant.attached, cpus=self.server_core)
        server.wait_listening(port)
        return server

    def ask(self, program, *options):
        out = self.client_end.run([self.lab.helpers / program, self.server_address, *options],
                                  attached=self.variant.attached, cpus=self.client_core)
        return json.loads(out.stdout)

    def meter(self):
        return CpuMeter({self.client_core, self.server_core})

    def expect_path(self, moved_bytes, is_worth_it=True):
        """A figure counts only when the traffic went the way its variant says. Mode automatic
        offloads what is worth it."""
        if not self.variant.snpd:
            return
        for end in self.ends:
            stats = end.snp_json("stats")
            target = sum(stats[name][way] for name in (["local"] if self.local else ["target"])
                         for way in ("bytes_in", "bytes_out"))
            wanted = self.variant is CHIMNEY or (self.variant is AUTOMATIC and is_worth_it)
            if wanted and target < 0.5 * moved_bytes:
                raise LabError(f"{end.name}: only {target} of {moved_bytes:.0f} bytes went through "
                               f"the target; declined: {stats['declined']}")
            if not wanted and target > 0:
                raise LabError(f"{end.name}: {target} bytes went through the target in variant "
                               f"{self.variant.name}")


@dataclass(frozen=True)
class Point:
    name: str
    figure: str  # the figure whose ratio counts
    unit: str
    run: object  # Bench -> {figure: number}
    variants: tuple = (KERNEL, CHIMNEY)
    tso: bool = True
    higher_is_better: bool = True
    rounds: int = 0  # 0: as the command line says
    local: bool = False  # both programs on one host
    one_core: bool = False  # both on the client's core
    base: str = "kernel"  # the variant that the others are compared with


def request_response(connections):
    def run(bench):
        server = bench.serve("rr_server", RR_PORT)
        meter = bench.meter()
        result = bench.ask("rr_client", RR_PORT, "--connections", connections, "--seconds",
                           bench.seconds)
        cpu = meter.stop()
        bench.expect_path(2 * 64 * result["requests"])
        server.stop()
        # The meter also saw the start and the warm-up; the share of time is what is comparable.
        share = cpu["busy_seconds"] / cpu["seconds"]
        return {"requests_per_second": result["requests_per_second"], "p50_us": result["p50_us"],
                "p99_us": result["p99_us"], "p999_us": result["p999_us"],
                "cpu_percent": 100 * share,
                "cpu_us_per_request": 1e6 * share / result["requests_per_second"]}
    return run


def redis(clients, test, pipeline=1):
    def run(bench):
        server = programs.redis_server(bench.server_end, attached=bench.variant.attached,
                                       cpus=bench.server_core)
        requests = int(80_000 * bench.seconds * min(pipeline, 8))
        meter = bench.meter()
        result = programs.redis_benchmark(
            bench.client_end, bench.server_address, attached=bench.variant.attached,
            clients=clients, requests=requests, cpus=bench.client_core, tests=test.lower(),
            pipeline=pipeline)[test]
        cpu = meter.stop()
        bench.expect_path(40 * requests)
        server.stop()
        return {**result, "cpu_percent": 100 * cpu["busy_seconds"] / cpu["seconds"],
                "cpu_us_per_request": 1e6 * cpu["busy_seconds"] / requests}
    return run


def bulk(direction, *server_options):
    def run(bench):
        server = bench.serve("bulk_server", BULK_PORT, *server_options)
        meter = bench.meter()
        result = bench.ask("bulk_client", BULK_PORT, "--direction", direction, "--seconds",
                           bench.seconds)
        cpu = meter.stop()
        bench.expect_path(result["bytes"])
        server.stop()
        return {"gigabits_per_second": result["gigabits_per_second"],
                "cpu_percent": 100 * cpu["busy_seconds"] / cpu["seconds"]}
    return run


def neighbour(connections):
    """What a busy program on the server's core gets done while the benchmark runs beside it."""
    def run(bench):
        def burn():
            return bench.server_end.start(
                [bench.lab.helpers / "neighbour", "--seconds", bench.seconds], cpus=bench.server_core)
        alone = json.loads(burn().result(bench.seconds + 30))["rounds_per_second"]
        server = bench.serve("rr_server", RR_PORT)
        burner = burn()
        result = bench.ask("rr_client", RR_PORT, "--connections", connections, "--warmup", 0.1,
                           "--seconds", max(bench.seconds - 0.3, 0.3))
        beside = json.loads(burner.result(bench.seconds + 30))["rounds_per_second"]
        bench.expect_path(2 * 64 * result["requests"])
        server.stop()
        taken = max(1 - beside / alone, 0)
        return {"neighbour_percent": 100 * beside / alone,
                "requests_per_second": result["requests_per_second"],
                "taken_us_per_request": 1e6 * taken / result["requests_per_second"]}
    return run


def nginx(connections, size):
    """wrk against nginx, keep-alive, one file."""
    def run(bench):
        server = programs.nginx(bench.server_end, attached=bench.variant.attached,
                                cpus=bench.server_core)
        programs.make_file(server.www / "file", size)
        meter = bench.meter()
        result = programs.wrk(bench.client_end, f"http://{bench.server_address}:"
                              f"{programs.NGINX_PORT}/file", attached=bench.variant.attached,
                              connections=connections, seconds=max(1, round(bench.seconds)),
                              cpus=bench.client_core)
        cpu = meter.stop()
        bench.expect_path(size * result["requests"])
        server.stop()
        return {"requests_per_second": result["requests_per_second"], "p50_us": result["p50_us"],
                "p99_us": result["p99_us"],
                "cpu_percent": 100 * cpu["busy_seconds"] / cpu["seconds"]}
    return run


def short_connections(connections):
    """wrk against nginx: a connection for each request, which the server closes after its answer."""
    def run(bench):
        server = programs.nginx(bench.server_end, attached=bench.variant.attached,
                                cpus=bench.server_core)
        programs.make_file(server.www / "file", 128)
        meter = bench.meter()
        result = programs.wrk(bench.client_end, f"http://{bench.server_address}:"
                              f"{programs.NGINX_PORT}/file", attached=bench.variant.attached,
                              connections=connections, seconds=max(1, round(bench.seconds)),
                              cpus=bench.client_core, headers=("Connection: close",))
        cpu = meter.stop()
        bench.expect_path(0, is_worth_it=False)
        server.stop()
        return {"connections_per_second": result["requests_per_second"],
                "p50_us": result["p50_us"], "p99_us": result["p99_us"],
                "cpu_us_per_connection": 1e6 * cpu["busy_seconds"] / result["requests"]}
    return run


def move(end, verb, flow):
    """`snp offload|upload FLOW`, again while the answer is that it must be tried again."""
    deadline = time.monotonic() + FLOW_RETRY_S
    while True:
        done = end.snp(verb, flow, check=False)
        if done.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise LabError(f"snp {verb} {flow}: {(done.stderr or done.stdout).strip()}")
        time.sleep(0.01)


def quiet_time(connections):
    """Hand-overs at both ends under request-response traffic, as snpd measured them."""
    def run(bench):
        server = bench.serve("rr_server", RR_PORT)
        client = bench.lab.a.start(
            [bench.lab.helpers / "rr_client", bench.lab.b.v4, RR_PORT, "--connections", connections,
             "--seconds", 3600], attached=True, cpus=bench.client_core)
        time.sleep(1)
        moves = 0
        end = time.monotonic() + 4 * bench.seconds
        while time.monotonic() < end:
            for side in (bench.lab.a, bench.lab.b):
                row = side.snp_json("connections")["connections"][moves % connections]
                flow = f"{row['local']}-{row['remote']}"
                move(side, "upload", flow)
                move(side, "offload", flow)
            moves += 1
        client.expect_running()
        figures = {"hand_overs": 4 * moves}
        for kind in ("offload", "upload"):
            both = [side.snp_json("stats")[kind] for side in (bench.lab.a, bench.lab.b)]
            for name in ("quiet_p50_us", "quiet_p99_us", "quiet_max_us"):
                figures[f"{kind}_{name}"] = max(stats[name] for stats in both)
        client.stop()
        server.stop()
        return figures
    return run


ALL = (
    *(Point(f"request-response 64 B, {n} connection{'s' if n > 1 else ''}", "requests_per_second",
            "requests/s", request_response(n)) for n in (1, 16, 64, 128)),
    *(Point(f"redis {test}, {n} clients", "requests_per_second", "requests/s", redis(n, test))
      for n in (50, 200) for test in ("GET", "SET")),
    *(Point(f"bulk, client {'sends' if d == 'send' else 'receives'}, TSO {'on' if tso else 'off'}",
            "gigabits_per_second", "Gbit/s", bulk(d), tso=tso)
      for tso in (True, False) for d in ("send", "receive")),
    Point("not offloaded: request-response 64 B, 64 connections", "requests_per_second",
          "requests/s", request_response(64), (KERNEL, AGAIN, UNATTACHED, DISABLED), rounds=12),
    Point("not offloaded: bulk, client sends", "gigabits_per_second", "Gbit/s", bulk("send"),
          (KERNEL, AGAIN, UNATTACHED, DISABLED), rounds=12),
    Point("busy neighbour of the server, 1 connection", "neighbour_percent", "% of alone",
          neighbour(1)),
    *(Point(f"local: request-response 64 B, {n} connection{'s' if n > 1 else ''}"
            + (", one core" if one else ""), "requests_per_second", "requests/s",
            request_response(n), local=True, one_core=one)
      for one in (False, True) for n in (1, 16, 64, 128)),
    *(Point(f"local: redis {test}, {n} clients" + (f", pipeline {p}" if p > 1 else ""),
            "requests_per_second", "requests/s", redis(n, test, p), local=True)
      for test, n, p in (("GET", 64, 1), ("SET", 64, 1), ("GET", 64, 16))),
    *(Point(f"local: bulk, client {'sends' if d == 'send' else 'receives'}"
            + (", one core" if one else ""), "gigabits_per_second", "Gbit/s", bulk(d), local=True,
            one_core=one) for one in (False, True) for d in ("send", "receive")),
    Point("local: bulk, server reads 1 GB/s at most", "gigabits_per_second", "Gbit/s",
          bulk("send", "--rate", 1_000_000_000), local=True),
    Point("local: wrk and nginx, 64 connections, 1 KB", "requests_per_second", "requests/s",
          nginx(64, 1024), local=True),
    Point("local: busy neighbour of the server, 1 connection", "neighbour_percent", "% of alone",
          neighbour(1), local=True),
    *(Point(f"{'local: ' if local else ''}short: one HTTP request a connection, {n} at a time",
            "connections_per_second", "connections/s", short_connections(n), (KERNEL, AUTOMATIC),
            rounds=9, local=local) for local in (False, True) for n in (1, 16)),
    Point("automatic: request-response 64 B, 16 connections", "requests_per_second", "requests/s",
          request_response(16), (KERNEL, CHIMNEY, AUTOMATIC)),
    Point("automatic: redis GET, 50 clients", "requests_per_second", "requests/s",
          redis(50, "GET"), (KERNEL, CHIMNEY, AUTOMATIC)),
    Point("automatic: bulk, client receives", "gigabits_per_second", "Gbit/s", bulk("receive"),
          (KERNEL, CHIMNEY, AUTOMATIC)),
    Point("local: automatic: redis GET, 64 clients", "requests_per_second", "requests/s",
          redis(64, "GET"), (KERNEL, CHIMNEY, AUTOMATIC), local=True),
    Point("quiet time of a hand-over, 16 connections", "offload_quiet_p50_us", "us", quiet_time(16),
          (CHIMNEY,), higher_is_better=False, rounds=1),
)
