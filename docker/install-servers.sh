#!/usr/bin/env bash
# Installs what the tests and `make services` need of a Debian machine, as root; says what is missing to anyone else.
set -euo pipefail

missing=()
command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
command -v chromedriver >/dev/null || missing+=(chromium chromium-driver)
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || missing+=(postgresql)
[ -x /usr/sbin/mariadbd ] || command -v mariadbd >/dev/null || missing+=(mariadb-server)
command -v setpriv >/dev/null || missing+=(util-linux)
command -v promtool >/dev/null || missing+=(prometheus)
command -v prometheus-pushgateway >/dev/null || missing+=(prometheus-pushgateway)
PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || missing+=(golang-go)

install_packages() {
  apt-get update -qq
  # Installed for their programs: nothing is to start by itself. An image may have a policy of its own.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

# From 1.21 on, Go fetches the version that a module asks for. Debian 12's does not yet.
go_is_old() {
  [ "$(printf '%s\n' go1.21 "$(go env GOVERSION)" | sort -V | head -1)" != go1.21 ]
}

# What Vault asks for.
go_version=1.25.1
install_newer_go() {
  local module
  module=$(go mod download -json "golang.org/toolchain@v0.0.1-go$go_version.linux-$(go env GOARCH)" |
    sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  cp -r "$module" /usr/local/go
  chmod -R u+w /usr/local/go
  find /usr/local/go/bin /usr/local/go/pkg/tool -type f -exec chmod +x {} +
  ln -s /usr/local/go/bin/go /usr/local/bin/go
}

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  [ "${#missing[@]}" -eq 0 ] || echo "missing on this machine: ${missing[*]}" >&2
  exit 0
fi
[ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}"
! go_is_old || install_newer_go
