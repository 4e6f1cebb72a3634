"""`flyball top` in tmux: what it draws, what its keys do, and how it leaves the terminal."""

import json
import os
import re
import shlex
import subprocess
from datetime import date
from pathlib import Path

from world import Failed, dollars, until


def runs(process):
    """It has not ended; who has ended may still be in the list until its parent looks."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Terminal:
    """A tmux of its own with one shell in it, which has started `flyball top`."""

    def __init__(self, world, columns, lines, **environment):
        self.world = world
        self.socket = str(world.work / f"tmux-{id(self):x}")
        self.rc = world.work / "shell.rc"
        self.rc.write_text("PS1='at-the-shell> '\nunset HISTFILE\n")
        clean = {name: value for name, value in os.environ.items() if name not in ("TMUX", "FLYBALL_ADMIN_TOKEN", "NO_COLOR", "COLUMNS", "LINES")}
        self.environment = {**clean, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(lines), "bash", "--norc", "--rcfile", str(self.rc), "-i")
        self.tmux("send-keys", f"PS1='at-the-shell> '; clear; {self.command()}", "Enter")

    def command(self):
        return shlex.join([str(self.world.flyball), "top", "--admin-url", self.world.admin, "--every", "1"])

    def tmux(self, *words):
        return subprocess.run(["tmux", "-S", self.socket, "-f", "/dev/null", *words], env=self.environment, capture_output=True, text=True, check=True, timeout=20).stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Closes the terminal, as whoever closes its window does; what runs in it ends too."""
        running = [int(line) for line in self.tmux("list-panes", "-a", "-F", "#{pane_pid}").split()]
        running += [int(child) for shell in running for child in Path(f"/proc/{shell}/task/{shell}/children").read_text().split()]
        self.tmux("kill-server")
        until("the end of what ran in the closed terminal", 20, lambda: not any(map(runs, running)))

    def screen(self):
        return self.tmux("capture-pane", "-p").rstrip("\n")

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def shows(self, *texts, never=None, seconds=25):
        """All of these some time, and then the whole screen."""
        last = ""

        def there():
            nonlocal last
            last = self.screen()
            return last if all(text in last for text in texts) and (never is None or never not in last) else None

        try:
            return until(f"{texts} in the terminal", seconds, there)
        except Failed as why:
            raise Failed(f"{why}; it shows\n{last}") from None

    def drawn(self, columns, lines):
        """The screen, once its first and its last lines are where they belong, with the four figures between; tmux itself only cuts."""
        last = ""

        def whole():
            nonlocal last
            last = self.screen()
            rows = last.split("\n") + [""] * 3
            figures = columns < 80 or all(name in rows[2] for name in ("yesterday", "today", "this month", "month end"))
            return last if len(rows) == lines + 3 and "● ready" in rows[0] and figures and "q quit" in rows[lines - 1] else None

        try:
            return until(f"a drawing of {columns}x{lines}", 20, whole)
        except Failed as why:
            raise Failed(f"{why}; it shows\n{last}") from None

    def resize(self, columns, lines):
        self.tmux("resize-window", "-x", str(columns), "-y", str(lines))


def top(world, checks):
    """Nobody asks meanwhile."""
    told = json.loads(subprocess.run([str(world.flyball), "top", "--json", "--admin-url", world.admin], capture_output=True, text=True, check=True, timeout=30).stdout)
    days = {row["day"][:10]: row for row in told["days"]["rows"]}
    today = date.fromisoformat(max(days))
    with Terminal(world, 200, 50) as top:
        wide = top.shows("● ready", "yesterday", "month end", "decisions")
        for name, day in (("today", days[str(today)]), ("month", None)):
            rows = [day] if day else [row for at, row in days.items() if at.startswith(str(today)[:8])]
            spent, saved = (dollars(str(sum(float(row[what]) for row in rows)), "-") for what in ("cost_usd", "saved_usd"))
            checks.that(f"top tells what was spent and saved {'today' if day else 'this month'}", f" {spent} " in wide and f" {saved} saved" in wide, (spent, saved, wide))
        checks.that("and what the month will cost", dollars(told["forecast"]["expected_usd"], "-") in wide, wide)
        checks.nothing("it tells the dearest teams as the report does", [row["team"] for row in told["report"]["rows"][:5] if not re.search(rf" {re.escape(row['team'])} .*{re.escape(dollars(row['cost_usd'], '-'))}", wide)])
        checks.nothing("and the last decisions", [d["request"] for d in told["decisions"]["decisions"][:5] if d["outcome"] and dollars(d["outcome"]["cost_usd"], "-") not in wide])
        pages(top, told, checks)
        drawn(top, checks)
        leaves(top, checks)


