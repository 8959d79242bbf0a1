#!/bin/bash
# install_deps.sh [vm]
# Installs the Debian packages that build, tests and demo need; vm: those of the tests in virtual
# machines, too. Says nothing and touches nothing when they are all there. Needs root only when
# something is missing.
set -euo pipefail

build=(cmake ninja-build make g++ ccache pkg-config git python3
       clang bpftool libbpf-dev libmnl-dev libnftables-dev libip4tc-dev libip6tc-dev libtomlplusplus-dev nlohmann-json3-dev libcli11-dev libedit-dev
       libfmt-dev libspdlog-dev libexpected-dev libabsl-dev libsystemd-dev libdpdk-dev linux-libc-dev)
check=(libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev libclang-rt-14-dev
       clang-format clang-tidy shellcheck groff-base)
# Programs that tests and demo run, unmodified, and the tools that prepare their networks.
programs=(redis-server redis-tools nginx-light wrk memcached iperf3 curl socat iproute2 ethtool nftables
          iptables tcpdump procps strace)
machines=(qemu-system-x86 busybox-static cpio kmod)

wanted=("${build[@]}" "${check[@]}" "${programs[@]}")
[[ ${1-} == vm ]] && wanted+=("${machines[@]}")
missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [[ $status == ii* || $status == hi* ]] || missing+=("$package")
done
((${#missing[@]} == 0)) && exit 0

if ((EUID != 0)); then
  echo "install_deps: missing: ${missing[*]}" >&2
  echo "install_deps: run 'sudo make install-deps', or install them yourself" >&2
  exit 1
fi

# redis, nginx and memcached must not begin to serve on this machine only because tests use their
# programs: a policy-rc.d that answers 101 ("not allowed") keeps packages from starting services.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi

echo "install_deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

# systemd would start them at the next boot: disable what this run brought.
if [[ -d /run/systemd/system ]]; then
  for package in "${missing[@]}"; do
    case $package in
      redis-server) systemctl disable -q redis-server ;;
      nginx-light) systemctl disable -q nginx ;;
      memcached) systemctl disable -q memcached ;;
    esac
  done
fi
