#!/usr/bin/env bash
# The five boards, the rules and the metrics against a real flyball, a real Prometheus and Grafana's own panels.
#
#   FLYBALL_E2E=1 FLYBALL_BIN=target/debug/flyball FLYBALL_SHARED=/path/to/shared tests/e2e/boards.sh
#
# $FLYBALL_SHARED/tools/render-dashboard draws the boards (Node 20 or newer, npm). prometheus, prometheus-alertmanager, chromium and npm are
# installed by apt where they are missing. Three teams and five keys ask simulated models and a vendor of ours: a little on each of
# FLYBALL_BOARDS_DAYS days before (8, each FLYBALL_BOARDS_DAY_SECONDS long, 1; flyball then believes in another date), then for
# FLYBALL_BOARDS_SECONDS (45). More of these makes better pictures. Then the same boards over days that `flyball demo --days` has made up.
# Leaves target/e2e/boards/*.png and *.json. Ends only what it has started; within 5 minutes once everything is installed.
set -euo pipefail

if [ "${FLYBALL_E2E:-}" != 1 ]; then
    echo "skipped: FLYBALL_E2E=1 runs it"
    exit 0
fi
top=$(cd "$(dirname "$0")/../.." && pwd)
bin=${FLYBALL_BIN:-$top/target/debug/flyball}
shared=${FLYBALL_SHARED:?"FLYBALL_SHARED is the folder that holds tools/render-dashboard"}
out=${FLYBALL_E2E_OUT:-$top/target/e2e}
seconds=${FLYBALL_BOARDS_SECONDS:-45}
days=${FLYBALL_BOARDS_DAYS:-8}
boards=$top/dashboards
work=$(mktemp -d)
mkdir -p "$out/boards"
names=(cost caps routing latency trust)
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
    command -v amtool >/dev/null || missing+=(prometheus-alertmanager)
    command -v chromium >/dev/null || missing+=(chromium)
    command -v faketime >/dev/null || missing+=(faketime)
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
    python3 "$boards/boards.py" --check
    amtool check-config "$boards"/alertmanager/*.yml
    promtool check rules --lint=all "$boards/prometheus/rules/flyball.yml"
    promtool check config "$boards/prometheus/prometheus.yml"
    promtool test rules "$boards"/prometheus/rules/*_test.yml
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

# Speed 4: the same tokens in a quarter of the time. A vendor besides tells rate limits; one of its models has no price.
start_flyball() {
    python3 "$top/tests/e2e/mixed.py" vendor >"$work/vendor" 2>"$work/vendor.log" &
    pids+=($!)
    until_true 10 test -s "$work/vendor"
    cat >"$work/flyball.toml" <<END
probe = "pays"
grade_asked = true
baseline = "sim-reasoning@medium"

[privacy]
detect = ["cards", "secrets", "own"]
words = ["Projekt Halde"]

[simulate]
speed = 4.0

[[provider]]
name = "vendor"
kind = "openai-compatible"
base_url = "$(cat "$work/vendor")"

[[model]]
name = "vendor-7b"
provider = "vendor"
tier = "standard"
input_usd_per_mtok = 2.0
output_usd_per_mtok = 12.0

[[model]]
name = "gpt-unpriced"
provider = "vendor"
tier = "standard"

[[team]]
name = "research"
organisation = "acme"

[[team]]
name = "product"
organisation = "acme"

[[team]]
name = "support"
organisation = "acme"

[[cap]]
name = "everybody, a day"
usd = 8.0
window = "day"

[[cap]]
name = "everybody, a month"
usd = 100.0
window = "month"

[[cap]]
name = "research, a day"
team = "research"
usd = 2.5
window = "day"

[[cap]]
team = "product"
usd = 10.0
window = "week"

[[cap]]
name = "the search"
tag = { feature = "search" }
usd = 0.3
window = "day"

[[cap]]
name = "the dear model"
model = "sim-reasoning"
usd = 5.0
window = "day"
END
    "$bin" key create --help >/dev/null
    python3 "$top/tests/e2e/mixed.py" keys | while IFS=$'\t' read -r -a key; do
        secret=$("$bin" key create "${key[0]}" --team "${key[1]}" "${key[@]:2}" --config "$work/flyball.toml" --data-dir "$work/data" 2>>"$work/flyball.log" | grep -o 'fb_[A-Za-z0-9_-]*')
        echo "${key[0]} $secret" >>"$work/keys"
    done
    days_before
    serve
}

# Starts flyball, maybe under a command that is given, and finds its ports.
serve() {
    : >"$work/flyball.out"
    "$@" "$bin" serve --config "$work/flyball.toml" --data-dir "$work/data" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
        >"$work/flyball.out" 2>>"$work/flyball.log" &
    flyball=$!
    pids+=("$flyball")
    until_true 20 grep -q 'health on' "$work/flyball.out"
    traffic=$(grep -o 'listens on http://[0-9.:]*' "$work/flyball.out" | grep -o '[0-9.]*:[0-9]*$')
    admin=$(grep -o 'health on http://[0-9.:]*' "$work/flyball.out" | grep -o '[0-9.]*:[0-9]*$')
}

# The days before, without which no month can be forecast.
days_before() {
    local day library
    library=$(find /usr/lib -name libfaketimeMT.so.1 | head -n 1)
    [ -n "$library" ] || { echo "there is no libfaketimeMT.so.1"; return 1; }
    for ((day = days; day > 0; day--)); do
        serve env LD_PRELOAD="$library" FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME="-${day}d"
        python3 "$top/tests/e2e/mixed.py" traffic --against "http://$traffic" --keys "$work/keys" --seconds "${FLYBALL_BOARDS_DAY_SECONDS:-1}" --rate "$((20 + day % 3 * 10))" --seed "$day" --any \
            >/dev/null 2>>"$work/flyball.log"
        kill "$flyball"
        wait "$flyball" || true
        unset 'pids[-1]'
    done
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_prometheus() {
    local port
    port=$(free_port)
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
    spent=$(metric 'flyball_cap_spent_usd{cap="everybody, a day"}')
    python3 -c 'import sys; a, b = map(float, sys.argv[1:]); sys.exit(not (b > 0 and abs(a - b) < 1e-9))' "$counted" "$spent"
}

# Every metric that a board uses is really exported by this flyball, with samples.
used_metrics_exist() {
    python3 - "$work/metrics" "$boards"/grafana/*.json <<'END'
import json, pathlib, re, sys
there = set(re.findall(r"^([a-z_]+)[{ ]", pathlib.Path(sys.argv[1]).read_text(), re.M))
missing = set()
for file in sys.argv[2:]:
    for panel in json.loads(pathlib.Path(file).read_text())["panels"]:
        for target in panel.get("targets", []):
            for name in re.findall(r"\b(?:flyball|process)_[a-z0-9_]+", target["expr"]):
                if name not in there:
                    missing.add(f"{name} ({pathlib.Path(file).stem}: {panel['title']})")
sys.exit(f"not exported: {sorted(missing)}" if missing else 0)
END
}

# The board $1, as $2.png, since $3; Prometheus scrapes every $4 seconds.
draw() {
    timeout 100 node "$render/shot.mjs" "$boards/grafana/$1.json" "$prometheus" "$out/boards/$2.png" --scrape "$4" --from "$3" --to now --strict \
        --timeout 60 --chromium "$(command -v chromium)" >"$out/boards/$2.json" || {
        cat "$out/boards/$2.json"
        return 1
    }
    [ -s "$out/boards/$2.png" ]
}

# A month that is made up, as compose.yaml shows it: Prometheus takes it, and no panel is empty.
start_month() {
    local port
    "$bin" demo --days 9 --out "$work/month" --json >"$out/boards/month.json" 2>>"$work/flyball.log"
    promtool tsdb create-blocks-from openmetrics --max-block-duration=168h --quiet "$work/month/metrics.om" "$work/month-tsdb"
    echo "global: {}" >"$work/month.yml"
    port=$(free_port)
    prometheus=http://127.0.0.1:$port
    prometheus --config.file="$work/month.yml" --storage.tsdb.path="$work/month-tsdb" --storage.tsdb.retention.time=400d --query.lookback-delta=40m \
        --web.listen-address="127.0.0.1:$port" >"$work/month-prometheus.log" 2>&1 &
    pids+=($!)
    until_true 20 metric 'flyball_build_info'
}

# The traffic runs into caps and asks for a model without a price; nothing else may be wrong.
only_expected_alerts() {
    curl -sf --max-time 5 "$prometheus/api/v1/alerts" | python3 -c '
import json, sys
firing = {a["labels"]["alertname"] for a in json.load(sys.stdin)["data"]["alerts"] if a["state"] == "firing"}
missing, more = {"FlyballCapRefuses", "FlyballUnknownPrices"} - firing, firing - {"FlyballCapRefuses", "FlyballUnknownPrices", "FlyballCapNearlyUsed", "FlyballCapExhausted"}
sys.exit(f"these alerts fire without a reason: {more}, these do not: {missing}" if missing or more else 0)'
}

step "tools"
install_tools
step "rules, rule tests, configuration; beside that flyball and the days before"
check_files >"$work/files.log" 2>&1 &
files=$!
start_flyball
wait "$files" || { cat "$work/files.log"; exit 1; }
step "Prometheus"
start_prometheus
began=$SECONDS
# What is there from the start must have been scraped at 0 before it moves.
sleep 3
step "traffic"
timeout "$((seconds * 2 + 60))" python3 "$top/tests/e2e/mixed.py" traffic --against "http://$traffic" --keys "$work/keys" --seconds "$seconds" --rate "${FLYBALL_BOARDS_RATE:-6}" >"$out/boards/traffic.json"
step "metrics"
until_true 10 same_money || { echo "flyball_cost_usd_total and the ledger's balance differ"; exit 1; }
curl -sf --max-time 5 "http://$admin/metrics" >"$work/metrics"
promtool check metrics <"$work/metrics"
used_metrics_exist
# Four points after the last change, so that every rate has its window.
sleep 4
only_expected_alerts
for name in "${names[@]}"; do
    step "the board $name"
    draw "$name" "$name" "now-$((SECONDS - began))s" 1
done
step "a month that is made up"
start_month
for name in "${names[@]}"; do
    step "the board $name of that month"
    draw "$name" "month-$name" now-9d 900
done
step "PASS: $out/boards"
