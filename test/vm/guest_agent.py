"""Runs in the guest: takes one JSON line {"argv": [...]} or {"start": [...]} from the second serial
port, answers with one line. Started by the guest's init (guest.py)."""

import json
import os
import subprocess
import sys
import termios
import tty

PORT = "/dev/ttyS1"


def answer(request):
    if "start" in request:
        log = open(request["log"], "ab")
        return {"pid": subprocess.Popen(request["start"], stdin=subprocess.DEVNULL, stdout=log,
                                        stderr=log).pid}
    done = subprocess.run(request["argv"], input=request.get("stdin"), capture_output=True,
                          text=True, timeout=request.get("timeout", 60))
    return {"returncode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def main():
    with open(PORT, "r+b", buffering=0) as port:
        tty.setraw(port, termios.TCSANOW)
        port.write(b'{"hello": true}\n')
        line = b""
        while chunk := os.read(port.fileno(), 4096):
            line += chunk
            while b"\n" in line:
                request, line = line.split(b"\n", 1)
                try:
                    reply = answer(json.loads(request))
                except Exception as error:  # the host decides what it means
                    reply = {"error": f"{type(error).__name__}: {error}"}
                port.write(json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
