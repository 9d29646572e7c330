#!/bin/sh
# Firebird: changes go to a difference file from `nbackup -L` to `nbackup -N`. See docs/hooks/firebird.md.
#
#   firebird.sh RECORD DATABASE [USER PASSWORD-FILE]     as an `exec` hook's quiesce, verify and resume
usage='usage: firebird.sh RECORD DATABASE [USER PASSWORD-FILE]'
record=${1:?$usage}
database=${2:?$usage}
user=${3:-}
password_file=${4:-}
PATH=$PATH:/opt/firebird/bin
# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"
# Debian's name for gstat.
gstat=$(command -v fbstat) || gstat=gstat

nbackup() {
    within nbackup ${user:+-user "$user" -fetch_password "$password_file"} "$1" "$database"
}

# The lock lies in the header of the file, which is read there: it needs no connection. Each lock has a new GUID, which
# stays in the header after the unlock.
state() {
    header=$(within "$gstat" -h "${database##*:}") || return
    case $header in
        *'backup lock'* | *'backup merge'*)
            printf '%s\n' "$header" | sed -n 's/.*Database backup GUID:[[:space:]]*/held /p' | grep .
            ;;
        *Attributes*) echo free ;;
        *) return 1 ;;
    esac
}

hold() {
    said=$(nbackup -L 2>&1) && return
    printf '%s\n' "$said" >&2
    case $said in *'already in the physical backup mode'*) return 2 ;; esac
    return 1
}

let_go() {
    nbackup -N
}

hook
