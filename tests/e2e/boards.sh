#!/usr/bin/env bash
# The board, the rules and the metrics against a real flyball, a real Prometheus and Grafana's own panels.
#
#   FLYBALL_E2E=1 FLYBALL_BIN=target/debug/flyball FLYBALL_SHARED=/path/to/shared tests/e2e/boards.sh
#
# $FLYBALL_SHARED/tools/render-dashboard draws the board (Node 20 or newer, npm). prometheus, chromium and npm are
# installed by apt where they are missing. Leaves target/e2e/board.png and board.json. Ends only what it has started; within 3 minutes once
# everything is installed.
set -euo pipefail

if [ "${FLYBALL_E2E:-}" != 1 ]; then
    echo "skipped: FLYBALL_E2E=1 runs it"
    exit 0
fi
top=$(cd "$(dirname "$0")/../.." && pwd)
bin=${FLYBALL_BIN:-$top/target/debug/flyball}
shared=${FLYBALL_SHARED:?"FLYBALL_SHARED is the folder that holds tools/render-dashboard"}
out=${FLYBALL_E2E_OUT:-$top/target/e2e}
boards=$top/dashboards
work=$(mktemp -d)
mkdir -p "$out"
pids=()

finish() {
    status=$?
    for pid in "${pids[@]:-}"; do
        [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        tail -n 20 "$work"/*.log 2>/dev/null || true
        echo "FAIL"
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

step() { printf '%4ss  %s\n' "$SECONDS" "$1"; }

# Waits up to $1 seconds for the command after it.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "waited in vain for: $*"; return 1; }
        sleep 0.3
    done
}

install_tools() {
    local missing=()
    command -v promtool >/dev/null && command -v prometheus >/dev/null || missing+=(prometheus)
    command -v chromium >/dev/null || missing+=(chromium)
    command -v npm >/dev/null || missing+=(nodejs npm)
    if [ "${#missing[@]}" -gt 0 ]; then
        step "installing ${missing[*]}"
        apt-get update -q >"$work/apt.log" 2>&1
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$work/apt.log" 2>&1
    fi
    render=$out/render-dashboard
    if [ ! -f "$render/www/bundle.js" ]; then
        step "building render-dashboard"
        rm -rf "$render"
        cp -r "$shared/tools/render-dashboard" "$render"
        chmod -R u+w "$render"
        (cd "$render" && npm ci --legacy-peer-deps --ignore-scripts --no-audit --no-fund && node build.mjs) >"$work/npm.log" 2>&1
    fi
}

check_files() {
    promtool check rules --lint=all "$boards/prometheus/rules/flyball.yml"
    promtool check config "$boards/prometheus/prometheus.yml"
    promtool test rules "$boards/prometheus/rules/flyball_test.yml"
    if python3 -c 'import yaml' 2>/dev/null; then
        find "$boards" -name '*.y*ml' -print0 | xargs -0 python3 -c '
import sys, yaml
for name in sys.argv[1:]:
    with open(name) as file:
        assert isinstance(yaml.safe_load(file), dict), name
'
    fi
    for profile in demo host; do
        if docker compose version >/dev/null 2>&1; then
            docker compose -f "$boards/compose.yaml" --profile "$profile" config --quiet
        fi
    done
}

# Speed 4: the same tokens in a quarter of the time. The caps fill their panels.
start_flyball() {
    cat >"$work/flyball.toml" <<'END'
[simulate]
speed = 4.0

[[cap]]
usd = 5.0
window = "day"

[[cap]]
usd = 100.0
window = "month"
END
    "$bin" serve --config "$work/flyball.toml" --data-dir "$work/data" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
        >"$work/flyball.out" 2>"$work/flyball.log" &
    pids+=($!)
    until_true 20 grep -q 'Point an SDK' "$work/flyball.out"
    traffic=$(grep -o 'listens on http://[0-9.:]*' "$work/flyball.out" | grep -o '[0-9.]*:[0-9]*$')
    admin=$(grep -o 'health on http://[0-9.:]*' "$work/flyball.out" | grep -o '[0-9.]*:[0-9]*$')
}

start_prometheus() {
    local port
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    prometheus=http://127.0.0.1:$port
    # The shipped file, faster and with flyball where it is.
    sed -e "s/scrape_interval: .*/scrape_interval: 1s/; s/evaluation_interval: .*/evaluation_interval: 1s/" \
        -e "s/127.0.0.1:8485/$admin/; s#rules/flyball.yml#$boards/prometheus/rules/flyball.yml#" \
        "$boards/prometheus/prometheus.yml" >"$work/prometheus.yml"
    prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address="127.0.0.1:$port" \
        >"$work/prometheus.log" 2>&1 &
    pids+=($!)
    until_true 20 metric 'flyball_build_info'
}

# The value of an instant query that gives one number; fails where it gives none.
metric() {
    curl -sf --max-time 5 --get "$prometheus/api/v1/query" --data-urlencode "query=$1" |
        python3 -c 'import json, sys; [one] = json.load(sys.stdin)["data"]["result"]; print(one["value"][1])'
}

same_money() {
    local counted spent
    counted=$(metric 'sum(flyball_cost_usd_total)')
    spent=$(metric 'flyball_cap_spent_usd{scope="global", window="day"}')
    python3 -c 'import sys; a, b = map(float, sys.argv[1:]); sys.exit(not (b > 0 and abs(a - b) < 1e-9))' "$counted" "$spent"
}

step "tools"
install_tools
step "rules, rule tests, configuration"
check_files
step "flyball and Prometheus"
start_flyball
start_prometheus
# What is there from the start must have been scraped at 0 before it moves.
sleep 3
step "traffic"
timeout 90 "$bin" demo --against "http://$traffic" --admin "http://$admin" --requests 80 --json >"$out/demo.json" 2>"$work/demo.log"
step "metrics"
curl -sf --max-time 5 "http://$admin/metrics" >"$work/metrics"
promtool check metrics <"$work/metrics"
until_true 10 same_money || { echo "flyball_cost_usd_total and the ledger's balance differ"; exit 1; }
step "the board"
# Four points after the last change, so that every rate has its window.
sleep 4
timeout 80 node "$render/shot.mjs" "$boards/grafana/flyball.json" "$prometheus" "$out/board.png" --scrape 1 --from now-45s --to now --strict \
    --timeout 60 --chromium "$(command -v chromium)" >"$out/board.json" || {
    cat "$out/board.json"
    exit 1
}
[ -s "$out/board.png" ]
firing=$(curl -sf --max-time 5 "$prometheus/api/v1/alerts" | python3 -c 'import json, sys; print(*(a["labels"]["alertname"] for a in json.load(sys.stdin)["data"]["alerts"] if a["state"] == "firing"))')
[ -z "$firing" ] || { echo "these alerts fire without a reason: $firing"; exit 1; }
step "PASS: $out/board.png"
