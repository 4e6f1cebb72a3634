#!/usr/bin/env python3
"""The five boards: each panel is one call below, and grafana/*.json is made from them.

    python3 dashboards/boards.py            writes grafana/{cost,caps,routing,latency,trust}.json
    python3 dashboards/boards.py --check    fails, and says where, if a file differs from what is written here

Needs nothing but Python 3. The rules that every panel keeps are tested in tests/boards/board.rs.
"""

import difflib
import json
import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).resolve().parent / "grafana"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
BOARDS = {"cost": "Cost", "caps": "Caps", "routing": "Routing", "latency": "Latency", "trust": "Trust"}

USD, USD_AN_HOUR, SHARE, SECONDS, COUNT, WHOLE = "currencyUSD", "suffix: $/h", "percentunit", "s", "short", "none"
A_MINUTE, DATE, DATE_SHORT = "suffix: /min", "time:YYYY-MM-DD HH:mm", "time:MMM D, HH:mm"
# Prometheus' rates are a second's.
TIMES = {USD_AN_HOUR: "3600 * ", A_MINUTE: "60 * "}

# Variables that a metric's own labels follow; job and instance are followed by all.
FOLLOWS = {
    "team": ("flyball_spend_usd_total", "flyball_spend_baseline_usd_total"),
    "key": ("flyball_spend_usd_total", "flyball_spend_baseline_usd_total"),
    "model": (
        "flyball_cost_usd_total", "flyball_baseline_usd_total", "flyball_tokens_total", "flyball_cached_usd_total",
        "flyball_ttft_seconds_bucket", "flyball_ttft_seconds_count", "flyball_decode_tokens_per_second_bucket",
        "flyball_decode_tokens_per_second_count", "flyball_model_attempts_total", "flyball_probe_usd_total", "flyball_probes_total",
    ),
}

