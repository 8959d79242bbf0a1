"""Writes in each of three stays all that there is room for, to a peer that does not read: with the
target, in the host, and with the target again.

    room_client.py HOST PORT

Says after each "written N", and goes on once there is a file "go N". The peer reads at the end; prints how
many bytes were written.
"""

import os
import socket
import sys
import time

from option_client import PATTERN, fill


def main():
    connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    connection.setblocking(False)
    total = 0
    for stay in range(3):
        while not os.path.exists(f"go {stay}"):
            time.sleep(0.01)
        # Of the first stay nothing is left when it ends.
        total = fill(connection, total) if stay else connection.send(PATTERN[:1000])
        open(f"written {stay}", "w").close()
    open("read", "w").close()
    connection.setblocking(True)
    connection.close()
    print(total, flush=True)


if __name__ == "__main__":
    main()
