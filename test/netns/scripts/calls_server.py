"""calls_server.py PORT: the far end of calls_client.py. A thread for each connection; the first line
says what to do."""

import socket
import socketserver
import struct
import sys
import time


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        with self.request.makefile("rb") as lines:
            word, *rest = lines.readline().decode().split()
            self.lines = lines
            getattr(self, "do_" + word)(*rest)

    def do_echo(self):
        while data := self.lines.read1(65536):
            self.request.sendall(data)

    def do_say(self, count, wait):
        time.sleep(float(wait))
        self.request.sendall(bytes(i % 253 for i in range(int(count))))
        self.lines.read()  # until the client closes

    def do_swallow(self, wait):
        time.sleep(float(wait))
        total = 0
        while data := self.lines.read1(1 << 20):
            total += len(data)
        self.request.sendall(b"%d\n" % total)

    def do_reset(self):
        """Closes with SO_LINGER 0 as soon as a byte comes: the peer gets a reset."""
        self.lines.read(1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()

    def shutdown_request(self, request):
        request.close()


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    request_queue_size = 64
    daemon_threads = True

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def shutdown_request(self, request):
        request.close()  # without the polite shutdown: the closing itself is what is looked at


Server(("::", int(sys.argv[1])), Handler).serve_forever()
