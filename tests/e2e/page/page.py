"""What the page shows beside what flyball tells, and how it is used by keyboard, on a phone, in the dark."""

import json
import re
from datetime import datetime, timedelta, timezone

from browser import DESKTOP, PHONE, Window
from world import Asking, dollars, until

NODES_MAX = 2_000  # on the page as it opens, whatever the books hold


def figures(world, window, checks):
    """Nobody asks meanwhile, so whatever differs is wrong."""
    checks.nothing("no section of the page is empty", window.ask("empty"))
    today = datetime.fromtimestamp(int(world.told("/admin/v1/health")["now"]), timezone.utc).date()
    month, tomorrow = today.replace(day=1), today + timedelta(days=1)
    days = [row for row in report(world, "day", today - timedelta(days=1), tomorrow)["rows"]]
    for name, day in (("yesterday", today - timedelta(days=1)), ("today", today)):
        [row] = [row for row in days if row["day"] == str(day)]
        checks.same(f"{name} is what the report says", [window.text(f"#{name}-spent"), window.text(f"#{name}-saved").split(" saved")[0]], [dollars(row["cost_usd"]), dollars(row["saved_usd"])])
    told = report(world, "team", month, tomorrow)
    checks.same("this month is what the report says", window.text("#month-spent"), dollars(told["total"]["cost_usd"]))
    checks.same("the month's end is the forecast", window.text("#end-spent"), dollars(json.loads(world.command("report", "--forecast", "--json"))["expected_usd"]))
    shown = [line.split() for line in window.texts("#who tr")]
    checks.same("who spent and saved is what the report says", [line[-2:] for line in shown], [[dollars(row["cost_usd"]), dollars(row["saved_usd"])] for row in told["rows"][:8]])
    causes = [dollars(amount) for amount in sorted(map(float, told["total"]["saved_by"].values()), reverse=True) if amount > 0]
    checks.same("why it was saved is what the report says", [line.split()[-1] for line in window.texts("#why tr")][: len(causes)], causes)
    caps(world, window, checks)
    health(world, window, checks)


def report(world, by, begins, ends):
    """By the command, which reads the books itself."""
    return json.loads(world.command("report", "--by", by, "--from", str(begins), "--to", str(ends), "--zone", "UTC", "--json"))


def caps(world, window, checks):
    told = {cap["name"]: cap for cap in world.told("/admin/v1/caps")["caps"] if cap["limit"] is not None}
    shown = window.texts("#caps li")
    wrong = []
    for line in shown:
        name = next((name for name in sorted(told, key=len, reverse=True) if line.startswith(re.sub(r"\s+", " ", name))), None)
        cap = told.get(name)
        money = (lambda text: dollars(text)) if cap and cap["measure"] == "usd" else (lambda text: f"{int(float(text)):,}")
        left = max(0.0, float(cap["limit"]) - float(cap["spent"]) - float(cap["reserved"])) if cap else 0
        if not cap or f"{money(cap['spent'])} of {money(cap['limit'])}" not in line or f"{money(left)} left" not in line:
            wrong.append((line, cap))
    checks.nothing(f"the {len(shown)} caps that come first tell what is spent and left", wrong)
    full = [line for line in shown if "used up" in line]
    checks.that("a cap that is used up is said to be, and comes first", full and shown[: len(full)] == full, shown)


def health(world, window, checks):
    told = world.told("/admin/v1/health")
    checks.same("health tells whether it is ready", window.text("#state"), "ready")
    facts = window.text("#facts")
    checks.that("health tells the ledger, prices and how many attempts there are", f"{told['ledger']['attempts']:,} attempts" in facts and told["prices"]["catalogue"] in facts, facts)
    rows, wanted = window.texts("#providers tr"), {row["provider"]: row for row in told["providers"]}
    vendor = next(row for row in rows if row.startswith("vendor"))
    errors = sum(wanted["vendor"]["errors"].values())
    checks.that("health tells what the vendor failed at", errors > 0 and all(f"{kind.replace('_', ' ')} {count}" in vendor for kind, count in wanted["vendor"]["errors"].items()) and len(rows) == len(wanted), rows)


