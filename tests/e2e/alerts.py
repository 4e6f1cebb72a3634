#!/usr/bin/env python3
"""Faults, one after the other, against a real flyball, a real Prometheus and a real Alertmanager: each alert fires, and clears.

    tests/e2e/alerts.py --flyball target/debug/flyball [--prometheus prometheus] [--alertmanager prometheus-alertmanager]

The shipped rules are used with their minutes made seconds. Each fault is proved to have happened before its alert is waited
for, and each alert is seen at the end of the line: as a message of Alertmanager, once that it fires, once that it is over.
Every alert of the rules must have been seen so. About 4 minutes.
"""

import argparse
import contextlib
import datetime
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from mixed import ROOT, Vendor, ask, chat

RULES = ROOT / "dashboards/prometheus/rules/flyball.yml"
CONFIG = """\
grade_asked = true
probe = "pays"
admin_token = "file:{key}"
{catalogue}

[simulate]
speed = 20.0

[[provider]]
name = "vendor"
kind = "openai-compatible"
base_url = "{vendor}"

[[model]]
name = "vendor-7b"
provider = "vendor"
tier = "small"
efforts = []
{price}

[[model]]
name = "vendor-70b"
provider = "vendor"
tier = "reasoning"
efforts = ["none"]
input_usd_per_mtok = 100.0
output_usd_per_mtok = 500.0

[[provider]]
name = "jobs"
kind = "openai"
base_url = "{vendor}"
api_key = "file:{key}"

[[model]]
name = "jobs-1"
provider = "jobs"
tier = "reasoning"
efforts = []
context_tokens = 100000
answer_tokens_max = 1000
input_usd_per_mtok = 100.0
output_usd_per_mtok = 500.0

[[cap]]
name = "the pilot"
key = "pilot"
usd = {pilot}
window = "total"

[[cap]]
name = "the sprint"
key = "sprint"
usd = {sprint}
window = "month"
"""
PRICE = "input_usd_per_mtok = 10.0\noutput_usd_per_mtok = 50.0"
RULE = """\
[[rule]]
name = "first the vendor"
why = "So that a fallback can be seen."
when = { header = { x-first = "vendor" } }
route = { arm = "vendor-7b", fallback = ["standard"] }

[[rule]]
name = "the dear one"
why = "So that a cheaper model is asked first."
when = { header = { x-first = "dear" } }
route = { arm = "vendor-70b@none", probe = true }
"""


# The vendor's key and flyball's admin token alike.
TOKEN = "a-token-of-thirty-two-characters"


class Failed(Exception):
    pass


class Post(http.server.BaseHTTPRequestHandler):
    """Where Alertmanager sends its messages."""

    messages = []

    def log_message(self, *_):
        pass

    def do_POST(self):
        for alert in json.loads(self.rfile.read(int(self.headers["content-length"])))["alerts"]:
            Post.messages.append((alert["labels"]["alertname"], alert["status"], alert["labels"], alert["annotations"]))
        self.send_response(200)
        self.end_headers()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(what, seconds, holds):
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if found := holds():
                return found
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s in vain for: {what}")
        time.sleep(0.2)


