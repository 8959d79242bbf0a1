#!/usr/bin/env python3
"""No file longer than 800 lines; 400 is the aim. (Functions: clang-tidy, readability-function-size.)"""

from sources import files, finish, name

CEILING = 800


def main():
    checked = files(["src", "test", "bpf", "tools", "cmake"],
                    (".h", ".cpp", ".c", ".def", ".py", ".sh", ".cmake", "CMakeLists.txt"))
    problems = []
    for path in checked:
        lines = len(path.read_text().splitlines())
        if lines > CEILING:
            problems.append(f"{name(path)}: {lines} lines, the ceiling is {CEILING}: split it")
    finish(problems, f"{len(checked)} files, none above {CEILING} lines")


if __name__ == "__main__":
    main()
