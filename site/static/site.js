// Theme, contents, copy buttons, hover cards, search, large pictures, the live picture. No dependency.
const root = document.documentElement.dataset.root;
const $ = (s, from = document) => from.querySelector(s),
  $$ = (s, from = document) => [...from.querySelectorAll(s)];
const make = (tag, props = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
};
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const isDark = () =>
  (document.documentElement.dataset.theme ||
    (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

// Dark and light
const themeButton = $(".theme");
const nameTheme = () => themeButton.setAttribute("aria-label", isDark() ? "Switch to light" : "Switch to dark");
nameTheme();
themeButton.addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    /* private window */
  }
  nameTheme();
  document.dispatchEvent(new Event("themechange"));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  nameTheme();
  document.dispatchEvent(new Event("themechange"));
});

// The page's own entry in the contents is in sight
const side = $(".side"),
  current = $(".side [aria-current]");
if (current && current.offsetTop > side.clientHeight - 60) side.scrollTop = current.offsetTop - side.clientHeight / 2;

// Contents on a phone
const menu = $(".menu");
const openMenu = (open) => {
  document.body.classList.toggle("nav-open", open);
  menu.setAttribute("aria-expanded", open);
};
menu.addEventListener("click", () => openMenu(menu.getAttribute("aria-expanded") !== "true"));
document.addEventListener("keydown", (e) => {
  if (e.key === "Escape" && menu.getAttribute("aria-expanded") === "true") {
    openMenu(false);
    menu.focus();
  }
});

// On this page
const toc = $(".toc"),
  heads = $$("main h2[id], main h3[id], main section[id] > h2, main section[id] > h3");
const idOf = (h) => h.id || h.closest("section[id]").id;
if (toc && heads.length > 1) {
  toc.append(
    make("p", { textContent: "On this page" }),
    make(
      "ol",
      {},
      ...heads.map((h) => {
        const label = h.cloneNode(true);
        $$(".headerlink, .kind, annotation, .katex-html", label).forEach((e) => e.remove());
        return make(
          "li",
          { className: h.tagName.toLowerCase() },
          make("a", { href: "#" + idOf(h), textContent: label.textContent.trim() }),
        );
      }),
    ),
  );
}
const tocLinks = toc ? $$("a", toc) : [];
let ticking = false;
function onScroll() {
  ticking = false;
  const room = document.documentElement.scrollHeight - innerHeight;
  document.documentElement.style.setProperty("--read", room > 0 ? Math.min(1, scrollY / room) : 0);
  let at = -1;
  heads.forEach((h, i) => {
    if (h.getBoundingClientRect().top < 120) at = i;
  });
  tocLinks.forEach((a, i) => a.classList.toggle("here", i === at));
  if (at >= 0 && toc.scrollHeight > toc.clientHeight) toc.scrollTop = tocLinks[at].offsetTop - toc.clientHeight / 2;
}
addEventListener(
  "scroll",
  () => {
    if (!ticking) {
      ticking = true;
      requestAnimationFrame(onScroll);
    }
  },
  { passive: true },
);
onScroll();