# One colour for one thing on every board. What is not named here has a colour made from its name.
COLOURS = {
    "baseline": "#8e8e8e", "spent": "blue", "saved": "green", "lost": "orange", "the rest": "#6e6e6e", "other": "#6e6e6e",
    "local": "#5ec4c4", "small": "green", "standard": "blue", "reasoning": "purple",
    "none": "#56a64b", "minimal": "#96d98d", "low": "#8ab8ff", "medium": "#3274d9", "high": "#b877d9", "xhigh": "#8f3bb8", "max": "#e02f44",
    "0-0.2": "#56a64b", "0.2-0.4": "#96d98d", "0.4-0.6": "#f2cc0c", "0.6-0.8": "#ff9830", "0.8-1": "#e02f44", "ungraded": "#6e6e6e",
    "input": "blue", "cached": "green", "cache_write": "#5ec4c4", "output": "orange",
    "ok": "green", "length": "#96d98d", "escalated": "orange", "stands": "green", "failed": "red", "full": "red", "reserved": "orange",
    "upstream_error": "red", "upstream_timeout": "#b51d2f", "stream_cut": "#ff7383", "client_gone": "yellow", "refused_upstream": "#f2cc0c", "not_sent": "#b877d9",
    "crash": "#e02f44", "strong_failed": "red", "stood": "green", "check": "blue", "no_room": "#6e6e6e",
    "<1k": "green", "1-4k": "#96d98d", "4-16k": "yellow", "16-64k": "orange", "64k+": "red", "no_price": "purple", "unbounded": "yellow", "frozen": "blue",
    "reported": "green", "counted": "blue", "bound": "orange", "void": "#6e6e6e", "equal": "green", "above": "red", "below": "orange",
    "model": "orange", "effort": "blue",
    "hit": "green", "shared": "#96d98d", "miss": "blue", "refresh": "purple", "bypass": "#6e6e6e",
}
# Labels whose values are a closed set of few, so that each has its own colour.
CLOSED = {
    "tier": ("local", "small", "standard", "reasoning"),
    "effort": ("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "band": ("0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1", "ungraded"),
    "class": ("input", "cached", "cache_write", "output", "reasoning"),
    "outcome": (
        "ok", "length", "escalated", "stands", "failed", "upstream_error", "upstream_timeout", "stream_cut", "client_gone", "refused_upstream", "not_sent", "crash",
        "strong_failed", "no_room",
    ),
    "part": ("stood", "escalated", "failed", "check"),
    "basis": ("reported", "counted", "bound", "void"),
    "reason": ("full", "reserved", "no_price", "unbounded", "frozen"),
    "change": ("none", "model", "effort"),
    "prompt": ("<1k", "1-4k", "4-16k", "16-64k", "64k+"),
    "compared": ("equal", "above", "below"),
    "result": ("hit", "shared", "miss", "refresh", "bypass"),
}


# ---- Queries -------------------------------------------------------------------------------------------------------


def of(metric, at="", **where):
    """A metric, of the jobs, instances and whatever else the reader has chosen."""
    chosen = ["job", "instance"] + [name for name, metrics in FOLLOWS.items() if metric in metrics]
    matchers = [f'{name}=~"${name}"' for name in chosen]
    for label, value in where.items():
        matchers.append(f"{label}{value}" if value[0] in "=!" else f'{label}="{value}"')
    return f"{metric}{{{', '.join(matchers)}}}{at}"


def by(labels):
    return f" by ({labels})" if labels else ""


def rate(metric, labels="", **where):
    """A second, over time."""
    return f"sum{by(labels)} (rate({of(metric, '[$__rate_interval]', **where)}))"


def total(metric, labels="", at="", **where):
    """One number for the time shown."""
    return f"sum{by(labels)} (increase({of(metric, '[$__range]' + at, **where)}))"


def dearest(metric, label, size=7, **where):
    """The seven largest of the time shown, over time, and the rest as one: never more than eight lines."""
    each, best = rate(metric, label, **where), f"topk({size}, {total(metric, label, ' @ end()', **where)})"
    rest = f'label_replace(sum({each} unless on ({label}) {best}), "{label}", "the rest", "", "")'
    return f"({each} and on ({label}) {best}) or {rest}"


def ranked(metric, labels, size=7, **where):
    """The largest of the time shown, one number each, and the rest as one."""
    each = total(metric, labels, **where)
    rest = f"sum({each} unless topk({size}, {each})) > 0"
    for label, name in zip(labels.split(", "), ("the rest", " ")):
        rest = f'label_replace({rest}, "{label}", "{name}", "", "")'
    return f"topk({size}, {each} > 0) or {rest}"


def share(part, whole):
    return f"{part} / ({whole} > 0)"


def quantile(q, histogram, label, size=0):
    """A percentile by a label; of the busiest ones alone where a label may have many values."""
    buckets = rate(histogram + "_bucket", f"le, {label}")
    best = f" and on ({label}) topk({size}, {total(histogram + '_count', label, ' @ end()')})" if size else ""
    return f"histogram_quantile({q}, {buckets}{best})"


def cap(name, at="", **where):
    """A cap's figure: replicas that share a ledger tell the same."""
    return f"max by (cap, scope, window) ({of('flyball_cap_' + name, at, **where)})"


def cap_used(at=""):
    held = f"{cap('spent_usd', at)} + {cap('reserved_usd', at)}"
    return f"({held}) / ({cap('limit_usd', at)} > 0)"


def runs_out(pace):
    """When a cap is used up, of those alone that do not last until their reset; `total` has none."""
    when = f"min by (cap, scope, window) ({of('flyball_cap_exhausted_timestamp_seconds', pace=pace)})"
    return f"({when} < ({cap('reset_timestamp_seconds')} or {cap('limit_usd')} * 0 + Inf))"


def faster(at=""):
    """How many times as fast as it lasts a cap is spent, at the pace of the last hour."""
    left = f"min by (cap, scope, window) ({of('flyball_cap_exhausted_timestamp_seconds', at, pace='1h')}) - time()"
    return f"clamp_max(clamp_min({cap('reset_timestamp_seconds', at)} - time(), 0) / clamp_min({left}, 1), 5)"


def books(metric, labels="", **where):
    return f"max{by(labels)} ({of('flyball_' + metric, **where)})"


def forecast(bound):
    """Worked out every five minutes, so what is spent meanwhile may be more than what it expected."""
    expected, spent = books("forecast_usd", bound=bound), books("books_cost_usd", period="month")
    return f"({expected} > {spent}) or ({spent} and {expected})"


SUCCEEDED, FAILED = '=~"ok|length"', '=~"upstream_error|upstream_timeout|stream_cut|not_sent"'
NOT_FALSE, NOT_TRUE = '!="false"', '!="true"'
EASY = '=~"0-0.2|0.2-0.4"'


# ---- Panels --------------------------------------------------------------------------------------------------------


class Board:
    """Panels from left to right, line by line."""

    def __init__(self, uid, about):
        self.uid, self.about, self.panels, self.x, self.y, self.line = uid, about, [], 0, 0, 0
        header(self)

    def row(self, title):
        self.place(24, 1)
        self.panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], **self.placed})

    def place(self, w, h):
        if self.x + w > 24:
            self.x, self.y, self.line = 0, self.y + self.line, 0
        self.placed = {"id": len(self.panels) + 1, "gridPos": {"x": self.x, "y": self.y, "w": w, "h": h}}
        self.x, self.line = self.x + w, max(self.line, h)

    def panel(self, kind, title, says, do, unit, queries, place, options, defaults, overrides=(), instant=True, transformations=(), table=False):
        self.place(*place)
        targets = []
        for number, query in enumerate(queries):
            expr, legend = query[0], query[1]
            target = {"refId": chr(ord("A") + number), "datasource": SOURCE, "expr": expr, "legendFormat": "" if table else legend}
            targets.append({**target, "range": not instant, "instant": instant, **({"format": "table"} if table else {})})
        field = {"unit": unit, "mappings": [], "thresholds": steps("blue"), "color": {"mode": "thresholds"}, **defaults}
        panel = {"type": kind, "title": title, "description": f"{says} **What to do:** {do}{followed(queries)}", "datasource": SOURCE, **self.placed}
        panel.update(fieldConfig={"defaults": field, "overrides": list(overrides)}, options=options, targets=targets)
        if transformations:
            panel["transformations"] = list(transformations)
        self.panels.append(panel)
        return panel

    def stat(self, title, says, do, unit, *queries, place=(4, 4), colour="blue", at=(), words=None, background=False, name=False, **more):
        """One figure, or a few. `at`: from which values on it has another colour; `words`: instead of numbers."""
        options = {
            "colorMode": "background" if background else "value", "graphMode": "none", "justifyMode": "center", "orientation": "vertical" if len(queries) < 2 else "auto",
            "textMode": "value_and_name" if name or len(queries) > 1 else "value", "wideLayout": True, "showPercentChange": False, "percentChangeColorMode": "standard",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
        defaults = {"thresholds": steps(colour, *at), **more, **({"mappings": mapped(words)} if words else {})}
        return self.panel("stat", title, says, do, unit, queries, place, options, defaults)

    def bars(self, title, says, do, unit, query, place=(6, 9), colour="blue", at=(), least_first=False, **more):
        """Names of any length, each with a bar, the largest first: a table, since the panel of bars cuts names."""
        labels = re.findall(r"{{(\w+)}}", query[1])
        cell = {**GAUGE_CELL, "thresholds": steps(colour, *at), "max": None, **more}
        heading = {USD: "US dollars", SHARE: "Share", COUNT: "How many"}[unit]
        column = (query[0], heading, unit, {name: value for name, value in cell.items() if value is not None})
        self.table(title, says, do, {label: label.capitalize() for label in labels}, column, place=place, sort=heading, least_first=least_first,
                   widths=[*((label.capitalize(), 70) for label in labels), (heading, 200)] if len(labels) > 1 else ())

    def lines(self, title, says, do, unit, *queries, place=(8, 8), stack=None, fill=8, **more):
        if unit in TIMES:
            queries = [(f"{TIMES[unit]}({expr})", legend) for expr, legend in queries]
        custom = {
            "drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1 if stack else 2, "fillOpacity": 45 if stack else fill, "gradientMode": "none", "showPoints": "never",
            "spanNulls": False, "stacking": {"mode": stack or "none", "group": "A"}, "axisPlacement": "auto", "thresholdsStyle": {"mode": "off"},
        }
        options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}}
        defaults = {"color": {"mode": "palette-classic"}, "custom": custom, "min": 0, **more}
        return self.panel("timeseries", title, says, do, unit, queries, place, options, defaults, coloured(queries), instant=False)

    def table(self, title, says, do, labels, *columns, place=(24, 9), sort=None, widths=(), least_first=False):
        """`labels`: of the rows, with their headings. A column: query, heading, unit, and what more its cells are."""
        values = ["Value"] if len(columns) == 1 else [f"Value #{chr(ord('A') + n)}" for n in range(len(columns))]
        headings = {**labels, **{value: column[1] for value, column in zip(values, columns)}}
        kept = [heading for heading in headings.values() if heading]
        organize = {
            "excludeByName": {"Time": True, **{name: True for name, heading in headings.items() if not heading}},
            "indexByName": {name: place for place, name in enumerate(headings)}, "renameByName": {n: h for n, h in headings.items() if h},
        }
        transformations = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
        if sort:
            transformations.append({"id": "sortBy", "options": {"sort": [{"field": sort, "desc": not least_first}]}})
        overrides = [override(column[1], {"unit": column[2], **(column[3] if len(column) > 3 else {})}) for column in columns if column[1]]
        overrides += [override(heading, {"custom.width": width}) for heading, width in widths]
        assert sort is None or sort in kept, sort
        options = {"frameIndex": 0, "showHeader": True, "cellHeight": "sm"}
        defaults = {"custom": {"align": "left", "inspect": False}}
        return self.panel("table", title, says, do, COUNT, columns, place, options, defaults, overrides, transformations=transformations, table=True)

    def json(self):
        variables = [SOURCE_VARIABLE, *(variable(*v, self.uses(v[0])) for v in VARIABLES)]
        board = {
            "uid": f"flyball-{self.uid}", "title": f"flyball: {BOARDS[self.uid]}", "description": self.about, "tags": ["flyball", "llm"], "schemaVersion": 42, "version": 1,
            "editable": False, "graphTooltip": 1, "fiscalYearStartMonth": 0, "timezone": "browser", "weekStart": "", "time": {"from": "now-24h", "to": "now"}, "refresh": "1m",
            "timepicker": {}, "links": [link(uid) for uid in BOARDS if uid != self.uid], "annotations": {"list": []}, "templating": {"list": variables},
            "panels": self.panels,
        }
        return spelled(board)

    def uses(self, name):
        return any(f'"${name}"' in target["expr"] for panel in self.panels for target in panel.get("targets", []))


