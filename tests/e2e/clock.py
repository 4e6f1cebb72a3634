#!/usr/bin/env python3
"""A clock that jumps, under a running flyball: nothing that it tells of money becomes wrong, and no cap is opened twice.

    tests/e2e/clock.py --flyball target/debug/flyball

libfaketime (Debian: faketime) moves the wall clock of one flyball and of nothing else, forwards by 36 hours, then back by 96, then to
where it was. After each jump requests go out on a key with a cap for the day; then metrics, reports, the forecast and the export are read.
The jumps are proved by the times that the ledger has noted. A few seconds.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from decimal import Decimal

LIBRARIES = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"]
CAP = Decimal("0.05")
LISTENS = re.compile(r"flyball listens on http://(\S+) \(metrics and health on http://([^\s)]+)\)")


class Failed(Exception):
    pass


def check(holds, what):
    print(f"{'PASS' if holds else 'FAIL'} {what}", flush=True)
    if not holds:
        raise Failed(what)


def get(url):
    with urllib.request.urlopen(url, timeout=10) as got:
        return got.read().decode()


class Flyball:
    def __init__(self, program, folder, library):
        self.program, self.folder, self.offset = program, folder, folder / "offset"
        self.jump("+0")
        (folder / "flyball.toml").write_text('[simulate]\nspeed = 1000.0\n\n[[cap]]\nname = "everybody"\nusd = 1000\nwindow = "month"\n')
        self.key = self.command("key", "create", "app", "--cap", f"{CAP}usd/day").strip()
        faked = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self.offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        command = [*self.base(), "serve", "--simulate", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        self.log = folder / "log"
        with open(self.log, "w") as log:
            self.child = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **faked})
        self.listen, self.admin = self.addresses()

    def base(self):
        return [self.program, "--config", str(self.folder / "flyball.toml"), "--data-dir", str(self.folder / "data")]

    def command(self, *words):
        return subprocess.run([*self.base(), *words], check=True, capture_output=True, text=True, cwd=self.folder, timeout=60).stdout

    def addresses(self):
        for _ in range(300):
            text = self.log.read_text(errors="replace")
            if (found := LISTENS.search(text)) and "Ctrl-C" in text:
                return found[1], found[2]
            if self.child.poll() is not None:
                break
            time.sleep(0.1)
        raise Failed(f"flyball does not start:\n{self.log.read_text(errors='replace')[-2000:]}")

    def jump(self, offset):
        whole = self.folder / "offset.new"
        whole.write_text(offset)
        whole.rename(self.offset)

    def ask(self, count):
        """How many were answered, and how many the cap refused."""
        said = {200: 0, 402: 0}
        body = json.dumps({"model": "sim-reasoning", "max_tokens": 400, "messages": [{"role": "user", "content": "Prove that there is no largest prime number."}]})
        for _ in range(count):
            request = urllib.request.Request(
                f"http://{self.listen}/v1/chat/completions", body.encode(), {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as got:
                    got.read()
                    said[got.status] += 1
            except urllib.error.HTTPError as refused:
                said.setdefault(refused.code, 0)
                said[refused.code] += 1
        check(set(said) == {200, 402}, f"{said[200]} requests were answered and {said[402]} refused by the cap")
        return said[200], said[402]

    def rows(self):
        lines = self.command("ledger", "export", "--jsonl").splitlines()
        return [json.loads(line) for line in lines]

    def settled(self):
        for _ in range(100):
            rows = self.rows()
            if all(row["outcome"] != "open" for row in rows):
                return rows
            time.sleep(0.1)
        raise Failed("rows stay open")


def sane(flyball, rows):
    """Everything that is told of money is finite, and the same as the rows say."""
    spent = sum(Decimal(row["cost_pico_usd"]) for row in rows) / 10**12
    metrics = get(f"http://{flyball.admin}/metrics")
    values = {}
    for line in metrics.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            values[name] = float(value)
    odd = {name: value for name, value in values.items() if not math.isfinite(value) and "le=" not in name}
    check(not odd, f"every one of {len(values)} samples is a number {odd or ''}")
    counted = values['flyball_spend_usd_total{key="app",team="-"}']
    check(round(Decimal(counted) * 10**12) == spent * 10**12, f"the counter says ${spent} as the rows do")
    lag = values["flyball_ledger_lag_seconds"]
    check(0 <= lag < 30, f"the ledger is {lag} s behind")
    # Wide enough for every clock that was ever shown.
    year = datetime.timedelta(days=300)
    now = datetime.datetime.now(datetime.timezone.utc)
    times = f"from={(now - year):%Y-%m-%d}&to={(now + year):%Y-%m-%d}"
    report = json.loads(get(f"http://{flyball.admin}/admin/v1/report?by=key&{times}"))
    check(Decimal(report["total"]["cost_usd"]) == spent, f"the report says ${report['total']['cost_usd']}")
    check(report["total"]["attempts"] == len(rows), f"and counts {len(rows)} attempts")
    forecast = json.loads(get(f"http://{flyball.admin}/admin/v1/forecast"))
    check(Decimal(forecast["spent_usd"]) >= 0, f"the forecast says ${forecast['spent_usd']} so far")
    for cap in json.loads(get(f"http://{flyball.admin}/admin/v1/caps"))["caps"]:
        for pace, at in (cap.get("exhausted_at") or {}).items():
            check(at is None or at > 0, f"the cap {cap['name']} at the pace of {pace} ends at {at}")
    health = json.loads(get(f"http://{flyball.admin}/admin/v1/health"))
    check(health["ledger"]["attempts"] == len(rows), "the page's health answers")


def scenario(program, folder, library):
    flyball = Flyball(program, folder, library)
    try:
        seen = []
        for offset, opens in [("+0", True), ("+36h", True), ("-60h", False), ("+0", False)]:
            flyball.jump(offset)
            print(f"-- the clock jumps to {offset}", flush=True)
            began = len(flyball.settled())
            answered, refused = flyball.ask(12)
            rows = flyball.settled()
            seen.append([row["time"] for row in rows[began:]] or None)
            if opens:
                check(answered > 0 and refused > 0, "the day's cap is open, until it is full")
            else:
                # Its window is one that has been, or one that is full: nothing opens again.
                check(answered == 0 and refused == 12, "a clock that was set back opens no cap again")
            sane(flyball, rows)
        at = [datetime.datetime.fromisoformat(times[0]) for times in seen if times]
        check((at[1] - at[0]).total_seconds() > 35 * 3600, "the ledger has noted a jump of more than 35 hours")
        spent = sum(Decimal(row["cost_pico_usd"]) for row in rows) / 10**12
        check(spent <= 2 * CAP, f"${spent} were spent in two windows of ${CAP}")
        verified = flyball.command("ledger", "verify")
        check("0 differences" in verified, verified.strip().splitlines()[-1])
    finally:
        flyball.child.terminate()
        flyball.child.wait(30)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flyball", required=True)
    options = parser.parse_args()
    library = next((one for one in LIBRARIES if pathlib.Path(one).exists()), None)
    if not library:
        sys.exit("libfaketime is missing: apt-get install faketime")
    with tempfile.TemporaryDirectory() as folder:
        try:
            scenario(str(pathlib.Path(options.flyball).resolve()), pathlib.Path(folder), library)
        except Failed as why:
            sys.exit(f"FAIL: {why}")
    print("PASS: the clock jumped, and the money is right")


if __name__ == "__main__":
    main()
