"""echo.py serve PORT | ask HOST PORT SEED | visit HOST PORT SEED

serve: gives back what it gets, on each connection, until the end of it.
ask:   requests of random size on eight connections, each answer compared, until SIGTERM.
visit: one connection after the other on eight threads: a request, the end of it, the whole answer up
       to its end, close. Until SIGTERM.

One reset, one wrong byte, one early end, and it fails. Ends with a line of JSON.
"""

import json
import random
import selectors
import signal
import socket
import sys
import threading
import time
import traceback

stopping = threading.Event()


class Client(threading.Thread):
    def __init__(self, address, seed, visits):
        super().__init__()
        self.address, self.dice, self.visits = address, random.Random(seed), visits
        self.done, self.longest_s, self.problem = 0, 0.0, None

    def connect(self):
        end = socket.create_connection(self.address, timeout=30)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return end

    def run(self):
        try:
            end = None if self.visits else self.connect()
            while not stopping.is_set():
                if self.visits:
                    end = self.connect()
                began = time.monotonic()
                self.exchange(end)
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                self.done += 1
                if self.visits:
                    end.close()
        except OSError as error:
            self.problem = f"{error!r} after {self.done}, {traceback.extract_tb(error.__traceback__)[-1].line}"
            stopping.set()

    def exchange(self, end):
        request = self.dice.randbytes(self.dice.choice((1, 64, 1000, 20000)))
        end.sendall(request)
        if self.visits:
            end.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) < len(request) or self.visits:
            part = end.recv(1 << 16)
            if not part:
                break
            answer += part
        if answer != request:
            raise OSError(f"{len(answer)} bytes came back of {len(request)}, or others")


def call(host, port, seed, visits):
    clients = [Client((host, port), seed + i, visits) for i in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    problems = [client.problem for client in clients if client.problem]
    print(json.dumps({"done": sum(client.done for client in clients),
                      "longest_s": max(client.longest_s for client in clients),
                      "problems": problems}))
    return 1 if problems else 0


class Echo:
    """One connection of the server: reads when nothing is left to write."""

    def __init__(self, ready, end):
        self.ready, self.end, self.left, self.at_end = ready, end, b"", False
        ready.register(end, selectors.EVENT_READ, self)

    def go_on(self):
        if not self.left and not self.at_end:
            try:
                self.left = self.end.recv(1 << 16)
            except BlockingIOError:
                return
            self.at_end = not self.left
        try:
            while self.left:
                self.left = self.left[self.end.send(self.left):]
        except BlockingIOError:
            pass
        if self.at_end and not self.left:
            self.ready.unregister(self.end)
            self.end.close()
        else:
            self.ready.modify(self.end, selectors.EVENT_WRITE if self.left else
                              selectors.EVENT_READ, self)


def serve(port):
    listener = socket.create_server(("", port), backlog=128)
    listener.setblocking(False)
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ, None)
    while not stopping.is_set():
        for key, _ in ready.select(0.2):
            if key.data is not None:
                key.data.go_on()
                continue
            end, _ = listener.accept()
            end.setblocking(False)
            Echo(ready, end)
    return 0


def main():
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    if sys.argv[1] == "serve":
        return serve(int(sys.argv[2]))
    return call(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[1] == "visit")


if __name__ == "__main__":
    sys.exit(main())
