"""What two socket options do to a sender whose peer does not read, as a JSON line of facts.

    option_client.py notsent HOST PORT                    TCP_NOTSENT_LOWAT and epoll
    option_client.py linger HOST PORT SECONDS [blocking]  SO_LINGER: how long close() takes

Waits for the file "go" between connect and the rest. The peer reads once there is a file "read".
"""

import json
import os
import select
import socket
import struct
import sys
import time

TCP_NOTSENT_LOWAT = 25
LOW_WATER = 65536
PATTERN = bytes(i % 251 for i in range(251 * 300))


def unsent(connection):
    """tcpi_notsent_bytes, once nothing moves."""
    time.sleep(0.2)
    return struct.unpack_from("I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 148), 144)[0]


def fill(connection, total):
    """Writes what can be written; gives the bytes written so far."""
    while True:
        try:
            start = total % 251
            total += connection.send(PATTERN[start:start + 16384])
        except BlockingIOError:
            return total


def notsent(connection):
    connection.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, LOW_WATER)
    connection.setblocking(False)
    poll = select.epoll()
    poll.register(connection, select.EPOLLOUT)
    facts = {"writable at first": bool(poll.poll(60))}
    total, rounds = 0, 0
    while poll.poll(1) and rounds < 1000:  # until the peer's window is full, and a second longer
        total, rounds = fill(connection, total), rounds + 1
    facts["not writable when full"] = rounds < 1000
    # A write that began below the mark may end above it.
    facts["unsent is bounded"] = 0 < unsent(connection) <= LOW_WATER + 65536
    open("read", "w").close()
    facts["writable again"] = bool(poll.poll(60))
    for _ in range(20):
        poll.poll(60)
        total = fill(connection, total)
    connection.setblocking(True)
    connection.close()
    return {**facts, "total": total}


def linger(connection):
    seconds, is_blocking = int(sys.argv[4]), "blocking" in sys.argv[5:]
    connection.setblocking(False)
    total = fill(connection, 0)
    time.sleep(0.3)
    total = fill(connection, total)
    connection.setblocking(is_blocking)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
    began = time.monotonic()
    connection.close()
    return {"took": time.monotonic() - began, "total": total}


def main():
    what, host, port = sys.argv[1:4]
    connection = socket.create_connection((host, int(port)))
    while not os.path.exists("go"):
        time.sleep(0.01)
    print(json.dumps({"notsent": notsent, "linger": linger}[what](connection)), flush=True)


if __name__ == "__main__":
    main()
