#!/usr/bin/env python3
"""The rule of check_purity.py must be able to fail."""

import unittest

from check_purity import ALLOCATION, ALLOWED, is_allowed


class Purity(unittest.TestCase):
    def test_system_functions_are_refused(self):
        for symbol in ("clock_gettime", "read", "write", "socket", "pthread_create", "getrandom",
                       "malloc", "syscall", "getenv", "_ZNSt6chrono3_V212steady_clock3nowEv",
                       "_ZNSt13random_device9_M_getvalEv", "_ZNSt6thread15_M_start_threadE"):
            self.assertFalse(is_allowed(symbol, ALLOWED + ALLOCATION), symbol)

    def test_allocation_is_a_privilege(self):
        self.assertFalse(is_allowed("_Znwm", ALLOWED))
        self.assertTrue(is_allowed("_Znwm", ALLOWED + ALLOCATION))

    def test_our_own_code_is_welcome(self):
        self.assertTrue(is_allowed("_ZN3snp6sum_ofESt4spanIKSt4byteLm18446744073709551615EE", ALLOWED))


if __name__ == "__main__":
    unittest.main()
