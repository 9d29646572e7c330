# shellcheck shell=sh
# What the fake clients share: an engine that is a directory beside them.
#
#   hold       while anything is held: what tells this hold from the next one
#   taken      a line for each hold that was taken
#   released   a line for each hold that was released
#   refuse     if there, holds are refused
#   slow       if there, holds take effect but are never answered
#   hang       if there, new connections wait for ever
engine=$(cd "$(dirname "$0")/../engine" && pwd)

# A password that ps(1) would show.
case "$* $(env)" in *secret*)
    echo "a password on the command line or in the environment" >&2
    exit 70
    ;;
esac

held() { [ -e "$engine/hold" ]; }
refuses() { [ -e "$engine/refuse" ]; }

take() {
    echo taken >> "$engine/taken"
    wc -l < "$engine/taken" | tr -d ' ' > "$engine/hold"
    [ ! -e "$engine/slow" ] || exec sleep 60
}

# Counted first: whoever sees that nothing is held may end this client.
release() {
    echo released >> "$engine/released"
    rm "$engine/hold"
}
