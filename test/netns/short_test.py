"""A connection that carries one request costs an attached program no system call, and snpd nothing.

Calls are counted, not timed: those of wrk and nginx while each request has a connection of its own,
on the kernel and attached in mode automatic.
"""

import signal
import subprocess
import sys
import time
import unittest

from netlab import Lab, wait_until
from programs import NGINX_PORT, make_file, nginx

# How often a program waits depends on who is faster.
WAITS = {"epoll_wait", "epoll_pwait2", "futex", "restart_syscall"}
CONNECTIONS = 500  # traced
# What snpd does anyhow in a second, whoever connects. A message for each connection is far more.
MOST_OF_SNPD = 300


class Trace:
    """System calls of running processes, by name, from its making to counts()."""

    def __init__(self, lab, *pids):
        self.file = lab.folder / f"trace-{pids[0]}"
        which = [word for pid in pids for word in ("-p", str(pid))]
        self.strace = subprocess.Popen(["strace", "-f", "-c", "-o", self.file, *which],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def counts(self):
        self.strace.send_signal(signal.SIGINT)
        self.strace.wait(30)
        found = {}
        for line in self.file.read_text().splitlines():
            words = line.split()
            if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
                found[words[-1]] = int(words[3])
        return found


def calls_each(counts, of):
    return sum(n for name, n in counts.items() if name not in WAITS) / max(1, counts.get(of, 0))


def passive_opens(end):
    lines = end.run(["cat", "/proc/net/snmp"]).stdout.splitlines()
    names, values = [line.split() for line in lines if line.startswith("Tcp:")]
    return int(values[names.index("PassiveOpens")])


class Short(unittest.TestCase):
    def one_request_each(self, lab, attached):
        """Calls for each connection of server and client, calls of snpd, seconds, all calls."""
        end = lab.a
        server = nginx(end, attached=attached)
        make_file(server.www / "file", 128)
        client = end.start(["wrk", "-t", 1, "-c", 4, "-d", 60, "-H", "Connection: close",
                            f"http://127.0.0.1:{NGINX_PORT}/file"], attached=attached)
        if attached:
            def is_known():
                shown = end.snp("policy", "show").stdout
                return any(line.split()[3] == "50" for line in shown.splitlines()
                           if line.startswith("listener"))
            wait_until(is_known, 20, "the origin is known")
        else:
            time.sleep(0.5)
        traces = [Trace(lab, *process.tree()) for process in (server, client)]
        if attached:
            traces.append(Trace(lab, *end.snpd.tree()))
        opened = passive_opens(end)
        began = time.monotonic()
        wait_until(lambda: passive_opens(end) - opened >= CONNECTIONS, 40, "connections come")
        seconds = time.monotonic() - began
        served, asked, *snpds = [trace.counts() for trace in traces]
        client.stop()
        server.stop()
        self.assertGreater(served["accept4"], 30, served)
        return (calls_each(served, "accept4"), calls_each(asked, "connect"),
                snpds, seconds, served, asked)

    def test_calls(self):
        with Lab() as lab:
            server, client, _, _, *what_kernel = self.one_request_each(lab, False)
            lab.start_snpd(lab.a, settings={"chimney": "automatic"})
            server_now, client_now, snpds, seconds, *what = self.one_request_each(lab, True)
            self.assertEqual(lab.a.snp_json("stats")["offload"]["done"], 0)
        of_snpd = sum(sum(counts.values()) for counts in snpds)
        print(f"  a connection's calls: server {server:.2f} and {server_now:.2f}, client "
              f"{client:.2f} and {client_now:.2f}; snpd {of_snpd} in {seconds:.1f} s",
              flush=True)
        self.assertLess(server_now, server + 0.5, (what_kernel, what))
        self.assertLess(client_now, client + 0.5, (what_kernel, what))
        self.assertLess(of_snpd, MOST_OF_SNPD * max(1, seconds), snpds)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
