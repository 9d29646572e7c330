#!/bin/sh
# Db2 for Linux: writes are suspended from SET WRITE SUSPEND to SET WRITE RESUME. See docs/hooks/db2.md.
#
#   db2.sh RECORD SQLLIB DATABASE     as an `exec` hook's quiesce, verify and resume, run by the instance owner
usage='usage: db2.sh RECORD SQLLIB DATABASE'
record=${1:?$usage}
sqllib=${2:?$usage}
database=${3:?$usage}
# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"
# shellcheck source=/dev/null
. "$sqllib/db2profile"

# A connection may hang while writes are suspended, so db2pd is asked, which needs none.
state() {
    said=$(within db2pd -db "$database" -dbcfg) || return
    case $(printf '%s\n' "$said" | grep -iE 'suspend_io|write suspend' | grep -owE 'YES|NO' | sort -u) in
        NO) echo free ;;
        YES) echo held ;;
        *)
            printf '%s\n' "$said" >&2
            return 1
            ;;
    esac
}

# One run of the command line processor, because its connection belongs to the process that called it; `terminate` ends
# it.
clp() {
    printf '%s;\n' "$@" terminate | within db2 -s -t +p >&2
}

hold() {
    clp "connect to $database" 'set write suspend for database'
}

# By a new connection if it comes about in time, else by the way out that IBM documents for when it does not.
let_go() {
    all=${QUIESCED_DEADLINE_MS:-5000}
    QUIESCED_DEADLINE_MS=$((all / 3))
    clp "connect to $database" 'set write resume for database' || clp "restart database $database write resume"
}

hook
