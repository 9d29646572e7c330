#!/bin/sh
# SAP HANA: a data snapshot is prepared from CREATE SNAPSHOT to CLOSE SNAPSHOT. See docs/hooks/hana.md.
#
#   hana.sh RECORD HDBSQL KEY     as an `exec` hook's quiesce, verify and resume
#
# KEY stands for the system database and its user in the secure user store (hdbuserstore) of the user that runs this.
usage='usage: hana.sh RECORD HDBSQL KEY'
record=${1:?$usage}
hdbsql=${2:?$usage}
key=${3:?$usage}
# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"
ours="quiesced ${QUIESCED_HOOK:-hana}"

sql() {
    within "$hdbsql" -U "$key" -a -x -j "$1"
}

# HANA has one prepared snapshot at a time.
prepared() {
    sql "SELECT BACKUP_ID$1 FROM M_BACKUP_CATALOG WHERE ENTRY_TYPE_NAME = 'data snapshot' AND STATE_NAME = 'prepared'"
}

state() {
    id=$(prepared '') || return
    case $id in
        '') echo free ;;
        *[!0-9]*) return 1 ;;
        *) echo "held $id" ;;
    esac
}

hold() {
    rm -f -- "$record.proved"
    sql "BACKUP DATA FOR FULL SYSTEM CREATE SNAPSHOT COMMENT '$ours ${QUIESCED_EXECUTION_ID:-None}'" >&2
}

# The catalogue calls it successful only if it was still prepared when the snapshot had been initiated.
let_go() {
    if [ -e "$record.proved" ]; then
        outcome="SUCCESSFUL 'EBS snapshot, execution ${QUIESCED_EXECUTION_ID:-None}'"
    else
        outcome="UNSUCCESSFUL 'no EBS snapshot is known to be good'"
    fi
    sql "BACKUP DATA FOR FULL SYSTEM CLOSE SNAPSHOT BACKUP_ID ${now#held } $outcome" >&2
}

case ${QUIESCED_EDGE:-} in
    quiesce)
        # A stale one of ours has our comment, whatever became of the record.
        if [ ! -e "$record" ]; then
            rm -f -- "$record.proved"
            stale=$(prepared ", COMMENT") || fail "it cannot be asked whether anything is held"
            case $stale in *,"$ours "* | *,\""$ours "*) note "held ${stale%%,*}" ;; esac
        fi
        hook
        ;;
    verify)
        hook
        : > "$record.proved"
        ;;
    resume)
        hook
        rm -f -- "$record.proved"
        ;;
    *) hook ;;
esac
