"""Verified streams: torture_peer at two ends of a lab. One wrong byte, one reset, and it fails.

    streams = Streams(lab.b, lab.a, PORT, 4, seed=seed, attached=(lab.a,))
    ...
    streams.finish()
"""

import json
import os
import signal

from netlab import LabError


class Streams:
    """Connections of one program to another, both ways, each with bytes of its own.

    `style` is how the programs wait (epoll by level or edge, poll, blocking threads), `rate` bytes in a
    second for each stream; 0: as fast as they can. `attached` says which ends run under snp.
    """

    def __init__(self, listener, connector, port, connections, *, seed, address=None, attached=(),
                 style="level", rate=2_000_000, seconds=10):
        self.connections, self.seed = connections, seed
        peer = listener.lab.bin / "torture_peer"
        options = ["--connections", connections, "--seed", seed, "--style", style]
        if rate:
            options += ["--rate", rate]
        self.server = listener.start([peer, "listen", port, *options],
                                     attached=listener in attached, name="listen")
        self.server.wait_listening(port, seconds)
        self.client = connector.start([peer, "connect", address or listener.v4, port, *options],
                                      attached=connector in attached, name="connect")
        self.server.wait_connected(port, connections)

    def expect_running(self):
        self.server.expect_running()
        self.client.expect_running()

    def finish(self, seconds=60):
        """Lets the streams run out and compares what one end has sent with what the other has
        received. Gives the bytes that the connecting end has sent."""
        self.expect_running()
        os.kill(self.client.pid, signal.SIGTERM)  # it finishes its streams then
        client, server = (json.loads(process.result(seconds).splitlines()[-1])["connections"]
                          for process in (self.client, self.server))
        if len(client) != self.connections:
            raise LabError(f"seed {self.seed}: {len(client)} streams, not {self.connections}")
        for number, end in client.items():
            other = server[number]
            is_same = (end["sent"], end["received"]) == (other["received"], other["sent"])
            if end["sent"] == 0 or not is_same:
                raise LabError(f"seed {self.seed}, stream {number}: {end} here, {other} there")
        return sum(end["sent"] for end in client.values())
