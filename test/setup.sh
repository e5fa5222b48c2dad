#!/usr/bin/env bash
# Makes sure that what the tests and the demonstration start is on this machine: a PostgreSQL server with its client
# tools, age, zstd, and node with npm for the Azure server. With arguments it looks for those commands instead: test/setup.sh restic.
#
# What is missing is installed from apt, as root or through sudo. Where neither is possible it says what to install and
# ends with 1. No cluster is made and no server is left running: tests start their own, in temporary folders.
set -euo pipefail

# has COMMAND: is it on the PATH, or where Debian puts PostgreSQL's programs?
has() {
	command -v "$1" >/dev/null 2>&1 || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null
}

# package COMMAND: the Debian package that brings it.
package() {
	case "$1" in
	postgres | initdb) echo postgresql ;;
	node) echo nodejs ;;
	psql | pg_dump | pg_restore) echo postgresql-client ;;
	*) echo "$1" ;;
	esac
}

wanted=("$@")
if [ ${#wanted[@]} -eq 0 ]; then
	wanted=(postgres initdb psql pg_dump pg_restore age zstd node npm)
fi

packages=()
for name in "${wanted[@]}"; do
	has "$name" || packages+=("$(package "$name")")
done
if [ ${#packages[@]} -eq 0 ]; then
	exit 0
fi
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)

give_up() {
	echo "setup: $1" >&2
	echo "setup: please install: ${packages[*]} (Debian's names), then run this again" >&2
	exit 1
}

command -v apt-get >/dev/null 2>&1 || give_up "some programs are missing and there is no apt-get here"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null 2>&1 || give_up "some programs are missing and installing them takes root"
	as_root=(sudo)
	if [ ! -t 0 ]; then
		as_root=(sudo -n)
	fi
	"${as_root[@]}" true || give_up "some programs are missing and sudo was refused"
fi

echo "setup: installing ${packages[*]}" >&2

# Debian makes and starts a cluster on port 5432 with a first server package; nobody asked for one. The setting is in
# place only while the package is installed: afterwards Debian's own file takes its place again.
conf=/etc/postgresql-common/createcluster.conf
no_cluster=false
if [[ " ${packages[*]} " == *" postgresql "* && ! -e $conf ]]; then
	no_cluster=true
	"${as_root[@]}" mkdir -p "$(dirname $conf)"
	echo "create_main_cluster = false" | "${as_root[@]}" tee $conf >/dev/null
fi

install=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold
	install --no-install-recommends "${packages[@]}")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "${as_root[@]}" "${install[@]}" >"$log" 2>&1; then
	# The lists of packages may be old or absent; nobody wants to wait for them when they are not.
	"${as_root[@]}" apt-get -qq update >>"$log" 2>&1 || true
	if ! "${as_root[@]}" "${install[@]}" >>"$log" 2>&1; then
		tail -n 20 "$log" >&2
		give_up "apt-get failed"
	fi
fi
if $no_cluster && [ -e $conf.dpkg-dist ]; then
	"${as_root[@]}" mv $conf.dpkg-dist $conf
fi

for name in "${wanted[@]}"; do
	has "$name" || give_up "$name is still missing"
done
