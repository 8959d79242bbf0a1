"""A hand-over loses nothing (design 3)."""

import sys
import unittest
from pathlib import Path

import control
from netlab import Lab, wait_until

SCRIPTS = Path(__file__).resolve().parent / "scripts"


class Room(unittest.TestCase):
    """What the host has sent and not got acknowledged lies in the ring of the next stay below what the
    stay before had acknowledged: the program must not take that for room."""

    PORT = 7700

    def hand_over(self, lab, verb):
        flow, = control.flows(lab.a, self.PORT)
        wait_until(lambda: control.ask(lab.a, verb, FLOW=flow)[0], 10, verb)

    def test_of_an_earlier_stay(self):
        lab = Lab().enter_for(self)
        lab.start_snpd(lab.a, settings={"chimney": "enabled", "ring_max_bytes": 1 << 20})
        peer = lab.b.start([sys.executable, SCRIPTS / "slow_reader.py", self.PORT], name="peer")
        peer.wait_listening(self.PORT)
        client = lab.a.start([sys.executable, SCRIPTS / "room_client.py", lab.b.v4, self.PORT],
                             attached=True)
        wait_until(lambda: [row["offload_state"] for row in control.flows(lab.a, self.PORT).values()]
                   == ["Offloaded"], 10, "the connection is offloaded")

        def has_written(stay):
            client.expect_running()
            return (lab.folder / f"written {stay}").exists()
        for stay, verb in enumerate(("upload", "offload", None)):
            (lab.folder / f"go {stay}").touch()
            wait_until(lambda: has_written(stay), 10, "the program has written")
            if verb:
                self.hand_over(lab, verb)
        self.assertEqual(peer.result(20).split(), [client.result(20).strip(), "True"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
