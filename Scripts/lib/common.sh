# shellcheck shell=bash
# What the scripts share: packages, building, a throw-away PostgreSQL, and cleaning up. Source it; it sets strict mode.
#
# Everything started or created here is written down in `owned_pids` and `owned_directories`, and ends with the script,
# however the script ends: newest first, each process by its own pid. Processes started by root run as an unprivileged
# user, because PostgreSQL and the poolers refuse to run as root.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
owned_pids=()
owned_directories=()
packages_are_fresh=no

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# --- Cleaning up -----------------------------------------------------------------------------------------------------

# Whether the child $1 ends within $2 seconds. (The shell collects its children as they end.)
ends_within() {
    local pid=$1 left
    for ((left = $2 * 20; left > 0; left--)); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.05
    done
    return 1
}

# Ends the child $1: in good order, else at once, else by force. SIGINT and SIGQUIT mean just this to PostgreSQL and
# to Weir alike.
end_process() {
    kill -INT "$1" 2>/dev/null && ! ends_within "$1" 5 &&
        kill -QUIT "$1" 2>/dev/null && ! ends_within "$1" 3 &&
        kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null || true
}

clean_up() {
    local status=$? index
    trap - EXIT
    trap '' INT TERM
    for ((index = ${#owned_pids[@]} - 1; index >= 0; index--)); do
        end_process "${owned_pids[index]}"
    done
    for ((index = ${#owned_directories[@]} - 1; index >= 0; index--)); do
        rm -rf -- "${owned_directories[index]}"
    done
    exit "$status"
}

clean_up_at_exit() {
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# A shell without job control starts what runs in its background with SIGINT ignored, and bash cannot take that back.
# Called with the script's own arguments, this starts the script again, with a SIGINT that ends it.
listen_to_interrupts() {
    local name value
    while read -r name value; do
        [[ $name == SigIgn: ]] && break
    done <"/proc/$$/status"
    ((0x${value:-0} & 2)) || return 0
    env --default-signal=INT true 2>/dev/null || return 0
    exec env --default-signal=INT "${BASH_SOURCE[-1]}" "$@"
}

# --- Packages and building -------------------------------------------------------------------------------------------

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root (or sudo) for: $*"
    fi
}

# Installs those of the named Debian packages that are missing.
need_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || return 0
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]} > 0)) || return 0
    say "Installing ${missing[*]} ..."
    if [[ $packages_are_fresh == no ]]; then
        as_root apt-get -qq -o DPkg::Lock::Timeout=300 update
        packages_are_fresh=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" >/dev/null
}

need_swift() {
    command -v swift >/dev/null || die "no 'swift' on PATH: install a Swift 6.3 toolchain (https://www.swift.org/install/linux)"
}

# Builds the release binary; sets WEIR_BINARY. A WEIR_BINARY that is already set is used as it is.
build_weir() {
    if [[ -n ${WEIR_BINARY:-} ]]; then
        [[ -x $WEIR_BINARY ]] || die "WEIR_BINARY is not a program: $WEIR_BINARY"
        return 0
    fi
    need_swift
    need_packages libssl-dev liburing-dev pkg-config
    say "Building Weir ..."
    swift build --package-path "$top" -c release --static-swift-stdlib --product weir >&2 || die "the build failed"
    WEIR_BINARY=$top/.build/release/weir
}

# --- Unprivileged processes ------------------------------------------------------------------------------------------

# The user for everything that must not be root: oneself, or for root `postgres`, else `nobody`.
unprivileged_user() {
    if ((EUID != 0)); then
        id -un
    elif id postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo nobody
    fi
}

# Runs a command as the unprivileged user, in this shell's place. The command gets SIGINT when this script dies, so
# that nothing outlives even a `kill -9` of the script.
exec_unprivileged() {
    local identity=() user
    if ((EUID == 0)); then
        user=$(unprivileged_user)
        identity=(--reuid "$user" --regid "$(id -g "$user")" --init-groups)
    fi
    exec setpriv "${identity[@]}" --pdeathsig INT "$@"
}

run_unprivileged() { (exec_unprivileged "$@"); }

# Starts a command as the unprivileged user, away from the terminal's Ctrl-C (clean_up ends it in its turn), with its
# output in the file $1. The pid is in `started_pid`.
start_unprivileged() {
    local output=$1
    shift
    (exec_unprivileged setsid "$@") >"$output" 2>&1 </dev/null &
    started_pid=$!
    owned_pids+=("$started_pid")
}

# A new directory that belongs to the unprivileged user and goes when the script ends; its name is in `made_directory`.
make_directory() {
    made_directory=$(mktemp -d "${TMPDIR:-/tmp}/weir-$1.XXXXXX")
    owned_directories+=("$made_directory")
    ((EUID != 0)) || chown "$(unprivileged_user)" "$made_directory"
}

port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port of 127.0.0.1 on which nobody listens.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        port_is_taken "$port" || break
    done
    echo "$port"
}