def pages(top, told, checks):
    """Each key that its help names."""
    top.press("?")
    help = top.shows("quit", "hold still")
    named = ["Tab", "1 to 5", "k j", "PgUp", "Enter", "/", "b  ", "p  ", "space", "?"]
    checks.nothing("? tells the keys", [key for key in named if key not in help])
    top.press("x")
    top.shows("● ready", never="any key closes it")
    for key, words in (("2", "who, by team"), ("Tab", "runs out"), ("Right", "diff."), ("Left", "runs out"), ("BTab", "who, by team"), ("5", "time zone"), ("1", "why it was saved"), ("2", "who, by team, this month")):
        top.press(key)
        top.shows(words)
    checks.that("Tab, arrows and digits turn the pages", True)
    top.press("b")
    top.shows("who, by key", "lab")
    top.press("p")
    top.shows("who, by key, today")
    checks.that("b splits by something else, p asks for another time", True)
    top.press("3", "/")
    top.press("-l", "the dear")
    top.press("Enter")
    screen = top.shows("only what has \"the dear\"", "the dear model")
    checks.that("/ shows only what has these letters", "everybody, a month" not in screen, screen)
    top.press("Escape")
    top.shows("key-0", never="only what has")
    checks.that("Escape shows all again", True)
    top.press("4", "j", "j", "Up", "End", "Home", "NPage", "PPage", "k")
    requests = told["decisions"]["decisions"]
    place = next(n for n, d in enumerate(requests) if d["outcome"] and "escalated" in [a["outcome"] for a in d["outcome"]["attempts"]])
    top.press("Home", *["Down"] * place, "Enter")
    request = requests[place]
    top.shows(request["request"], "attempt 1", "attempt 2", "escalated", *(arm["arm"] for arm in request["considered"][:2]))
    checks.that("Enter opens a decision with both attempts and the arms that were weighed", True)
    top.press("Escape")
    top.shows("diff.", never="attempt 1")
    checks.that("Escape closes it", True)
    top.press("Space")
    top.shows("holds still")
    top.press("Space")
    top.shows("● ready", never="holds still")
    checks.that("Space holds still and goes on", True)


def drawn(top, checks):
    """Of every size, at once after it changes."""
    top.press("1")
    for columns, lines in ((80, 24), (200, 50), (40, 12), (120, 30), (80, 24)):
        top.resize(columns, lines)
        screen = top.drawn(columns, lines)
        checks.that(f"it draws itself at {columns}x{lines}", screen)
    checks.that("at 80x24 all pages, who, caps, decisions and all keys are named", all(text in screen for text in ("1 all", "5 health", "who, by", "caps", "decisions", "? keys", "space hold")), screen)


def leaves(top, checks):
    """The shell is there again, with what it showed before, an echo and a cursor."""
    for n, key in enumerate(("q", "C-c")):
        top.press(key)
        top.shows("at-the-shell>", never="q quit")
        top.press(f"stty -a | tr ' ;' '\\n\\n' | grep -cx -e echo -e icanon -e isig; echo over-{n}", "Enter")
        screen = top.shows(f"\n3\nover-{n}")
        state = top.tmux("display-message", "-p", "#{cursor_flag} #{alternate_on} #{mouse_any_flag}").split()
        checks.that(f"{'q' if key == 'q' else 'Ctrl-C'} ends it and gives the terminal back as it was", state == ["1", "0", "0"], (state, screen))
        if n == 0:
            top.press("clear; " + top.command(), "Enter")
            top.shows("● ready")
