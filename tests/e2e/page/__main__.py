"""The admin page in Chromium and `flyball top` in tmux, over the books of 10^5 attempts, beside what flyball itself tells.

    python3 tests/e2e/page [--flyball FILE] [--rows 100000] [--screens FOLDER]

Needs chromium and tmux; Playwright is installed into target/e2e. Figures, keyboard, phone and desk, light and dark, hostile names, locked
books, a flyball that is killed and comes back, tokens. Prints PASS and FAIL lines, and exits 1 on a failure. --screens draws
the pictures of dashboards/screens instead: the last day of a month of three teams, where libfaketime is there to believe in that day; pngquant
makes them small.
"""

import argparse
import datetime
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path

from world import ROOT, Checks, World, until  # it knows where the next one is

from llama import CACHE, Failed, alone, run, skipped

PLAYWRIGHT = "playwright==1.65.2"


def installed():
    """The Python that has Playwright, which brings no browser here: Debian's is driven."""
    venv = CACHE / "page-venv"
    python, stamp = venv / "bin" / "python", venv / "installed.txt"
    with alone(CACHE):
        if not (stamp.exists() and stamp.read_text() == PLAYWRIGHT):
            run([sys.executable, "-m", "venv", "--clear", str(venv)])
            run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PLAYWRIGHT])
            stamp.write_text(PLAYWRIGHT)
    return python


class Steps:
    """Runs one step after the other; one that raises has failed, and the next one begins."""

    def __init__(self, checks):
        self.checks = checks

    def __call__(self, step, *given):
        try:
            step(*given, self.checks)
        except Exception as why:
            where = "".join(traceback.format_tb(why.__traceback__, limit=-3))
            self.checks.that(f"{step.__name__.replace('_', ' ')} comes to its end", False, f"{why!s:.2500}\n{where}")

    def beside(self, step, *given):
        thread = threading.Thread(target=self, args=(step, *given))
        thread.start()
        return thread


def everything(options, folder, chromium, checks):
    import page
    import terminal
    import trouble
    from browser import Window

    world, guarded, step = World(options.flyball, folder / "one"), World(options.flyball, folder / "guarded", listen="0.0.0.0:0"), Steps(checks)
    try:
        guarded.start()
        guarded.asks_one()
        world.start()
        checks.that("traffic is answered, and refused by a cap", {200, 402} <= set(world.asks(4)))
        world.settled()
        world.stop()
        held = world.fill(options.rows, days=40, keys=300)
        world.start()
        world.asks(3)
        world.settled()
        print(f"the books hold {held:,} attempts", flush=True)
        with Window(chromium) as window:
            answer = window.open(f"{world.admin}/")
            top = step.beside(terminal.top, world)
            step(page.figures, world, window)
            step(page.keyboard, world, window)
            step(page.every_look, world, chromium)
            top.join()
            step(page.decisions, world, window)
            step(page.look_up, world, window)
            step(page.keys, world, window)
            step(page.policy, world, window, answer)
            step(page.large_books, world, chromium, options.rows)
            step(trouble.token, guarded, chromium)
            with terminal.Terminal(world, 120, 40) as top:
                step(trouble.stopped_ledger, world, window, top)
                step(trouble.away, world, window, top)
    finally:
        world.end()
        guarded.end()


def screens(options, folder, chromium):
    """What dashboards/screens holds of the page and of `flyball top`."""
    from browser import DESKTOP, PHONE, Window

    today = datetime.datetime.now(datetime.timezone.utc).date()
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    back = today.day if library else 0
    late = {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME": f"-{back}d"} if back else {}
    world = World(options.flyball, folder / "one", month="100.0")
    try:
        world.start(**late)
        world.asks(15)
        world.settled()
        world.stop()
        world.fill(options.rows, days=59, back=back)
        world.start(**late)
        world.asks(20, seed=5)
        world.settled()
        for name, size, scheme in (("page", DESKTOP, "light"), ("page-dark", DESKTOP, "dark"), ("page-phone", PHONE, "light"), ("page-phone-dark", PHONE, "dark")):
            with Window(chromium, size, scheme, is_mobile=size is PHONE) as window:
                window.open(f"{world.admin}/#by=key")
                untold = "[...document.querySelectorAll('#decisions li')].some((li) => li.decision.outcome === null && !li.querySelector('.tag'))"
                until("a word for what was refused", 20, lambda: not window.tab.evaluate(untold))
                if name == "page":
                    place = window.tab.evaluate("[...document.querySelectorAll('#decisions li')].findIndex((li) => li.decision.outcome?.attempts.length > 1)")
                    window.tab.locator("#decisions .row").nth(place).click()
                    window.tab.mouse.move(0, 0)
                file = options.screens / f"{name}.png"
                window.tab.screenshot(path=file, full_page=True)
                if shutil.which("pngquant"):
                    run(["pngquant", "--force", "--speed", "1", "--strip", "--output", str(file), "64", str(file)])
                print(file, file.stat().st_size)
    finally:
        world.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flyball", default=os.environ.get("FLYBALL_BIN", ROOT / "target/debug/flyball"), type=lambda path: Path(path).resolve())
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--screens", type=Path)
    options = parser.parse_args()
    # A terminated run must still stop its children.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        python = installed()
    except Failed as why:
        sys.exit(0 if skipped(f"Playwright cannot be installed: {why}") else 1)
    if sys.prefix != str(python.parent.parent):
        os.execv(str(python), [str(python), *sys.argv])
    from playwright.sync_api import sync_playwright

    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="flyball-page-") as folder, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        if options.screens:
            screens(options, Path(folder), chromium)
        else:
            everything(options, Path(folder), chromium, checks)
        chromium.close()
    if not options.screens:
        print(f"{checks.passed} passed, {len(checks.failures)} failed{': ' if checks.failures else ''}{'; '.join(checks.failures)}")
    sys.exit(1 if checks.failures else 0)


main()
