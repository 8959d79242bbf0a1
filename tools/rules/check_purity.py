#!/usr/bin/env python3
"""Pure folders ask the system nothing.

    check_purity.py [--may-allocate] LIB.a ...

Lists the undefined symbols of each archive (`nm -u`) and fails on any that is not named here. What
is named: our own code, memory and string functions, the parts of the C++ library that only compute,
SNP_ASSERT's way out, and what sanitizers add.
"""

import argparse
import re
import subprocess
import sys

ALLOWED = [
    r"_Z.*3snp.*",                        # our own, of another folder
    r"mem(cpy|set|move|cmp|chr)|str(len|cmp)",
    r"abort|fprintf|fwrite|stderr",       # SNP_ASSERT, for our own bugs
    r"__gxx_personality_v0|__cxa_(begin_catch|end_catch|rethrow)|_Unwind_Resume|_ZSt9terminatev",
    r"_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|_ZTVN10__cxxabiv1\w+",
    r"_ZSt\d+__throw_\w+",                # out of range, length: our own bugs again
    r"_ZNK?St7__cxx1112basic_string.*",
    r"__(asan|ubsan|tsan)_\w+",
    r"cbrt|sqrt|pow|__popcountdi2|snprintf",
    r"inet_(ntop|pton)",                  # text only
    r"__cpu_model",                       # what this CPU can multiply
    r"__libc_single_threaded",            # read by shared_ptr
    r"_ZTI\w+|__cxa_pure_virtual",        # types of shared_ptr's, when nothing is optimised
]
ALLOCATION = [r"_Znwm|_ZdlPvm?"]


def symbols_of(archive, *options):
    out = subprocess.run(["nm", "--format=posix", *options, archive], capture_output=True, text=True,
                         check=True).stdout
    return {line.split()[0].split("@")[0] for line in out.splitlines() if len(line.split()) > 1}


def is_allowed(symbol, patterns):
    return any(re.fullmatch(p, symbol) for p in patterns)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--may-allocate", action="store_true")
    parser.add_argument("archives", nargs="+")
    arguments = parser.parse_args()
    patterns = ALLOWED + (ALLOCATION if arguments.may_allocate else [])
    broken = 0
    for archive in arguments.archives:
        for symbol in sorted(symbols_of(archive, "-u")):
            if is_allowed(symbol, patterns):
                continue
            print(f"{archive}: {symbol}: not for a pure folder")
            broken += 1
        if not symbols_of(archive):
            print(f"{archive}: no symbols at all, is this the library?")
            broken += 1
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