def spelled(board):
    """A line for each panel, variable and link, so that a difference shows one and the files stay small."""
    lines = lambda items: "[\n" + ",\n".join(f"  {one(item)}" for item in items) + "\n ]"
    one = lambda value: json.dumps(value, ensure_ascii=False)
    listed = {"links": lines, "panels": lines, "templating": lambda value: '{"list": ' + lines(value["list"]) + "}"}
    return "{\n" + ",\n".join(f' "{name}": {listed.get(name, one)(value)}' for name, value in board.items()) + "\n}\n"


def steps(colour, *at):
    return {"mode": "absolute", "steps": [{"color": colour, "value": None}, *({"color": c, "value": v} for v, c in at)]}


def mapped(words):
    return [{"type": "value", "options": {str(value): {"text": text, "index": n, **({"color": colour} if colour else {})} for n, (value, text, colour) in enumerate(words)}}]


def override(name, properties):
    spelled = [{"id": key, "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": spelled}


def coloured(queries):
    """The colours of the names that can be in these legends."""
    names = []
    for _, legend in queries:
        names += [name for label, values in CLOSED.items() if legend == "{{%s}}" % label for name in values]
        names += [legend, *(["the rest", "other"] if "{{" in legend else [])]
    return [override(name, {"color": {"mode": "fixed", "fixedColor": COLOURS[name]}}) for name in dict.fromkeys(names) if name in COLOURS]


def followed(queries):
    names = [name for name in FOLLOWS if any(f'"${name}"' in query[0] for query in queries)]
    return f" (Follows the choice of {' and '.join(names)}.)" if names else ""


def link(uid):
    return {
        "type": "link", "title": BOARDS[uid], "url": f"/d/flyball-{uid}", "icon": "dashboard", "tooltip": "", "tags": [], "asDropdown": False, "targetBlank": False,
        "includeVars": True, "keepTime": True,
    }


SOURCE_VARIABLE = {
    "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1, "regex": "", "multi": False, "includeAll": False, "hide": 0,
    "skipUrlSync": False, "options": [], "current": {"text": "Prometheus", "value": "prometheus"},
}
VARIABLES = [
    ("job", "Job", "flyball_build_info", ""),
    ("instance", "Instance", "flyball_build_info", 'job=~"$job"'),
    ("team", "Team", "flyball_spend_usd_total", 'job=~"$job", instance=~"$instance"'),
    ("key", "Key", "flyball_spend_usd_total", 'job=~"$job", instance=~"$instance", team=~"$team"'),
    ("model", "Model", "flyball_cost_usd_total", 'job=~"$job", instance=~"$instance"'),
]


def variable(name, label, metric, matchers, shown):
    """One that no panel of a board follows is kept, unseen, for the boards that the links lead to."""
    query = f"label_values({metric}{'{' + matchers + '}' if matchers else ''}, {name})"
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query, "query": query, "refresh": 2, "sort": 1, "multi": True, "includeAll": True,
        "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}, "options": [], "regex": "", "hide": 0 if shown else 2, "skipUrlSync": False,
    }


# How cells look. Grafana reads `cellOptions`; `displayMode` is for the tool that draws in tests/e2e/boards.sh.
GAUGE_CELL = {
    "custom.cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}, "custom.displayMode": "", "min": 0, "max": 1,
    "thresholds": steps("green", (0.8, "orange"), (0.95, "red")), "color": {"mode": "thresholds"},
}
DATE_CELL = {"custom.cellOptions": {"type": "color-text"}, "custom.displayMode": "", "thresholds": steps("green", (1, "red")), "color": {"mode": "thresholds"}}


# ---- What is on every board ----------------------------------------------------------------------------------------


def header(board):
    seen = lambda simulated: f"(max({of('flyball_build_info', simulated=simulated)}) or vector(0))"
    board.stat(
        "Is this money real?",
        "Simulated models answer where no provider is configured: then every dollar on these boards is made up.",
        "if this says simulated and you expected a bill, give flyball a provider (docs/configuration.md).",
        COUNT, (f"2 * {seen(NOT_FALSE)} + {seen(NOT_TRUE)}", "money"), place=(12, 3), background=True,
        words=[(0, "No flyball is scraped", "red"), (1, "Real money", "green"), (2, "Simulated money: nobody was paid", "orange"), (3, "Part of this money is simulated", "orange")],
    )
    panel = board.stat(
        "Alerts that fire", "Of the rules in dashboards/prometheus/rules.", "look at the list on the board Trust; docs/metrics.md says what to do about each.",
        COUNT, ('count(ALERTS{alertname=~"Flyball.+", alertstate="firing"}) or vector(0)', "alerts"), place=(4, 3), colour="green", at=[(1, "red")],
    )
    panel["links"] = [{"title": "Which ones", "url": "/d/flyball-trust?${__url_time_range}&${__all_variables}"}]
    board.stat(
        "Ledger", "While the ledger cannot write, no request is admitted.", "look for a full disk, or a database that cannot be reached.",
        COUNT, (f"min({of('flyball_ledger_up')})", "ledger"), place=(4, 3), words=[(0, "cannot write", "red"), (1, "writes", "green")],
    )
    board.stat(
        "Prices are this old", "Since the date of the price catalogue in force.", "`flyball prices refresh` makes a newer one; all dollars here depend on it.",
        SECONDS, (f"time() - min({of('flyball_prices_timestamp_seconds')})", "age"), place=(4, 3), colour="green", at=[(60 * 86400, "orange"), (120 * 86400, "red")], decimals=0,
    )


EXACT = "From counters, over the time shown: Prometheus extrapolates, `flyball report` is exact."
BOOKED = "From the books, so it is exact and survives a restart."


