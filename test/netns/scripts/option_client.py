"""What two socket options do to a sender whose peer does not read, as a JSON line of facts.

    option_client.py notsent HOST PORT                    TCP_NOTSENT_LOWAT and epoll
    option_client.py linger HOST PORT SECONDS [blocking]  SO_LINGER: how long close() takes
    option_client.py queued HOST PORT                     SIOCOUTQ and SIOCOUTQNSD, over a path with a delay

Waits for the file "go" between connect and the rest. The peer reads once there is a file "read".
"""

import fcntl
import json
import os
import select
import socket
import struct
import sys
import time

from info_client import tcp_info

TCP_NOTSENT_LOWAT = 25
SIOCOUTQ, SIOCOUTQNSD = 0x5411, 0x894B
LOW_WATER = 65536
PATTERN = bytes(i % 251 for i in range(251 * 300))


def notsent_bytes(connection):
    """tcpi_notsent_bytes."""
    return struct.unpack_from("I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 148), 144)[0]


def unsent(connection):
    """The same, once nothing moves."""
    time.sleep(0.2)
    return notsent_bytes(connection)


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
    facts["held up by the peer's window"] = tcp_info(connection)["rwnd_limited"] > 100_000
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


def ask(connection, request):
    return struct.unpack("i", fcntl.ioctl(connection, request, bytes(4)))[0]


def queues(connection):
    """Unacknowledged, of them unsent, and what TCP_INFO says of that, at one moment."""
    while True:
        before = ask(connection, SIOCOUTQ)
        found = ask(connection, SIOCOUTQNSD), notsent_bytes(connection), ask(connection, SIOCOUTQNSD)
        if ask(connection, SIOCOUTQ) == before and len(set(found)) == 1:
            return before, found[0]
        if before == 0:
            return 0, ask(connection, SIOCOUTQNSD)


def queued(connection):
    """More than the window takes at first: a part is on its way, the rest waits."""
    connection.setblocking(False)
    total = connection.send(PATTERN)
    seen = []
    while not seen or seen[-1][0]:
        seen.append(queues(connection))
        time.sleep(0.001)
    connection.close()
    return {"all of it is there": max(seen)[0] == total,
            "never more unsent than queued": all(unsent <= queued for queued, unsent in seen),
            "a part is sent, a part is not": any(0 < unsent < queued for queued, unsent in seen),
            "then all is sent": any(unsent == 0 < queued for queued, unsent in seen),
            "none in the end": seen[-1] == (0, 0), "total": total}


def main():
    what, host, port = sys.argv[1:4]
    connection = socket.create_connection((host, int(port)))
    while not os.path.exists("go"):
        time.sleep(0.01)
    print(json.dumps({"notsent": notsent, "linger": linger, "queued": queued}[what](connection)), flush=True)


if __name__ == "__main__":
    main()
