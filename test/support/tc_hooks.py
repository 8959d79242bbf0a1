"""The names of the BPF programs on a device's tcx and clsact hooks, as JSON {"ingress": [...], ...}.

Run in the device's namespace: `ip netns exec NAME python3 tc_hooks.py DEVICE`. bpftool and tc of
Debian 12 do not know tcx (Linux 6.6), so the kernel is asked. `... DEVICE add` puts a program
of nobody, which lets everything pass, on tcx, `fill` as many as fit; `empty` takes them off.
"""

import ctypes
import errno
import json
import os
import platform
import socket
import struct
import subprocess
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_DETACH = 5, 8, 9
BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD, BPF_PROG_QUERY = 13, 15, 16
BPF_PROG_TYPE_SCHED_CLS = 3
STRANGER = "stranger"
ATTACH_TYPES = {"ingress": 46, "egress": 47}  # BPF_TCX_INGRESS, BPF_TCX_EGRESS
NAME_OFFSET, NAME_BYTES = 64, 16  # of struct bpf_prog_info
MOST = 64
_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    attributes = ctypes.create_string_buffer(attributes, 144)
    result = _libc.syscall(SYS_BPF, command, attributes, 144)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, attributes


def name_of(program):
    fd, _ = bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("I", program))
    try:
        info = ctypes.create_string_buffer(232)
        bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack("IIQ", fd, len(info), ctypes.addressof(info)))
        return info.raw[NAME_OFFSET:NAME_OFFSET + NAME_BYTES].split(b"\0")[0].decode()
    finally:
        os.close(fd)


def load_stranger():
    """A program that answers TCX_NEXT: r0 = -1; exit."""
    code = ctypes.create_string_buffer(struct.pack("BBhiBBhi", 0xb7, 0, 0, -1, 0x95, 0, 0, 0), 16)
    license_ = ctypes.create_string_buffer(b"GPL")
    return bpf(BPF_PROG_LOAD, struct.pack(
        "IIQQIIQII16s", BPF_PROG_TYPE_SCHED_CLS, 2, ctypes.addressof(code),
        ctypes.addressof(license_), 0, 0, 0, 0, 0, STRANGER.encode()))[0]


def add(ifindex):
    bpf(BPF_PROG_ATTACH, struct.pack("IIII", ifindex, load_stranger(), ATTACH_TYPES["ingress"], 0))


def fill(ifindex):
    try:
        for _ in range(MOST):
            add(ifindex)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise


def empty(ifindex):
    for program in tcx_ids(ifindex, "ingress"):
        if name_of(program) == STRANGER:
            fd, _ = bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("I", program))
            bpf(BPF_PROG_DETACH, struct.pack("IIII", ifindex, fd, ATTACH_TYPES["ingress"], 0))


def tcx_ids(ifindex, where):
    ids = (ctypes.c_uint32 * MOST)()
    try:
        _, answer = bpf(BPF_PROG_QUERY, struct.pack("IIIIQI", ifindex, ATTACH_TYPES[where], 0, 0,
                                                    ctypes.addressof(ids), MOST))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return []  # a kernel without tcx
        raise
    return ids[:struct.unpack_from("I", answer.raw, 24)[0]]


def tcx(ifindex, where):
    return [name_of(program) for program in tcx_ids(ifindex, where)]


def clsact(device, where):
    done = subprocess.run(["tc", "-j", "filter", "show", "dev", device, where],
                          capture_output=True, text=True)
    rows = json.loads(done.stdout or "[]") if done.returncode == 0 else []
    return [row["options"]["bpf_name"].split(":")[0]
            for row in rows if "bpf_name" in row.get("options", {})]


if __name__ == "__main__":
    index = socket.if_nametoindex(sys.argv[1])
    for act in sys.argv[2:]:
        {"add": add, "fill": fill, "empty": empty}[act](index)
    print(json.dumps({where: tcx(index, where) + clsact(sys.argv[1], where)
                      for where in ATTACH_TYPES}))
