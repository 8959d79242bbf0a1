"""The words of `snp` as people see them: help, usage errors and their exit statuses, against
help.txt. `help_test.py SNP --write` writes it anew."""

import subprocess
import sys
from pathlib import Path

GOLDEN = Path(__file__).with_name("help.txt")
WORDS = [["--help"], ["run", "--help"], ["events", "--help"], ["events", "-x"], ["connections", "--help"], ["why", "--help"],
         ["offload", "--help"], ["upload", "--help"], ["stats", "--help"], ["status", "--help"],
         ["settings", "--help"], ["settings", "get", "--help"], ["settings", "set", "--help"],
         ["settings", "reset", "--help"], ["reg", "--help"], ["reg", "query", "--help"],
         ["reg", "add", "--help"], ["reg", "delete", "--help"], ["reg", "export", "--help"],
         ["reg", "import", "--help"], ["reg", "import", "/nonexistent"],
         ["policy", "--help"], ["policy", "show", "--help"], ["policy", "check", "--help"], ["policy", "load", "--help"],
         ["policy", "check", "/nonexistent"], ["netsh", "--help"], ["netstat", "--help"],
         ["netsh", "interface", "ip", "?"], ["netsh", "fly"],
         ["rss", "--help"], ["rss", "hash", "--help"], ["rss", "show", "--help"],
         ["rss", "set", "--help"], ["rss", "rebalance", "--help"], ["netdma", "--help"],
         ["netdma", "show", "--help"], ["netdma", "calibrate", "--help"], ["doctor", "--help"],
         [], ["fly"], ["offload"], ["settings", "set", "chimney"],
         ["run"], ["run", "-x"]]


def transcript(snp):
    text = ""
    for words in WORDS:
        done = subprocess.run([snp, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=20)
        text += f"$ {' '.join(['snp', *words])}\n{done.stdout.rstrip()}\n[{done.returncode}]\n\n"
    return text


def main():
    text = transcript(sys.argv[1])
    if sys.argv[2:] == ["--write"]:
        GOLDEN.write_text(text)
        return 0
    if text == GOLDEN.read_text():
        return 0
    import difflib
    sys.stdout.writelines(difflib.unified_diff(GOLDEN.read_text().splitlines(True),
                                               text.splitlines(True), "help.txt", "snp"))
    return 1


if __name__ == "__main__":
    sys.exit(main())
