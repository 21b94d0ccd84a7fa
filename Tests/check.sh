# What the scripts that count checks share; sourced. $work is a directory for what a command prints.

passed=0
failed=0

# check DESCRIPTION COMMAND...: counts, and shows the end of the command's output where it fails.
check() {
  if "${@:2}" >"$work/log" 2>&1; then
    passed=$((passed + 1))
    echo "ok     $1"
  else
    failed=$((failed + 1))
    echo "FAILED $1"
    tail -n 40 "$work/log" | sed 's/^/       /'
  fi
}
