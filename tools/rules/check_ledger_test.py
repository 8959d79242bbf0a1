#!/usr/bin/env python3
"""The check of the ledger can fail."""

import copy
import tomllib
import unittest

from check_ledger import HAND_OVER, LEDGER, ROOT, check, check_rows, known_tests, wrong_citations


class Ledger(unittest.TestCase):
    def setUp(self):
        self.tests = known_tests()
        self.ledger = tomllib.loads((ROOT / LEDGER).read_text())
        self.assertEqual(check(self.ledger, self.tests), [])

    def expect(self, text, change):
        ledger = copy.deepcopy(self.ledger)
        change(ledger["requirement"])
        self.assertTrue(any(text in problem for problem in check(ledger, self.tests)), text)

    def first_tested(self, entries):
        return next(entry for entry in entries if "tests" in entry)

    def test_a_test_that_is_not_there(self):
        self.expect("no test No.Such", lambda e: self.first_tested(e)["tests"].append("No.Such"))

    def test_a_file_that_is_not_there(self):
        self.expect("no file", lambda e: self.first_tested(e)["code"].append("tcp/none.cpp"))

    def test_an_entry_without_tests(self):
        self.expect("neither tested", lambda e: self.first_tested(e).pop("tests"))

    def test_an_entry_with_no_test_named(self):
        self.expect("empty", lambda e: self.first_tested(e).update(tests=[]))

    def test_an_exception_without_a_reason(self):
        self.expect("empty", lambda e: next(x for x in e if "reason" in x).update(reason=""))

    def test_a_requirement_left_out(self):
        self.expect("9293 MUST-3: not in the ledger",
                    lambda e: e.remove(next(x for x in e if x["id"] == "MUST-3")))

    def test_a_requirement_that_is_there_twice(self):
        self.expect("twice", lambda e: e.append(e[0]))

    def test_a_number_that_the_standard_does_not_have(self):
        for name in ("MUST-70", "SHLD-32", "REC-2"):
            self.expect(f"9293 {name}: the standard has no such number",
                        lambda e, name=name: e.append({**e[0], "id": name}))
        self.assertEqual(wrong_citations("MUST-1, SHLD-31 and REC-1, but MUST-100"), ["MUST-100"])

    def test_the_last_number_left_out(self):
        for name in ("MUST-69", "SHLD-31", "REC-1"):
            self.expect(f"9293 {name}: not in the ledger",
                        lambda e, name=name: e.remove(next(x for x in e if x["id"] == name)))

    def test_a_test_that_does_not_run(self):
        self.expect("does not run", lambda e: self.first_tested(e)["tests"].append("A.DISABLED_B"))

    def test_a_test_named_twice(self):
        def repeat(entries):
            tests = self.first_tested(entries)["tests"]
            tests.append(tests[0])
        self.expect("named twice", repeat)

    def test_a_requirement_of_another_standard(self):
        self.expect("does not cover", lambda e: e.append({**e[0], "rfc": 793}))

    def test_a_standard_left_out(self):
        def leave_out(entries):
            entries[:] = [entry for entry in entries if entry["rfc"] != 5961]
        self.expect("RFC 5961: no entry", leave_out)

    def test_an_entry_both_tested_and_excepted(self):
        self.expect("neither tested", lambda e: self.first_tested(e).update(reason="No need."))

    def test_a_reference_to_nothing(self):
        self.expect("no entry 9293 MUST-99",
                    lambda e: next(x for x in e if "see" in x)["see"].append("9293 MUST-99"))

    def test_rows(self):
        text = (ROOT / HAND_OVER).read_text()
        self.assertEqual(check_rows(text, self.tests), [])
        for row, problem in (("| a rule | a deed | `No.Such` |", "no test No.Such"),
                             ("| a rule | a deed | |", "not rule, deed and tests"),
                             ("| a rule | `HandOver.TimestampsGoOn` |", "not rule, deed and tests")):
            found = check_rows(f"{text}{row}\n", self.tests)
            self.assertTrue(any(problem in each for each in found), row)
        self.assertEqual(check_rows("", self.tests), ["there is no table"])


if __name__ == "__main__":
    unittest.main()
