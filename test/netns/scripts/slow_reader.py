"""A peer that reads only when it is told to.

    slow_reader.py PORT     accepts one connection; reads nothing until the file "read" is there, then
                            all of it; prints how many bytes came, and whether each was right
"""

import os
import socket
import sys
import time


def main():
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        listener.bind(("", int(sys.argv[1])))
        listener.listen()
        connection = listener.accept()[0]
    while not os.path.exists("read"):
        time.sleep(0.01)
    total, is_right = 0, True
    while text := connection.recv(1 << 16):
        is_right &= text == bytes((total + i) % 251 for i in range(len(text)))
        total += len(text)
    print(total, is_right, flush=True)


if __name__ == "__main__":
    main()
