#!/usr/bin/env bash
# usage: run.sh PATH_OF_TASKMET_CLI
# The command line from end to end: tiny reproductions, killed and resumed; summaries; what it refuses.
# The last line is "cli: N passed, M failed"; the exit status is 0 if nothing failed.
set -uo pipefail

taskmet=$(realpath "$1") || exit 1
shared=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../check.sh") || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

source "$shared"

# refuses STATUS TEXT ARGUMENTS...: ends with that status, and says so on standard error.
refuses() {
  "$taskmet" "${@:3}" >"$work/out" 2>"$work/err"
  local status=$?
  cat "$work/err"
  [ "$status" -eq "$1" ] && [ ! -s "$work/out" ] && grep -F -- "$2" "$work/err"
}

# A table of few and short runs; tiny FILE ARGUMENTS... makes it.
tiny=(reproduce table2 --problems cubic --methods mse,dfl,taskmet --datasets 2 --seeds 2
  --set outer_iterations=3 --set warmup_iterations=20 --set inner_iterations=5)
tiny() { "$taskmet" "${tiny[@]}" --output "$1" "${@:2}"; }

# What must be the same in two files of results: everything but the order and the times.
facts() { sed -E 's/"(seconds|lodl_seconds)":[^,}]*//g' "$1" | sort; }

whole() {
  tiny whole.jsonl --jobs 2 >whole.txt && [ "$(wc -l <whole.jsonl)" -eq 12 ] &&
    grep -E '^taskmet +4 ' whole.txt
}

same_for_one_job() { tiny one.jsonl --jobs 1 >/dev/null && diff <(facts whole.jsonl) <(facts one.jsonl); }

repeats_nothing() {
  cp whole.jsonl again.jsonl
  tiny again.jsonl 2>err >/dev/null && cat err && cmp whole.jsonl again.jsonl && grep -F '12 of 12 runs are in' err
}

# Killed once a few records are there, its last line cut in two, and run again.
survives_a_kill() {
  "$taskmet" "${tiny[@]}" --output killed.jsonl --jobs 1 >/dev/null 2>&1 &
  local process=$!
  for _ in $(seq 2000); do
    [ -e killed.jsonl ] && [ "$(wc -l <killed.jsonl)" -ge 3 ] && break
    sleep 0.005
  done
  kill -9 "$process"
  wait "$process" 2>/dev/null
  local lines
  lines=$(wc -l <killed.jsonl)
  echo "killed after $lines records"
  [ "$lines" -ge 3 ] && truncate -s -30 killed.jsonl && tiny killed.jsonl --jobs 2 >/dev/null &&
    [ "$(wc -l <killed.jsonl)" -eq 12 ] && diff <(facts whole.jsonl) <(facts killed.jsonl)
}

# Ctrl-C in a long run: ends soon and cleanly, with the status of an interrupt; what was done stays.
ends_on_interrupt() {
  # A shell's background jobs ignore the interrupt; env gives it back.
  env --default-signal=INT "$taskmet" reproduce table2 --problems cubic --methods taskmet --datasets 1000 --seeds 1 \
    --jobs 2 --output interrupted.jsonl >out 2>err &
  local process=$!
  for _ in $(seq 2000); do
    [ -s interrupted.jsonl ] && break
    sleep 0.01
  done
  kill -INT "$process"
  wait "$process"
  local status=$?
  cat err
  [ "$status" -eq 130 ] && grep -F 'goes on from interrupted.jsonl' err &&
    [ "$("$taskmet" summarize interrupted.jsonl --format csv | wc -l)" -eq 3 ]
}

summaries() {
  "$taskmet" summarize whole.jsonl >text && "$taskmet" summarize whole.jsonl --format markdown >markdown &&
    "$taskmet" summarize whole.jsonl --format csv >csv && grep -E '^method .*decision quality.*paper' text &&
    grep -E '^\| taskmet \| 4 \| ' markdown && grep -E '^cubic,mse,paper,[0-9a-f]+,4,2,-0\.9' csv
}