def cost():
    b = Board("cost", "What is spent and saved, why, by whom, and what the month will cost.")
    spend, baseline = "flyball_spend_usd_total", "flyball_spend_baseline_usd_total"
    b.row("The time shown")
    b.stat("Spent", f"What answers cost. {EXACT}", "if it surprises you, the panels under Who say whose it is.", USD, (total(spend), "spent"))
    b.stat("Saved", f"Baseline minus cost, losses taken off. {EXACT}", "below 0 routing costs more than it saves: see Lost, by cause.", USD,
           (f"{total(baseline)} - {total(spend)}", "saved"), colour="red", at=[(0, "green")])
    b.stat("Saved share", "The share of the baseline's cost that was not spent.", "if it falls, compare Saved, by cause with last week's: a rule or a price has changed.",
           SHARE, (f"1 - {share(total(spend), total(baseline))}", "saved"), colour="red", at=[(0, "green")], decimals=1)
    b.stat("A request costs", "Money spent by attempts that ended. A request that was tried on two arms counts twice.", "if it grows while the mix of tasks does not, look at Effort on the board Routing.",
           USD, (share(total("flyball_cost_usd_total"), total("flyball_model_attempts_total")), "a request"), decimals=4)
    b.stat("1,000 answer tokens", "All that was spent, by visible output tokens: it holds what prompts and thinking cost.", "high beside the price list: long prompts without a cache, or much thinking.",
           USD, ("1000 * " + share(total("flyball_cost_usd_total"), total("flyball_tokens_total", **{"class": "output"})), "1,000 tokens"), decimals=3)
    b.stat("Prompt caches took off", "What providers' prompt caches took off the bill; not part of saved.", "near 0 with long conversations: an app changes the beginning of its prompts.",
           USD, (total("flyball_cached_usd_total"), "taken off"), colour="green")
    b.row("The books")
    b.stat("Spent today", f"Since midnight of the configured time zone. {BOOKED}", "compare with Yesterday in the table below.", USD, (books("books_cost_usd", period="today"), "today"))
    b.stat("This month so far", f"Since the first of the month. {BOOKED}", "compare with the end of the month beside it.", USD, (books("books_cost_usd", period="month"), "this month"))
    b.stat("At the end of the month", f"What the month will cost; four of five months end between low and high. {BOOKED}", "if high is more than you want to pay, set a cap on the month (docs/caps.md).",
           USD, *((forecast(bound), bound) for bound in ("low", "expected", "high")), place=(12, 4), noValue="needs a week of books")
    b.stat("7 days against the 7 before", f"Change of what was spent. {BOOKED}", "a jump without a new app is a loop or a dearer rule: see Spent, by rule.",
           SHARE, (f"{share(books('books_cost_usd', period='week'), books('books_cost_usd', period='last_week'))} - 1 or vector(0)", "change"),
           colour="green", at=[(0.25, "orange"), (1, "red")], decimals=0)
    b.row("Why")
    b.lines("Spent beside the baseline", "US dollars an hour. The gap between the lines is what routing saves.", "where they touch, nothing was saved: see which rule decided then.", USD_AN_HOUR,
            (rate(baseline), "baseline"), (rate(spend), "spent"), place=(12, 8), fill=15)
    b.lines("Spent, by model", "US dollars an hour, stacked.", "a model that grows alone points at one app: choose it above and look at Who.", USD_AN_HOUR,
            (dearest("flyball_cost_usd_total", "model"), "{{model}}"), place=(12, 8), stack="normal")
    b.bars("Saved, by cause", "`route`: another model. `effort`: the same model thought less. `local`: your own machine. `batch`: a cheaper service tier. `prompt_cache`: a warmer cache than the baseline's. `response_cache`: an answer of before.",
           "no `effort` although a thinking model is used: let a rule give a range of efforts.", USD, (f"({total('flyball_savings_usd_total', 'cause')})", "{{cause}}"), place=(8, 7), colour="green")
    b.bars("Lost, by cause", "`escalated`: answers that had to be replaced. `check`: asking whether an answer is right. `shadow`: another arm, asked off the path. `cold`: a cold prompt cache. `dearer`: a dearer arm. `client_gone`: nobody waited for it.",
           "see Routing for escalations and changes of arm; `client_gone` is an app's own time limit.", USD, (f"({total('flyball_losses_usd_total', 'cause')})", "{{cause}}"), place=(8, 7), colour="orange")
    b.bars("Prompt caches took off, by model", "Cached tokens at the full price minus at the cached price, minus what writing them cost.", "a model that is missing has no warm cache: its apps change the beginning of their prompts.",
           USD, (ranked("flyball_cached_usd_total", "model"), "{{model}}"), place=(8, 7), colour="green")
    b.lines("The response cache, by what it had", "Requests a minute that wanted something of it. `hit`: an answer of before. `shared`: one on its way. `bypass`: it may not share.",
            "nearly all `miss`: something in the requests differs each time (docs/response-cache.md).", A_MINUTE, (rate("flyball_response_cache_requests_total", "result"), "{{result}}"), place=(8, 7), stack="normal")
    b.lines("What the response cache keeps", "Bytes, answers on their way included.", "at its maximum all day: raise `bytes_max`, or lower `ttl`.", "bytes", (f"sum({of('flyball_response_cache_bytes')})", "kept"), place=(8, 7))
    b.lines("What it lets go for lack of room", "Answers a minute that went before they were too old.", "much beside few hits: raise `bytes_max`.", A_MINUTE, (rate("flyball_response_cache_evictions_total"), "let go"), place=(8, 7))
    b.row("Who")
    where = "The seven dearest, and the rest."
    b.bars("Teams", f"US dollars spent. {where}", "choose the team above: the figures at the top are then its own.", USD, (ranked(spend, "team"), "{{team}}"))
    b.bars("Keys", f"US dollars spent. {where}", "give a key that grows a cap of its own: `flyball key create --cap`.", USD, (ranked(spend, "key"), "{{key}}"))
    b.bars("Tags", f"US dollars spent, by tags that caps or keys name. {where}", "name a tag in a cap, or demand it on a key, and it is counted here (docs/headers.md).", USD,
           (ranked("flyball_tag_spend_usd_total", "tag, value"), "{{tag}} {{value}}"))
    b.bars("Models", f"US dollars spent. {where}", "if the dearest model leads, see on Routing which rule chooses it.", USD, (ranked("flyball_cost_usd_total", "model"), "{{model}}"))
    pair, narrow = "team, key", {"custom.width": 105}
    most = f"topk(20, {total(spend, pair)} > 0)"
    b.table("Teams and their keys", "Spent and saved over the time shown, the twenty dearest.", "a key that saves nothing asks for models by name: let `intercept` route them.", {"team": "Team", "key": "Key"},
            (most, "Spent", USD, narrow), (f"{total(baseline, pair)} and {most}", "Baseline", USD, narrow),
            (f"{total(baseline, pair)} - {total(spend, pair)} and {most}", "Saved", USD, narrow), (f"1 - {share(total(spend, pair), total(baseline, pair))} and {most}", "Saved share", SHARE, {**narrow, "decimals": 0}),
            place=(12, 10), sort="Spent")
    b.bars("Spent, by rule", f"US dollars, by the rule that decided. {where}", "`flyball rules show` prints the rule; `flyball explain` tries a prompt on it.", USD, (ranked("flyball_rule_cost_usd_total", "rule"), "{{rule}}"), place=(6, 10))
    b.bars("Spent, by task", f"US dollars, by the task that prompts were graded as. {where}", "a cheap kind of task that leads this list deserves a rule.", USD, (ranked("flyball_task_cost_usd_total", "task"), "{{task}}"), place=(6, 10))
    b.row("What a piece costs, and the books by period")
    best = f"topk(8, {total('flyball_cost_usd_total', 'model', ' @ end()')})"
    price = lambda whole: f"{share(rate('flyball_cost_usd_total', 'model'), whole)} and on (model) {best}"
    b.lines("A request costs, by model", "US dollars an attempt, the eight dearest models.", "a step upwards without a new price: prompts have grown, or thinking has.", USD,
            (price(rate("flyball_model_attempts_total", "model")), "{{model}}"), place=(7, 8), fill=0)
    b.lines("1,000 answer tokens cost, by model", "US dollars: all that was spent, by visible output tokens; the eight dearest models.", "compare models by this, not by the price list: it holds thinking and prompts.", USD,
            (price(rate("flyball_tokens_total", "model", **{"class": "output"}) + " / 1000"), "{{model}}"), place=(7, 8), fill=0)
    period = "period"
    b.table("The books, by period", f"US dollars. {BOOKED} A week is today and the six days before.", "these are the figures to hold beside a provider's invoice.", {"period": "Period"},
            (books("books_cost_usd", period), "Spent", USD, {}), (books("books_saved_usd", period), "Saved", USD, {}),
            (f"{books('books_saved_usd', period)} / ({books('books_cost_usd', period)} + {books('books_saved_usd', period)} > 0)", "Saved share", SHARE, {"decimals": 0}), place=(10, 8), sort="Spent")
    return b