// Copy, and what scrolls sideways can be reached by keyboard
$$('div[class*="highlight-"]').forEach((box) => {
  const button = make("button", { className: "button copy", type: "button", textContent: "Copy" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("pre", box).innerText.trimEnd() + "\n");
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy by hand";
    }
    button.classList.add("done");
    setTimeout(() => {
      button.textContent = "Copy";
      button.classList.remove("done");
    }, 1600);
  });
  box.append(button);
});
const words = (cell) => {
  const seen = cell.cloneNode(true);
  $$(".katex-mathml", seen).forEach((e) => e.remove()); // the same maths again, for screen readers
  return seen.textContent.trim();
};
$$("main table").forEach((t) => {
  if (!t.parentElement.matches(".params, .table-wrap")) {
    const labels = [...t.rows[0].cells].map(words),
      stacked = labels.length > 3 && [...t.tBodies[0].rows].some((r) => [...r.cells].some((c) => words(c).length > 24)),
      w = make("div", { className: stacked ? "table-wrap stacked" : "table-wrap" });
    if (stacked) [...t.tBodies[0].rows].forEach((r) => [...r.cells].forEach((c, i) => c.textContent.trim() && (c.dataset.label = labels[i])));
    if (stacked && labels[0]) w.dataset.head = labels[0];
    t.replaceWith(w);
    w.append(t);
  }
});
const scrollers = "pre, div.math, .table-wrap, .params, .fig";
const hint = (e) => e.classList.toggle("more", e.scrollLeft + e.clientWidth < e.scrollWidth - 2); // it fades where it goes on
document.addEventListener("scroll", (e) => e.target.matches?.(scrollers) && hint(e.target), { capture: true, passive: true });
function reachable() {
  $$("div.math").forEach((e) => {
    // a formula a little too wide is set a little smaller; one much too wide scrolls, and stays legible
    e.style.fontSize = "";
    const share = e.clientWidth / e.scrollWidth;
    if (share < 1 && share > 0.75) e.style.fontSize = `${share * 0.985}em`;
  });
  $$(scrollers).forEach((e) => {
    hint(e);
    if (e.scrollWidth > e.clientWidth + 1) {
      e.tabIndex = 0;
      e.setAttribute("role", "region");
      e.setAttribute(
        "aria-label",
        e.matches("pre") ? "Code" : e.matches(".math") ? "Formula" : e.matches(".fig") ? "Figure" : "Table",
      );
    } else if (e.hasAttribute("tabindex")) {
      e.removeAttribute("tabindex");
      e.removeAttribute("role");
      e.removeAttribute("aria-label");
    }
  });
}
addEventListener("load", reachable);
addEventListener("resize", reachable);
$$("details").forEach((d) => d.addEventListener("toggle", reachable));

// Scripts with data, loaded when first asked for; as scripts they also load from a disk
const loaded = {};
function need(name) {
  return (loaded[name] ??= new Promise((ok, fail) =>
    document.head.append(
      make("script", {
        src: `${root}_static/${name}.js`,
        onload: () => ok(window["DDPM_" + name.toUpperCase()]),
        onerror: fail,
      }),
    ),
  ));
}
const needKatex = () => {
  if (!$('link[href*="katex"]'))
    document.head.append(make("link", { rel: "stylesheet", href: root + "_static/katex/katex.min.css" }));
};

// Hover cards for equations, names and works
let hover = null,
  hoverFor = null,
  timer = 0;
function closeHover() {
  clearTimeout(timer);
  hover?.remove();
  hoverFor?.removeAttribute("aria-describedby");
  hover = hoverFor = null;
}
async function openHover(a) {
  const previews = await need("previews"),
    found = previews[decodeURIComponent(a.hash.slice(1))];
  if (!found || (hoverFor === a && hover)) return;
  closeHover();
  needKatex();
  hoverFor = a;
  hover = make("div", {
    className: "card-hover",
    id: "hover-card",
    role: "tooltip",
    innerHTML: `<p class="what"></p>${found[1]}`,
  });
  hover.firstChild.textContent = found[0];
  document.body.append(hover);
  const r = a.getBoundingClientRect(),
    h = hover.offsetHeight,
    below = r.bottom + h + 12 < innerHeight || r.top < h + 80;
  hover.style.left =
    Math.max(16, Math.min(r.left + scrollX - 20, document.documentElement.clientWidth - hover.offsetWidth - 16)) + "px";
  hover.style.top = scrollY + (below ? r.bottom + 8 : r.top - h - 8) + "px";
  a.setAttribute("aria-describedby", "hover-card");
  hover.addEventListener("mouseenter", () => clearTimeout(timer));
  hover.addEventListener("mouseleave", () => {
    timer = setTimeout(closeHover, 180);
  });
}
const previewed = "a.eqref, a.api, a.cite, a.term-link";
document.addEventListener("mouseover", (e) => {
  const a = e.target.closest?.(previewed);
  if (!a || !a.hash || a.closest(".card-hover")) return;
  clearTimeout(timer);
  timer = setTimeout(() => openHover(a), 220);
});
document.addEventListener("mouseout", (e) => {
  if (e.target.closest?.(previewed)) {
    clearTimeout(timer);
    timer = setTimeout(closeHover, 220);
  }
});
document.addEventListener("focusin", (e) => {
  if (e.target.matches?.(previewed) && e.target.hash && e.target.matches(":focus-visible")) openHover(e.target);
  else if (!e.target.closest?.(".card-hover")) closeHover();
});
document.addEventListener("keydown", (e) => {
  if (e.key === "Escape") closeHover();
});

