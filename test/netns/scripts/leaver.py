"""leaver.py urgent PORT | closer PORT

urgent: one connection: reads what comes, and the urgent byte, until the end of it; prints both.
closer: each connection gets its end at once, before the client's: it is this end that is left in
        TIME_WAIT. Until SIGTERM.
"""

import select
import signal
import socket
import sys


def urgent(listener):
    connection = listener.accept()[0]
    poller = select.poll()
    poller.register(connection, select.POLLIN | select.POLLPRI)
    text, urgent_byte = b"", b""
    print("accepted", flush=True)
    while True:
        for _, events in poller.poll():
            if events & select.POLLPRI:
                urgent_byte += connection.recv(1, socket.MSG_OOB)
            if events & select.POLLIN:
                part = connection.recv(1000)
                text += part
                if not part:
                    print((urgent_byte + b"|" + text).decode(), flush=True)
                    return


def closer(listener):
    while True:
        connection = listener.accept()[0]
        with connection:
            connection.recv(100)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(100):
                pass


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.create_server(("", int(sys.argv[2])), backlog=16) as listener:
        {"urgent": urgent, "closer": closer}[sys.argv[1]](listener)


if __name__ == "__main__":
    main()
