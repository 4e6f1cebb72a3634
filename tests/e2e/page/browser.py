"""The page in Chromium: a window that notes every complaint of the browser and every request, and what is wrong with what it shows."""

import re
from pathlib import Path

from world import until

LOOKING = (Path(__file__).resolve().parent / "looking.js").read_text()
DESKTOP = {"width": 1320, "height": 900}
PHONE = {"width": 390, "height": 844}


class Window:
    """One tab of its own, without anything that another one has kept."""

    def __init__(self, chromium, size=DESKTOP, scheme="light", **more):
        self.context = chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce", timezone_id="America/New_York", **more)
        self.tab = self.context.new_page()
        self.complaints, self.requests = [], []
        self.tab.on("console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda request: self.requests.append(request.url))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def open(self, url):
        """Loads it and waits for its first figures."""
        answer = self.tab.goto(url)
        until("the page's first figures", 30, lambda: self.tab.evaluate("document.documentElement.dataset.ready"))
        return answer

    def ask(self, what, *arguments):
        return self.tab.evaluate(f"(given) => {LOOKING.strip().removesuffix(';')}.{what}(...given)", list(arguments))

    def text(self, selector):
        """As it is seen."""
        return re.sub(r"\s+", " ", self.tab.locator(selector).inner_text(timeout=5000)).strip()

    def texts(self, selector):
        return [re.sub(r"\s+", " ", text).strip() for text in self.tab.locator(selector).all_inner_texts()]

    def press(self, *keys):
        for key in keys:
            self.tab.keyboard.press(key)

    def sees(self, selector, words, seconds=20):
        """It says these words some time."""
        return until(f"{words!r} in {selector}", seconds, lambda: words in self.text(selector) and self.text(selector))