def decisions(world, window, checks):
    """They come by themselves; both attempts of an escalation can be looked at; while somebody looks, nothing moves."""
    told = world.told("/admin/v1/decisions?limit=10&outcomes=true")["decisions"]
    costs = [line.split()[-3:-1] if line.endswith("›") else line.split()[-2:] for line in window.texts("#decisions .row")]
    # Of what was refused before anything was sent there is nothing in the books.
    booked = [d["outcome"] or {} for d in told]
    checks.same("the last ten decisions cost and save what the books say", costs, [[dollars(o["cost_usd"]), dollars(o["saved_usd"])] if o else ["–", "–"] for o in booked])
    place, escalated = next((n, d) for n, d in enumerate(told) if d["outcome"] and any(a["outcome"] == "escalated" for a in d["outcome"]["attempts"]))
    window.tab.locator("#decisions .row").nth(place).click()
    detail = window.text(f"#detail-{place}")
    first, second = escalated["outcome"]["attempts"]
    checks.that(
        "an escalation is opened with its reason, its arms and both attempts",
        all(text in detail for text in ("2 attempts", first["model"], second["model"], "escalated", escalated["rule"], escalated["request"], *(arm["arm"] for arm in escalated["considered"]))), detail,
    )
    checks.nothing("an opened decision is not cut on a wide window", window.ask("cut"))
    # Where each row stands and whose it is. What a row says may change: a request without an end is said to be unsent after five seconds.
    places = "[...document.querySelectorAll('#decisions li')].map((row) => [row.decision.request, row.getBoundingClientRect().top + scrollY])"
    before = window.tab.evaluate(places)
    _, id = world.asks_one("What is the capital of Norway?")
    window.sees("#fresh", "Show 1 new")
    checks.same("while a decision is open nothing moves, and what is new waits", window.tab.evaluate(places), before)
    window.tab.locator("#fresh").click()
    window.tab.locator("h1").hover()
    window.tab.locator("#decisions .row").first.click()
    checks.that("what is new is shown when asked for", id in window.text("#detail-0"), window.text("#detail-0"))
    window.tab.locator("#decisions .row").first.click()
    window.tab.evaluate("document.activeElement.blur()")
    window.tab.locator("h1").hover()
    _, id = world.asks_one("What is the capital of Sweden?")
    asked = world.told(f"/admin/v1/requests/{id}")
    until("the new decision on the page", 20, lambda: dollars(asked["cost_usd"]) in window.texts("#decisions .row")[0] and (lambda: window.tab.evaluate("document.querySelector('#decisions li').decision.request") == id)())
    checks.that("a new decision comes by itself", True)


def look_up(world, window, checks):
    _, id = world.asks_one("Why is the sky blue?")
    told = world.told(f"/admin/v1/requests/{id}")
    window.tab.locator("#id").fill(id)
    window.press("Enter")
    window.sees("#found", "Arms that were weighed")
    found = window.text("#found")
    checks.that("a request is found by its id, with what it cost and its attempt", dollars(told["cost_usd"]) in found and dollars(told["baseline_usd"]) in found and told["attempts"][0]["model"] in found, found)
    checks.that("the address links to it", f"request={id}" in window.tab.evaluate("location.hash"))
    for wrong, words in (("nonsense", "that is no request id"), ("0199f3a2-6f5e-7c11-9d55-2a1be3c0a7d4", "the books know of no such request")):
        window.tab.locator("#id").fill(wrong)
        window.press("Enter")
        window.sees("#found", words)
        checks.that(f"an id that is {'none' if wrong == 'nonsense' else 'unknown'} is told so in words", True)
    window.complaints[:] = [line for line in window.complaints if "400 (Bad Request)" not in line and "404 (Not Found)" not in line]
    with Window(window.context.browser) as other:
        other.open(f"{world.admin}/#request={id}")
        other.sees("#found", id)
        checks.that("the link opens with that request", True)


