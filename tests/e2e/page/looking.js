// What a browser knows of the page that it shows; each function is called by name from Python and returns what is wrong.
({
  // Every line of text that can be seen, with its element.
  texts() {
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode, element = node.parentElement;
      if (!node.textContent.trim() || element.closest("script, style, .unseen, [hidden]") || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      if (element.matches(".skip:not(:focus)")) continue;
      for (const box of range.getClientRects()) if (box.width && box.height) found.push({ element, box, text: node.textContent.trim() });
    }
    for (const element of document.querySelectorAll("input[placeholder]")) if (element.checkVisibility() && !element.value) found.push({ element, box: element.getBoundingClientRect(), text: element.placeholder, placeholder: true });
    return found;
  },
  rgba(text) {
    const numbers = text.match(/-?[\d.]+(e-?\d+)?%?/g).map((n) => n.endsWith("%") ? parseFloat(n) / 100 : parseFloat(n));
    const scale = text.startsWith("color(") ? 255 : 1;
    const [r, g, b] = numbers.map((n) => n * scale);
    return [r, g, b, numbers[3] ?? 1];
  },
  behind(element) {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(this.rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, over) => over.slice(0, 3).map((v, n) => v * over[3] + under[n] * (1 - over[3])), [255, 255, 255]);
  },
  light(colour) {
    const [r, g, b] = colour.map((v) => { const c = v / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  },
  ratio(front, back) {
    const over = front.slice(0, 3).map((v, n) => v * front[3] + back[n] * (1 - front[3]));
    const [more, less] = [this.light(over), this.light(back)].sort((a, b) => b - a);
    return (more + 0.05) / (less + 0.05);
  },
  // How many texts were looked at, and those whose contrast is under 4.5.
  contrast() {
    const all = this.texts(), poor = [];
    for (const { element, text, placeholder } of all) {
      const style = getComputedStyle(element, placeholder ? "::placeholder" : null);
      const front = this.rgba(element instanceof SVGElement ? style.fill : style.color), ratio = this.ratio(front, this.behind(element));
      if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} "${text.slice(0, 40)}" in ${element.tagName} ${element.className?.baseVal ?? element.className}`);
    }
    return { looked: all.length, poor: [...new Set(poor)] };
  },
  // Texts that reach out of the window or of their panel, and those that are cut although nothing tells the whole of them.
  cut() {
    const wrong = [], width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width) wrong.push(`the page is ${document.documentElement.scrollWidth} wide in a window of ${width}`);
    for (const { element, box, text } of this.texts()) {
      let clipped = null;
      for (let at = element; at && at !== document.body; at = at.parentElement) if (getComputedStyle(at).overflowX !== "visible" && !(at instanceof SVGElement)) { clipped = at; break; }
      if (clipped && clipped.scrollWidth > clipped.clientWidth + 1) {
        const whole = element.closest("[title]")?.title ?? "";
        if (!whole.startsWith(text.slice(0, 20)) || text.length < 12) wrong.push(`cut: "${text.slice(0, 60)}" in ${element.tagName} ${element.className}`);
      } else if (!clipped || clipped.scrollHeight > clipped.clientHeight + 3) {
        const panel = (element.closest(".panel, header, .banner, footer") || document.body).getBoundingClientRect();
        if (box.right > Math.min(width, panel.right) + 1 || box.left < panel.left - 1 || box.bottom > panel.bottom + 1) wrong.push(`out of its panel: "${text.slice(0, 60)}"`);
      }
    }
    for (const text of document.querySelectorAll("svg text")) {
      const svg = text.ownerSVGElement, box = text.getBoundingClientRect(), edge = svg.getBoundingClientRect();
      if (getComputedStyle(svg).overflowX !== "visible" && (box.right > edge.right + 1 || box.left < edge.left - 1)) wrong.push(`cut: "${text.textContent}" in the chart`);
    }
    for (const cell of document.querySelectorAll("td, th")) if (cell.checkVisibility() && cell.scrollWidth > cell.clientWidth + 1) wrong.push(`wider than its column: "${cell.textContent.slice(0, 40)}"`);
    for (const input of document.querySelectorAll("input[placeholder]")) {
      const style = getComputedStyle(input), pen = document.createElement("canvas").getContext("2d");
      pen.font = style.font;
      if (input.checkVisibility() && pen.measureText(input.placeholder).width > input.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)) wrong.push(`cut: "${input.placeholder}"`);
    }
    return wrong;
  },
  // Texts that lie on one another.
  overlaps() {
    const all = this.texts().filter((t) => !(t.element instanceof SVGElement)), wrong = [];
    const clipped = ({ element, box }) => {
      let { left, top, right, bottom } = box;
      for (let at = element; at && at !== document.body; at = at.parentElement) if (getComputedStyle(at).overflowX !== "visible") { const b = at.getBoundingClientRect(); left = Math.max(left, b.left); right = Math.min(right, b.right); top = Math.max(top, b.top); bottom = Math.min(bottom, b.bottom); }
      return { left, top, right, bottom };
    };
    const boxes = all.map(clipped);
    for (let a = 0; a < all.length; a++) for (let b = a + 1; b < all.length && b < a + 40; b++) {
      if (all[a].element === all[b].element) continue;
      const x = Math.min(boxes[a].right, boxes[b].right) - Math.max(boxes[a].left, boxes[b].left), y = Math.min(boxes[a].bottom, boxes[b].bottom) - Math.max(boxes[a].top, boxes[b].top);
      if (x > 2 && y > 4) wrong.push(`"${all[a].text.slice(0, 40)}" lies on "${all[b].text.slice(0, 40)}"`);
    }
    return wrong;
  },
  // What a finger has to hit: at least so many pixels high and wide.
  small(least) {
    const wrong = [];
    for (const element of document.querySelectorAll("a[href], button, input:not([type=radio]), label:has(input[type=radio])")) {
      if (!element.checkVisibility({ visibilityProperty: true }) || element.matches(".skip, .unseen")) continue;
      const box = element.getBoundingClientRect();
      if (box.width < least || box.height < least) wrong.push(`${Math.round(box.width)}x${Math.round(box.height)} ${element.tagName} "${(element.textContent || element.placeholder || "").trim().slice(0, 30)}"`);
    }
    return wrong;
  },
  // Sections that show nothing but their title, and those whose figure is still a dash.
  empty() {
    const wrong = [];
    for (const panel of document.querySelectorAll("main .panel")) {
      const title = panel.querySelector("h2").textContent, rest = this.texts().filter((t) => panel.contains(t.element) && !t.element.closest("h2"));
      if (!rest.length) wrong.push(`${title}: nothing`);
    }
    for (const [what, list] of Object.entries({ who: "#who tr", why: "#why tr", caps: "#caps li", decisions: "#decisions li", providers: "#providers tr", facts: "#facts dd", days: "#days rect.spent" })) if (!document.querySelector(list)) wrong.push(`${what}: no line`);
    for (const id of ["yesterday-spent", "today-spent", "month-spent", "end-spent"]) if (!/\d/.test(document.getElementById(id).textContent)) wrong.push(`${id}: ${document.getElementById(id).textContent}`);
    return wrong;
  },
  // What Tab must reach, in the order in which it stands in the page.
  controls() {
    return [...document.querySelectorAll("a[href], button, input")].filter((e) => e.checkVisibility({ visibilityProperty: true }) && (e.type !== "radio" || e.checked)).map((e) => this.name(e));
  },
  name(e) {
    if (!e || e === document.body) return "nothing";
    if (e.id) return `#${e.id}`;
    const inner = e.type === "radio" ? `${e.name}=${e.value}` : (e.textContent || e.value).trim().replace(/\s+/g, " ").slice(0, 80);
    return e.closest("#decisions") ? `row ${[...document.querySelectorAll("#decisions li")].indexOf(e.closest("li"))}` : `${e.tagName.toLowerCase()} ${inner}`;
  },
  // The control that has the focus, and what is wrong with how it shows it.
  focused() {
    const e = document.activeElement, name = this.name(e);
    if (name === "nothing") return { name, wrong: null };
    const shown = e.type === "radio" ? e.nextElementSibling : e, style = getComputedStyle(shown), box = shown.getBoundingClientRect();
    const outline = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2, ratio = this.ratio(this.rgba(style.outlineColor), this.behind(shown.parentElement));
    let wrong = null;
    if (!outline || ratio < 3) wrong = `no outline that can be seen (${style.outline}, contrast ${ratio.toFixed(1)})`;
    else if (box.width < 1 || box.bottom < 1 || box.right < 1 || box.top > innerHeight - 1 || box.left > innerWidth - 1) wrong = `it is out of sight at ${Math.round(box.left)},${Math.round(box.top)}`;
    return { name, wrong, line: Math.round(box.top + scrollY) };
  },
  // From 0, which is black, to 1.
  ground() { return this.light(this.behind(document.body)); },
  nodes() { return document.querySelectorAll("*").length; },
  kept() { return { local: JSON.stringify({ ...localStorage }), session: Object.keys({ ...sessionStorage }), cookies: document.cookie, address: location.href, text: document.documentElement.textContent }; },
})
