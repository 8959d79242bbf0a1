"""Policy at work: port lists, tables and rules change under connections that talk all the time."""

import os
import signal
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from control import flows  # noqa: E402
from netlab import DEVICE, Lab, LabError, wait_until  # noqa: E402

PORTS = (7001, 7002)
SERVER = """
import select, socket
listeners = [socket.create_server(("0.0.0.0", port)) for port in (7001, 7002)]
sockets = list(listeners)
while True:
    for s in select.select(sockets, [], [])[0]:
        if s in listeners:
            sockets.append(s.accept()[0])
            continue
        try:
            data = s.recv(65536)
            s.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            data = b""  # a client that is stopped leaves an answer unread
        if not data:
            sockets.remove(s)
            s.close()
"""
# Talks for ever, on a connection to each port; ends when an answer is wrong.
CLIENT = """
import socket, sys, time
ends = [socket.create_connection((sys.argv[1], int(port))) for port in sys.argv[2:]]
n = 0
while True:
    for s in ends:
        data = b"%d " % n * 200
        s.sendall(data)
        got = b""
        while len(got) < len(data):
            part = s.recv(65536)
            assert part
            got += part
        assert got == data
    n += 1
    time.sleep(0.001)
"""

# Says its port and talks for ever.
LOCAL_CLIENT = """
import socket, sys, time
s = socket.create_connection((sys.argv[2], int(sys.argv[3])), source_address=(sys.argv[1], 0))
print(s.getsockname()[1], flush=True)
while True:
    s.sendall(b"x")
    assert s.recv(1)
    time.sleep(0.005)
"""