table3() {
  "$taskmet" reproduce table3 "${tiny[@]:2}" --output whole.jsonl 2>err >out &&
    grep -F '12 of 12 runs are in' err && grep -E '^mse +4 +2\.[0-9]+ ± .* 2\.30 ± ' out
}

figure4() {
  "$taskmet" reproduce figure4 --output figure --set outer_iterations=3 --set warmup_iterations=20 &&
    [ "$(wc -l <figure.csv)" -eq 202 ] && [ "$(head -n 1 figure.csv)" = "x,true,mse,dfl,taskmet,metric" ] &&
    python3 -c 'import sys, xml.dom.minidom as x; assert len(x.parse(sys.argv[1]).getElementsByTagName("polyline")) == 5' \
      figure.svg
}

one_run() {
  "$taskmet" run --problem budget --method taskmet --set outer_iterations=1 --set warmup_iterations=5 >record &&
    python3 - record <<'PYTHON'
import json, sys
[line] = open(sys.argv[1]).read().splitlines()
r = json.loads(line)
assert r["problem"] == "budget" and r["iterations"] == 1 and r["settings"]["options"]["warmup_iterations"] == 5
assert r["decision_quality_lower"] <= r["decision_quality"] <= r["decision_quality_upper"] <= 1 and r["regret"] >= 0
PYTHON
}

portfolio_zero() {
  "$taskmet" run --problem portfolio --method predict-zero >record && grep -F '"method":"predict-zero"' record
}

own_rates() {
  python3 -c 'print("\n".join(",".join(str((7 * i + j) % 10 / 50) for j in range(12)) for i in range(9)))' >rates.csv
  "$taskmet" run --problem budget --method mse --click-through rates.csv --set outer_iterations=1 \
    --set warmup_iterations=5 | grep -F '"click_through":"9x12 '
}

lists() {
  "$taskmet" list >out && grep -F 'weighted-mse' out && grep -F 'grid-scheduling' out && grep -F 'metric_rate' out
}

check "a table of twelve runs" whole
check "the same records with one job" same_for_one_job
check "runs in the file are not repeated" repeats_nothing
check "killed and resumed: the same records" survives_a_kill
check "Ctrl-C" ends_on_interrupt
check "summaries as text, Markdown and CSV" summaries
check "table 3 from the same runs" table3
check "figure 4" figure4
check "one run" one_run
check "the portfolio's zero" portfolio_zero
check "one's own click-through rates" own_rates
check "list" lists
check "unknown method" refuses 64 '"mcse" is not a method' reproduce table2 --methods mse,mcse
check "unknown problem" refuses 64 '"cube" is not a problem' reproduce table2 --problems cube
check "unknown flag" refuses 64 "Unknown option '--nonsense'" reproduce table2 --nonsense
check "unknown trainer option" refuses 64 'no option "speed"' run --problem cubic --method mse --set speed=1
check "method that does not apply" refuses 1 'spo-plus does not apply to budget' run --problem budget --method spo-plus
check "value out of range" refuses 1 'metric_rate must be > 0' run --problem cubic --method mse --set metric_rate=-1
check "no jobs" refuses 64 '--jobs must be 1 to 1024, got 0' reproduce table2 --jobs 0
check "missing results" refuses 1 'cannot open nowhere.jsonl' summarize nowhere.jsonl
check "missing prices" refuses 1 'cannot open nowhere.csv' run --problem portfolio --method mse --prices nowhere.csv
check "missing loads" refuses 1 '--loads FILE' run --problem grid-scheduling --method mse
printf 'date,A\n2020-01-02,x\n' >bad.csv
check "bad prices" refuses 1 'bad.csv:2: the price of A' run --problem portfolio --method mse --prices bad.csv

echo "cli: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
