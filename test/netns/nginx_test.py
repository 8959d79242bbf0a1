"""nginx and curl through the chimney: sendfile and not, keep-alive, ranges, both families."""

import hashlib

from programs import NGINX_PORT, make_file, nginx, sha256_of
from two_paths import TwoPaths, main, url_host

_CHANGING = ("Date:", "Last-Modified:", "ETag:")


class Nginx(TwoPaths):
    def serve(self, attached, sendfile=True, workers=1):
        server = nginx(self.lab.b, attached=attached, sendfile=sendfile, workers=workers)
        self.digests = {name: make_file(server.www / name, size, seed) for seed, (name, size) in
                        enumerate({"empty": 0, "small": 1234, "middle": 300_000,
                                   "large": 30_000_000}.items())}
        return server

    def curl(self, attached, *words):
        # Unhindered, the kernel would have sent the file before the hand-over is done.
        return self.lab.a.run(["curl", "-sS", "--max-time", "100", "--limit-rate", "60M", *words],
                              attached=attached).stdout

    def headers(self, text):
        return [line for line in text.splitlines() if not line.startswith(_CHANGING)]

    def files(self, attached, host, sendfile):
        server = self.serve(attached, sendfile)
        base = f"http://{url_host(host)}:{NGINX_PORT}"
        results = []
        for name in ("empty", "small", "middle", "large"):
            out = self.lab.folder / f"got-{name}"
            out.unlink(missing_ok=True)
            head = self.curl(attached, "-D", "-", "-o", out, f"{base}/{name}")
            self.assertEqual(sha256_of(out), self.digests[name], f"{name}: wrong bytes")
            results.append(self.headers(head))
        # Four transfers on one connection, then a part, a HEAD, and a file that is not there.
        urls = [word for n in range(4) for word in ("-o", self.lab.folder / f"keep-{n}",
                                                    f"{base}/middle")]
        results.append(self.curl(attached, "-w", "%{num_connects} %{size_download}\\n", *urls))
        for n in range(4):
            self.assertEqual(sha256_of(self.lab.folder / f"keep-{n}"), self.digests["middle"])
        part = self.lab.folder / "part"
        self.curl(attached, "-r", "1000000-2999999", "-o", part, f"{base}/large")
        with open(server.www / "large", "rb") as whole:
            whole.seek(1_000_000)
            wanted = hashlib.sha256(whole.read(2_000_000)).hexdigest()
        self.assertEqual(sha256_of(part), wanted, "wrong bytes in the range")
        results.append(self.headers(self.curl(attached, "-I", f"{base}/large")))
        results.append(self.curl(attached, "-o", "/dev/null", "-w", "%{http_code}", f"{base}/none"))
        server.stop()
        return results

    def test_sendfile_over_v4(self):
        self.compare(self.files, 10_000_000, self.lab.b.v4, True)

    def test_write_over_v4(self):
        self.compare(self.files, 10_000_000, self.lab.b.v4, False)

    def test_sendfile_over_v6(self):
        self.compare(self.files, 10_000_000, self.lab.b.v6, True)

    def parallel(self, attached):
        server = self.serve(attached, workers=2)
        urls = [word for n in range(20) for word in
                ("-o", self.lab.folder / f"many-{n}", f"http://{self.lab.b.v4}:{NGINX_PORT}/middle")]
        self.curl(attached, "--parallel", "--parallel-immediate", "--limit-rate", "3M", *urls)
        digests = {sha256_of(self.lab.folder / f"many-{n}") for n in range(20)}
        server.stop()
        return digests == {self.digests["middle"]}

    def test_parallel_downloads_from_two_workers(self):
        self.assertTrue(self.compare(self.parallel, 100_000))

    def aborted(self, attached):
        """A client that goes away in the middle must not disturb the server."""
        server = self.serve(attached)
        url = f"http://{self.lab.b.v4}:{NGINX_PORT}/large"
        for _ in range(5):
            self.lab.a.run(["sh", "-c", f"curl -sS {url} | head -c 100000 >/dev/null"],
                           attached=attached)
        out = self.lab.folder / "after"
        self.curl(attached, "-o", out, url)
        server.stop()
        return sha256_of(out) == self.digests["large"]

    def test_clients_that_go_away(self):
        self.assertTrue(self.compare(self.aborted, 1_000_000))


if __name__ == "__main__":
    main()
