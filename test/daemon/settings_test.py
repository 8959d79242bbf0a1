"""Settings of a running snpd: live, on disk, and after restarts and crashes."""

import os
import signal
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import Lab, wait_until  # noqa: E402


class Settings(unittest.TestCase):
    def setUp(self):
        self.lab = Lab().enter_for(self)
        self.config = self.lab.folder / "snpd-a.toml"
        self.end = self.lab.a

    def get(self, name):
        return self.end.snp("settings", "get", name).stdout.strip()

    def test_changes_survive_a_restart(self):
        self.lab.start_snpd(self.end)
        self.end.snp("settings", "set", "chimney", "disabled")
        self.end.snp("settings", "set", "disabled_local_ports", "22 3306")
        self.end.snp("settings", "set", "shards", "2")
        self.assertEqual(self.get("shards"), "1")
        kept = self.config.read_text()
        self.lab.stop_snpd(self.end)
        self.lab.start_snpd(self.end)  # writes an empty file first
        self.config.write_text(kept)
        self.lab.stop_snpd(self.end)
        self.end.snpd = self.end.start([self.lab.snpd, "--config", self.config, "--device",
                                        "veth0"], name="snpd")
        wait_until(lambda: self.end.snp("status", check=False).returncode == 0, 20, "snpd ready")
        self.assertEqual(self.get("chimney"), "disabled")
        self.assertEqual(self.get("disabled_local_ports"), "22, 3306")
        self.assertEqual(self.get("shards"), "2")

    def test_changes_survive_a_killed_engine(self):
        self.lab.start_snpd(self.end, settings={"chimney": "enabled"})
        self.end.snp("settings", "set", "chimney", "disabled")
        self.end.snp("settings", "set", "ring_bytes", "2M")
        before = self.end.snp_json("status")["pid"]
        os.kill(before, signal.SIGKILL)

        def replaced():
            done = self.end.snp("status", "--json", check=False)
            return done.returncode == 0 and self.end.snp_json("status")["pid"] != before
        wait_until(replaced, 20, "a new engine")
        self.assertEqual(self.get("chimney"), "disabled")
        self.assertEqual(self.get("ring_bytes"), "2097152")

    def test_what_cannot_be_kept_is_not_changed(self):
        self.lab.start_snpd(self.end)
        self.config.unlink()
        self.config.mkdir()  # no file can be put there
        done = self.end.snp("settings", "set", "chimney", "disabled", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(str(self.config), done.stderr)
        self.assertEqual(self.get("chimney"), "automatic")

    def test_registry_files(self):
        folder = Path(__file__).resolve().parents[1] / "cli" / "reg"
        exported = self.lab.folder / "out.reg"
        self.lab.start_snpd(self.end)
        self.end.snp("reg", "export", exported)
        self.assertEqual(exported.read_bytes(), (folder / "defaults.reg").read_bytes())
        self.end.snp("reg", "import", folder / "exported.reg")
        self.assertEqual(self.get("enabled_local_ports"),
                         "80, 443, 8080, 8443, 5001, 5432, 6379, 11211")
        self.end.snp("reg", "export", exported)
        self.assertEqual(exported.read_bytes(), (folder / "exported.reg").read_bytes())
        done = self.end.snp("reg", "add", "/v", "TCPChimneyDisabledLocalPorts", "/d", "22,99999")
        self.assertIn("ignored '99999': not 1 to 65535", done.stdout)
        self.assertIn("ignored '99999': not 1 to 65535", self.end.snpd.output())
        self.assertIn("REG_MULTI_SZ    22\n", self.end.snp("reg", "query").stdout)
        self.end.snp("reg", "delete", "/va", "/f")
        self.assertEqual(self.config.read_text(), "")
        long = self.lab.folder / "long.reg"
        ports = ",".join(["38,00,20,00"] * 20000) + ",00,00,00,00"
        long.write_text("Windows Registry Editor Version 5.00\n[HKEY_LOCAL_MACHINE\\SYSTEM\\"
                        "CurrentControlSet\\Services\\Tcpip\\Parameters]\n"
                        f'"TCPChimneyEnabledLocalPorts"=hex(7):{ports}\n'
                        f'"TCPChimneyDisabledLocalPorts"=hex(7):{ports}\n')
        done = self.end.snp("reg", "import", long, check=False)
        self.assertEqual((done.returncode, done.stderr),
                         (1, "snp: the command is longer than snpd takes, 65536 bytes\n"))
        wrong = self.lab.folder / "wrong.reg"
        wrong.write_text("REGEDIT4\n[A]\n\"b\"=dword:x\n")
        done = self.end.snp("reg", "import", wrong, check=False)
        self.assertEqual((done.returncode, done.stderr),
                         (1, f"snp: {wrong}: line 3: dword: wants up to eight hexadecimal digits\n"))

    def test_a_private_snpd_keeps_nothing(self):
        program = self.end.start(["sleep", "60"], attached=True)
        wait_until(lambda: self.end.snp("status", check=False).returncode == 0, 20, "snpd ready")
        default = Path("/etc/snp/snp.toml")
        before = default.read_text() if default.exists() else None
        self.assertEqual(self.end.snp("settings", "set", "ring_bytes", "2M").stdout,
                         "ring_bytes is 2097152 until this private snpd ends\n")
        done = self.end.snp("settings", "set", "shards", "2", check=False)
        self.assertIn("this one is private", done.stderr)
        self.assertEqual(default.read_text() if default.exists() else None, before)
        program.stop()
        wait_until(lambda: not self.end.pids(), 20, "snpd gone")


if __name__ == "__main__":
    unittest.main(verbosity=2)
