#!/usr/bin/env bash
# Installs what the tests and `make services` need of a Debian machine, as root; says what is missing to anyone else.
set -euo pipefail

missing=()
command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
command -v chromedriver >/dev/null || missing+=(chromium chromium-driver)
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || missing+=(postgresql)
[ -x /usr/sbin/mariadbd ] || command -v mariadbd >/dev/null || missing+=(mariadb-server)
command -v setpriv >/dev/null || missing+=(util-linux)
command -v go >/dev/null || [ -x /usr/local/go/bin/go ] || missing+=(golang-go)

if [ "${#missing[@]}" -eq 0 ]; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing on this machine: ${missing[*]}" >&2
  exit 0
fi
apt-get update -qq
# Installed for their programs: nothing is to start by itself.
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