def caps():
    b = Board("caps", "Every cap by name: how full it is, when it runs out, whom it refuses.")
    b.row("Now")
    none = 'label_replace(vector(0), "cap", "no cap", "", "")'
    b.stat("The fullest cap", "Share that is spent or reserved.", "raise it, or see on Cost who spends it; from 95 % on an alert fires.", SHARE, (f"topk(1, {cap_used()})", "{{cap}}"),
           place=(8, 4), colour="green", at=[(0.8, "orange"), (0.95, "red")], name=True, decimals=1)
    b.stat("The first to run out", "When it is used up at the pace of the last hour, of caps that do not last until their reset.", "act before that time: raise it, or slow down who spends it.", DATE_SHORT,
           (f"1000 * bottomk(1, {runs_out('1h')}) or on () {none}", "{{cap}}"), place=(8, 4), colour="orange", name=True, words=[(0, "all last", "green")])
    b.stat("Refused by caps", f"Requests, over the time shown. {EXACT}", "the panels below say by which cap and why.", WHOLE, (total("flyball_cap_refusals_total"), "refused"), place=(4, 4), colour="green", at=[(1, "red")], decimals=0)
    b.stat("Largest reservation", "Dollars that the open requests of one cap may still cost.", "if it stands still for half an hour, the alert FlyballReservationsStuck tells what to look for.", USD,
           (f"max({of('flyball_cap_reserved_usd')})", "reserved"), place=(4, 4))
    names = {"cap": "Cap", "scope": "", "window": "Window"}
    money, date = {"custom.width": 85}, {"custom.width": 145}
    out = {**date, **DATE_CELL, "noValue": "lasts"}
    b.row("Every cap")
    b.table("Caps", "From the ledger's own balances. A date in red: at that pace the cap is used up before its reset; none: it lasts.",
            "three dates: it will run out, raise it or stop who spends it. Only the first: a burst, look again in an hour.", names,
            (cap_used(), "Used", SHARE, {**GAUGE_CELL, "decimals": 1, "custom.width": 200}), (cap("spent_usd"), "Spent", USD, money), (cap("reserved_usd"), "Reserved", USD, money),
            (f"{cap('limit_usd')} - {cap('spent_usd')} - {cap('reserved_usd')}", "Left", USD, money), (cap("limit_usd"), "Limit", USD, money),
            (f"1000 * {cap('reset_timestamp_seconds')}", "Resets", DATE, date),
            *((f"1000 * {runs_out(pace)}", f"Out, pace of {words}", DATE, out) for pace, words in (("1h", "1 h"), ("6h", "6 h"), ("3d", "3 d"))),
            place=(24, 11), sort="Used", widths=[("Window", 80)])
    b.row("Over time")
    full = f"topk(8, {cap_used(' @ end()')})"
    b.lines("Used share", "Of each cap, reservations included; the eight fullest. It falls to 0 at a reset.", "a line that reaches 100 % before it falls needs a larger cap or a slower app.", SHARE,
            (f"{cap_used()} and on (cap, scope, window) {full}", "{{cap}}"), place=(12, 9), fill=0, max=1)
    b.lines("Pace of the last hour, beside what lasts", "1: used up exactly at the reset. 2: in half of the time that is left. 5 is the most that is drawn, and what a used-up cap has. The eight fastest.",
            "above 1 for hours: raise the cap or stop who spends it; a peak alone is a burst.", "suffix:\u00d7",
            (f"{faster()} and on (cap, scope, window) topk(8, {faster(' @ end()')})", "{{cap}}"), place=(12, 9), fill=0, max=5)
    b.row("Refusals")
    b.lines("Refused by caps, by reason", "Requests a minute. `full`: no room. `reserved`: only open requests are in the way. `no_price`, `unbounded`: a cost that nobody can bound. `frozen`: a model that cost more than its bound.",
            "`reserved` often: set `cap_wait`. `no_price`: give the model a price. `frozen`: `flyball caps unfreeze` once its price is right.", A_MINUTE, (rate("flyball_cap_refusals_total", "reason"), "{{reason}}"), stack="normal")
    b.lines("Refused by caps, by cap", "Requests a minute; `any` where no one cap refused.", "raise the cap that is named, or stop who runs into it.", A_MINUTE, (dearest("flyball_cap_refusals_total", "cap"), "{{cap}}"), stack="normal")
    held = f"topk(8, {cap('reserved_usd', ' @ end()')} / {cap('limit_usd', ' @ end()')})"
    b.lines("Reserved share", "Of each cap, what open requests may still cost; the eight largest.", "if much of a cap is reserved and little spent, let apps set a token limit, or lower `answer_tokens_max`.", SHARE,
            (f"{cap('reserved_usd')} / ({cap('limit_usd')} > 0) and on (cap, scope, window) {held}", "{{cap}}"), fill=0)
    b.lines("All refusals, by kind", "Requests a minute that flyball answered with an error of its own, caps included.", "`unauthorized`: a wrong key. `overloaded`: more than `limits` allow. `upstream_…`: see Latency.", A_MINUTE,
            (dearest("flyball_refusals_total", "kind"), "{{kind}}"), place=(24, 7), stack="normal")
    return b


