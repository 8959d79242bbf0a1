"""A BPF program of nobody that lets everything pass, as an object file for `ip` and `tc`."""

import subprocess

_PASS = {"xdp": "2", "tc": "-1"}  # XDP_PASS, TC_ACT_UNSPEC


def pass_all(folder, section):
    """The object file, made in `folder`; `section` is "xdp" or "tc"."""
    source = folder / f"pass-{section}.bpf.c"
    source.write_text(f'__attribute__((section("{section}"), used)) int pass_all(void *context)'
                      f' {{ return {_PASS[section]}; }}\n'
                      'char terms[] __attribute__((section("license"), used)) = "GPL";\n')
    program = folder / f"pass-{section}.o"
    subprocess.run(["clang", "-O2", "-target", "bpf", "-c", source, "-o", program], check=True)
    return str(program)
