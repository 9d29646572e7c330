#!/bin/sh
# SAP ASE: updates wait from `quiesce database … hold` to `… release`. See docs/hooks/ase.md.
#
#   ase.sh RECORD SYBASE SERVER LOGIN PASSWORD-FILE TAG DATABASE…     as an `exec` hook's quiesce and resume
#
# There is no verify: no documented query tells which databases are held.
usage='usage: ase.sh RECORD SYBASE SERVER LOGIN PASSWORD-FILE TAG DATABASE…'
record=${1:?$usage}
sybase=${2:?$usage}
server=${3:?$usage}
login=${4:?$usage}
password_file=${5:?$usage}
tag=${6:?$usage}
shift 6
[ $# -gt 0 ] || {
    echo "$usage" >&2
    exit 2
}
# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"
# shellcheck source=/dev/null
. "$sybase/SYBASE.sh"

# Without -P isql reads the password from its input, before anything else. isql exits with 0 whatever the server says,
# but prints `Msg NUMBER, Level …` for each error.
sql() {
    said=$({
        head -n 1 -- "$password_file"
        printf '%s\ngo\n' "$1"
    } | within isql -S "$server" -U "$login" -b 2>&1) || return
    printf '%s\n' "$said" >&2
    case $said in *'Msg '[0-9]*', Level '*) return 2 ;; esac
}

names() {
    printf '%s' "$1"
    shift
    [ $# -eq 0 ] || printf ', %s' "$@"
}

release() {
    sql "quiesce database $tag release"
    # An empty record: nobody waited for the answer of `hold`. If the server then refuses the release, there is nothing
    # to release.
    case $?$(cat -- "$record") in
        0 | 0held | 2) rm -f -- "$record" ;;
        *) fail "the hold with tag $tag could not be released" ;;
    esac
}

case ${QUIESCED_EDGE:-} in
    quiesce)
        [ -d "${record%/*}" ] || fail "there is no directory ${record%/*} for the record"
        [ ! -e "$record" ] || release
        note ''
        sql "quiesce database $tag hold $(names "$@") for external dump" || {
            # An error of the server: it certainly did not, and the tag may be somebody else's.
            [ $? -ne 2 ] || rm -f -- "$record"
            fail "the databases could not be held"
        }
        note held
        ;;
    resume) [ ! -e "$record" ] || release ;;
    *) fail "QUIESCED_EDGE must be quiesce or resume, not '${QUIESCED_EDGE:-}'" ;;
esac
