"""Counts what passes a device, both ways, with a packet socket of its own: frames, IP octets, and TCP
segments as the device cuts them (a frame that is still to be cut says its segment size)."""

import collections
import socket
import struct
import threading

from control import in_namespace
from netlab import LabError, wait_until

_ETH_P_ALL, _SOL_PACKET, _SO_RCVBUFFORCE = 3, 263, 33
_PACKET_STATISTICS, _PACKET_VNET_HDR = 6, 15
_PACKET_OUTGOING = 4
_VNET = struct.Struct("<BBHHHH")  # virtio_net_hdr: flags, gso_type, hdr_len, gso_size, ...
_V4, _V6 = 0x0800, 0x86DD
_TCP, _RST, _SYN = 6, 4, 2
_SNAP = 256


class Counts(collections.Counter):
    """frames, octets; of TCP: segments, payload, resets."""


class WireCount:
    """Between start and stop: .sent and .received, as the namespace of `end` sees it.

    Each maps a key to Counts: "ipv4" and "ipv6" for all of the family, (family, local port, remote
    port) for a connection.
    """

    def __init__(self, end, device):
        self.lock = threading.Lock()
        self.forget()
        self.given = self.taken = self.drops = 0  # by the kernel, by the reader, by nobody

        def make():
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 256 << 20)
            made.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
            made.bind((device, _ETH_P_ALL))
            made.settimeout(0.1)
            return made
        self.socket = in_namespace(end.name, make)
        self.is_stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def forget(self):
        with self.lock:
            self.sent = collections.defaultdict(Counts)
            self.received = collections.defaultdict(Counts)
            self.seen = 0

    def frames(self):
        """Those that have passed since forget(), all of them counted here."""
        wait_until(self._has_caught_up, 10, "the capture's reader")
        return self.seen

    def stop(self):
        self.is_stopping = True
        self.thread.join()
        self.socket.close()

    def check(self):
        """LabError when the kernel has dropped a frame on its way to us."""
        self._ask_kernel()
        if self.drops:
            raise LabError(f"the capture lost {self.drops} frames, {self.given} came")

    def _ask_kernel(self):
        # Asking sets them to zero. The first number has the second one in it.
        packets, drops = struct.unpack("II", self.socket.getsockopt(_SOL_PACKET,
                                                                    _PACKET_STATISTICS, 8))
        self.given += packets - drops
        self.drops += drops

    def _has_caught_up(self):
        self._ask_kernel()
        return self.taken >= self.given

    def _run(self):
        buffer = bytearray(_SNAP)
        while not self.is_stopping:  # traffic may go on for ever when a test has failed
            try:
                length, _, _, address = self.socket.recvmsg_into([buffer], 0, socket.MSG_TRUNC)
            except TimeoutError:
                continue
            with self.lock:
                self._count(buffer, length, address[2] == _PACKET_OUTGOING)
                self.seen += 1
                self.taken += 1

    def _count(self, buffer, length, is_outgoing):
        gso_size = _VNET.unpack_from(buffer)[3]
        frame = memoryview(buffer)[_VNET.size:]
        length -= _VNET.size
        family = struct.unpack_from("!H", frame, 12)[0]
        if family not in (_V4, _V6):
            return
        side = self.sent if is_outgoing else self.received
        name = "ipv4" if family == _V4 else "ipv6"
        ip = frame[14:]
        header = (ip[0] & 15) * 4 if family == _V4 else 40
        protocol = ip[9] if family == _V4 else ip[6]
        keys = [name]
        counted = Counts(frames=1, octets=length - 14)
        if protocol == _TCP:
            source, target = struct.unpack_from("!HH", ip, header)
            payload = length - 14 - header - (ip[header + 12] >> 4) * 4
            counted["tcp_frames"] = 1
            counted["segments"] = -(-payload // gso_size) if gso_size and payload else 1
            counted["payload"] = payload
            counted["resets"] = 1 if ip[header + 13] & _RST else 0
            ports = (source, target) if is_outgoing else (target, source)
            keys.append((name, *ports))
        for key in keys:
            side[key].update(counted)
