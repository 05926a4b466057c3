#!/bin/bash
# The checksums of some files, as a job: checksums.sh ID FILE...
set -euo pipefail

# Outside of `run`, the script runs itself.
[ "${PROGRESSKIT_ID:-}" = "$1" ] || exec progresskit run "$1" --kind checksums --unit files -- "$0" "$@"
shift

count=0
for file; do
    progresskit report "$count/$#" "$file"
    sha256sum "$file"
    count=$((count + 1))
done
progresskit report "$count/$#"
