"""One stream of known bytes over one connection, every byte compared.

    stream.py receive PORT [--seconds S]            prints {"bytes", "seconds"}
    stream.py send HOST PORT (--bytes N | --seconds S) [--congestion-control cubic] [--wait-for FILE]

The receiver reads until the end of file, or for S seconds from the first byte; its figures are what
arrived in that time. It fails with one line when a byte is wrong. Ordinary blocking socket calls.
With --wait-for the sender stands still after its first bytes until there is the file.
"""

import argparse
import hashlib
import json
import os
import socket
import sys
import time

# Not a power of two: a displacement by a ring's length shows.
BLOCK = hashlib.shake_256(b"stream").digest((1 << 20) + 13)
TWICE = memoryview(BLOCK + BLOCK)
CHUNK = 1 << 18
FIRST = 1000


def piece(offset, size):
    start = offset % len(BLOCK)
    return TWICE[start:start + size]


def receive(arguments):
    with socket.create_server(("", arguments.port), family=socket.AF_INET6,
                              dualstack_ipv6=True) as listener:
        connection = listener.accept()[0]
    total, counted, first = 0, None, None
    buffer = memoryview(bytearray(CHUNK))
    with connection:
        while size := connection.recv_into(buffer):
            now = time.monotonic()
            first = first if first is not None else now
            if arguments.seconds and now - first >= arguments.seconds:
                counted = total, now - first
                break
            if buffer[:size] != piece(total, size):
                sys.exit(f"a wrong byte after {total}")
            total += size
    counted = counted or (total, time.monotonic() - (first or 0))
    print(json.dumps({"bytes": counted[0], "seconds": counted[1]}), flush=True)


def send(arguments):
    total, end = 0, time.monotonic() + (arguments.seconds or 0)
    with socket.create_connection((arguments.host, arguments.port)) as connection:
        # Per socket: the system may not let a namespace choose a default.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION,
                              arguments.congestion_control.encode())
        if arguments.wait_for:
            connection.sendall(piece(0, FIRST))
            total = FIRST
            while not os.path.exists(arguments.wait_for):
                time.sleep(0.01)
        while total < arguments.bytes if arguments.bytes is not None else time.monotonic() < end:
            left = CHUNK if arguments.bytes is None else min(CHUNK, arguments.bytes - total)
            try:
                total += connection.send(piece(total, left))
            except (BrokenPipeError, ConnectionResetError):
                if arguments.bytes is not None:
                    raise
                return  # the receiver has seen enough


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    receiver = commands.add_parser("receive")
    receiver.set_defaults(run=receive)
    sender = commands.add_parser("send")
    sender.set_defaults(run=send)
    sender.add_argument("host")
    for command in (receiver, sender):
        command.add_argument("port", type=int)
        command.add_argument("--seconds", type=float)
    sender.add_argument("--bytes", type=int)
    sender.add_argument("--congestion-control", default="cubic")
    sender.add_argument("--wait-for")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
