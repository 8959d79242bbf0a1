"""info_client.py HOST PORT: one connection to an echo server, with keepalive from before it was
connected. For each SIGUSR1: a few exchanges, then TCP_INFO and whether keepalive is on as a line of
JSON. Until SIGTERM."""

import json
import signal
import socket
import struct
import sys
import time

# struct tcp_info of Linux, from `rto` on.
WORDS = ("rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent last_ack_sent "
         "last_data_recv last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss "
         "reordering rcv_rtt rcv_space total_retrans").split()
LONGS = "pacing_rate max_pacing_rate bytes_acked bytes_received".split()
MORE = "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out".split()
RATES = "delivery_rate busy_time rwnd_limited sndbuf_limited".split()
LAST = ("delivered delivered_ce", "bytes_sent bytes_retrans",
        "dsack_dups reord_seen rcv_ooopack snd_wnd")
SIZE, EXCHANGES = 20_000, 5


def tcp_info(connection):
    layout = "=8B24I4Q6I4Q2I2Q4I"
    names = (["state", "ca_state", "retransmits", "probes", "backoff", "options", "scales", "limits"]
             + WORDS + LONGS + MORE + RATES + " ".join(LAST).split())
    data = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, struct.calcsize(layout))
    return dict(zip(names, struct.unpack(layout, data), strict=True))


def keepalive(connection):
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def exchange(connection):
    connection.sendall(bytes(SIZE))
    left = SIZE
    while left:
        part = connection.recv(left)
        if not part:
            sys.exit("an early end")
        left -= len(part)


def main():
    wanted = {signal.SIGUSR1, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.connect((sys.argv[1], int(sys.argv[2])))
        exchange(connection)
        print("ready", flush=True)
        while signal.sigwait(wanted) == signal.SIGUSR1:
            before = keepalive(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(EXCHANGES):
                exchange(connection)
            time.sleep(0.2)  # what is acknowledged late is acknowledged now
            info = tcp_info(connection)
            info["keepalive"] = before and keepalive(connection)
            print(json.dumps(info), flush=True)


if __name__ == "__main__":
    main()