def routing():
    b = Board("routing", "How hard the requests are, who decides, where thinking is wasted, and whether quality holds.")
    b.row("The time shown")
    b.stat("Decisions", f"Routing decisions. {EXACT}", "0 although apps are busy: they ask for models by name; see `intercept`.", WHOLE, (total("flyball_decisions_total"), "decisions"), decimals=0)
    b.stat("Wasted thinking", "US dollars for hidden thinking on requests that were graded easy (below 0.4).", "let the rules of these tasks ask for less effort: Thinking on easy requests, by task says which.", USD,
           (total("flyball_reasoning_usd_total", band=EASY), "easy"), colour="orange")
    b.stat("Its share of all thinking", "Dollars for thinking on easy requests, by those for all thinking.", "above a tenth it is worth a rule.", SHARE,
           (share(total("flyball_reasoning_usd_total", band=EASY), total("flyball_reasoning_usd_total")) + " or vector(0)", "easy"), colour="green", at=[(0.1, "orange"), (0.3, "red")], decimals=1)
    b.stat("Attempts that succeed", "Answers that ended well or at their token limit, by all attempts.", "below 95 %: see By outcome, and Latency for the provider.", SHARE,
           (share(total("flyball_model_attempts_total", outcome=SUCCEEDED), total("flyball_model_attempts_total")), "succeed"), colour="red", at=[(0.9, "orange"), (0.97, "green")], decimals=1)
    b.stat("Escalated", "Of requests on which a cheaper model was asked first, those whose answer had to be replaced.", 'above a half asking first does not pay: `probe = "never"` in the settings.', SHARE,
           (share(total("flyball_probes_total", outcome='=~"escalated|strong_failed"'), total("flyball_probes_total")) + " or vector(0)", "escalated"), colour="green", at=[(0.35, "orange"), (0.5, "red")], decimals=1)
    b.stat("Turns that keep their arm", "Of second and later turns of conversations: their prompt cache stays warm.", "below 90 %: the rules disagree from turn to turn; see Lost, by cause on Cost.", SHARE,
           (share(total("flyball_conversation_turns_total", change="none"), total("flyball_conversation_turns_total")) + " or vector(0)", "kept"), colour="red", at=[(0.8, "orange"), (0.9, "green")], decimals=1)
    b.row("Who decides, and what")
    b.lines("Decisions, by rule", "Decisions a minute, stacked.", "`default` most of the time is fine: then costs and chances decide. An unknown rule on top was changed lately.", A_MINUTE, (dearest("flyball_decisions_total", "rule"), "{{rule}}"), stack="normal")
    b.lines("Decisions, by task", "Decisions a minute, by the task that the prompt was graded as.", "much `unknown`: teach the grader your traffic (`flyball fit`).", A_MINUTE, (dearest("flyball_decisions_total", "task"), "{{task}}"), stack="normal")
    b.lines("Decisions, by tier", "Share of decisions by the tier of the first arm.", "if `reasoning` grows, look at Difficulty of what thinks: harder work, or a rule too strict.", "percent", (rate("flyball_decisions_total", "tier"), "{{tier}}"), stack="percent")
    b.row("Difficulty and thinking")
    b.lines("Difficulty of what thinks", "Hidden thinking tokens a second, by graded difficulty: 0 to 0.2 is easy.", "green and yellow should be thin: thinking on easy work is waste.", COUNT, (rate("flyball_reasoning_tokens_total", "band"), "{{band}}"), stack="normal")
    b.lines("Thinking, by difficulty", "US dollars an hour for hidden thinking.", "lower the effort of the bands that cost most and need it least.", USD_AN_HOUR, (rate("flyball_reasoning_usd_total", "band"), "{{band}}"), stack="normal")
    b.bars("Thinking on easy requests, by task", "US dollars over the time shown, difficulty below 0.4: the seven dearest tasks.", 'give these tasks a rule with `effort = "none..low"`.', USD, (ranked("flyball_reasoning_usd_total", "task", band=EASY), "{{task}}"), place=(8, 8), colour="orange")
    b.lines("Effort", "Share of attempts by reasoning effort.", "if `high` and above grow, see beside this what they cost and save.", "percent", (rate("flyball_requests_total", "effort"), "{{effort}}"), place=(6, 8), stack="percent")
    arm, narrow = "tier, effort", {"custom.width": 95}
    saved = f"{total('flyball_saved_usd_total', arm)} - {total('flyball_lost_usd_total', arm)}"
    b.table("Spent and saved, by tier and effort", "Over the time shown; saved is what is left after losses, and at most what it would be had baselines thought as much as is expected of them (docs/savings.md).", "try the dearest effort a step lower: `flyball eval` tells what that keeps.", {"tier": "Tier", "effort": "Effort"},
            (f"{total('flyball_cost_usd_total', arm)} > 0", "Spent", USD, narrow), (f"{saved} and {total('flyball_cost_usd_total', arm)} > 0", "Saved", USD, narrow),
            (f"{saved} + {total('flyball_baseline_extra_usd_total', arm)} and {total('flyball_cost_usd_total', arm)} > 0", "At most", USD, narrow),
            (f"{total('flyball_requests_total', arm)} and {total('flyball_cost_usd_total', arm)} > 0", "Attempts", COUNT, {**narrow, "decimals": 0}),
            (f"{total('flyball_cost_usd_total', arm)} / {total('flyball_requests_total', arm)} and {total('flyball_cost_usd_total', arm)} > 0", "An attempt", USD, narrow), place=(12, 8), sort="Spent")
    b.lines("Tokens, by class", "Tokens a second, stacked; `output` is without `reasoning`.", "little `cached` beside much `input`: prompts begin differently each time.", COUNT, (rate("flyball_tokens_total", "class"), "{{class}}"), place=(6, 8), stack="normal")
    b.row("Escalations, conversations, models")
    b.lines("Asked first, by what became of it", "Requests a minute on which a cheaper model answered first: it stood, was replaced, failed, or a cap had no room for both.", "`escalated` above `stands`: asking first does not pay here.", A_MINUTE,
            (rate("flyball_probes_total", "outcome"), "{{outcome}}"), stack="normal")
    b.bars("What asking first costs", "US dollars over the time shown. `stood`: the answer itself. `escalated`, `failed`: answers that nobody got. `check`: asking whether an answer is right.", "compare with Saved, by cause on Cost: it must bring more than it costs.", USD,
           (f"({total('flyball_probe_usd_total', 'part')})", "{{part}}"), place=(8, 8))
    b.lines("Turns of conversations, by change of arm", "Second and later turns a minute: another model or effort finds a cold prompt cache.", "many changes: let one rule hold for a whole conversation.", A_MINUTE, (rate("flyball_conversation_turns_total", "change"), "{{change}}"), stack="normal")
    b.table("Asked for, and served", "Requests over the time shown, by the model that was asked for and the one that answered: the twenty most.", "a name that is always served by itself is not routed: add it to `intercept`.", {"asked": "Asked for", "served": "Served by"},
            (f"topk(20, {total('flyball_served_total', 'asked, served')} > 0)", "Requests", COUNT, {"decimals": 0}), place=(8, 8), sort="Requests")
    b.bars("Attempts that succeed, by model", "Share of attempts, the twelve busiest models.", "a model below the others: see By outcome, and its provider on Latency.", SHARE,
           (f"({share(total('flyball_model_attempts_total', 'model', outcome=SUCCEEDED), total('flyball_model_attempts_total', 'model'))} and topk(12, {total('flyball_model_attempts_total', 'model')}))", "{{model}}"),
           place=(8, 8), colour="red", at=[(0.9, "orange"), (0.97, "green")], least_first=True, max=1, decimals=1)
    b.lines("By outcome", "Attempts a minute. `length`: the token limit ended it. `escalated`: another arm answered instead.", "`client_gone`: an app's own time limit is too short. `length` often: answers are cut, raise the limit.", A_MINUTE, (dearest("flyball_requests_total", "outcome"), "{{outcome}}"), stack="normal")
    return b


