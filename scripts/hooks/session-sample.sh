#!/bin/sh
# A complete child for a `session` hook: holds an flock(2) from `quiesce` to `resume`.
#
#   session-sample.sh LOCKFILE
#
# Take it as a pattern for any client whose lock lives in its session. One line comes in, one line goes out: `ok` or
# `error TEXT`; everything else goes to standard error. The end of the input means: let go and exit.
lock=${1:?usage: session-sample.sh LOCKFILE}
exec 9>>"$lock" || exit 1
held=

identity() {
    stat --dereference --format '%d:%i' "$1"
}

while read -r line; do
    case $line in
        quiesce)
            # The hook's `timeout` ends the wait: this child is then ended, and the lock with it.
            if flock --exclusive 9; then
                held=yes
                echo ok
            else
                echo "error $lock cannot be locked"
            fi
            ;;
        verify)
            # Still the same lock on the same file: a lock file that was removed is locked for nobody.
            if [ -n "$held" ] && [ "$(identity "/proc/$$/fd/9")" = "$(identity "$lock")" ]; then
                echo ok
            else
                echo "error $lock is not held"
            fi
            ;;
        resume)
            flock --unlock 9
            held=
            echo ok
            ;;
        *)
            echo "error unknown line $line"
            ;;
    esac
done
