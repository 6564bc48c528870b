#!/bin/sh
# One job on a rented machine, independent of the connection that started it.
# Usage: sh job.sh start | run | state BYTES | cancel
# This script's folder is the job's: command.sh runs the task, `output` names the folder that it writes. The job is alive
# while a process holds alive.lock. returncode: exit code, seconds, kilobytes free at the end.
set -u
cd "$(dirname "$0")" || exit 1
umask 077

start() { # Secrets come on standard input, one NAME=value a line, closed by a line `end`.
    exec 9>>alive.lock
    flock -n 9 || return 0
    if [ -e started ] || [ -e returncode ] || [ -e cancelled ]; then return 0; fi
    cat >secrets
    if [ "$(tail -n 1 secrets)" != end ]; then
        rm -f secrets
        echo "the connection was cut before the job started" >&2
        return 75
    fi
    # Space for the exit record, for the day when the job fills the disk.
    dd if=/dev/zero of=reserve bs=4096 count=2 2>/dev/null || { rm -f secrets reserve; echo "no space left" >&2; return 28; }
    : >started
    setsid sh ./job.sh run </dev/null >>output.log 2>&1 &
}

run() {
    echo $$ >pid
    began=$(date +%s)
    (umask 022 && exec sh ./command.sh run)
    code=$?
    rm -f secrets
    if [ $code = 0 ]; then
        here=$PWD
        cd "$(cat output)" && find . -type f -exec sha256sum {} + >"$here/outputs.new"
        cd "$here" && mv outputs.new outputs || code=74
    fi
    free=$(df -Pk . | awk 'NR == 2 { print $4 }')
    rm -f reserve
    echo "$code $(($(date +%s) - began)) ${free:-0}" >returncode.new && mv returncode.new returncode
}

state() { # One line, then what output.log holds after its first BYTES.
    if ! flock -n -s alive.lock true; then
        echo running
    elif [ -e returncode ]; then
        echo "ended $(cat returncode)"
    elif [ -e cancelled ]; then
        echo "ended 143 0 1048576"
    elif [ ! -e started ]; then
        echo absent
    elif sh ./command.sh exists; then # its container outlived this script's other self
        again
        echo running
    else
        echo lost
    fi
    [ ! -e output.log ] || tail -c "+$(($1 + 1))" output.log | head -c 1048576
}

again() {
    exec 9>>alive.lock
    flock -n 9 || return 0
    setsid sh ./job.sh run </dev/null >>output.log 2>&1 &
    exec 9>&-
}

cancel() {
    : >cancelled
    rm -f secrets
    sh ./command.sh stop
    [ ! -s pid ] || flock -n -s alive.lock true || kill -TERM "-$(cat pid)"
}

case ${1:-} in
start | run | cancel) "$1" ;;
state) state "${2:-0}" ;;
*) echo "usage: sh job.sh start | run | state BYTES | cancel" >&2; exit 2 ;;
esac
