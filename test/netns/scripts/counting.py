"""counting.py serve PORT | connect HOST PORT

One connection, both ends of which write and read all the time, while each looks at its TCP_INFO. Files
say how it goes on: "much.ROLE" that much was written, "stop" ends the writing, "half" the client's
direction of the connection. Ends with a line of JSON: what was written and read, what TCP_INFO counts at
the end, and each counter that has ever gone back.
"""

import json
import os
import socket
import sys
import threading
import time

from info_client import tcp_info

# All that struct tcp_info counts.
COUNTERS = ("bytes_acked bytes_received bytes_sent bytes_retrans segs_out segs_in data_segs_in data_segs_out "
            "total_retrans delivered delivered_ce dsack_dups reord_seen rcv_ooopack busy_time rwnd_limited "
            "sndbuf_limited").split()
MUCH = 5_000_000
PATTERN = bytes(i % 251 for i in range(251 * 300))


def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.005)


class Watch(threading.Thread):
    """Looks all the time, and notes what goes back."""

    def __init__(self, connection):
        super().__init__()
        self.connection, self.looks, self.backwards, self.over = connection, 0, {}, threading.Event()
        self.last = tcp_info(connection)

    def run(self):
        while not self.over.is_set():
            now = tcp_info(self.connection)
            for name in COUNTERS:
                if now[name] < self.last[name]:
                    self.backwards.setdefault(name, []).append((self.looks, self.last[name], now[name]))
            self.last, self.looks = now, self.looks + 1
            time.sleep(0.0005)

    def end(self):
        self.over.set()
        self.join()
        return {"looks": self.looks, "backwards": self.backwards}


class Reader(threading.Thread):
    def __init__(self, connection):
        super().__init__()
        self.connection, self.total, self.is_right = connection, 0, True

    def run(self):
        while text := self.connection.recv(1 << 16):
            at = self.total % 251
            self.is_right &= text == PATTERN[at:at + len(text)]
            self.total += len(text)


def write(connection):
    total, size = 0, 1
    while not os.path.exists("stop"):
        at = total % 251
        connection.sendall(PATTERN[at:at + size])
        total += size
        if total - size < MUCH <= total:
            open(f"much.{sys.argv[1]}", "w").close()
        size = size * 7 % 9001 + 1
        time.sleep(0.0005)
    return total


def settled(connection):
    """Once all is acknowledged."""
    while (info := tcp_info(connection))["unacked"] or info["notsent_bytes"]:
        time.sleep(0.01)
    time.sleep(0.1)
    return tcp_info(connection)


def main():
    if sys.argv[1] == "serve":
        with socket.create_server(("", int(sys.argv[2]))) as listener:
            connection = listener.accept()[0]
    else:
        connection = socket.create_connection((sys.argv[2], int(sys.argv[3])))
    watch, reader = Watch(connection), Reader(connection)
    watch.start()
    reader.start()
    facts = {"written": write(connection)}
    open(f"written.{sys.argv[1]}", "w").close()
    wait_for("half")
    if sys.argv[1] == "connect":
        connection.shutdown(socket.SHUT_WR)
    else:
        reader.join()
    open(f"half.{sys.argv[1]}", "w").close()
    wait_for("end")
    facts["info"] = settled(connection)
    facts |= watch.end()
    if sys.argv[1] == "serve":
        wait_for("asked")
        connection.close()
    else:
        open("asked", "w").close()
        reader.join()
    facts |= {"read": reader.total, "is_right": reader.is_right}
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