class Scene:
    """Everything that runs; ends only what it has started."""

    def __init__(self, args, work):
        self.work, self.began, self.children = work, time.monotonic(), []
        self.vendor = Vendor()
        (work / "key").write_text(TOKEN)
        self.settings = {"vendor": self.vendor.address, "price": PRICE, "pilot": "0.02", "sprint": "1000.0", "catalogue": "", "key": work / "key"}
        (work / "rules").mkdir()
        (work / "rules/10-first.toml").write_text(RULE)
        self.configure()
        self.keys = {name: self.key(args.flyball, name, *more) for name, *more in (("pilot",), ("sprint",), ("free",), ("vendors", "--models", "vendor-*"))}
        self.flyball(args.flyball)
        post = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Post)
        threading.Thread(target=post.serve_forever, daemon=True).start()
        self.watch(args, f"http://127.0.0.1:{post.server_address[1]}/")

    def say(self, text):
        print(f"{time.monotonic() - self.began:5.0f} s  {text}", flush=True)

    def spawn(self, name, *command):
        log = open(self.work / f"{name}.log", "w")
        child = subprocess.Popen([str(c) for c in command], stdout=log, stderr=subprocess.STDOUT, cwd=self.work)
        self.children.append(child)
        return child

    def configure(self, **changes):
        self.settings.update(changes)
        (self.work / "flyball.toml").write_text(CONFIG.format(**self.settings))

    def key(self, flyball, name, *more):
        made = subprocess.run([flyball, "key", "create", name, *more, "--json", "--data-dir", self.work / "data", "--config", self.work / "flyball.toml"], capture_output=True, text=True, check=False)
        found = re.search(r"fb_[A-Za-z0-9_-]+", made.stdout)
        if not found:
            raise Failed(made.stdout + made.stderr)
        return found[0]

    def flyball(self, program):
        command = [program, "serve", "--config", self.work / "flyball.toml", "--data-dir", self.work / "data", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        self.process = self.spawn("flyball", *command)
        told = until("flyball's start", 30, lambda: re.search(r"listens on (http://\S+) \(metrics and health on (http://[0-9.:]+)", (self.work / "flyball.log").read_text()))
        self.url, self.admin = told.groups()

    def watch(self, args, post):
        alerting, port = free_port(), free_port()
        rules = RULES.read_text()
        rules = re.sub(r"for: \d+[mh]", "for: 2s", rules)
        # Long enough for four scrapes, short enough to be over soon. Hours are those of an anomaly: half a minute ago was a week ago.
        rules = re.sub(r"\[(\d+m|1h)\]", "[15s]", rules).replace("offset 30m", "offset 5s").replace("offset 20m", "offset 5s")
        rules = rules.replace("[2h] offset 167h", "[5s] offset 30s").replace("[2h] offset 335h", "[5s] offset 60s")
        (self.work / "flyball.yml").write_text(rules)
        targets = [{"job_name": "flyball", "scrape_timeout": "900ms", "static_configs": [{"targets": [self.admin.removeprefix("http://")]}]}]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": ["flyball.yml"], "scrape_configs": targets,
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alerting}"]}]}]},
        }
        route = {"receiver": "post", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"}
        (self.work / "prometheus.yml").write_text(json.dumps(config))
        (self.work / "alertmanager.yml").write_text(json.dumps({"route": route, "receivers": [{"name": "post", "webhook_configs": [{"url": post, "send_resolved": True}]}]}))
        self.spawn("alertmanager", args.alertmanager, "--config.file=alertmanager.yml", f"--web.listen-address=127.0.0.1:{alerting}", "--cluster.listen-address=", f"--storage.path={self.work}/am")
        resend = "--rules.alert.resend-delay=1s"
        self.spawn("prometheus", args.prometheus, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=tsdb", resend)
        self.prometheus = f"http://127.0.0.1:{port}"
        until("Alertmanager", 20, lambda: urllib.request.urlopen(f"http://127.0.0.1:{alerting}/-/ready", timeout=2).status == 200)
        until("the first scrape", 20, lambda: self.value("max(up)") == 1)

    def value(self, query):
        url = f"{self.prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(url, timeout=5) as answer:
            result = json.load(answer)["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def told(self, series):
        """What flyball itself says now of a series, by its beginning."""
        with urllib.request.urlopen(self.admin + "/metrics", timeout=5) as answer:
            [line] = [line for line in answer.read().decode().splitlines() if line.startswith(series)]
        return float(line.rsplit(" ", 1)[1])

    def reload(self):
        """The status of the reload, and its text."""
        try:
            sent = urllib.request.Request(self.admin + "/admin/v1/reload", b"", {"authorization": f"Bearer {TOKEN}"}, method="POST")
            with urllib.request.urlopen(sent, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()

    def good_reload(self, **changes):
        self.configure(**changes)
        status, text = self.reload()
        if status >= 300:
            raise Failed(f"the reload was answered with {status}: {text}")

    def fires(self, alert, seconds=40, meanwhile=lambda: None, **labels):
        """The message that it fires, with these labels; meanwhile this is done once a second."""
        return self.message(alert, "firing", seconds, labels, meanwhile)

    def clears(self, alert, seconds=60, **labels):
        return self.message(alert, "resolved", seconds, labels)

    def message(self, alert, status, seconds, labels, meanwhile=lambda: None):
        done = time.monotonic()

        def found():
            nonlocal done
            if time.monotonic() >= done + 1:
                meanwhile()
                done = time.monotonic()
            for name, state, has, said in list(Post.messages):
                if (name, state) == (alert, status) and labels.items() <= has.items():
                    return has, said
        has, said = until(f"{alert} {status} {labels or ''}", seconds, found)
        self.say(f"{alert} {'fires' if status == 'firing' else 'is over'}: {said['summary']}")
        return has, said

    def end(self):
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGCONT)
            child.terminate()
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()


def proved(holds, what):
    if not holds:
        raise Failed(f"the fault did not happen: {what}")


def a_cap_is_filled(s):
    """Small requests until the cap refuses, a raise by a reload, and room again."""
    ask_pilot = lambda: ask(s.url, s.keys["pilot"], chat("vendor-7b", "Go on.", max_tokens=16))
    statuses = []
    # Room that only reservations take comes back as they end, which may be after the answer is here: then it is asked again.
    while statuses[-2:] != [402, 402] and len(statuses) < 200:
        statuses.append(ask_pilot()[0])
        if statuses[-1] == 402:
            until("the reservations to end", 20, lambda: s.told('flyball_cap_reserved_usd{cap="the pilot"') == 0)
    proved(statuses[-2:] == [402, 402] and statuses.count(200) > 3, f"no refusal of the cap: {statuses}")
    s.say(f"the pilot's cap refuses its request {len(statuses)} with 402")
    s.fires("FlyballCapRefuses", cap="the pilot")
    # What is left is less than the most that a request can cost, yet much of the cap: it is lowered to see it nearly used, then used up.
    spent = s.told('flyball_cap_spent_usd{cap="the pilot"')
    s.good_reload(pilot=f"{spent / 0.97:.6f}")
    has, said = s.fires("FlyballCapNearlyUsed", cap="the pilot")
    proved("the pilot" in said["summary"], said)
    s.good_reload(pilot=f"{spent:.6f}")
    s.fires("FlyballCapExhausted", cap="the pilot")
    s.good_reload(pilot="5.0")
    until("room under the raised cap", 10, lambda: ask_pilot()[0] == 200)
    for alert in ("FlyballCapExhausted", "FlyballCapNearlyUsed", "FlyballCapRefuses"):
        s.clears(alert, cap="the pilot")


def a_cap_runs_out(s):
    """Steady spending that does not last until the end of the month; a raise clears it."""
    spend = lambda: proved(ask(s.url, s.keys["sprint"], chat("vendor-7b", "Go on.", max_tokens=64))[0] == 200, "nothing is spent")
    for _ in range(3):
        spend()
    s.good_reload(sprint="0.05")
    stop = threading.Event()

    def go_on():
        while not stop.wait(1.5):
            with contextlib.suppress(Failed):
                spend()

    spending = threading.Thread(target=go_on)
    spending.start()
    try:
        has, said = s.fires("FlyballCapRunsOut", 90, cap="the sprint")  # the books are read every 30 s
        proved(re.search(r"used up at \d{4}-\d\d-\d\d \d\d:\d\d", said["summary"]), said)
        s.fires("FlyballCapBurn", cap="the sprint")
    finally:
        stop.set()
        spending.join()
    s.good_reload(sprint="100000.0")
    s.clears("FlyballCapRunsOut", cap="the sprint")
    s.clears("FlyballCapBurn", cap="the sprint")


def a_provider_is_down(s):
    """Nobody listens at the vendor: requests for its model fail, those of a rule with a fallback are answered by another arm."""
    port = s.vendor.away()
    failed, rescued = [], []
    for _ in range(30):
        rescued.append(ask(s.url, s.keys["free"], chat("auto", "Anybody there?", max_tokens=16), {"x-first": "vendor"})[0])
    for _ in range(20):
        failed.append(ask(s.url, s.keys["free"], chat("vendor-7b", "Anybody there?", max_tokens=16))[0])
    proved(set(failed) <= {500, 502, 503, 504}, f"the vendor answers: {set(failed)}")
    s.say(f"the vendor is away: {len(failed)} requests are answered with {set(failed)}, with a fallback with {set(rescued)}")
    s.fires("FlyballErrorShare", model="vendor-7b")
    proved(set(rescued) == {200}, f"no other arm answers: {set(rescued)}")
    # A vendor that is down is tried anew every few seconds only: of a few requests a second each such try is a good part.
    s.fires("FlyballFallbackShare", meanwhile=lambda: ask(s.url, s.keys["free"], chat("auto", "Anybody there?", max_tokens=16), {"x-first": "vendor"}))
    s.vendor = Vendor(port)
    until("the vendor's return", 30, lambda: ask(s.url, s.keys["free"], chat("vendor-7b", "Back?", max_tokens=16))[0] == 200)
    s.clears("FlyballErrorShare", model="vendor-7b")
    s.clears("FlyballFallbackShare")


def prices_are_removed(s):
    s.good_reload(price="")
    status, text = ask(s.url, s.keys["pilot"], chat("vendor-7b", "How much?", max_tokens=16))
    proved(status == 400 and "flyball_no_price" in text, f"{status}: {text}")
    s.say("a capped key is refused a model without a price with 400")
    s.fires("FlyballUnknownPrices")
    s.good_reload(price=PRICE)
    until("the price", 10, lambda: ask(s.url, s.keys["pilot"], chat("vendor-7b", "And now?", max_tokens=16))[0] == 200)
    s.clears("FlyballUnknownPrices")


def a_reload_is_refused(s):
    (s.work / "flyball.toml").write_text("[[cap]]\nusd = \"much\"\n")
    status, text = s.reload()
    proved(status >= 400, f"the wrong file was taken: {status} {text}")
    s.say(f"a wrong configuration is refused with {status}")
    s.fires("FlyballReloadRefused")
    s.good_reload()
    s.clears("FlyballReloadRefused")


def an_answer_costs_more_than_its_bound(s):
    s.vendor.mode = "greedy"
    status, _ = ask(s.url, s.keys["pilot"], chat("vendor-7b", "As much as you like.", max_tokens=16))
    s.vendor.mode = "well"
    proved(status == 200, f"the greedy answer did not come: {status}")
    until("the overrun in the metrics", 10, lambda: s.value("sum(flyball_overruns_total)") > 0)
    s.fires("FlyballOverrun")
    s.clears("FlyballOverrun")


def a_job_is_forgotten(s):
    """A job in the background holds its bound until its answer is fetched; meanwhile nothing else moves."""
    status, text = ask(s.url, s.keys["sprint"], {"model": "jobs-1", "input": "Prove it all.", "background": True}, path="/v1/responses")
    proved(status == 200, f"no job: {status} {text}")
    reserved = lambda: s.value('max(flyball_cap_reserved_usd{cap="the sprint"})')
    until("the reservation of the job", 10, lambda: reserved() > 0)
    has, said = s.fires("FlyballReservationsStuck", cap="the sprint")
    fetch = urllib.request.Request(f"{s.url}/v1/responses/{json.loads(text)['id']}", headers={"authorization": f"Bearer {s.keys['sprint']}"})
    with urllib.request.urlopen(fetch, timeout=10) as answer:
        proved(json.load(answer)["status"] == "completed", "the job is not over")
    s.clears("FlyballReservationsStuck", cap="the sprint")


def a_cheap_model_fails_when_asked_first(s):
    """Empty answers: another model answers each time."""
    s.vendor.mode = "wordless"
    for _ in range(30):
        ask(s.url, s.keys["vendors"], chat("auto", "What is the capital of France?", max_tokens=60), {"x-first": "dear"})
    s.vendor.mode = "well"
    escalated = until("escalations", 10, lambda: s.value('sum(flyball_probes_total{outcome="escalated"})'))
    s.say(f"{escalated:.0f} answers were replaced")
    s.fires("FlyballEscalationShare", model="vendor-7b")
    s.clears("FlyballEscalationShare", model="vendor-7b")


def the_ledger_cannot_write(s):
    """Another program holds the lock of its file."""
    books = s.work / "data/ledger.sqlite"
    with contextlib.closing(sqlite3.connect(books, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        statuses = set()
        until("the ledger to be down", 30, lambda: statuses.add(ask(s.url, s.keys["free"], chat("vendor-7b", "Write it down.", max_tokens=16))[0]) or s.value("min(flyball_ledger_up)") == 0)
        s.say(f"the books are locked: requests were answered with {statuses}")
        s.fires("FlyballLedgerDown")
        s.fires("FlyballLedgerLag")
        db.execute("ROLLBACK")
    s.clears("FlyballLedgerDown")
    s.clears("FlyballLedgerLag")
    proved(ask(s.url, s.keys["free"], chat("vendor-7b", "And now?", max_tokens=16))[0] == 200, "nothing is admitted")


def prices_are_old(s):
    catalogue = json.loads((ROOT / "src/data/prices.json").read_text())
    catalogue["made"] = str(datetime.date.today() - datetime.timedelta(days=100))
    (s.work / "prices.json").write_text(json.dumps(catalogue))
    s.good_reload(catalogue='catalogue = "prices.json"')
    has, said = s.fires("FlyballPricesOld")
    proved("100d" in said["summary"] or "99d" in said["summary"], said)
    s.good_reload(catalogue="")
    s.clears("FlyballPricesOld")


def an_hour_is_dear(s):
    """A thousand times the price of before."""
    spend = lambda: proved(ask(s.url, s.keys["free"], chat("vendor-7b", "Go on.", max_tokens=40))[0] == 200, "nothing is spent")
    s.good_reload(price=PRICE.replace("10.0", "10000.0").replace("50.0", "50000.0"))
    for _ in range(4):
        spend()
    s.fires("FlyballSpendAnomaly")
    s.good_reload(price=PRICE)
    s.clears("FlyballSpendAnomaly")


def flyball_is_away(s):
    os.kill(s.process.pid, signal.SIGSTOP)
    s.say("flyball is stopped (SIGSTOP)")
    s.fires("FlyballDown")
    os.kill(s.process.pid, signal.SIGCONT)
    s.clears("FlyballDown")


FAULTS = [
    a_cap_is_filled, a_cap_runs_out, a_job_is_forgotten, a_provider_is_down, a_cheap_model_fails_when_asked_first, prices_are_removed, prices_are_old, a_reload_is_refused,
    an_answer_costs_more_than_its_bound, the_ledger_cannot_write, an_hour_is_dear, flyball_is_away,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flyball", default=ROOT / "target/debug/flyball", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--prometheus", default="prometheus")
    parser.add_argument("--alertmanager", default="prometheus-alertmanager")
    parser.add_argument("--only", nargs="*", help="the names of some faults")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        scene = None
        try:
            scene = Scene(args, pathlib.Path(folder))
            for fault in FAULTS:
                if not args.only or fault.__name__ in args.only:
                    scene.say(f"-- {fault.__name__.replace('_', ' ')}")
                    fault(scene)
            seen = {(name, state) for name, state, _, _ in Post.messages}
            both = {name for name, state in seen if {(name, "firing"), (name, "resolved")} <= seen}
            missing = set(re.findall(r"alert: (\w+)", RULES.read_text())) - both
            if missing and not args.only:
                raise Failed(f"these did not fire and clear: {sorted(missing)}")
            print(f"PASS: {len(both)} alerts fired and cleared")
        except Failed as why:
            for log in sorted(pathlib.Path(folder).glob("*.log")):
                print(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-15:]))
            print(f"FAIL: {why}")
            sys.exit(1)
        finally:
            if scene:
                scene.end()


if __name__ == "__main__":
    main()
