# What the scripts share; sourced, not run.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Where MySQL is unpacked, apart from the system's own packages: its packages and MariaDB's
# exclude each other.
mysql_root=${OSC_MYSQL_ROOT:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/osc/mysql-root}

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $*"
    exit 1
}

# Runs a command that prints only when it fails.
quietly() {
    local log
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        rm -f "$log"
    else
        cat "$log" >&2
        rm -f "$log"
        die "failed: $*"
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -n "$@"
    else
        say "needs root, and there is no sudo: $*"
        return 1
    fi
}

# Installs Debian packages, without ever removing one.
packages() {
    command -v apt-get >/dev/null || die "no apt-get here; please install: $*"
    quietly as_root apt-get update
    quietly as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-remove --no-install-recommends "$@"
}

# What the build needs beside cargo: a C compiler, for parts of the dependencies.
install_compiler() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust first"
    if ! command -v cc >/dev/null; then
        say "installing a C compiler"
        packages gcc libc6-dev
    fi
}
