#!/bin/bash
# SQL Server 2022 and later on Linux: databases take no writes from SUSPEND_FOR_SNAPSHOT_BACKUP to the BACKUP WITH
# METADATA_ONLY that ends it, both in one session. See docs/hooks/sqlserver.md.
#
#   sqlserver.sh SQLCMD SERVER DIRECTORY DATABASE…     as a `session` hook's command
#
# The backup's metadata, which a restore needs, is written by the server to DIRECTORY. It is also the proof: the server
# makes it only of databases that this session has suspended. Logs in with Kerberos: sqlcmd would take a password only
# from the command line, the environment or a terminal.
usage='usage: sqlserver.sh SQLCMD SERVER DIRECTORY DATABASE…'
sqlcmd=${1:?$usage} server=${2:?$usage} directory=${3:?$usage}
shift 3
# Clients look there for their files, of Kerberos too; the agent gives its hooks no HOME.
export HOME=~
databases=("$@")
[[ $* =~ ^[A-Za-z0-9_\ -]+$ ]] || {
    echo "$usage; names have letters, digits, - and _" >&2
    exit 2
}
bracketed=$(printf ', [%s]' "${databases[@]}")
quoted=$(printf ", '%s'" "${databases[@]}")
bracketed=${bracketed#, } quoted=${quoted#, }

# One answer from a session of its own.
ask() {
    timeout --foreground --kill-after 1 2 "$sqlcmd" -S "$server" -E -C -l 2 -b -x -X -h -1 -W -Q "SET NOCOUNT ON; $1"
}

# How many of the databases our session has suspended.
suspended() {
    ask "SELECT COUNT(*) FROM sys.dm_server_suspend_status AS s
JOIN sys.dm_exec_sessions AS e ON e.session_id = s.suspend_session_id
WHERE e.host_name = 'quiesced-$$' AND s.is_writeio_frozen = 1 AND s.db_name IN ($quoted)"
}

# In our session. Whether it was done is asked by another, because sqlcmd may keep its output to itself for a while.
tell() {
    printf '%s\nGO\n' "$1" >&"$statements"
}

# What our session said lately, in one line.
said() {
    local line
    words=
    while IFS= read -r -t 0.2 line <&"$answers"; do words+=" $line"; done
}

# Whether so many are suspended within four seconds, by a session that lives.
comes_to() {
    local end=$((SECONDS + 4))
    while ((SECONDS < end)); do
        kill -0 "$holder" 2> /dev/null || return
        [[ $(suspended) == "$1" ]] && return
        sleep 0.1
    done
    return 1
}

quiesce() {
    if ((${#databases[@]} == 1)); then
        tell "ALTER DATABASE $bracketed SET SUSPEND_FOR_SNAPSHOT_BACKUP = ON"
    else
        tell "ALTER SERVER CONFIGURATION SET SUSPEND_FOR_SNAPSHOT_BACKUP = ON (GROUP = ($bracketed))"
    fi
    held=yes
    comes_to "${#databases[@]}"
}

# Filesystems are thawed by now, so the metadata can be written.
verify() {
    local what="GROUP $bracketed" file
    [[ $(suspended) == "${#databases[@]}" ]] || return
    file=$directory/quiesced-$(date -u +%Y%m%dT%H%M%SZ)-$$.bkm
    ((${#databases[@]} == 1)) && what="DATABASE $bracketed"
    tell "BACKUP $what TO DISK = '$file' WITH METADATA_ONLY, FORMAT"
    comes_to 0 || return
    held=
    [[ $(ask "SELECT COUNT(*) FROM msdb.dbo.backupmediafamily WHERE physical_device_name = '$file'") != 0 ]]
}

resume() {
    [[ -n $held ]] || return 0
    local database
    for database in "${databases[@]}"; do
        tell "ALTER DATABASE [$database] SET SUSPEND_FOR_SNAPSHOT_BACKUP = OFF"
    done
    # Without our session nothing of ours is suspended.
    comes_to 0 || ! kill -0 "$holder" 2> /dev/null || return
    held=
}

trap '' PIPE
held=
# -b: an error ends sqlcmd, and with it the session. -x -X: nothing in the input is a variable or a command.
# -C: the certificate of a server on this host is usually its own.
trap '' PIPE
held=
coproc session { exec "$sqlcmd" -S "$server" -E -C -H "quiesced-$$" -l 2 -b -x -X 2>&1; }
holder=$!
exec {statements}>&"${session[1]}" {answers}<&"${session[0]}"
while read -r line; do
    case $line in
        quiesce | verify | resume)
            if "$line"; then
                echo ok
            else
                said
                echo "error ${databases[*]} could not be held, recorded or resumed:$words"
            fi
            ;;
        *) echo "error unknown line $line" ;;
    esac
done
resume
