"""Who listens hears of every decision, who has a veto is asked before; nobody is waited for."""

import json
import os
import signal
import struct
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from netlab import wait_until  # noqa: E402

import control  # noqa: E402
from coexistence_test import CONCERNED, CONNECTIONS, SPARED, Coexistence as Streams  # noqa: E402

AGENT = Path(__file__).resolve().parents[2] / "examples" / "veto_agent.py"
MAGIC, REFUSED, REPLY_LAST, SUBSCRIBE, EVENT, VERDICT = 0x31504E53, 4, 7, 11, 12, 13
HEADER = struct.Struct("<IHH")


class Client:
    """A session of events, and what comes of it."""

    def __init__(self, end, **wishes):
        self.socket = control.connect(end)
        self.say(SUBSCRIBE, {"name": "test", **wishes})

    def say(self, kind, content):
        self.socket.send(HEADER.pack(MAGIC, kind, 0) + json.dumps(content).encode())

    def hear(self):
        message = self.socket.recv(1 << 16)
        if not message:
            return None, ""
        _, kind, _ = HEADER.unpack(message[:HEADER.size])
        text = message[HEADER.size:].rstrip(b"\0").decode()
        return kind, text if kind == REFUSED else json.loads(text)


class Events(Streams):
    settings = {"chimney": "disabled", "veto_timeout_ms": 10000}

    def start_agent(self, *words):
        agent = self.lab.a.start([sys.executable, AGENT, *words], name="agent")
        wait_until(lambda: self.client("veto_agent"), 10, "the agent is a client")
        return agent

    def client(self, name):
        return next((client for client in self.lab.a.snp_json("status")["clients"]
                     if client["name"] == name), None)

    def switch_on(self):
        self.lab.a.snp("settings", "set", "chimney", "enabled")

    def finish(self):
        for port in (CONCERNED, SPARED):
            self.expect_progress(port)
        self.finish_streams()

    def test_a_veto(self):
        agent = self.start_agent("--port", CONCERNED)
        self.switch_on()
        self.wait_for(SPARED, "Offloaded")
        self.wait_for(CONCERNED, "InHost", "vetoed")
        for flow, row in self.rows(CONCERNED).items():
            self.assertEqual(row["reason_detail"], f"veto_agent: port {CONCERNED} is guarded")
            self.assertIn("step 'veto'", self.lab.a.snp("why", flow).stdout)
        counts = self.client("veto_agent")
        self.assertEqual((counts["questions"], counts["refusals"], counts["unanswered"]),
                         (2 * CONNECTIONS, CONNECTIONS, 0))
        self.assertIn("veto: 6 questions, 3 refused", self.lab.a.snp("status").stdout)
        spared = self.hand_overs(SPARED)
        agent_pid = counts["pid"]
        os.kill(agent_pid, signal.SIGUSR1)  # it allows all
        self.wait_all_offloaded()
        os.kill(agent_pid, signal.SIGUSR2)  # and takes it back
        self.wait_for(CONCERNED, "InHost", "vetoed")
        agent.stop()  # what it refused, it refuses no more
        self.wait_all_offloaded()
        self.assertEqual(self.hand_overs(SPARED), spared, "moved without need")
        self.assertIn(f"question {self.lab.a.v4}", agent.output())
        self.finish()

    def test_a_veto_that_is_required(self):
        self.lab.a.snp("settings", "set", "veto_required", "enabled")
        self.switch_on()
        for port in (CONCERNED, SPARED):
            self.wait_for(port, "InHost", "vetoed")
        agent = self.start_agent()
        self.wait_all_offloaded()
        agent.stop()
        for port in (CONCERNED, SPARED):
            self.wait_for(port, "InHost", "vetoed")
        self.lab.a.snp("settings", "set", "veto_required", "disabled")
        self.wait_all_offloaded()
        self.finish()

    def test_a_client_that_stands_still(self):
        client = Client(self.lab.a, veto=True, events=False)
        self.assertEqual(client.hear()[1]["ok"], True)
        self.lab.a.snp("settings", "set", "veto_unanswered", "host")
        self.lab.a.snp("settings", "set", "veto_timeout_ms", "300")
        self.switch_on()
        for port in (CONCERNED, SPARED):
            self.wait_for(port, "InHost", "vetoed")
            self.assertEqual({row["reason_detail"] for row in self.rows(port).values()},
                             {"test did not answer in time"})
        self.assertEqual(self.client("test")["unanswered"], 2 * CONNECTIONS)
        questions = [client.hear()[1] for _ in range(2 * CONNECTIONS)]
        self.assertEqual({question["event"] for question in questions}, {"question"})
        for question in questions:  # late, but an answer
            client.say(VERDICT, {"id": question["id"], "verdict": "allow"})
        self.wait_all_offloaded()
        self.lab.a.snp("upload", "--all")
        self.lab.a.snp("settings", "set", "veto_unanswered", "offload")
        self.wait_all_offloaded()  # asked once
        client.socket.close()
        self.finish()

    def test_what_a_client_may_not_do(self):
        for kind, message, error in [
                (VERDICT, {"id": 1, "verdict": "allow"}, "before a subscription"),
                (SUBSCRIBE, {"name": 5}, "type must be string"),
                (SUBSCRIBE, {"name": ""}, "needs a name"),
                (SUBSCRIBE, ["x"] * 1000, "no subscription")]:
            client = Client(self.lab.a) if kind == VERDICT else None
            session = control.connect(self.lab.a)
            session.send(HEADER.pack(MAGIC, kind, 0) + json.dumps(message).encode())
            self.assertIn(error, session.recv(1 << 16).decode())
            session.close()
            if client:
                client.socket.close()
        for message in ({"id": 1, "verdict": "perhaps"}, {"id": -1, "verdict": "allow"}, [], "x",
                        {"id": 1, "verdict": "allow", "text": 7}):
            client = Client(self.lab.a, veto=True)
            client.hear()
            client.say(VERDICT, message)
            self.assertEqual(client.hear()[0], REFUSED, message)
            self.assertEqual(client.hear()[0], None)
            client.socket.close()
        clients = [Client(self.lab.a) for _ in range(17)]
        self.assertEqual([client.hear()[1]["ok"] for client in clients], [True] * 16 + [False])
        for client in clients:
            client.socket.close()
        self.assertTrue(self.lab.a.snpd.running())
        self.switch_on()
        self.wait_all_offloaded()
        self.finish()

    def test_nobody_but_root(self):
        done = self.lab.a.run(["setpriv", "--reuid", "65534", "--clear-groups", self.lab.snp,
                               "events", "--count", "1"], check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("only root and the owner of snpd", done.stderr)
        self.switch_on()
        self.wait_all_offloaded()
        self.finish()

    def test_what_is_told(self):
        listener = self.lab.a.start([self.lab.snp, "events", "--json"], name="events")
        reader = self.lab.a.start([self.lab.snp, "events"], name="lines")
        deaf = Client(self.lab.a)
        wait_until(lambda: len(self.lab.a.snp_json("status")["clients"]) == 3, 10, "the clients")
        self.switch_on()
        self.wait_all_offloaded()
        self.lab.a.run(["nft", "-f", "-"], stdin="table inet guard { chain in { type filter hook "
                       f"input priority 0; tcp sport {CONCERNED} counter; }}; }}")
        self.wait_for(CONCERNED, "InHost", "firewall")
        flow = next(iter(self.rows(SPARED)))
        self.move("upload", flow)
        self.move("offload", flow)

        def events():
            return [json.loads(line) for line in listener.output().splitlines()]

        def of(event, **members):
            return [one for one in events() if one["event"] == event and
                    all(one[key] == value for key, value in members.items())]
        wait_until(lambda: of("offloaded", by="administrator"), 10, "the last event")
        self.assertEqual(len(of("offloaded", by="policy", reason="offloaded", target="engine",
                                program="torture_peer")), 2 * CONNECTIONS)
        homes = of("uploaded", by="policy", reason="firewall")
        self.assertEqual({f"{one['local']}-{one['remote']}" for one in homes},
                         set(self.rows(CONCERNED)))
        self.assertIn("nftables: table inet guard, chain in, rule handle", homes[0]["reason_detail"])
        self.assertTrue(all(one["quiet_us"] > 0 for one in homes))
        self.assertEqual(len(of("uploaded", by="administrator", reason="by-command")), 1)
        self.assertEqual([one["number"] for one in events()],
                         list(range(1, len(events()) + 1)))
        wait_until(lambda: "  by policy, firewall: nftables: table inet guard" in reader.output(), 10,
                   "the same in words")
        self.assert_deafness_is_counted(deaf, flow)
        deaf.socket.close()
        self.finish()

    def assert_deafness_is_counted(self, deaf, flow):
        """A client that does not read loses events, and costs nobody anything."""
        def has_lost():
            for _ in range(50):
                control.ask(self.lab.a, "upload", FLOW=flow)
                control.ask(self.lab.a, "offload", FLOW=flow)
            return self.client("test")["lost"] > 0
        wait_until(has_lost, 200, "events are lost")
        self.wait_for(SPARED, "Offloaded")
        lost = heard = 0
        deaf.socket.settimeout(2)
        try:
            while True:
                kind, event = deaf.hear()
                heard += kind == EVENT
                lost += event.get("lost", 0)
        except TimeoutError:
            pass  # all that waited for it has come
        deaf.socket.settimeout(60)
        self.move("upload", flow)
        while lost < self.client("test")["lost"]:  # the next event that it takes says how many
            lost += deaf.hear()[1].get("lost", 0)
        self.assertGreater(heard, 1000)
        self.assertEqual(lost, self.client("test")["lost"])
        self.move("offload", flow)

    def move(self, verb, flow):
        """One that is busy is asked again."""
        wait_until(lambda: control.ask(self.lab.a, verb, FLOW=flow)[0], 20, f"{verb} of {flow}")


del Streams  # its own test cases are elsewhere

if __name__ == "__main__":
    unittest.main(verbosity=2)
