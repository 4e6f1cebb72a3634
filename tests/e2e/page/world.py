"""A flyball with traffic of three teams and five keys on simulated models and a scripted vendor, and the ways to trouble it."""

import contextlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llama import LISTENS, ROOT, Child, Failed, status  # noqa: E402
from mixed import KEYS, Vendor, ask, chat, traffic  # noqa: E402

TOKEN = "a-token-of-thirty-two-characters"
CONFIG = """\
probe = "pays"
grade_asked = true
baseline = "sim-reasoning@medium"
admin_token = "file:token"

[privacy]
detect = ["cards", "secrets", "own"]
words = ["Projekt Halde"]

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
input_usd_per_mtok = 2.0
output_usd_per_mtok = 12.0

[[model]]
name = "vendor-70b"
provider = "vendor"
tier = "reasoning"
efforts = ["none"]
input_usd_per_mtok = 20.0
output_usd_per_mtok = 120.0

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
name = "everybody, a month"
usd = {month}
window = "month"

[[cap]]
name = "research, a day"
team = "research"
usd = 2.5
window = "day"

[[cap]]
team = "product"
usd = {month}
window = "week"

[[cap]]
name = "the search"
tag = {{ feature = "search" }}
usd = 0.02
window = "day"

[[cap]]
name = "the dear model"
model = "sim-reasoning"
usd = 5.0
window = "day"

[[cap]]
name = "support, requests"
team = "support"
requests = 5000
window = "hour"
"""
# The vendor's small model is asked before its dear one, so that both attempts of an escalation can be looked at.
RULE = """\
[[rule]]
name = "the dear one"
why = "So that a cheaper model is asked first."
when = { header = { x-first = "dear" } }
route = { arm = "vendor-70b@none", probe = true }
"""
# What somebody may call a team or a key. Nothing of it may become markup, turn the line around or push anything aside.
HOSTILE = ["<img src=x onerror=alert(1)>", "right \u202e to left", "two\nlines", "'\"; --", "team\u200b of nothing", "x" * 10_000]


class Checks:
    """Counts and prints; what raises has failed."""

    def __init__(self):
        self.passed, self.failures, self.began = 0, [], time.monotonic()

    def that(self, what, good, detail=""):
        if good:
            self.passed += 1
        else:
            self.failures.append(what)
        line = f"{time.monotonic() - self.began:5.1f} s  {'PASS' if good else 'FAIL'} {what}"
        print(line if good else f"{line}: {detail!s:.4000}", flush=True)
        return good

    def same(self, what, got, expected):
        return self.that(what, got == expected, f"it is {got!r}, not {expected!r}")

    def nothing(self, what, found):
        """A list of what is wrong is empty."""
        return self.that(what, not found, found)


