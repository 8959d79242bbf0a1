"""memcached_client.py HOST PORT: 24 connections at once set and get values of many sizes; what was
read must be what was written. One thread and selectors, non-blocking sockets."""

import selectors
import socket
import sys

CONNECTIONS, ROUNDS = 24, 60


def value(connection, number):
    size = (1, 100, 1500, 60_000, 200_000)[number % 5] + connection
    return bytes((connection * 31 + number + i) % 251 for i in range(min(size, 997))) * (size // 997 + 1)


class Client:
    def __init__(self, number, address):
        self.number, self.round, self.sent, self.heard = number, 0, 0, b""
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.ask()

    def ask(self):
        data = value(self.number, self.round)
        key = f"key-{self.number}-{self.round}".encode()
        self.request = b"set %s 0 0 %d\r\n%s\r\nget %s\r\n" % (key, len(data), data, key)
        self.answer = b"STORED\r\nVALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(data), data)
        self.sent, self.heard = 0, b""

    def wanted(self):
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self.sent < len(self.request) else 0)

    def write(self):
        try:
            self.sent += self.socket.send(self.request[self.sent:])
        except BlockingIOError:
            pass

    def read(self):
        """True: all rounds are done."""
        try:
            got = self.socket.recv(65536)
        except BlockingIOError:
            return False
        if not got:
            sys.exit(f"connection {self.number}: the server closed it in round {self.round}")
        self.heard += got
        if len(self.heard) < len(self.answer):
            return False
        if self.heard != self.answer:
            sys.exit(f"connection {self.number}: wrong answer in round {self.round}")
        self.round += 1
        if self.round == ROUNDS:
            return True
        self.ask()
        return False


def main():
    chooser = selectors.DefaultSelector()
    left = CONNECTIONS
    for number in range(CONNECTIONS):
        client = Client(number, (sys.argv[1], int(sys.argv[2])))
        chooser.register(client.socket, client.wanted(), client)
    while left:
        events = chooser.select(timeout=10)
        if not events:
            sys.exit("nothing happened for 10 s")
        for key, mask in events:
            client = key.data
            if mask & selectors.EVENT_WRITE:
                client.write()
            if mask & selectors.EVENT_READ and client.read():
                chooser.unregister(client.socket)
                client.socket.close()
                left -= 1
                continue
            chooser.modify(client.socket, client.wanted(), client)
    print(f"{CONNECTIONS} connections done, {ROUNDS} rounds each")


main()