def latency():
    b = Board("latency", "How fast answers come, what flyball adds, and how providers do.")
    ttft, decode = "flyball_ttft_seconds", "flyball_decode_tokens_per_second"
    over = lambda q, histogram, **where: f"histogram_quantile({q}, {total(histogram + '_bucket', 'le', **where)})"
    b.row("The time shown")
    b.stat("First token, median", "Half of the streams began within this time.", "if it grows, see below whether prompts are longer or a provider is slow.", SECONDS, (over(0.5, ttft), "half"))
    b.stat("First token, p95", "19 of 20 streams began within this time.", "for apps that cannot wait: `auto:fast`, or the header x-flyball-objective.", SECONDS, (over(0.95, ttft), "p95"))
    b.stat("Decoding", "Output tokens a second after the first one, median of streams.", "slower than a person reads (about 10): another provider, or a smaller model.", "suffix: tokens/s", (over(0.5, decode), "half"), decimals=0)
    b.stat("flyball adds", "99 of 100 requests were held up no longer than this before the provider got them.", "above 10 ms: see Latency that flyball adds for the phase.", SECONDS, (over(0.99, "flyball_added_latency_seconds", phase="total"), "p99"),
           colour="green", at=[(0.01, "orange"), (0.1, "red")])
    b.stat("Failed attempts", "Providers that could not be reached, broke off, or were too slow, by all attempts.", "see Failures of providers for whose they are.", SHARE,
           (f"({total('flyball_model_attempts_total', outcome=FAILED)} or vector(0)) / {total('flyball_model_attempts_total')}", "failed"), colour="green", at=[(0.01, "orange"), (0.05, "red")], decimals=1)
    b.stat("Open now", "Attempts and streams that have not ended.", "if it only grows, a provider hangs: see its headroom and failures.", COUNT, (f"sum({of('flyball_attempts_open')})", "attempts"), (f"sum({of('flyball_streams_open')})", "streams"))
    b.row("First token and decoding")
    b.lines("First token, by length of the prompt", "Seconds, 95th percentile, by the prompt's tokens.", "long prompts are slow everywhere: a warm prompt cache helps most here.", SECONDS, (quantile(0.95, ttft, "prompt"), "{{prompt}}"), fill=0)
    b.lines("First token, by model", "Seconds, 95th percentile; the eight busiest models.", "a model that has become slow alone: its provider is loaded, see Failures and Headroom.", SECONDS, (quantile(0.95, ttft, "model", 8), "{{model}}"), fill=0)
    b.lines("Decoding, by model", "Output tokens a second after the first one, median; the eight busiest models.", "a local model that has become slow: too many at once for its machine.", "suffix: t/s", (quantile(0.5, decode, "model", 8), "{{model}}"), fill=0)
    b.row("What flyball adds, and the whole")
    b.lines("Latency that flyball adds", "Seconds before the provider got the request, 99th percentile by phase. `read` waits for the client's own body; `settle` comes after a whole JSON answer and is not in the total.",
            "`reserve`: the disk is slow, see `lease_permille` in docs/caps.md. `read`: clients are slow.", SECONDS, (quantile(0.99, "flyball_added_latency_seconds", "phase"), "{{phase}}"), fill=0)
    b.lines("The same, the usual case", "Seconds, median by phase.", "the median should stay well below a millisecond: a machine that swaps or is busy shows here first.", SECONDS, (quantile(0.5, "flyball_added_latency_seconds", "phase"), "{{phase}}"), fill=0)
    b.lines("Whole answers, by tier", "Seconds from a request's arrival to the end of its answer, median and 95th percentile.", "`reasoning` is slow because it thinks: a lower effort is faster.", SECONDS,
            (quantile(0.5, "flyball_request_duration_seconds", "tier"), "half {{tier}}"), (quantile(0.95, "flyball_request_duration_seconds", "tier"), "p95 {{tier}}"), fill=0)
    b.row("Providers")
    b.lines("Failures of providers", "Failures a minute by provider and kind, the eight most.", "`429`: you are over its rate limit, see Headroom. `5xx` and `upstream_…`: see its status page; rules may name a `fallback`.", A_MINUTE,
            (f"{rate('flyball_upstream_errors_total', 'provider, kind')} and topk(8, {total('flyball_upstream_errors_total', 'provider, kind', ' @ end()')})", "{{provider}} {{kind}}"), place=(8, 8))
    b.lines("Headroom", "What is left of a provider's own rate limit, as its answers said last.", "near 0 it will answer 429: spread the load, or ask for a higher limit.", SHARE,
            (f"min by (provider, kind) ({of('flyball_provider_headroom_ratio')}) and topk(8, 1 - min by (provider, kind) ({of('flyball_provider_headroom_ratio', ' @ end()')}))", "{{provider}} {{kind}}"), fill=0, max=1)
    b.lines("Open attempts and streams", "At the moment of each scrape.", "attempts that do not come back to 0 at night hang at a provider; `limits` ends them.", COUNT, (f"sum({of('flyball_attempts_open')})", "attempts"), (f"sum({of('flyball_streams_open')})", "streams"))
    return b