def policy(world, window, answer, checks):
    """The browser complains of what is tried here, which is forgotten at the end."""
    allowed = answer.headers.get("content-security-policy", "")
    checks.that("the page comes with a policy that names its script by its hash", "default-src 'none'" in allowed and "script-src 'sha256-" in allowed and "unsafe" not in allowed, allowed)
    checks.same("no request left the page's own origin", {url.split("/")[2] for url in window.requests if not url.startswith("data:")}, {world.admin.split("/")[2]})
    checks.nothing("the browser complained of nothing", window.complaints)
    refused = window.tab.evaluate(
        """async (url) => {
            const told = [];
            addEventListener("securitypolicyviolation", (event) => told.push(event.effectiveDirective));
            await fetch(url).catch(() => null);
            const image = new Image(); image.src = url + "pixel.png";
            const script = document.createElement("script");
            try { script.text = "globalThis.smuggled = 1"; } catch { told.push("trusted types"); }
            document.body.append(script);
            await new Promise((done) => setTimeout(done, 300));
            return [...told, globalThis.smuggled ?? "nothing smuggled"];
        }""",
        world.url + "/",
    )
    checks.that("the browser holds it to that: no other address, no other script", {"connect-src", "img-src", "trusted types", "nothing smuggled"} <= set(refused), refused)
    window.complaints.clear()


def keyboard(world, window, checks, what="on a desk"):
    """Tab alone, from the top to the end."""
    wanted, reached, wrong, lines = window.ask("controls"), [], [], []
    window.tab.evaluate("window.scrollTo(0, 0); document.querySelector('.skip').focus()")
    window.press("Shift+Tab")
    for _ in range(len(wanted) + 3):
        window.press("Tab")
        at = window.ask("focused")
        # After the last one the browser's own controls follow, or the first one again.
        if at["name"] == "nothing" or at["name"] in reached:
            break
        reached.append(at["name"])
        lines.append(at["line"])
        if at["wrong"]:
            wrong.append(f"{at['name']}: {at['wrong']}")
    checks.same(f"Tab reaches every control in the order of the page, {what}", reached, wanted)
    checks.nothing(f"wherever the focus is, it is seen, {what}", wrong)
    if what == "on a phone":
        checks.that("and goes from the top to the bottom", all(b > a - 40 for a, b in zip(lines[1:], lines[2:])), list(zip(reached, lines)))


def keys(world, window, checks):
    """What each control does without a mouse."""
    tab = window.tab
    tab.locator(".skip").focus()
    window.press("Enter")
    checks.same("the first link skips to the figures", tab.evaluate("document.activeElement.id"), "content")
    tab.locator("input[name=by]:checked").focus()
    window.press("ArrowRight")
    until("the split by key", 20, lambda: window.text("#by-title") == "key" and "lab" in window.text("#who"))
    checks.that("arrows choose another split, which the address keeps", "by=key" in tab.evaluate("location.hash"))
    window.press("ArrowLeft")
    tab.locator("#pause").focus()
    window.press("Space")
    checks.same("Space holds the list still", [tab.locator("#pause").get_attribute("aria-pressed"), window.text("#pause")], ["true", "Go on"])
    window.press("Space")
    row = tab.locator("#decisions .row").nth(2)
    row.focus()
    window.press("Enter")
    checks.that("Enter opens a decision", row.get_attribute("aria-expanded") == "true" and "Arms that were weighed" in window.text("#detail-2"))
    window.press("Escape")
    checks.same("Escape closes it and keeps the place", [row.get_attribute("aria-expanded"), window.ask("focused")["name"]], ["false", "row 2"])
    id = tab.evaluate("document.querySelector('#decisions li').decision.request")
    tab.locator("#id").focus()
    window.press("Escape")
    tab.keyboard.type(id)
    window.press("Enter")
    window.sees("#found", id)
    window.press("Escape")
    checks.same("Escape in the look-up empties it", [tab.locator("#id").input_value(), tab.locator("#found").is_visible(), "request=" in tab.evaluate("location.hash"), window.ask("focused")["name"]], ["", False, False, "#id"])
    tab.locator("#caps-more").focus()
    presses = 0
    while tab.locator("#caps-more").is_visible() and presses < 20:
        window.press("Enter")
        presses += 1
    checks.that("all caps can be had by keyboard, and the focus is not lost where there are no more", presses and window.ask("focused")["name"] not in ("nothing", "#content"), window.ask("focused"))
    many = len([cap for cap in world.told("/admin/v1/caps")["caps"] if cap["limit"] is not None])
    checks.same("every cap is there then", tab.locator("#caps li").count(), many)


