#!/bin/sh
# MongoDB: a mongod takes no writes from `fsync` with `lock` to `fsyncUnlock`. See docs/hooks/mongodb.md.
#
#   mongodb.sh RECORD URI-FILE [MONGOSH]     as an `exec` hook's quiesce, verify and resume
#
# URI-FILE holds the connection string with its password; MONGOSH is /usr/bin/mongosh unless given. The lock is counted
# and outlives its connection. While it is held a new connection may have to wait for it when it logs in, so the one
# that took it is kept: by a process that is left behind, the keeper, which is asked through files beside the record.
# If it dies, a new connection is tried.
usage='usage: mongodb.sh RECORD URI-FILE [MONGOSH]'
record=${1:?$usage}
export MONGODB_URI_FILE="${2:?$usage}" MONGODB_RECORD="$record" MONGODB_KEEPER="$record.keeper"
mongosh=${3:-/usr/bin/mongosh}
# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"
script=${0%/*}/mongodb.js

client() {
    MONGODB_DO=$1 within "$mongosh" --quiet --norc --nodb --file "$script"
}

# The keeper has its lock file locked as long as it lives.
keeper_lives() {
    [ -e "$MONGODB_KEEPER/lock" ] && ! flock --nonblock "$MONGODB_KEEPER/lock" true
}

answer_of_keeper() {
    left=$((${QUIESCED_DEADLINE_MS:-5000} / 50))
    while [ ! -e "$MONGODB_KEEPER/answer" ]; do
        left=$((left - 1))
        [ "$left" -gt 0 ] && keeper_lives || return
        sleep 0.05
    done
    cat -- "$MONGODB_KEEPER/answer"
}

ask_keeper() {
    keeper_lives || return
    rm -f -- "$MONGODB_KEEPER/answer"
    printf '%s' "$1" > "$MONGODB_KEEPER/ask.new"
    mv -- "$MONGODB_KEEPER/ask.new" "$MONGODB_KEEPER/ask"
    answer_of_keeper
}

state() {
    said=$(ask_keeper state) || said=$(client state) || return
    printf '%s\n' "$said" | grep -E '^(free|held .*)$'
}

hold() {
    mkdir -p -- "$MONGODB_KEEPER" && rm -f -- "$MONGODB_KEEPER/ask" "$MONGODB_KEEPER/answer" || return
    # An earlier keeper may be about to end.
    MONGODB_DO=keep flock --wait 2 "$MONGODB_KEEPER/lock" "$mongosh" --quiet --norc --nodb --file "$script" \
        > "$MONGODB_KEEPER/log" 2>&1 < /dev/null &
    # Until it has its lock, it seems not to live.
    while ! keeper_lives && kill -0 "$!" 2> /dev/null; do sleep 0.05; done
    said=$(answer_of_keeper)
    case $said in
        locked) ;;
        busy) return 2 ;;
        *)
            printf '%s\n' "$said" >&2
            tail -n 5 -- "$MONGODB_KEEPER/log" >&2
            return 1
            ;;
    esac
}

# Once: a lock that is left is somebody else's.
let_go() {
    said=$(ask_keeper unlock) || said=$(client unlock) || return
    case $said in
        *unlocked*) rm -f -- "$record" ;;
        *) return 1 ;;
    esac
}

hook
