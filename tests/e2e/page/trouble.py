"""What the page and `flyball top` say while the ledger is stopped, while flyball is away, and to whoever has no token."""

from browser import PHONE, Window
from page import looks
from terminal import Terminal
from world import TOKEN, until


def stopped_ledger(world, window, top, checks):
    """Another program holds the lock of the books. Both were open before, and stay so."""
    window.open(f"{world.admin}/")
    top.shows("● ready", window.text("#month-spent"))
    with world.locked_books():
        window.sees("#trouble", "The ledger cannot write, so no request is admitted.")
        checks.same("while the books are locked the page says that requests are refused", window.text("#state"), "refusing requests")
        checks.that("and what to do", "disk is full" in window.text("#trouble"), window.text("#trouble"))
        checks.that("the figures of before stay", "$" in window.text("#month-spent") and window.tab.locator("#decisions .row").count() > 0)
        looks(window, checks, "with trouble")
        top.shows("refuses requests", "the ledger cannot write", window.text("#month-spent"))
        checks.that("top says it too, and keeps its figures", True)
    until("an answer after the lock", 30, lambda: world.asks_one()[0] == 200)
    until("the page's recovery", 20, lambda: window.text("#state") == "ready" and not window.tab.locator("#trouble").is_visible())
    top.shows("● ready", never="cannot write")
    checks.that("both recover without being opened again", True)


def away(world, window, top, checks):
    """It is killed, and comes back at the same address."""
    window.tab.evaluate("globalThis.neverReloaded = true")
    spent = window.text("#month-spent")
    world.kill()
    window.sees("#trouble", "flyball does not answer.")
    checks.same("while flyball is away the page says that it is not reachable", window.text("#state"), "not reachable")
    checks.that("and of when its figures are", "as of" in window.text("#trouble"), window.text("#trouble"))
    checks.same("which stay", window.text("#month-spent"), spent)
    looks(window, checks, "while flyball is away")
    top.shows("● not reachable", "nothing answers at", spent)
    checks.that("top says it too, and keeps its figures", True)
    window.tab.locator("#id").fill("0199f3a2-6f5e-7c11-9d55-2a1be3c0a7d4")
    window.press("Enter")
    window.sees("#found", "Not reachable")
    checks.that("a look-up says it too", True)
    window.press("Escape")
    world.start()
    until("the page's return", 20, lambda: window.text("#state") == "ready" and not window.tab.locator("#trouble").is_visible())
    top.shows("● ready", never="nothing answers")
    checks.that("both are back without being opened again", window.tab.evaluate("globalThis.neverReloaded === true"))
    trouble = [line for line in window.complaints if "ERR_CONNECTION" not in line and "ERR_EMPTY_RESPONSE" not in line]
    checks.nothing("beside the lost connection the browser complained of nothing", trouble)


def token(world, chromium, checks):
    """The admin listener is not loopback alone, so that everything but the page itself needs the token."""
    with Window(chromium, PHONE) as window:
        window.tab.goto(f"{world.admin}/")
        window.sees("#token", "This needs the admin token")
        checks.that("without the token the page asks for it and shows nothing", not window.tab.locator("main").is_visible() and window.text("#state") == "token needed")
        checks.same("its field has the focus", window.ask("focused")["name"], "#token-text")
        looks(window, checks, "while it asks for the token", phone=True)
        window.tab.keyboard.type("not-the-token")
        window.press("Enter")
        window.sees("#token-wrong", "That token is not the right one.")
        checks.that("a wrong one is told so, and shows nothing", not window.tab.locator("main").is_visible())
        checks.same("and is not kept", window.ask("kept")["session"], [])
        looks(window, checks, "after a wrong token", phone=True)
        window.tab.keyboard.type(TOKEN)
        window.press("Enter")
        until("the figures", 20, lambda: window.tab.locator("main").is_visible() and window.text("#state") == "ready" and "$" in window.text("#today-spent"))
        kept = window.ask("kept")
        checks.that("the right one shows the figures, and stands in no address, text, cookie or lasting storage", not any(TOKEN in str(kept[place]) for place in ("local", "cookies", "address", "text")) and not any(TOKEN in url for url in window.requests), kept)
        window.tab.reload()
        until("the figures after a reload", 20, lambda: window.text("#state") == "ready")
        checks.that("a reload of the tab does not ask again", not window.tab.locator("#token").is_visible())
        refusals = [line for line in window.complaints if "401 (Unauthorized)" not in line]
        checks.nothing("beside the refusals the browser complained of nothing", refusals)
    with Window(chromium, PHONE) as other:
        other.tab.goto(f"{world.admin}/")
        other.sees("#token", "This needs the admin token")
        checks.that("another visitor is asked again", True)
    with Terminal(world, 100, 30) as top:
        top.shows("● token needed", "admin token", "FLYBALL_ADMIN_TOKEN")
        checks.that("top without the token says what it needs", True)
    with Terminal(world, 100, 30, FLYBALL_ADMIN_TOKEN="not-the-token") as top:
        top.shows("● token needed", "that admin token is not the right one")
        checks.that("top with a wrong token says that it is wrong", True)
    with Terminal(world, 100, 30, FLYBALL_ADMIN_TOKEN=TOKEN) as top:
        top.shows("● ready", "today")
        checks.that("top with the token shows the figures", True)
