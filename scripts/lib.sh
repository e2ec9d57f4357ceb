# Shared by the scripts: numbered steps with elapsed time.
SECONDS=0
step() { printf '\n\033[1m[%3dm%02ds] %s\033[0m\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

# free_gib: GiB free where the checkout is.
free_gib() { df --output=avail -BG . | tail -n 1 | tr -dc '0-9'; }