// Search
const RANK = {
  function: 6,
  class: 6,
  method: 4,
  property: 4,
  data: 3,
  module: 5,
  equation: 3,
  term: 4,
  page: 3,
  section: 2,
};
const fold = (s) =>
  s
    .toLowerCase()
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "");
function seek(entries, query) {
  const words = fold(query)
    .split(/[\s,]+/)
    .map((w) => w.replace(/[()]/g, ""))
    .filter((w) => w && !["eq", "eq.", "equation"].includes(w));
  const wantsEquation = /\beq(uation|\.)?\b/i.test(query);
  if (!words.length) return [];
  const scored = [];
  for (const e of entries) {
    e.ft ??= fold(e.t).replace(/[()]/g, "");
    e.fb ??= fold(e.b);
    e.fp ??= fold(e.p);
    let score = RANK[e.k] || 1;
    for (const w of words) {
      const at = e.ft.indexOf(w);
      if (e.ft === w || e.e === w) score += 60;
      else if (at === 0) score += 26;
      else if (at > 0) score += /\w/.test(e.ft[at - 1]) && e.ft[at - 1] !== "_" ? 8 : 18;
      else if (e.k === "equation" && e.fb.includes(`: \\text{${w}}`)) score += 12; // it says what w is
      else if (e.fb.includes(w)) score += 5 + Math.min(4, e.fb.split(w).length - 1);
      else if (e.fp.includes(w)) score += 3;
      else {
        score = 0;
        break;
      }
    }
    if (score && wantsEquation) score += e.k === "equation" ? 40 : 0;
    if (score) scored.push([score, e, words]);
  }
  return scored.sort((a, b) => b[0] - a[0]).slice(0, 24);
}
function snippet(e, words) {
  const at = Math.max(
    0,
    Math.min(
      ...words.map((w) => {
        const i = e.fb.indexOf(w);
        return i < 0 ? 1e9 : i;
      }),
    ),
  );
  const from = at === 1e9 ? 0 : Math.max(0, at - 60);
  const span = make("span", { className: "snip" }),
    text = (from ? "… " : "") + e.b.slice(from, from + 170);
  const parts = text.split(
    new RegExp(`(${words.map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "i"),
  );
  parts.forEach((p, i) => span.append(i % 2 ? make("mark", { textContent: p }) : p));
  return span;
}
function finder(initial = "") {
  const input = make("input", {
    type: "search",
    placeholder: "A function, an equation, a word",
    value: initial,
    autocomplete: "off",
    spellcheck: false,
  });
  input.setAttribute("aria-label", "Search the course and the library");
  const list = make("ol"),
    status = make("p", { className: "status", textContent: "Try q_sample, (1.4), or signal-to-noise" });
  status.setAttribute("role", "status");
  const box = make("div", { className: "finder" }, input, list, status);
  let at = -1;
  async function update() {
    const [entries, previews] = await Promise.all([need("search"), need("previews")]);
    const found = seek(entries, input.value);
    at = -1;
    list.replaceChildren(
      ...found.map(([, e, words]) => {
        const a = make(
          "a",
          { href: root + e.u },
          make("span", { className: "kind", textContent: e.k }),
          make("b", { textContent: e.t }),
          e.p ? make("span", { className: "snip", textContent: e.p }) : "",
        );
        if (e.k === "equation") {
          needKatex();
          a.append(make("span", { innerHTML: previews["eq-" + e.e][1] }));
        } else if (e.b) a.append(snippet(e, words));
        return make("li", {}, a);
      }),
    );
    status.textContent = !input.value.trim()
      ? "Try q_sample, (1.4), or signal-to-noise"
      : found.length
        ? `${found.length === 24 ? "The best 24" : found.length} found`
        : "Nothing found. Fewer or shorter words find more.";
  }
  input.addEventListener("input", update);
  input.addEventListener(
    "focus",
    () => {
      need("search");
      need("previews");
    },
    { once: true },
  );
  box.addEventListener("keydown", (e) => {
    const links = $$("a", list);
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      e.preventDefault();
      at = Math.max(-1, Math.min(links.length - 1, at + (e.key === "ArrowDown" ? 1 : -1)));
      (links[at] || input).focus();
    } else if (e.key === "Enter" && e.target === input && links[0]) {
      e.preventDefault();
      links[0].click();
    }
  });
  if (initial) update();
  return box;
}
let searchDialog = null;
function openSearch() {
  if (!searchDialog) {
    searchDialog = make("dialog", { className: "search" }, finder());
    searchDialog.setAttribute("aria-label", "Search");
    searchDialog.addEventListener("click", (e) => {
      if (e.target === searchDialog || e.target.closest("a")) searchDialog.close();
    });
    document.body.append(searchDialog);
  }
  searchDialog.showModal();
  $("input", searchDialog).select();
}
const page = $("#search-page");
if (page) page.append(finder(new URLSearchParams(location.search).get("q") || ""));
$(".find").addEventListener("click", (e) => {
  if (!page && !e.ctrlKey && !e.metaKey) {
    e.preventDefault();
    openSearch();
  }
});
document.addEventListener("keydown", (e) => {
  const typing = e.target.matches?.("input:not([type=range]), textarea, select");
  if ((e.key === "k" && (e.ctrlKey || e.metaKey)) || (e.key === "/" && !typing && !e.ctrlKey && !e.metaKey)) {
    e.preventDefault();
    page ? $("input", page).focus() : openSearch();
  }
});

// Pictures at full size
$$(".fig img").forEach((img) =>
  img.addEventListener("click", () => {
    const large = make("img", { src: img.currentSrc || img.src, alt: img.alt });
    const scale = img.closest(".pixels") ? 4 : Math.max(1, Math.min(2, (innerWidth * 0.9) / img.naturalWidth));
    large.style.width = img.naturalWidth * scale + "px";
    if (img.closest(".pixels")) large.style.imageRendering = "pixelated";
    const d = make("dialog", { className: "zoom" }, large);
    d.setAttribute("aria-label", img.alt);
    d.addEventListener("click", () => d.close());
    d.addEventListener("close", () => d.remove());
    document.body.append(d);
    d.showModal();
  }),
);

// The live picture: frames of noise becoming digits, to watch or to scrub
const live = $(".live[data-src]");
if (live) {
  const { frames: n, width, height, src } = live.dataset,
    last = n - 1;
  const canvas = make("canvas", { width: +width, height: +height }),
    pen = canvas.getContext("2d"),
    sheet = new Image();
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", $("img", live).alt);
  const range = make("input", { type: "range", min: 0, max: last, value: last });
  range.setAttribute("aria-label", "From noise to digits");
  const button = make("button", { className: "button", type: "button", textContent: "Play" });
  let frame = +last,
    playing = false,
    since = 0;
  const draw = () => {
    pen.drawImage(sheet, 0, frame * height, width, height, 0, 0, width, height);
    range.value = frame;
    range.setAttribute(
      "aria-valuetext",
      frame === +last ? "digits" : frame === 0 ? "pure noise" : `${Math.round((100 * frame) / last)}% of the way`,
    );
  };
  function tick(now) {
    if (!playing) return;
    if (now - since > (frame === +last ? 2400 : frame === 0 ? 500 : 110)) {
      since = now;
      frame = (frame + 1) % n;
      draw();
    }
    requestAnimationFrame(tick);
  }
  const play = (on) => {
    playing = on;
    button.textContent = on ? "Pause" : "Play";
    if (on) {
      since = performance.now();
      requestAnimationFrame(tick);
    }
  };
  button.addEventListener("click", () => play(!playing));
  range.addEventListener("input", () => {
    play(false);
    frame = +range.value;
    draw();
  });
  sheet.onload = () => {
    $("img", live).replaceWith(canvas);
    canvas.after(make("div", { className: "bar" }, button, range));
    draw();
    if (!still) {
      frame = 0;
      draw();
      play(true);
    }
  };
  sheet.src = src;
}
