# What the scripts share; sourced, not run.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Where MySQL is unpacked, apart from the system's own packages: its packages and MariaDB's
# exclude each other.
mysql_root=${OSC_MYSQL_ROOT:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/osc/mysql-root}

# MariaDB's plugins, where the system has its programs only: their package would start a service.
mariadb_plugins=${mysql_root%/*}/mariadb-plugins

# Galera's library, and the poolers PgBouncer and pgpool-II: their packages would start services.
clusters=${mysql_root%/*}/clusters

# Where the versions of PostgreSQL are unpacked that the system's packages do not have. PostgreSQL
# does not run as root, but as a user who cannot look into root's home.
if [ "$(id -u)" = 0 ]; then
    postgres_root=${OSC_POSTGRES_ROOT:-/var/cache/osc/postgres}
else
    postgres_root=${OSC_POSTGRES_ROOT:-${mysql_root%/*}/postgres}
fi

# The system's version of PostgreSQL, and the others that osc is tested with.
postgres_major=15
postgres_others=(14 16 17 18)

# The folder of a version of PostgreSQL, with its `bin` and, if it was unpacked, its `lib`.
postgres_home() {
    local home
    for home in "/usr/lib/postgresql/$1" "$postgres_root/$1"; do
        if [ -x "$home/bin/postgres" ] && [ -x "$home/bin/initdb" ]; then
            echo "$home"
            return
        fi
    done
    return 1
}

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
