#!/bin/sh
# Installs what the tests need beyond Node: a Python environment in .venv, and system packages where this is root on a
# machine with apt. Elsewhere it says what is missing: tests that need it are skipped, but where CI is set that is a
# failure. `prepare.sh cluster` is for a test cluster with a node: container runtime and network instead.
set -eu
cd "$(dirname "$0")/.."

missing=''
lacks() { missing="$missing $1"; }
cluster_packages() {
  command -v openssl >/dev/null || lacks openssl
  command -v containerd >/dev/null || lacks containerd
  command -v runc >/dev/null || lacks runc
  [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || lacks containernetworking-plugins
  command -v iptables >/dev/null || lacks iptables
  command -v conntrack >/dev/null || lacks conntrack
  command -v socat >/dev/null || lacks socat
  command -v ip >/dev/null || lacks iproute2
  command -v buildah >/dev/null || lacks buildah
}

program_packages() {
  command -v python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null || lacks python3-venv
  command -v strace >/dev/null || lacks strace
  command -v swaks >/dev/null || lacks swaks
  perl -MNet::SSLeay -e 1 2>/dev/null || lacks libnet-ssleay-perl
  command -v promtool >/dev/null || lacks prometheus
  command -v unbound >/dev/null || lacks unbound
  [ -x /usr/sbin/smtp-source ] || lacks postfix
  command -v openssl >/dev/null || lacks openssl
}
if [ "${1:-}" = cluster ]; then cluster_packages; else program_packages; fi

# Packages such as prometheus and unbound start a service when they are installed; policy-rc.d forbids it.
install_packages() {
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  # The tests bring their own configurations of Postfix.
  echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
  apt-get -qq update &&
    # shellcheck disable=SC2086 # one word for each package
    apt-get -qq install -y --no-install-recommends -o Dpkg::Use-Pty=0 $missing
}

if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing system packages for the tests:$missing"
  log=$(mktemp)
  if (install_packages) >"$log" 2>&1; then missing=''; else cat "$log" >&2; fi
  rm -f "$log"
fi
if [ -n "$missing" ]; then
  echo "Missing for the tests (names of Debian packages):$missing" >&2
  if [ -n "${CI:-}" ]; then exit 1; fi
  echo 'The tests that need them are skipped.' >&2
fi

if [ "${1:-}" = cluster ]; then exit 0; fi
if ! cmp -s test/requirements.txt .venv/requirements.txt; then
  case $missing in
    *python3-venv*) exit 0 ;;
  esac
  echo 'Making the Python environment of the tests in .venv'
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r test/requirements.txt
  cp test/requirements.txt .venv/requirements.txt
fi
