"""memcached with threads, iperf3, nc and socat with half-closes through the chimney."""

from pathlib import Path

from programs import MEMCACHED_PORT, iperf3, iperf3_server, make_file, memcached
from two_paths import TwoPaths, main, url_host

SCRIPTS = Path(__file__).resolve().parent / "scripts"


class Memcached(TwoPaths):
    def values(self, attached, host):
        server = memcached(self.lab.b, attached=attached, threads=4)
        out = self.lab.a.run(["python3", SCRIPTS / "memcached_client.py", host, MEMCACHED_PORT],
                             attached=attached).stdout
        server.stop()
        return out

    def test_many_connections_over_v4(self):
        self.assertIn("24 connections done", self.compare(self.values, 20_000_000, self.lab.b.v4))

    def test_many_connections_over_v6(self):
        self.assertIn("24 connections done", self.compare(self.values, 20_000_000, self.lab.b.v6))


class Iperf3(TwoPaths):
    def transfer(self, attached, host, reverse, streams):
        server = iperf3_server(self.lab.b, attached=attached)
        report = iperf3(self.lab.a, host, attached=attached, seconds=1, reverse=reverse,
                        streams=streams)
        server.stop()
        end = report["end"]
        self.assertGreater(end["sum_received"]["bytes"], 1_000_000)
        return [len(report["start"]["connected"]), len(end["streams"])]

    def test_client_sends(self):
        self.compare(self.transfer, 1_000_000, self.lab.b.v4, False, 1)

    def test_server_sends_over_v6(self):
        self.compare(self.transfer, 1_000_000, self.lab.b.v6, True, 1)

    def test_four_streams_each_way(self):
        self.compare(self.transfer, 1_000_000, self.lab.b.v4, False, 4)
        self.compare(self.transfer, 1_000_000, self.lab.b.v4, True, 4)


class HalfClose(TwoPaths):
    """The client ends its direction and then gets an answer made from all that it sent."""

    def digest(self, attached, host, size):
        path = self.lab.folder / "to-send"
        wanted = make_file(path, size)
        server = self.lab.b.start(["socat", "TCP6-LISTEN:7300,ipv6-v6only=0,reuseaddr,fork",
                                   "EXEC:sha256sum"], attached=attached)
        server.wait_listening(7300)
        answer = self.lab.a.run(["sh", "-c", f"nc -N {host} 7300 < {path}"],
                                attached=attached).stdout.split()
        server.stop()
        self.assertEqual(answer[:1], [wanted])
        return answer

    def test_nc_to_socat_over_v4(self):
        for size in (0, 1, 5_000_000):
            self.compare(self.digest, 0, self.lab.b.v4, size)

    def test_nc_to_socat_over_v6(self):
        self.compare(self.digest, 0, self.lab.b.v6, 5_000_000)

    def to_listener(self, attached, host):
        """nc as the server: the client's data and its end of file, nothing comes back."""
        path = self.lab.folder / "to-send"
        wanted = make_file(path, 4_000_000)
        server = self.lab.b.start(["sh", "-c", "nc -l 7301 | sha256sum"], attached=attached)
        server.wait_listening(7301)
        self.lab.a.run(["socat", "-u", f"FILE:{path}", f"TCP:{url_host(host)}:7301"],
                       attached=attached)
        self.assertEqual(server.result(30).split()[0], wanted)
        return wanted

    def test_socat_to_nc(self):
        self.compare(self.to_listener, 1_000_000, self.lab.b.v4)


class Sockets(TwoPaths):
    """A Python program that walks through the socket calls and prints what each gave."""

    def transcript(self, attached, host):
        server = self.lab.b.start(["python3", SCRIPTS / "calls_server.py", "7400"],
                                  attached=attached)
        server.wait_listening(7400)
        out = self.lab.a.run(["python3", SCRIPTS / "calls_client.py", host, "7400"],
                             attached=attached).stdout
        server.stop()
        self.assertTrue(out.endswith("end\n"), out[-400:])
        return out.splitlines()

    def test_calls_over_v4(self):
        self.compare(self.transcript, 1_000_000, self.lab.b.v4)

    def test_calls_over_v6(self):
        self.compare(self.transcript, 1_000_000, self.lab.b.v6)


class Unattached(TwoPaths):
    """One end attached, the other an ordinary program: the engine must speak to the kernel."""

    def one_sided(self, sender_attached, receiver_attached):
        path = self.lab.folder / "one-sided"
        wanted = make_file(path, 20_000_000)
        server = self.lab.b.start(["sh", "-c", "nc -l 7302 | sha256sum"],
                                  attached=receiver_attached)
        server.wait_listening(7302)
        self.lab.a.run(["sh", "-c", f"nc -N {self.lab.b.v4} 7302 < {path}"],
                       attached=sender_attached)
        self.assertEqual(server.result(60).split()[0], wanted)
        return wanted

    def test_only_the_sender_is_attached(self):
        self.compare(lambda attached: self.one_sided(attached, False), 0)

    def test_only_the_receiver_is_attached(self):
        self.compare(lambda attached: self.one_sided(False, attached), 0)


if __name__ == "__main__":
    main()