def looks(window, checks, what, phone=False):
    """Whatever is shown now can be read."""
    contrast = window.ask("contrast")
    checks.that(f"all text has a contrast of 4.5, {what}", contrast["looked"] > 5 and not contrast["poor"], contrast)
    checks.nothing(f"nothing is cut or reaches out of its place, {what}", window.ask("cut"))
    checks.nothing(f"no text lies on another, {what}", window.ask("overlaps"))
    checks.nothing(f"everything to be hit is large enough, {what}", window.ask("small", 32 if phone else 24))


def every_look(world, chromium, checks):
    """Both sizes, light and dark, with a decision and a look-up open."""
    for size, scheme in ((DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")):
        phone = size is PHONE
        what = f"{'on a phone' if phone else 'on a desk'}, {scheme}"
        with Window(chromium, size, scheme, has_touch=phone, is_mobile=phone) as window:
            window.open(f"{world.admin}/")
            checks.same(f"its ground is {scheme}, {what}", window.ask("ground") > 0.5, scheme == "light")
            looks(window, checks, what, phone)
            place = window.tab.evaluate("[...document.querySelectorAll('#decisions li')].findIndex((li) => li.decision.outcome?.attempts.length > 1)")
            window.tab.locator("#decisions .row").nth(place).click()
            window.tab.locator("#id").fill(window.tab.evaluate("document.querySelector('#decisions li').decision.request"))
            window.press("Enter")
            window.sees("#found", "Arms that were weighed")
            looks(window, checks, f"{what}, with a decision and a request open", phone)
            checks.nothing(f"no section is empty, {what}", window.ask("empty"))
            if size is PHONE and scheme == "light":
                window.tab.reload()
                until("its figures", 20, lambda: window.tab.evaluate("document.documentElement.dataset.ready"))
                keyboard(world, window, checks, "on a phone")
            checks.nothing(f"the browser complained of nothing, {what}", window.complaints)


def large_books(world, chromium, attempts, checks):
    """A hundred thousand attempts and hundreds of keys: it opens, stays small, and whoever asks flyball meanwhile is answered."""
    with Asking(world) as asking, Window(chromium) as window:
        window.open(f"{world.admin}/#by=key&period=week")
        told = world.told("/admin/v1/health")["ledger"]["attempts"]
        checks.that(f"the books hold {attempts:,} attempts", told >= attempts * 0.99, told)
        nodes = window.ask("nodes")
        checks.that(f"the page has {nodes} elements, {NODES_MAX} at most", nodes < NODES_MAX)
        for _ in range(3):
            window.open(f"{world.admin}/#by=key&period=week")
            window.tab.reload()
            until("its figures", 20, lambda: window.tab.evaluate("document.documentElement.dataset.ready"))
        until("requests beside it", 20, lambda: len(asking.statuses) > 20)
        rounds = lambda: window.tab.evaluate("performance.getEntriesByType('resource').filter((entry) => entry.name.endsWith('/health')).length")
        before = rounds()
        until("two more rounds", 20, lambda: rounds() > before + 1)
        checks.that("it stays so while new decisions come", window.ask("nodes") < NODES_MAX, window.ask("nodes"))
        names = window.tab.evaluate("whoTold.rows.map((row) => row.key)")
        checks.that("hundreds of keys were told to it, of which eight are shown", len(names) > 200 and window.tab.locator("#who tr").count() == 8, len(names))
        while window.tab.locator("#who-more").is_visible():
            window.tab.locator("#who-more").click()
        checks.same("all of them can be had", window.tab.locator("#who tr").count(), len(names))
        hostile = window.tab.locator("#who bdi", has_text="onerror")
        checks.that("a name that is markup is shown as text", hostile.count() == 1 and window.tab.locator("img").count() == 0, hostile.count())
        marks = r"/[\u0000-\u0008\u200b-\u200f\u202a-\u202e\u2066-\u2069]/"
        checks.that("marks that turn or hide text are shown as what they are", not window.tab.evaluate(f"{marks}.test(document.body.innerText)") and "‹202e›" in window.text("#who"))
        checks.nothing("with all names, hostile ones too, nothing is cut or reaches out of its place", window.ask("cut"))
        checks.nothing("the browser complained of nothing", window.complaints)
    checks.that(f"{len(asking.statuses)} requests beside it were answered", set(asking.statuses) == {200}, asking.statuses)
    checks.that(f"none of them waited for the page (the slowest took {asking.slowest:.1f} s)", asking.slowest < 10)
