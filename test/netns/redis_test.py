"""redis-server and its clients through the chimney: values, pipelines, a save by fork."""

import time

from netlab import wait_until
from programs import REDIS_PORT, redis_server
from two_paths import TwoPaths, main


class Redis(TwoPaths):
    def cli(self, host, attached, *words, stdin=None):
        return self.lab.a.run(["redis-cli", "-h", host, "-p", REDIS_PORT, *words],
                              attached=attached, stdin=stdin).stdout.strip()

    def values(self, attached, host):
        server = redis_server(self.lab.b, attached=attached)
        large = "".join(chr(65 + i * 7 % 26) for i in range(3_000_000))
        answers = [self.cli(host, attached, "SET", "small", "value"),
                   self.cli(host, attached, "-x", "SET", "large", stdin=large),
                   self.cli(host, attached, "STRLEN", "large"),
                   self.cli(host, attached, "GET", "large") == large,
                   self.cli(host, attached, "GET", "missing"),
                   self.cli(host, attached, "INCR", "small")]
        # Many commands on one connection, as redis-cli reads them from its input.
        lines = "".join(f"INCRBY counter {n}\nLPUSH list {n}\n" for n in range(500))
        answers.append(self.cli(host, attached, stdin=lines + "GET counter\nLRANGE list 0 3\n"))
        server.stop()
        return answers

    def test_values_over_v4(self):
        self.compare(self.values, 6_000_000, self.lab.b.v4)

    def test_values_over_v6(self):
        self.compare(self.values, 6_000_000, self.lab.b.v6)

    def many_clients(self, attached, pipeline):
        server = redis_server(self.lab.b, attached=attached)
        self.lab.a.run(["redis-benchmark", "-h", self.lab.b.v4, "-p", REDIS_PORT, "-c", 60, "-n",
                        20000, "-P", pipeline, "-d", 300, "-t", "set,get,lpush,mset", "-q"],
                       attached=attached)
        answers = [self.cli(self.lab.b.v4, attached, "LLEN", "mylist"),
                   self.cli(self.lab.b.v4, attached, "DBSIZE")]
        server.stop()
        return answers

    def test_many_clients(self):
        self.compare(self.many_clients, 10_000_000, 1)

    def test_many_clients_with_pipelines(self):
        self.compare(self.many_clients, 10_000_000, 16)

    def save(self, attached):
        """BGSAVE forks while connections are offloaded and busy; the copy must be whole."""
        server = redis_server(self.lab.b, attached=attached,
                              options=["--enable-debug-command", "yes", "--rdbcompression", "no"])
        host = self.lab.b.v4
        self.cli(host, attached, "DEBUG", "POPULATE", "20000", "key", "500")
        digest = self.cli(host, attached, "DEBUG", "DIGEST")
        load = self.lab.a.start(["redis-benchmark", "-h", host, "-p", REDIS_PORT, "-c", 20, "-n",
                                 30000, "-t", "get", "-q"], attached=attached)
        time.sleep(0.2)
        saved_before = self.cli(host, attached, "LASTSAVE")
        time.sleep(1.1)  # LASTSAVE counts seconds
        answer = self.cli(host, attached, "BGSAVE")
        wait_until(lambda: self.cli(host, attached, "LASTSAVE") != saved_before, 30, "BGSAVE")
        load.result(60)
        status = [line for line in self.cli(host, attached, "INFO", "persistence").splitlines()
                  if line.startswith("rdb_last_bgsave_status")]
        # A server that loads the copy must have the same data.
        folder = self.lab.folder / f"redis-{self.lab.b.name[-1]}-{REDIS_PORT}"
        self.assertGreater((folder / "dump.rdb").stat().st_size, 10_000_000)
        server.stop()
        again = redis_server(self.lab.b, attached=attached,
                             options=["--enable-debug-command", "yes"])
        wait_until(lambda: self.cli(host, attached, "PING") == "PONG", 30, "the copy loaded")
        loaded = self.cli(host, attached, "DEBUG", "DIGEST")
        again.stop()
        (folder / "dump.rdb").unlink()
        return [answer, [line.strip() for line in status], digest, loaded == digest]

    def test_save_by_fork(self):
        result = self.compare(self.save, 1_000_000)
        self.assertTrue(result[-1], "the saved copy differs from the data")


if __name__ == "__main__":
    main()
