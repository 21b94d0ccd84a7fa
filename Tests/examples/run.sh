#!/usr/bin/env bash
# Runs every example, and holds what the paper's cubic problem and the knapsack promise against what the programs print:
#   run.sh DIRECTORY_OF_BUILT_EXAMPLES
set -u
examples=$1
passed=0
failed=0

check() { # check WHAT STATUS
  if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1"; fi
}

for source in examples/c/*.c examples/cpp/*.cpp; do
  name=$(basename "${source%.c*}")
  echo "--- $name"
  "$examples/$name"
  check "$name ends without an error" $?
done

# Each line of `cubic --seeds N` that begins with a number is a seed: MSE's slope, decision quality and test error, then
# TaskMet's. The ceiling of a linear model, any rising line, is 0.94 to 0.97.
for preset in default paper; do
  echo "--- cubic, preset $preset, 10 seeds"
  "$examples/cubic" --seeds 10 --preset $preset | tee /dev/stderr |
    awk '/^[0-9]/ { seeds += 1; good += ($3 < -0.9 && $5 > 0 && $6 > 0.93) } END { exit !(seeds == 10 && good == 10) }'
  check "cubic, preset $preset: decision quality below -0.9 by MSE, above 0.93 by TaskMet, for 10 of 10 seeds" $?
done

# Each line of knapsack_oracle that begins with a number is a data set. Without brackets and % its fields are the seed, then for
# two-stage and for TaskMet: regret, interval (three words), error.
for task in spo_plus perturbed blackbox; do
  echo "--- knapsack_oracle, task $task"
  "$examples/knapsack_oracle" --task $task | tee /dev/stderr | tr -d '()%' |
    awk '/^[0-9]/ { seeds += 1; good += ($2 > 3 && $7 > 0 && $7 < $2 / 8) } END { exit !(seeds == 5 && good == 5) }'
  check "knapsack_oracle, task $task: an eighth of two-stage's regret at most, for 5 of 5 seeds" $?
done

# Method, task loss, the weights of the four state coordinates, the largest of the noise's.
for seed in 1 2 3; do
  echo "--- cartpole_external, seed $seed"
  "$examples/cartpole_external" --seed $seed | tee /dev/stderr |
    awk '/^least squares/ { loss = $3 } /^TaskMet/ { good = ($2 < loss / 4 && $5 > 1.5 * $7) } END { exit !good }'
  check "cartpole_external: task loss below a quarter, the angle above the noise, for seed $seed" $?
done

echo "examples: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
