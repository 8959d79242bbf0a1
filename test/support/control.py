"""snpd's control socket from Python: the commands of `snp` without starting a program for each.

The message format is in src/snp/ipc/control_protocol.h.
"""

import ctypes
import json
import os
import socket
import struct
import threading

from netlab import LabError

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_MAGIC, _COMMAND, _REPLY, _REPLY_LAST = 0x31504E53, 5, 6, 7
_HEADER = struct.Struct("<IHH")


def in_namespace(name, make):
    """make() run by a thread that is in the network namespace; what it makes stays there."""
    result = []

    def run():
        try:
            with open(f"/run/netns/{name}") as handle:
                if _LIBC.setns(handle.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            result.append(make())
        except OSError as error:
            result.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise LabError(f"{name}: {result[0]}")
    return result[0]


def connect(end):
    """A connected control socket of the snpd of this end."""
    def make():
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.settimeout(60)
        control.connect("\0snp.control")
        return control
    return in_namespace(end.name, make)


def ask(end, command, **arguments):
    """(True, result) or (False, the error line)."""
    with connect(end) as control:
        text = json.dumps({"command": command, "arguments": arguments}).encode()
        control.send(_HEADER.pack(_MAGIC, _COMMAND, 0) + text)
        answer = b""
        while True:
            part = control.recv(1 << 16)
            if len(part) < _HEADER.size:
                raise LabError(f"snpd in {end.name} ended instead of answering '{command}'")
            _, kind, _ = _HEADER.unpack(part[:_HEADER.size])
            answer += part[_HEADER.size:]
            if kind == _REPLY_LAST:
                break
            if kind != _REPLY:
                raise LabError(f"snpd in {end.name} refused '{command}' (pid {os.getpid()})")
    reply = json.loads(answer)
    return (True, reply["result"]) if reply["ok"] else (False, reply["error"])


def flows(end, port):
    """"LOCAL-REMOTE" and state of every connection with this port, as {flow: row}."""
    done, answer = ask(end, "connections")
    if not done:
        raise LabError(answer)
    return {f"{row['local']}-{row['remote']}": row for row in answer["connections"]
            if row["local"].endswith(f":{port}") or row["remote"].endswith(f":{port}")}