def until(what, seconds, holds):
    """Asks again until it holds. What is not reached in so long is not reached at all: nothing here is a measurement."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if found := holds():
                return found
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s in vain for: {what}")
        time.sleep(0.1)


class World:
    """One flyball, its books, its keys and its vendor."""

    def __init__(self, flyball, work, month="5000.0", listen="127.0.0.1:0"):
        self.flyball, self.work, self.books = flyball, work, work / "data" / "ledger.sqlite"
        self.work.mkdir(exist_ok=True)
        self.admin_listen, self.ports, self.child = listen, ("127.0.0.1:0", listen), None
        self.vendor = Vendor()
        (work / "token").write_text(TOKEN)
        self.config = work / "flyball.toml"
        self.config.write_text(CONFIG.format(vendor=self.vendor.address, month=month))
        # A folder of rules replaces the starter set, so it is taken along.
        shutil.copytree(ROOT / "rules", work / "rules")
        (work / "rules/05-first.toml").write_text(RULE)
        self.keys = {name: self.key(name, "--team", team, *more) for name, team, more in [*KEYS, ("desk", "support", ["--models", "vendor-*"])]}

    def command(self, *words, **options):
        return subprocess.run([self.flyball, *words, "--config", self.config, "--data-dir", self.work / "data"], capture_output=True, text=True, check=True, timeout=60, **options).stdout

    def key(self, name, *more):
        return re.search(r"fb_[A-Za-z0-9_-]+", self.command("key", "create", name, *more))[0]

    def start(self, **environment):
        """On the ports of before, where it has run before."""
        listen = {"FLYBALL_LISTEN": self.ports[0], "FLYBALL_ADMIN_LISTEN": self.ports[1], **environment}
        self.child = Child("flyball", [str(self.flyball), "serve", "--config", str(self.config), "--data-dir", str(self.work / "data")], self.work / "serve.log", listen)
        said = until("a flyball that listens", 60, lambda: self.child.must_run("before it listened") or LISTENS.search(self.child.log.read_text(errors="replace")))
        self.url, self.admin = said[1], said[2].replace("0.0.0.0", "127.0.0.1")
        # Without the token it may say nothing but that.
        until("its admin listener", 30, lambda: status(f"{self.admin}/readyz") in (200, 401))
        host = self.admin_listen.rsplit(":", 1)[0]
        self.ports = tuple(f"{host}:{url.rsplit(':', 1)[1]}" for host, url in (("127.0.0.1", self.url), (host, self.admin)))

    def kill(self):
        self.child.process.kill()
        self.child.process.wait(20)

    def stop(self):
        if self.child and not self.child.stop():
            raise Failed(f"flyball did not end well:\n{self.child.tail()}")

    def end(self):
        if self.child and self.child.process.poll() is None:
            self.kill()
        self.vendor.shutdown()

    def asks(self, seconds, rate=8, seed=11):
        """Mixed traffic, then both attempts of some escalations and the vendor's failures; statuses of all."""
        self.vendor.mode = "moody"
        said, _ = traffic(self.url, self.keys, seconds, rate, seed)
        for mode, model in (("broken", "vendor-7b"), ("wordless", "auto"), ("wordless", "auto")):
            self.vendor.mode = mode
            status, _ = ask(self.url, self.keys["desk"], chat(model, "What is the capital of France?", max_tokens=60), {"x-first": "dear"})
            said[status] += 1
        self.vendor.mode = "well"
        return said

    def asks_one(self, words="What is the capital of France?"):
        """One request of a key without a cap of its own: its status and its id."""
        sent = {"content-type": "application/json", "authorization": f"Bearer {self.keys['lab']}"}
        request = urllib.request.Request(self.url + "/v1/chat/completions", json.dumps(chat("auto", words, max_tokens=40)).encode(), sent)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                answer.read()
                return answer.status, answer.headers["x-flyball-request-id"]
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.headers["x-flyball-request-id"]

    def told(self, path, token=None):
        """What the admin listener says."""
        request = urllib.request.Request(self.admin + path, headers={"authorization": f"Bearer {token}"} if token else {})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer, parse_float=Decimal)

    def settled(self):
        """Every attempt has its end in the books."""
        open_ones = lambda: sqlite3.connect(f"file:{self.books}?mode=ro", uri=True).execute("SELECT count(*) FROM attempt WHERE outcome IS NULL").fetchone()[0]
        until("the end of all attempts", 30, lambda: open_ones() == 0)

    @contextlib.contextmanager
    def locked_books(self):
        """Another program holds the lock of the ledger's file; in the block requests are refused."""
        with contextlib.closing(sqlite3.connect(self.books, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            statuses = set()
            until("a refusal because of the locked books", 40, lambda: statuses.add(self.asks_one()[0]) or 503 in statuses)
            yield
            db.execute("ROLLBACK")

    def fill(self, attempts, days, keys=0, back=0):
        """So many attempts of the `days` before today (or before the day so many days ago), as if they had been asked. flyball is stopped meanwhile.

        They are copies of those that are in the books, under new ids and at other times; with `keys` also of so many new keys, each with a
        cap, in a tenth as many teams. The sums of hours and days are added up here, as src/ledger/rollup.rs does; what caps have
        counted is thrown away, so that flyball counts the windows that run anew when it starts.
        """
        with contextlib.closing(sqlite3.connect(self.books, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            columns = [row[1] for row in db.execute("PRAGMA table_info(attempt)")]
            at = {name: n for n, name in enumerate(columns)}
            # Those that are their request's only one, and whose cause needs no second look.
            alone = "outcome IS NOT NULL AND escalated_from = '' AND attempt NOT IN (SELECT escalated_from FROM attempt)"
            plain = "(cause IS NULL AND cost = baseline) OR (cause = 'route' AND cost < baseline) OR (cause = 'dearer' AND cost > baseline)"
            # Copies of a key with a cap for ever would be far above it.
            mine = "" if keys else " AND key IN (SELECT id FROM key WHERE caps NOT LIKE '%total%')"
            models = db.execute(f"SELECT * FROM attempt WHERE {alone} AND ({plain}){mine}").fetchall()
            dice, now = random.Random(11), int(time.time() * 1000)
            today = now - now % 86_400_000 - back * 86_400_000
            teams = [*HOSTILE, *(f"team-{n:02}" for n in range(keys // 10))]
            owners = [self.row_of_key(db, n, teams[n % len(teams)]) for n in range(keys)]

            copies = {3_600_000: Counter(), 86_400_000: Counter()}

            def rows():
                for n in range(attempts):
                    day, owner = n % days, n // days % keys if keys else 0
                    # Each key asks in one way, at its own hour; without keys there is more at noon, and less on weekends.
                    model = owner % len(models) if keys else dice.randrange(len(models))
                    row = list(models[model])
                    share = owner / keys if keys else dice.random()
                    moment = today - (days - day) * 86_400_000 + int((0.3 + 0.4 * share) * 86_400_000)
                    if not keys and time.gmtime(moment / 1000).tm_wday > 4 and dice.random() < 0.7:
                        continue
                    row[at["at_ms"]] = row[at["counted_ms"]] = moment
                    row[at["request"]], row[at["attempt"]] = (f"{moment:012x}"[:8] + f"-{moment & 0xffff:04x}-7{kind}00-8000-{n:012x}" for kind in "ab")
                    if keys:
                        row[at["key"]], row[at["team"]] = owners[owner]
                    for length, counted in copies.items():
                        counted[(moment // length, row[at["key"]], row[at["team"]], model)] += 1
                    yield row

            db.executemany(f"INSERT INTO attempt VALUES ({', '.join('?' * len(columns))})", rows())
            for table, counted in (("rollup_hour", copies[3_600_000]), ("rollup_day", copies[86_400_000])):
                names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")][2:]
                more = f"ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in names)}"
                for (since, key, team, model), many in counted.items():
                    group, amounts = self.group_and_amounts(dict(zip(columns, models[model])) | {"key": key, "team": team})
                    db.execute("INSERT OR IGNORE INTO rollup_group (name) VALUES (?)", [group])
                    [place] = db.execute("SELECT id FROM rollup_group WHERE name = ?", [group]).fetchone()
                    db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * (len(names) + 2))}) {more}", [since, place, *(amounts[name] * many for name in names)])
            db.execute("DELETE FROM counter")
            db.execute("DELETE FROM defined")
            db.execute("COMMIT")
            return db.execute("SELECT count(*) FROM attempt").fetchone()[0]

    @staticmethod
    def group_and_amounts(row):
        """The group of one attempt as the books write it, and what it adds to the sums of its hour and of its day."""
        group = {"key": row["key"] or 0, "organisation": row["organisation"], "team": row["team"], "tags": json.loads(row["tags"])}
        group |= {name: row[name] for name in ("provider", "model", "effort", "tier", "task", "rule")}
        group |= {"simulated": bool(row["simulated"]), "service_tier": row["service_tier"] or "", "outcome": row["outcome"], "cause": row["cause"] or ""}
        amounts = {name: row[name] or 0 for name in ("input", "cached", "output", "reasoning", "cost", "baseline", "baseline_extra", "cache_discount")}
        amounts |= {"requests": 1, "attempts": 1, "cache_write": (row["cache_write"] or 0) + (row["cache_write_long"] or 0), "cap_tokens": row["tokens"] or 0}
        amounts |= {"provisional": row["cost"] if row["basis"] == "bound" else 0, "cap_requests": int(row["basis"] != "void")}
        return json.dumps(group, ensure_ascii=False, separators=(",", ":")), amounts

    @staticmethod
    def row_of_key(db, n, team):
        name = HOSTILE[n] if n < len(HOSTILE) else f"key-{n:04}"
        columns = [row[1] for row in db.execute("PRAGMA table_info(key)") if row[1] != "id"]
        # One in five has the cap in all of "notebooks", the others that a day of "search".
        row = dict(zip(columns, db.execute(f"SELECT {', '.join(columns)} FROM key WHERE name = ?", ["search" if n % 5 else "notebooks"]).fetchone()))
        row |= {"name": name, "hash": os.urandom(32), "team": team}
        db.execute(f"INSERT INTO key ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
        return db.execute("SELECT last_insert_rowid()").fetchone()[0], team


def dollars(text, minus="−"):
    """As the page and `flyball top` write them."""
    amount = Decimal(text)
    sign, size = (minus if amount < 0 else ""), abs(amount)
    if size == 0:
        return "$0"
    for least, form in ((Decimal("9999.5"), ",.0f"), (Decimal("0.995"), ",.2f"), (Decimal("0.0995"), ".3f"), (Decimal("0.00995"), ".4f"), (Decimal("0.000005"), ".5f")):
        if size >= least:
            return f"{sign}${float(size):{form}}"
    return f"{sign}<$0.00001"


class Asking(threading.Thread):
    """One request after the other until it is stopped: what came of them, and how long the slowest took."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world, self.stopped, self.statuses, self.slowest = world, threading.Event(), [], 0.0

    def run(self):
        while not self.stopped.is_set():
            began = time.monotonic()
            self.statuses.append(self.world.asks_one()[0])
            self.slowest = max(self.slowest, time.monotonic() - began)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()
