#!/bin/bash
# The checksums of some files, as a job that a page shows: report.sh ADDRESS FILE...
set -euo pipefail
address=$1 run=() seq=0 count=0
shift

report() { # VALUES: sends them, and sets `answer` to the record of the job
    seq=$((seq + 1))
    answer=$(curl -sS --fail --retry 8 --retry-connrefused -X PUT "$address" -d "$1" -w '\n%header{progresskit-run}' \
        -H 'X-Progresskit: 1' -H "Progresskit-Seq: $seq" "${run[@]}")
    run=(-H "Progresskit-Run: ${answer##*$'\n'}")
}

report "{\"total\": $#, \"unit\": \"files\", \"description\": \"Checksums\"}"
for file; do
    if ! sha256sum "$file"; then
        report '{"state": "failed", "error": "A file cannot be read"}'
        exit 1
    fi
    count=$((count + 1))
    report "{\"current\": $count}"
    if [[ $answer == *'"cancel_requested":true'* ]]; then
        report '{"state": "cancelled"}'
        exit
    fi
done
report '{"state": "succeeded"}'
