"""calls_client.py HOST PORT: walks through the socket calls on established connections and prints
what each one gave. The output on the kernel is the truth that the chimney's is compared with, so
nothing is printed that depends on timing."""

import array
import asyncio
import errno
import fcntl
import os
import select
import socket
import struct
import sys
import tempfile
import termios
import threading
import time

ADDRESS = (sys.argv[1], int(sys.argv[2]))


def opened(request):
    """A connection that has had its first line and the time to be offloaded."""
    s = socket.create_connection(ADDRESS)
    s.sendall(request.encode() + b"\n")
    time.sleep(0.05)
    return s


def outcome(call, *args):
    try:
        value = call(*args)
        return value if not isinstance(value, bytes) else (len(value), value[:20])
    except TimeoutError:
        return "timed out"
    except OSError as error:
        return errno.errorcode[error.errno]


def unread(s):
    count = array.array("i", [0])
    fcntl.ioctl(s.fileno(), termios.FIONREAD, count)
    return count[0]


def arrived(s, count):
    """Waits until count bytes can be read."""
    while unread(s) < count:
        time.sleep(0.005)


def names():
    s = opened("echo")
    print("peer is the server", s.getpeername()[:2] == ADDRESS)
    print("options", s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
          s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
          s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77)
    print("set", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
          s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
          s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))
    print("state established", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0] == 1)
    print("connect again", outcome(s.connect, ADDRESS))
    print("listen", outcome(s.listen))
    s.close()
    print("closed", outcome(s.recv, 1))


def reading():
    s = opened("say 1000 0.2")
    s.setblocking(False)
    print("nothing yet", outcome(s.recv, 10), unread(s))
    s.setblocking(True)
    print("blocking", outcome(s.recv, 10))
    arrived(s, 990)
    print("unread", unread(s))
    print("peek", outcome(s.recv, 10, socket.MSG_PEEK), outcome(s.recv, 5, socket.MSG_PEEK))
    print("dontwait", outcome(s.recv, 10, socket.MSG_DONTWAIT))
    print("waitall", outcome(s.recv, 900, socket.MSG_WAITALL))
    print("trunc", outcome(s.recv, 10, socket.MSG_TRUNC)[0])
    buffers = [bytearray(7), bytearray(13)]
    print("recvmsg", s.recvmsg_into(buffers)[0], buffers)
    print("readv", os.readv(s.fileno(), buffers), buffers)
    print("read", outcome(os.read, s.fileno(), 1000))
    print("empty", outcome(s.recv, 10, socket.MSG_DONTWAIT), unread(s))
    s.settimeout(0.1)
    print("timeout", outcome(s.recv, 10))
    s.settimeout(None)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
    print("SO_RCVTIMEO", outcome(os.read, s.fileno(), 10))
    print("zero bytes", outcome(s.recv, 0, socket.MSG_DONTWAIT), outcome(s.send, b""))
    s.close()


def writing():
    s = opened("swallow 0.3")
    s.setblocking(False)
    block, total = bytes(100_000), 0
    while True:  # until the queues of both ends are full
        try:
            total += s.send(block)
        except BlockingIOError as full:
            refusal = errno.errorcode[full.errno]
            if not select.select([], [s], [], 0)[1]:
                break
    print("filled", total > 100_000, refusal)
    s.setblocking(True)
    s.sendall(block)
    total += len(block)
    total += s.sendmsg([b"one", b"", b"two", bytes(5000)])
    total += os.writev(s.fileno(), [b"three", bytes(3000)])
    total += os.write(s.fileno(), b"four")
    with tempfile.TemporaryFile() as file:
        file.write(bytes(1_000_000))
        file.flush()
        offset = 1000
        while offset < 1_000_000:
            sent = os.sendfile(s.fileno(), file.fileno(), offset, 1_000_000 - offset)
            offset += sent
            total += sent
    s.shutdown(socket.SHUT_WR)
    print("after shutdown", outcome(s.send, b"x"), outcome(s.shutdown, socket.SHUT_WR))
    print("all arrived", int(s.makefile().readline()) == total)
    print("end of file", outcome(s.recv, 10), outcome(s.recv, 10))
    s.close()


