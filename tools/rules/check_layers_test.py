#!/usr/bin/env python3
"""The rules of check_layers.py must be able to fail."""

import unittest
from pathlib import Path

from check_layers import (check_include, check_rows, folder_of, is_for_tests, read_rows,
                          rows_of_tests)

TABLE = """
snp_folder(base)
snp_folder(wire USES base TEST_LIBS rapidcheck)   # a comment (with brackets)
snp_folder(device
           USES base wire TEST_LIBS snp_device_drivers_sim Threads::Threads)
snp_folder(device/drivers/sim USES base device LIBS Threads::Threads)
# row: switch USES base
"""


class Layers(unittest.TestCase):
    def setUp(self):
        self.rows = read_rows(TABLE)

    def check(self, folder, header, bracket='"', is_test=False):
        return check_include(folder, bracket, header, self.rows, is_test)

    def test_rows_are_read(self):
        self.assertEqual(self.rows["wire"], ["base"])
        self.assertEqual(self.rows["device/drivers/sim"], ["base", "device"])
        self.assertEqual(self.rows["switch"], ["base"])
        self.assertEqual(list(check_rows(self.rows)), [])

    def test_upward_rows_and_cycles_are_found(self):
        rows = read_rows("snp_folder(a USES b)\nsnp_folder(b USES a)\n")
        self.assertEqual(len(list(check_rows(rows))), 1)

    def test_files_belong_to_the_longest_row(self):
        self.assertEqual(folder_of("device/drivers/sim/x.h", self.rows), "device/drivers/sim")
        self.assertEqual(folder_of("device/x.h", self.rows), "device")
        self.assertIsNone(folder_of("nowhere/x.h", self.rows))

    def test_only_named_folders_may_be_included(self):
        self.assertIsNone(self.check("wire", "snp/base/time.h"))
        self.assertIsNone(self.check("wire", "snp/wire/frame.h"))
        self.assertIsNotNone(self.check("base", "snp/wire/frame.h"))
        self.assertIsNotNone(self.check("device", "snp/device/drivers/sim/sim.h"))
        self.assertIsNotNone(self.check("wire", "snp/nowhere/x.h"))

    def test_tests_may_use_what_they_link(self):
        rows = rows_of_tests(TABLE, self.rows)
        self.assertEqual(rows["device"], ["base", "wire", "device/drivers/sim"])
        self.assertEqual(rows["wire"], ["base"])
        self.assertTrue(is_for_tests(Path("src/snp/tcp/testing/steps.h")))
        self.assertFalse(is_for_tests(Path("src/snp/tcp/connection.h")))

    def test_includes_start_at_the_root(self):
        self.assertIsNotNone(self.check("wire", "frame.h"))

    def test_third_party_headers_have_their_place(self):
        self.assertIsNone(self.check("base", "tl/expected.hpp", "<"))
        self.assertIsNotNone(self.check("wire", "tl/expected.hpp", "<"))
        self.assertIsNotNone(self.check("wire", "gtest/gtest.h", "<"))
        self.assertIsNone(self.check("wire", "gtest/gtest.h", "<", is_test=True))

    def test_pure_folders_take_no_system_headers(self):
        self.assertIsNotNone(self.check("wire", "sys/socket.h", "<"))
        self.assertIsNotNone(self.check("wire", "thread", "<"))
        self.assertIsNone(self.check("wire", "arpa/inet.h", "<"))
        self.assertIsNone(self.check("device", "sys/socket.h", "<"))


if __name__ == "__main__":
    unittest.main()