# --- PostgreSQL ------------------------------------------------------------------------------------------------------

# Sets `pg_bin` to the folder of the newest installed server.
find_pg_bin() {
    local folder
    if [[ -z ${PG_BIN:-} ]]; then
        need_packages postgresql
        for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V) "$(pg_config --bindir 2>/dev/null || true)"; do
            if [[ -x $folder/initdb && -x $folder/postgres ]]; then PG_BIN=$folder; fi
        done
    fi
    [[ -x ${PG_BIN:-}/initdb ]] || die "no PostgreSQL server found (looked in /usr/lib/postgresql/*/bin); set PG_BIN"
    pg_bin=$PG_BIN
}

# Waits until the server of the data directory $1 takes connections on port $2; $3 is its pid, $4 its log.
wait_for_postgres() {
    local directory=$1 port=$2 pid=$3 log=$4 left
    for ((left = 600; left > 0; left--)); do
        "$pg_bin/pg_isready" -q -h "$directory" -p "$port" && return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    tail -n 20 "$log" >&2
    die "PostgreSQL did not start"
}

# start_throwaway_postgres AUTH CONNECTIONS_MAX: a primary in a temporary directory, listening on 127.0.0.1. AUTH
# (trust or scram-sha-256) is asked for over TCP; the superuser `postgres` gets in without a password, but only through
# the socket in the directory, which nobody else can open. Sets pg_directory, pg_sockets and pg_port.
start_throwaway_postgres() {
    local auth=$1 connections_max=$2
    find_pg_bin
    make_directory postgres
    pg_directory=$made_directory
    pg_sockets=$pg_directory
    pg_port=$(free_port)
    run_unprivileged "$pg_bin/initdb" -D "$pg_directory/primary" -U postgres -A trust -E UTF8 --locale=C.UTF-8 \
        --no-sync >"$pg_directory/initdb.log" 2>&1 || { cat "$pg_directory/initdb.log" >&2; die "initdb failed"; }
    cat >"$pg_directory/primary/pg_hba.conf" <<HBA
local all         all              trust
local replication all              trust
host  all         all 127.0.0.1/32 $auth
HBA
    cat >>"$pg_directory/primary/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$pg_sockets'
max_connections = $connections_max
password_encryption = 'scram-sha-256'
wal_keep_size = '64MB'
# Nothing here has to survive a crash.
fsync = off
synchronous_commit = off
full_page_writes = off
CONF
    start_unprivileged "$pg_directory/primary.log" "$pg_bin/postgres" -D "$pg_directory/primary" -p "$pg_port"
    wait_for_postgres "$pg_sockets" "$pg_port" "$started_pid" "$pg_directory/primary.log"
}

# A streaming replica of the throw-away primary; sets pg_replica_port.
start_throwaway_replica() {
    pg_replica_port=$(free_port)
    run_unprivileged "$pg_bin/pg_basebackup" -D "$pg_directory/replica" -R -X stream -c fast --no-sync \
        -h "$pg_sockets" -p "$pg_port" -U postgres >"$pg_directory/basebackup.log" 2>&1 ||
        { cat "$pg_directory/basebackup.log" >&2; die "pg_basebackup failed"; }
    start_unprivileged "$pg_directory/replica.log" \
        "$pg_bin/postgres" -D "$pg_directory/replica" -p "$pg_replica_port"
    wait_for_postgres "$pg_sockets" "$pg_replica_port" "$started_pid" "$pg_directory/replica.log"
}

# SQL for the throw-away primary, as its superuser: postgres_sql DATABASE SQL.
postgres_sql() {
    "$pg_bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$pg_sockets" -p "$pg_port" -U postgres -d "$1" -c "$2" >/dev/null
}
