#!/bin/sh
# InterSystems IRIS: the write daemon is suspended from ExternalFreeze to ExternalThaw. See docs/hooks/iris.md.
#
#   iris.sh RECORD INSTANCE [IRIS]     as an `exec` hook's quiesce, verify and resume, run by the instance owner
#
# IRIS is the path of the `iris` command, /usr/bin/iris unless given.
usage='usage: iris.sh RECORD INSTANCE [IRIS]'
record=${1:?$usage}
instance=${2:?$usage}
iris=${3:-/usr/bin/iris}
# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"

# What a method of Backup.General answers is its exit code: 5 is yes, 3 is no. Anything else is neither.
ask() {
    within "$iris" session "$instance" -U%SYS "##class(Backup.General).$1" < /dev/null >&2
}

state() {
    ask 'IsWDSuspendedExt()'
    case $? in
        5) echo held ;;
        3) echo free ;;
        *) return 1 ;;
    esac
}

hold() {
    ask 'ExternalFreeze()'
    [ $? -eq 5 ]
}

let_go() {
    ask 'ExternalThaw()'
    [ $? -eq 5 ]
}

hook
