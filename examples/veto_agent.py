#!/usr/bin/env python3
"""A client with a veto: keeps connections of given ports in the host (doc/events.md).

    examples/veto_agent.py --port 5432 --port 22

A firewall agent would ask its own rules where this one looks at its ports. It prints what happens,
and begins anew when snpd does. Needs root, and nothing but Python's standard library.
"""

import argparse
import json
import signal
import socket
import struct
import sys
import time

MAGIC, REFUSED, REPLY_LAST, SUBSCRIBE, EVENT, VERDICT = 0x31504E53, 4, 7, 11, 12, 13
HEADER = struct.Struct("<IHH")
LARGEST = 1 << 16


def send(control, kind, content):
    control.send(HEADER.pack(MAGIC, kind, 0) + json.dumps(content).encode())


def receive(control):
    """(kind, content), or None when snpd has ended the session."""
    message = control.recv(LARGEST)
    if len(message) < HEADER.size:
        return None
    _, kind, _ = HEADER.unpack(message[:HEADER.size])
    if kind == REFUSED:
        print("snpd:", message[HEADER.size:].rstrip(b"\0").decode(), file=sys.stderr)
        return None
    return kind, json.loads(message[HEADER.size:])


def port_of(end):
    return int(end.rpartition(":")[2])


class Agent:
    def __init__(self, name, ports):
        self.name, self.ports = name, ports
        self.asked = {}  # id of a question: the two ports it is about
        self.control = None

    def verdict(self, ports):
        if ports & self.ports:
            return {"verdict": "refuse", "text": f"port {min(ports & self.ports)} is guarded"}
        return {"verdict": "allow"}

    def on_question(self, question):
        ports = {port_of(question["local"]), port_of(question["remote"])}
        self.asked[question["id"]] = ports
        send(self.control, VERDICT, {"id": question["id"], **self.verdict(ports)})

    def change(self, ports):
        """Other ports: an answer may be taken back as long as the connection lives."""
        self.ports = ports
        for question, about in self.asked.items():
            send(self.control, VERDICT, {"id": question, **self.verdict(about)})

    def serve(self):
        """One session."""
        self.asked.clear()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as self.control:
            self.control.connect("\0snp.control")
            send(self.control, SUBSCRIBE, {"name": self.name, "veto": True})
            while (received := receive(self.control)) is not None:
                kind, content = received
                if kind == REPLY_LAST and not content["ok"]:
                    raise SystemExit(content["error"])
                if kind != EVENT:
                    continue
                if content["event"] == "question":
                    self.on_question(content)
                print(content["event"], content["local"], content["remote"],
                      content["reason_detail"], flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="veto_agent")
    parser.add_argument("--port", type=int, action="append", default=[], help="to be guarded")
    options = parser.parse_args()
    agent = Agent(options.name, set(options.port))
    # kill -USR1: guard nothing any more; kill -USR2: guard the ports again.
    signal.signal(signal.SIGUSR1, lambda *_: agent.change(set()))
    signal.signal(signal.SIGUSR2, lambda *_: agent.change(set(options.port)))
    while True:
        try:
            agent.serve()
        except OSError as error:
            print("no snpd:", error, file=sys.stderr)
        time.sleep(0.2)


if __name__ == "__main__":
    main()
