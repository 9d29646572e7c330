#!/bin/sh
# ClickHouse: what is in memory is written before the freeze. Holds nothing. See docs/hooks/clickhouse.md.
#
#   clickhouse.sh CLICKHOUSE-CLIENT [OPTION…]     as an `exec` hook's quiesce; its resume is /bin/true
client=${1:?usage: clickhouse.sh CLICKHOUSE-CLIENT [OPTION…]}
shift
# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"

said=$(within "$client" "$@" --query 'SYSTEM FLUSH ASYNC INSERT QUEUE' 2>&1) || {
    printf '%s\n' "$said" >&2
    # A syntax error: a server that is too old to have asynchronous inserts, or this statement.
    case $said in *'Code: 62'*) ;; *) fail "asynchronous inserts could not be flushed" ;; esac
}
within "$client" "$@" --query 'SYSTEM FLUSH LOGS' || fail "the system log tables could not be flushed"