def waiting():
    s, t = opened("say 10 0.2"), opened("echo")
    print("select", [x is t for x in select.select([s, t], [t], [], 0)[1]],
          select.select([s, t], [], [], 0)[0])
    print("select waits", select.select([s, t], [], [], 5)[0] == [s])
    poll = select.poll()
    poll.register(s, select.POLLIN | select.POLLOUT)
    poll.register(t, select.POLLIN)
    print("poll", [event for _, event in poll.poll(1000)])
    level, edge, once = (select.epoll() for _ in range(3))
    level.register(s, select.EPOLLIN)
    edge.register(s, select.EPOLLIN | select.EPOLLET)
    once.register(s, select.EPOLLIN | select.EPOLLONESHOT)
    arrived(s, 10)
    print("level", level.poll(1)[0][1], level.poll(1)[0][1])
    print("edge", edge.poll(1)[0][1], edge.poll(0.05))
    print("once", once.poll(1)[0][1], once.poll(0.05))
    once.modify(s, select.EPOLLIN | select.EPOLLONESHOT)
    print("once more", once.poll(1)[0][1])
    s.recv(100)
    print("drained", level.poll(0.05))
    print("register twice", outcome(level.register, s, select.EPOLLIN))
    level.unregister(s)
    print("unregister twice", outcome(level.unregister, s))
    # A socket and a pipe in one set, and a wait that another thread ends.
    reader, writer = os.pipe()
    level.register(t, select.EPOLLIN)
    level.register(reader, select.EPOLLIN)
    threading.Timer(0.1, os.write, (writer, b"x")).start()
    print("pipe", level.poll(5) == [(reader, select.EPOLLIN)])
    os.read(reader, 1)
    threading.Timer(0.1, t.sendall, (b"ping",)).start()
    print("socket", level.poll(5) == [(t.fileno(), select.EPOLLIN)], t.recv(10))
    s.close()
    t.close()


def descriptors():
    s = opened("echo")
    copy = s.dup()
    s.close()
    copy.sendall(b"through a copy")
    print("dup", copy.recv(100))
    number = fcntl.fcntl(copy.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)
    print("dupfd", number >= 100, os.write(number, b"again"), copy.recv(100))
    print("flags", fcntl.fcntl(copy, fcntl.F_GETFL) & os.O_NONBLOCK, bool(fcntl.fcntl(number, fcntl.F_GETFD)))
    os.dup2(copy.fileno(), 200)
    copy.close()
    os.close(number)
    print("dup2", os.write(200, b"last"), os.read(200, 100))
    os.close(200)
    s = opened("echo")
    with s.makefile("rwb") as file:
        file.write(b"a line\n")
        file.flush()
        print("file", file.readline())
    s.close()


def forked():
    s = opened("echo")
    s.sendall(b"parent")
    print("parent", s.recv(100))
    child = os.fork()
    if child == 0:
        s.sendall(b"child")
        got = s.recv(100)
        os._exit(0 if got == b"child" else 1)
    print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    s.sendall(b"parent again")
    print("parent", s.recv(100))
    s.close()


def endings():
    s = opened("reset")
    s.sendall(b"x")
    hang_up = select.poll()
    hang_up.register(s, 0)
    print("reset: poll", [event for _, event in hang_up.poll(5000)])
    print("reset: receive", outcome(s.recv, 10), outcome(s.recv, 10))
    print("reset: send", outcome(s.send, b"x"))
    s.close()
    s = opened("say 100 0")
    arrived(s, 100)
    s.shutdown(socket.SHUT_RD)
    print("shut for reading", outcome(s.recv, 1000), outcome(s.recv, 10))
    s.close()
    s = opened("echo")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.sendall(b"bytes that go down with the reset")
    s.close()
    s = opened("swallow 0")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
    s.sendall(bytes(500_000))
    s.close()
    print("closed with time to linger")


def threads():
    """A reader and a writer thread on one connection, both blocking."""
    s = opened("echo")
    data = bytes(i % 251 for i in range(2_000_000))
    got = bytearray()

    def read():
        while len(got) < len(data):
            got.extend(s.recv(65536))
    reader = threading.Thread(target=read)
    reader.start()
    s.sendall(data)
    reader.join(30)
    print("threads", bytes(got) == data)
    s.close()


async def streams():
    async def one(number):
        reader, writer = await asyncio.open_connection(*ADDRESS)
        writer.write(b"echo\n")
        text = b"%d," % number * 20_000
        writer.write(text)
        await writer.drain()
        got = await reader.readexactly(len(text))
        writer.close()
        await writer.wait_closed()
        return got == text
    print("asyncio", await asyncio.gather(*(one(n) for n in range(20))))


for part in (names, reading, writing, waiting, descriptors, forked, endings, threads):
    print("==", part.__name__)
    part()
print("== streams")
asyncio.run(streams())
print("end")