class Policy(unittest.TestCase):
    settings = {"chimney": "enabled"}

    def setUp(self):
        self.lab = Lab().enter_for(self)
        self.end = self.lab.b
        self.lab.start_snpd(self.end, settings=self.settings)
        self.server = self.end.start(["python3", "-c", SERVER], attached=True)
        for port in PORTS:
            self.server.wait_listening(port)
        self.client = self.start_client(*PORTS)

    def start_client(self, *ports):
        return self.lab.a.start(["python3", "-c", CLIENT, self.end.v4, *ports])

    def set(self, name, value):
        self.end.snp("settings", "set", name, value)

    def reset(self, name):
        self.end.snp("settings", "reset", name)

    def load(self, text, check=True):
        path = self.lab.folder / "some.rules"
        path.write_text(text)
        return self.end.snp("policy", "load", path, check=check)

    def row(self, port):
        rows = [row for row in flows(self.end, port).values() if row["pid"] != 0]
        return rows[0] if rows else {"offload_state": "", "reason": ""}

    def expect(self, *wanted):
        """What each port's connection is: "Offloaded", or the reason it is in the host for."""
        def is_so():
            for port, text in zip(PORTS, wanted):
                row = self.row(port)
                is_offloaded = row["offload_state"] == "Offloaded"
                if text != ("Offloaded" if is_offloaded else row["reason"]):
                    return False
                if not is_offloaded and row["offload_state"] != "InHost":
                    return False
            return True
        try:
            wait_until(is_so, 10, f"{wanted}")
        except LabError as error:
            self.fail(f"{error}: {[self.row(port) for port in PORTS]}; client: "
                      f"{self.client.output()[-500:]}; server: {self.server.output()[-500:]}")
        self.client.expect_running()

    def test_lists_tables_and_rules_move_connections(self):
        self.expect("Offloaded", "Offloaded")
        self.set("disabled_local_ports", "22, 7001")
        self.expect("disabled-port", "Offloaded")
        self.reset("disabled_local_ports")
        self.expect("Offloaded", "Offloaded")
        self.set("enabled_local_ports", "7001")
        self.expect("Offloaded", "port-not-enabled")
        self.set("enabled_remote_ports", "1")
        self.expect("Offloaded", "port-not-enabled")
        self.reset("enabled_local_ports")
        self.expect("port-not-enabled", "port-not-enabled")
        self.reset("enabled_remote_ports")
        python = os.path.realpath(f"/proc/{self.row(7001)['pid']}/exe")
        self.set("chimney_applications", f"{python}=disabled")
        self.expect("application-table", "application-table")
        self.set("chimney_applications", f"{python}=enabled;/bin/other=enabled")
        self.expect("Offloaded", "Offloaded")
        self.set("chimney_ports", "7002:*")
        self.expect("port-table", "Offloaded")
        self.reset("chimney_ports")
        self.load("local port 7002 && program python* => !offload\n")
        self.expect("Offloaded", "policy")
        self.set("chimney", "disabled")
        self.expect("chimney-disabled", "chimney-disabled")
        self.set("chimney", "enabled")
        self.expect("Offloaded", "policy")

    def test_what_an_administrator_uploads_stays_in_the_host(self):
        """Also when it then moves what would be worth an offload: it is not asked about again."""
        self.expect("Offloaded", "Offloaded")
        self.end.snp("upload", "--all")
        before = self.row(7001)["bytes_in"]
        wait_until(lambda: self.row(7001)["bytes_in"] > before + 2 * 262144, 20, "much has moved")
        self.expect("by-command", "by-command")

    def test_rules_are_loaded_whole_and_kept(self):
        self.load("# only one\nlocal port 7002 => host\n")
        self.expect("Offloaded", "policy")
        done = self.load("all => offload\nall => fly\n", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("some.rules:2:8: 'fly': give offload, !offload or automatic", done.stderr)
        done = self.load("all => offload shard 1\n", check=False)  # there is one shard
        self.assertIn("some.rules:1:22: '1': shard takes 0..0", done.stderr)
        self.expect("Offloaded", "policy")
        kept = self.lab.folder / "snpd-b.rules"
        self.assertEqual(kept.read_text(), "# only one\nlocal port 7002 => host\n")
        why = self.end.snp("why", self.flow(7002)).stdout
        self.assertIn("policy: host, policy; step 'rules'", why)
        self.assertIn("rule, line 2: local port 7002 => host", why)
        os.kill(self.end.snp_json("status")["pid"], signal.SIGKILL)
        wait_until(lambda: self.end.snp("status", check=False).returncode == 0, 20, "a new engine")
        self.expect("Offloaded", "policy")
        kept.write_text("local port 7001 => host\n")
        os.kill(self.end.snpd.pid, signal.SIGHUP)
        self.expect("policy", "Offloaded")
        kept.write_text("nonsense\n")
        os.kill(self.end.snpd.pid, signal.SIGHUP)
        wait_until(lambda: "not reloaded" in self.end.snpd.output(), 10, "refused")
        self.assertIn(f"{kept}:1:1: 'nonsense'", self.end.snpd.output())
        self.expect("policy", "Offloaded")

    def flow(self, port):
        row = self.row(port)
        return f"{row['local']}-{row['remote']}"

    def test_why_for_a_connection_that_does_not_exist(self):
        self.load("remote net 10.77.0.0/24 && program redis* => !offload\nuid 5 => automatic\n")
        flow = f"{self.end.v4}:6379-{self.lab.a.v4}:40000"
        why = self.end.snp("why", flow).stdout
        self.assertIn("no attached program has this connection", why)
        self.assertIn("policy: offload; step 'worth'", why)
        why = self.end.snp_json("why", flow, "--program", "/usr/bin/redis-server")["policy"]
        self.assertEqual((why["verdict"], why["step"], why["rule_line"]), ("host", "rules", 1))
        why = self.end.snp_json("why", flow, "--uid", "5")["policy"]
        self.assertEqual((why["verdict"], why["reason"], why["rule_line"]),
                         ("host", "not-asked-yet", 2))
        why = self.end.snp_json("why", f"{self.end.v4}:1-203.0.113.9:2")["policy"]
        self.assertEqual((why["step"], why["reason"]), ("connection", "no-route"))

    def connect_local(self, source, target, port):
        """An attached client with this address, and its flow."""
        client = self.end.start(["python3", "-c", LOCAL_CLIENT, source, target, port],
                                attached=True, name="local")
        wait_until(lambda: client.output().strip().isdigit(), 10, "the local connection")
        flow = f"{source}:{client.output().strip()}-{target}:{port}"
        return client, flow

    def test_why_foretells_a_local_connection(self):
        """What is said of a connection between two programs of this host before it exists is what
        becomes of it then. Both ends must be rebuilt with their addresses."""
        own = self.end.v4
        for source, target, port, verdict in [
                ("127.0.0.1", "127.0.0.1", 7001, ("offload", "")),
                (own, own, 7001, ("offload", "")),
                ("127.0.0.1", "127.0.0.2", 7001, ("host", "peer-moves")),
                ("127.0.0.2", "127.0.0.1", 7001, ("host", "local-address"))]:
            with self.subTest(source=source, target=target, port=port):
                why = self.end.snp_json("why", f"{source}:9-{target}:{port}")["policy"]
                self.assertEqual((why["verdict"], why["reason"]), verdict, why)
                client, flow = self.connect_local(source, target, port)
                becomes = verdict[1] or "offloaded"

                def is_so(flow=flow, becomes=becomes):
                    return flows(self.end, port).get(flow, {}).get("reason") == becomes
                wait_until(is_so, 10, f"{flow} is {becomes}")
                client.stop()
        why = self.end.snp_json("why", "127.0.0.1:9-127.0.0.2:7001")["policy"]
        self.assertIn("local-address", why["reason_detail"])
        for flow in ("127.0.0.1:9-127.0.0.1:7001", "[::1]:9-[::1]:7001"):
            why = self.end.snp("why", flow).stdout
            self.assertIn("policy: offload", why)
            self.assertIn("if the program at the other end is attached, too", why)
        # And over the wire: an address that the route would not choose.
        self.end.run(["ip", "addr", "add", "10.77.0.9/32", "dev", DEVICE])
        for address, reason in ((own, ""), ("10.77.0.9", "local-address")):
            why = self.end.snp_json("why", f"{address}:7001-{self.lab.a.v4}:9")["policy"]
            self.assertEqual(why["reason"], reason)


class Automatic(Policy):
    """A rule offloads at once what the mode would look at for long."""
    settings = {"chimney": "automatic", "automatic_bytes": 0, "automatic_calls": 0}
    test_lists_tables_and_rules_move_connections = None
    test_rules_are_loaded_whole_and_kept = None
    test_what_an_administrator_uploads_stays_in_the_host = None
    test_why_for_a_connection_that_does_not_exist = None
    test_why_foretells_a_local_connection = None

    def test_a_rule_is_eager(self):
        self.expect("not-asked-yet", "not-asked-yet")
        self.load("local port 7002 => offload cong newreno ring 128K\n")
        self.expect("not-asked-yet", "Offloaded")
        self.client.stop()
        wait_until(lambda: self.row(7001)["reason"] == "", 10, "closed")
        self.client = self.start_client(*PORTS)  # made under the rule
        self.expect("not-asked-yet", "Offloaded")
        self.set("automatic_calls", "10")
        self.expect("Offloaded", "Offloaded")
        self.load("local port 7001 => automatic\nall => host\n")
        self.expect("Offloaded", "policy")


if __name__ == "__main__":
    unittest.main(verbosity=2)
