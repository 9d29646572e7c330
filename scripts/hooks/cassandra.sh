#!/bin/sh
# Cassandra: what is in memory is written to SSTables before the freeze. Holds nothing. See docs/hooks/cassandra.md.
#
#   cassandra.sh NODETOOL [OPTION…]     as an `exec` hook's quiesce; its resume is /bin/true
nodetool=${1:?usage: cassandra.sh NODETOOL [OPTION…]}
shift
# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"
within "$nodetool" "$@" flush
