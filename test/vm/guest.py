"""A small virtual machine with Debian's own kernel, for what namespaces cannot show: a network card
with an indirection table, another kernel version.

The guest runs on this machine's file system, read only, below a layer in its memory; so it has the
programs that were built here. It is emulated in software where there is no KVM. Needs root.

    with Guest(folder, cpus=4, cards=[Card("snpvm0", queues=4)]) as guest:
        print(guest.run(["uname", "-r"]).stdout)
"""

import json
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BOOT_S = 240  # emulated, on a busy machine
KERNEL = "linux-image-amd64"
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_net")  # for the way to the root
INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /ro /rw /new
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /ro
mount -t tmpfs tmpfs /rw; mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /new
mount --move /proc /new/proc; mount --move /sys /new/sys; mount --move /dev /new/dev
mount -t tmpfs tmpfs /new/run; mount -t tmpfs tmpfs /new/tmp; mkdir -p /new/run/netns /new/lib/modules
mkdir /new/dev/pts /new/dev/shm; mount -t devpts devpts /new/dev/pts; mount -t tmpfs tmpfs /new/dev/shm
mount --bind /new@MODULES@ /new/lib/modules
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup; mount -t bpf bpf /new/sys/fs/bpf
exec switch_root /new /bin/sh -c 'ip link set lo up; export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; exec python3 @AGENT@'
"""


class GuestError(Exception):
    pass


@dataclass(frozen=True)
class Card:
    """A virtio network card with receive-side scaling, joined to a tap device of that name."""
    tap: str
    queues: int = 4
    mac: str = "52:54:00:53:4e:01"


def must(argv, **options):
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise GuestError(f"{' '.join(map(str, argv))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def fetch_kernel(cache):
    """Unpacks the package of Debian's kernel once. (kernel, modules' folder)"""
    cache = Path(cache)
    if not any(cache.glob("root/boot/vmlinuz-*")):
        cache.mkdir(parents=True, exist_ok=True)
        depends = must(["apt-cache", "depends", KERNEL])
        package = next(word for word in depends.split() if word.startswith("linux-image-"
                                                                           ) and word != KERNEL)
        must(["apt-get", "download", package], cwd=cache)
        must(["dpkg-deb", "-x", next(cache.glob(f"{package}_*.deb")), cache / "root"])
        must(["depmod", "-b", cache / "root", package.removeprefix("linux-image-")])
    return next(cache.glob("root/boot/vmlinuz-*")), cache / "root/lib/modules"


def make_initramfs(folder, modules):
    root = Path(folder) / "initramfs"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    order = []
    needed = must(["modprobe", "-d", modules.parents[1], "-S", next(modules.iterdir()).name,
                   "--show-depends", "-a", *MODULES])
    for line in needed.splitlines():
        kind, file = line.split()[:2]
        if kind == "insmod" and Path(file).name not in order:  # else it is built in
            shutil.copy(file, root / "modules")
            order.append(Path(file).name)
    (root / "modules/order").write_text("\n".join(order))
    init = root / "init"
    init.write_text(INIT.replace("@MODULES@", str(modules)).replace(
        "@AGENT@", str(HERE / "guest_agent.py")))
    init.chmod(0o755)
    image = Path(folder) / "initramfs.cpio"
    must(["sh", "-c", f"cd {root} && find . | cpio -o -H newc --quiet > {image}"])
    return image


class Guest:
    def __init__(self, folder, cache, *, cpus=4, memory_mb=1024, cards=(), netns=None):
        """folder: for this guest; cache: keeps the kernel; netns: where the taps are."""
        self.folder, self.cpus, self.memory, self.cards = Path(folder), cpus, memory_mb, cards
        self.kernel, self.modules = fetch_kernel(cache)
        self.netns, self.process, self.port = netns, None, None

    def __enter__(self):
        image = make_initramfs(self.folder, self.modules)
        agent = self.folder / "agent.sock"
        argv = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", self.cpus,
                "-m", self.memory, "-nodefaults", "-display", "none", "-no-reboot", "-kernel",
                self.kernel, "-initrd", image, "-append", "console=ttyS0 quiet panic=-1",
                "-serial", f"file:{self.folder / 'console'}",
                "-chardev", f"socket,id=agent,path={agent},server=on,wait=off",
                "-serial", "chardev:agent",
                "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,"
                "multidevs=remap"]
        for number, card in enumerate(self.cards):
            argv += ["-netdev", f"tap,id=net{number},ifname={card.tap},script=no,downscript=no,"
                     f"queues={card.queues},vhost=off", "-device",
                     f"virtio-net-pci,netdev=net{number},mac={card.mac},mq=on,rss=on,hash=on,"
                     f"vectors={2 * card.queues + 2}"]
        if self.netns:
            argv = ["ip", "netns", "exec", self.netns, *argv]
        self.log = open(self.folder / "qemu.log", "wb")
        self.process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        try:
            self.connect(agent)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        if self.port:
            self.port.close()
        if self.process:
            self.process.kill()
            self.process.wait()
        self.log.close()
        return False

    def connect(self, path):
        end = time.monotonic() + BOOT_S
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                raise GuestError(f"the guest did not start: {self.describe()}")
            try:
                self.port = socket.socket(socket.AF_UNIX)
                self.port.connect(os.fspath(path))
                break
            except OSError:
                self.port.close()
                time.sleep(0.1)
        self.lines = self.port.makefile("rb")
        self.port.settimeout(BOOT_S)
        try:
            hello = self.lines.readline()
        except OSError as error:
            raise GuestError(f"the guest did not start: {self.describe()}") from error
        if b"hello" not in hello:
            raise GuestError(f"the guest did not start: {hello!r} {self.describe()}")

    def describe(self):
        text = [(self.folder / name).read_text(errors="replace")[-1500:]
                for name in ("qemu.log", "console") if (self.folder / name).exists()]
        return "\n".join(text)

    def ask(self, request, timeout):
        self.port.settimeout(timeout)
        self.port.sendall(json.dumps(request).encode() + b"\n")
        try:
            answer = json.loads(self.lines.readline())
        except (OSError, ValueError) as error:
            raise GuestError(f"no answer to {request}: {error}; {self.describe()}") from error
        if "error" in answer:
            raise GuestError(f"{request}: {answer['error']}")
        return answer

    def run(self, argv, *, check=True, stdin=None, timeout=120):
        answer = self.ask({"argv": list(map(str, argv)), "stdin": stdin, "timeout": timeout},
                          timeout + 10)
        done = subprocess.CompletedProcess(argv, answer["returncode"], answer["stdout"],
                                           answer["stderr"])
        if check and done.returncode != 0:
            raise GuestError(f"{' '.join(map(str, argv))}: status {done.returncode}: "
                             f"{done.stderr.strip() or done.stdout.strip()}")
        return done

    def start(self, argv, log="/tmp/log"):
        return self.ask({"start": list(map(str, argv)), "log": log}, 30)["pid"]
