#!/bin/sh
# Oracle Database, in one of two modes. See docs/hooks/oracle.md.
#
#   oracle.sh atomic ORACLE_HOME SID            quiesce: a checkpoint. Holds nothing; all volumes in one atomic snapshot.
#   oracle.sh backup ORACLE_HOME SID RECORD     quiesce, verify, resume: BEGIN BACKUP to END BACKUP.
#
# Runs as the database's owner, who is trusted by the operating system: there is no password.
usage='usage: oracle.sh atomic|backup ORACLE_HOME SID [RECORD]'
mode=${1:?$usage}
export ORACLE_HOME="${2:?$usage}" ORACLE_SID="${3:?$usage}" LD_LIBRARY_PATH="$2/lib"
# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"

# Statements from standard input. An error of any of them is the exit code, and what was said goes with it.
sql() {
    {
        echo 'WHENEVER SQLERROR EXIT FAILURE'
        echo 'WHENEVER OSERROR EXIT FAILURE'
        echo 'SET HEADING OFF FEEDBACK OFF PAGESIZE 0 TRIMOUT ON'
        cat
    } | within "$ORACLE_HOME/bin/sqlplus" -S -L '/ as sysbackup'
}

# V$BACKUP has a row for each data file; CHANGE# is the SCN at which its backup began.
state() {
    said=$(
        sql <<'END'
SELECT CASE COUNT(*) WHEN 0 THEN 'free' ELSE 'held ' || COUNT(*) || ' files at ' || MIN(CHANGE#) || ' to ' || MAX(CHANGE#) END
FROM V$BACKUP WHERE STATUS = 'ACTIVE';
END
    ) || {
        printf '%s\n' "$said" >&2
        return 1
    }
    printf '%s\n' "$said" | grep -E '^(free|held .*)$'
}

hold() {
    said=$(echo 'ALTER DATABASE BEGIN BACKUP;' | sql) && return
    printf '%s\n' "$said" >&2
    # ORA-01146: a file is already in backup mode.
    case $said in *ORA-01146*) return 2 ;; esac
    return 1
}

# The redo that a restore needs is then in the archive.
let_go() {
    printf '%s\n' 'ALTER DATABASE END BACKUP;' 'ALTER SYSTEM ARCHIVE LOG CURRENT;' | sql >&2
}

case $mode in
    atomic)
        echo 'ALTER SYSTEM CHECKPOINT;' | sql >&2
        ;;
    backup)
        record=${4:?$usage}
        hook
        ;;
    *) fail "$usage" ;;
esac
