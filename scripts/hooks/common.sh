# shellcheck shell=sh
# What the samples of `exec` hooks share; each reads this file from its own directory.
#
# A hold that outlives its command must be undone once, by whoever is left: the agent, or `quiesced recover` after its
# death. So each hold has a record, a file that is written before the hold is asked for and removed when it is certainly
# over. Without a record nothing of ours is held, and `resume` does nothing: a hold of somebody else stays as it is.
#
# A sample sets `record`, defines these three, and ends with `hook`:
#
#   state     prints `free`, or `held` and whatever tells this hold from every other; fails when it cannot be known
#   hold      takes the hold; returns 2 when it certainly did not, because somebody else has it
#   let_go    ends it; where somebody else may hold the same besides, it removes the record itself, as soon as ours is over

record=${record:-}

# Clients look there for their files; the agent gives its hooks no HOME.
export HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d : -f 6)}"

fail() {
    echo "$*" >&2
    exit 1
}

# A client, for no longer than the agent gives this step (5 s by hand). In the foreground, because timeout(1) otherwise
# gives it a process group of its own, in which the agent would not find it.
within() {
    ms=${QUIESCED_DEADLINE_MS:-5000}
    timeout --foreground --kill-after 1 "$((ms / 1000)).$(printf '%03d' "$((ms % 1000))")" "$@"
}

# Writes the record, so that it survives a crash of the host where the hold does.
note() {
    if ! { printf '%s' "$1" > "$record.new" && mv -- "$record.new" "$record" && sync -- "$record" "${record%/*}"; }; then
        fail "the record $record cannot be written"
    fi
}

known_state() {
    state || fail "it cannot be asked whether anything is held"
}

quiesce() {
    [ -d "${record%/*}" ] || fail "there is no directory ${record%/*} for the record"
    # Ours, and older than this session: the host was restarted, or an earlier resume failed.
    [ ! -e "$record" ] || resume
    now=$(known_state) || exit
    [ "$now" = free ] || fail "somebody else holds it already ($now); that is left alone"
    note ''
    hold || {
        [ $? -ne 2 ] || rm -f -- "$record"
        fail "it could not be held"
    }
    now=$(known_state) || exit
    [ "$now" != free ] || fail "it was told to hold still, and does not"
    note "$now"
}

verify() {
    [ -s "$record" ] || fail "nothing was quiesced: there is no record $record"
    now=$(known_state) || exit
    [ "$now" = "$(cat -- "$record")" ] || fail "it was $(cat -- "$record"), and is $now"
}

resume() {
    [ -e "$record" ] || return 0
    now=$(known_state) || exit
    # An empty record: the hold was asked for, and nobody waited for the answer. It was free before, so it is ours.
    if [ "$now" != free ] && { [ ! -s "$record" ] || [ "$now" = "$(cat -- "$record")" ]; }; then
        let_go || fail "the hold could not be ended"
        now=$(known_state) || exit
        [ "$now" = free ] || [ ! -e "$record" ] || fail "it was told to go on, and is still $now"
    fi
    rm -f -- "$record"
}

hook() {
    case ${QUIESCED_EDGE:-} in
        quiesce | verify | resume) "$QUIESCED_EDGE" ;;
        *) fail "QUIESCED_EDGE must be quiesce, verify or resume, not '${QUIESCED_EDGE:-}'" ;;
    esac
}