def trust():
    b = Board("trust", "How far the numbers can be believed, and what fires.")
    firing = 'ALERTS{alertname=~"Flyball.+", alertstate="firing"}'
    since = f'(ALERTS_FOR_STATE{{alertname=~"Flyball.+"}} and ignoring (alertstate) {firing})'
    silent = f'label_replace(absent({firing}) * time(), "alertname", "none fires", "", "")'
    b.row("Alerts")
    b.table("Alerts that fire", "Of dashboards/prometheus/rules/flyball.yml; the row without a name of an alert says that none fires.", "docs/metrics.md says of each what to do.",
            {"alertname": "Alert", "severity": "Severity", "cap": "Cap", "window": "Window", "model": "Model", "instance": "Instance"},
            (f"1000 * max by (alertname, severity, cap, window, model, instance) ({since} or {silent})", "Since", DATE, {"custom.width": 140}), place=(16, 7), sort="Since")
    b.stat("Configuration", "A refused file leaves the one before in force.", "`flyball check` says what is wrong with the file.", COUNT, (f"max({of('flyball_reload_failed')})", "state"), place=(4, 7),
           words=[(0, "in force", "green"), (1, "the last one was refused", "red")])
    b.stat("Overruns", "Answers on capped keys that cost more than their bound, over the time shown.", "a price or a limit that flyball believes in is wrong: the log names the model.", WHOLE, (total("flyball_overruns_total"), "overruns"), place=(4, 7), colour="green", at=[(1, "red")], decimals=0)
    b.row("The ledger")
    b.stat("Lag", "Age of the oldest write that is not yet on the disk.", "above a second: the disk or the database is too slow for the load.", SECONDS, (f"max({of('flyball_ledger_lag_seconds')})", "lag"), colour="green", at=[(1, "orange"), (10, "red")])
    b.stat("Size", "Of the books.", "`ledger keep` in the configuration says how long rows are kept.", "bytes", (f"max({of('flyball_ledger_bytes')})", "size"))
    b.stat("Attempts kept", "Rows of the books.", "more than 10 million: shorten `ledger keep`; totals by day are kept for ever.", COUNT, (f"max({of('flyball_ledger_attempts')})", "rows"))
    b.stat("Provisional money", "This month's charges at the bound, where nobody knows what it really cost.", "`flyball ledger true-up` corrects it from the provider's bill.", USD, (f"max({of('flyball_provisional_usd')})", "provisional"), colour="green", at=[(1, "orange")], decimals=2)
    b.stat("Charged above the count", f"Of that, what is more than was counted, and what processes had left open that ended. {EXACT}", "see How costs are known: `bound` should be rare. What was left open: the log says when, `flyball report` by whom.", USD,
           (total("flyball_bound_excess_usd_total"), "excess"), (total("flyball_crashed_usd_total"), "left open"), decimals=4)
    b.stat("Refused configurations", "Files that were wrong, and that were not, over the time shown.", "`flyball check` before the next change.", COUNT,
           *((total("flyball_config_reloads_total", result=result), result) for result in ("refused", "ok")), decimals=0)
    b.row("Prices and usage")
    b.lines("How costs are known", "Share of attempts: `reported` by the provider, `counted` by flyball, charged at the `bound`, `void`: nothing was done.", "much `bound`: clients leave early, or a provider breaks off.", "percent", (rate("flyball_cost_basis_total", "basis"), "{{basis}}"), stack="percent")
    b.lines("Unknown prices", "Requests a minute: refused on capped keys for want of a price, and answers in a service tier whose rates are not known.", "give the model a price in `[[model]]`, or refresh the catalogue.", A_MINUTE,
            (rate("flyball_cap_refusals_total", reason="no_price"), "refused"), (rate("flyball_unpriced_tiers_total"), "tier without a price"))
    b.lines("Beside the providers' own figures", "Answers a minute whose provider told their cost: does the computed one agree?", "`above`: the provider takes more than flyball computes; refresh the prices.", A_MINUTE, (rate("flyball_reported_costs_total", "compared"), "{{compared}}"), stack="normal")
    b.lines("Answers in doubt", "A minute: usage that contradicts itself, calls that told no usage, jobs in the background that nobody has heard of.", "the log names the provider; on capped keys such answers are charged at the bound.", A_MINUTE,
            (rate("flyball_usage_anomalies_total"), "usage in contradiction"), (rate("flyball_unmetered_total"), "no usage told"), (rate("flyball_background_jobs_total", event="at_bound"), "jobs at their bound"))
    b.bars("Names folded into other", "Names that a label's limit left no room for, over the time shown.", "the books have them all: `flyball report --by key`.", COUNT, (f"({total('flyball_folded_total', 'label')})", "{{label}}"), place=(8, 8), colour="orange", decimals=0)
    b.lines("Fields that were dropped", "A minute: what a request asked and the dialect of its model does not have. The answer names them in x-flyball-dropped.", "an app that needs one: forbid it in `may_drop`.", A_MINUTE, (dearest("flyball_dropped_fields_total", "to"), "{{to}}"), stack="normal")
    b.row("What must not leave")
    b.lines("Confidential by what is in them", "Requests a minute in which `[privacy]` found this; one with several counts in each. `own`: words of yours; `unread`: a part that cannot be read. They stay on local models, or are refused.",
            "`secrets`: an app sends keys to models, tell its owner. Much that is none: narrow `detect`, or raise `at_least` (docs/privacy.md).", A_MINUTE, (rate("flyball_private_requests_total", "class"), "{{class}}"), place=(24, 7), stack="normal")
    b.row("The processes")
    many = lambda expr, at: f"{expr} and topk(8, {at})"
    memory = ("process_resident_memory_bytes", "process_open_fds")
    b.lines("Memory", "Resident bytes of each process, the eight largest.", "if it only grows over days, tell us: a load alone does not do that.", "bytes", (many(of(memory[0]), of(memory[0], " @ end()")), "{{instance}}"))
    b.lines("Processors in use", "Of each process, the eight busiest.", "near the number of processors: add a replica.", COUNT, (many(rate("process_cpu_seconds_total", "instance"), total("process_cpu_seconds_total", "instance", " @ end()")), "{{instance}}"))
    b.lines("Open files and sockets", "Share of how many there may be, the eight fullest.", "near 100 %: raise the limit of open files (`ulimit -n`).", SHARE,
            (many(f"{of(memory[1])} / {of('process_max_fds')}", of(memory[1], " @ end()")), "{{instance}}"))
    b.table("What runs", "Version and price catalogue of each flyball, and since when.", "different versions side by side: a roll-out that stopped half way.",
            {"instance": "Instance", "job": "Job", "version": "Version", "prices": "Prices", "simulated": "Simulated", "__name__": ""},
            (f"1000 * {of('process_start_time_seconds')} * on (job, instance) group_right () {of('flyball_build_info')}", "Since", DATE), place=(24, 5))
    return b


def main():
    checking = sys.argv[1:] == ["--check"]
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    stale = []
    for uid, board in zip(BOARDS, (cost, caps, routing, latency, trust)):
        file, made = FOLDER / f"{uid}.json", board().json()
        if not checking:
            file.write_text(made)
        elif (there := file.read_text() if file.exists() else "") != made:
            stale.append(file.name)
            differing = [line for line in difflib.ndiff(there.splitlines(), made.splitlines()) if line[0] in "+-"]
            print(f"{file.name}:", *(line[:160] for line in differing[:20]), sep="\n  ")
    if stale:
        sys.exit(f"{', '.join(stale)}: not what boards.py makes. Change boards.py, then run: python3 dashboards/boards.py")


if __name__ == "__main__":
    main()
