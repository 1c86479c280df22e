// Makes pages live and quick to walk through. All of them read well without it.
"use strict";
(() => {
  const $ = (query, within = document) => within.querySelector(query);
  const $$ = (query, within = document) => [...within.querySelectorAll(query)];

  // What changed is made to differ no more: elements stay where they can, so that focus, choices and scrolling do.
  const keyOf = (node) => node.nodeType === 1 ? node.getAttribute("data-key") || node.id || null : null;
  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
  function attributes(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(old.nodeName === "DETAILS" && name === "open")) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  function morph(old, fresh) {
    if (old.nodeType !== 1) { if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue; return; }
    if (old.hasAttribute("data-keep") && (old === document.activeElement || old.nodeName === "PRE")) return;
    const marked = old.classList.contains("at");
    attributes(old, fresh);
    if (marked) old.classList.add("at");
    const keyed = new Map();
    for (const child of old.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const key = keyOf(child);
      let match = key ? keyed.get(key) : at;
      if (match && (!alike(match, child) || (!key && keyOf(match)))) match = null;
      if (match) {
        keyed.delete(key);
        if (match === at) at = at.nextSibling; else old.insertBefore(match, at);
        morph(match, child);
      } else {
        const added = document.importNode(child, true);
        if (key) added.classList.add("fresh");
        old.insertBefore(added, at);
      }
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  }

  // A page is made again when the stream says so, never twice at a time, and not while it is not looked at. Each time it
  // says as of when it was made, from where the next stream goes on.
  let source = null, loading = false, again = false, later = 0;
  async function refresh(url = location.href) {
    if (loading) { again = true; return true; }
    loading = true;
    try {
      const answer = await fetch(url, { headers: { accept: "text/html" }, credentials: "same-origin" });
      if (answer.status === 401 || answer.status === 404) { location.reload(); return false; }
      if (!answer.ok) return false;
      const fresh = $("main", new DOMParser().parseFromString(await answer.text(), "text/html"));
      if (url !== location.href && $(".notice.bad", fresh)) return false;
      const old = $("main");
      const said = $(".notice[role=status]", old);
      if (said) fresh.prepend(document.importNode(said, true));
      morph(old, fresh);
      ready(old);
      return true;
    } catch { return false; /* The server is away. */ } finally {
      loading = false;
      if (again) { again = false; refresh(); }
    }
  }
  function follow() {
    const url = $("main")?.dataset.live;
    const sign = $("#live");
    if (!url || source || document.hidden) return;
    source = new EventSource(url);
    sign.hidden = false;
    source.onopen = () => sign.classList.add("on");
    source.onerror = () => {
      sign.classList.remove("on");
      const isOver = source?.readyState === EventSource.CLOSED;
      source?.close();
      source = null;
      if (isOver) { sign.hidden = true; return; }
      clearTimeout(later);
      later = setTimeout(retry, 2000);
    };
    source.addEventListener("change", () => refresh());
  }
  async function retry() {
    if (document.hidden) return;
    if (await refresh()) follow(); else later = setTimeout(retry, 4000);
  }
  function rest() { clearTimeout(later); source?.close(); source = null; $("#live")?.classList.remove("on"); }
  document.addEventListener("visibilitychange", () => { if (document.hidden) rest(); else if ($("main")?.dataset.live) retry(); });
  addEventListener("pagehide", rest);
  addEventListener("pageshow", (event) => {
    // A page that one comes back to can be sent from again.
    for (const form of $$("form[data-sent]")) delete form.dataset.sent;
    if (event.persisted) retry();
  });

  // A selector answers as one types. What is none yet changes nothing until it is sent.
  let typed = 0;
  document.addEventListener("input", ({ target }) => {
    if (target.id !== "filter") return;
    clearTimeout(typed);
    typed = setTimeout(async () => {
      while (loading) await new Promise((done) => setTimeout(done, 50));
      const url = new URL(location.href), text = target.value.trim();
      url.searchParams.delete("continue");
      if (text) url.searchParams.set("l", text); else url.searchParams.delete("l");
      if (!target.isConnected || url.href === location.href || !await refresh(url.href)) return;
      history.replaceState(null, "", url);
      rest();
      follow();
    }, 250);
  });

  // Logs, as they come.
  async function tail(log) {
    const follows = $("#tail"), find = $("#find"), stop = new AbortController();
    let lines = [], rest = "", pending = false;
    const most = 20000;
    const shown = () => { const word = find.value.toLowerCase(); return word ? lines.filter((line) => line.toLowerCase().includes(word)) : lines; };
    const draw = () => {
      pending = false;
      const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      log.textContent = shown().join("\n") + (rest && !find.value ? "\n" + rest : "");
      if (low) log.scrollTop = log.scrollHeight;
      const empty = $(".empty-log");
      if (empty) empty.hidden = lines.length > 0;
    };
    const plan = () => { if (!pending) { pending = true; requestAnimationFrame(draw); } };
    find.addEventListener("input", plan);
    $("#wrap").addEventListener("change", (event) => log.classList.toggle("wrap", event.target.checked));
    log.classList.add("wrap");
    log.scrollTop = log.scrollHeight;
    addEventListener("pagehide", () => stop.abort());
    follows.addEventListener("change", () => { if (!follows.checked) stop.abort(); else location.reload(); });
    try {
      const answer = await fetch(log.dataset.follow, { signal: stop.signal, credentials: "same-origin" });
      if (!answer.ok) return;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const parts = (rest + value).split("\n");
        rest = parts.pop();
        lines.push(...parts);
        if (lines.length > most) lines = lines.slice(-most);
        plan();
      }
    } catch { /* Stopped, or the server is away. */ }
    follows.checked = false;
  }

  // Rows that keys walk through.
  let at = null;
  const rows = () => $$("table[data-rows] tbody tr");
  function move(by) {
    const all = rows();
    if (!all.length) return;
    const now = all.indexOf(at);
    const next = all[Math.max(0, Math.min(all.length - 1, now < 0 ? (by > 0 ? 0 : all.length - 1) : now + by))];
    at?.classList.remove("at");
    at = next;
    at.classList.add("at");
    const link = $("a.name", at) || $("a", at);
    link?.focus({ preventScroll: true });
    at.scrollIntoView({ block: "nearest" });
  }

  // Services light up the lines to their pods.
  function point(uid) {
    const drawing = $(".topology");
    if (!drawing) return;
    drawing.classList.toggle("pointing", !!uid);
    for (const lines of $$(".lines g", drawing)) lines.classList.toggle("on", lines.dataset.of === uid);
  }
  for (const [on, off] of [["mouseover", "mouseout"], ["focusin", "focusout"]]) {
    document.addEventListener(on, (event) => { const service = event.target.closest?.("[data-points-at]"); if (service) point(service.dataset.pointsAt); });
    document.addEventListener(off, (event) => { if (event.target.closest?.("[data-points-at]")) point(null); });
  }

  function ready(within) {
    for (const hidden of $$("[data-needs-script]", within)) hidden.hidden = false;
  }
  document.addEventListener("change", (event) => {
    const form = event.target.closest?.("form[data-submit-on-change]");
    if (form && event.target.name) form.requestSubmit();
    if (event.target.dataset?.links) location.href = event.target.dataset.links.split("\n")[event.target.value];
  });
  // A form that is sent once is not sent twice.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (event.target.dataset.sent) event.preventDefault(); else event.target.dataset.sent = "1";
  });

  // Keys. None of them works while one types.
  let led = 0;
  const leads = { o: ".", t: "topology", k: "kinds", p: "pods", d: "deployments", s: "services", n: "nodes", e: "events", j: "jobs", c: "configmaps" };
  const menu = (word) => $$(".menu a").find((link) => {
    const url = new URL(link.href);
    return url.searchParams.get("r") === word || (!url.searchParams.has("r") && (word === "." ? url.pathname.endsWith("/") : url.pathname.endsWith("/" + word)));
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.nodeName);
    if (event.key === "Escape" && typing) { event.target.blur(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (Date.now() - led < 1200) {
      led = 0;
      const word = leads[event.key];
      if (word) { event.preventDefault(); menu(word)?.click(); }
      return;
    }
    const focus = (query) => { const field = $(query); if (field) { event.preventDefault(); field.focus(); field.select?.(); } };
    if (event.key === "g") led = Date.now();
    else if (event.key === ":") focus("#go");
    else if (event.key === "/") focus($("#filter") ? "#filter" : $("#find") ? "#find" : "#go");
    else if (event.key === "n") focus("#namespace");
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "?") $("#help")?.showModal();
    else if (/^[1-7]$/.test(event.key)) $$(".tabs a")[event.key - 1]?.click();
  });

  ready(document);
  // In a narrow window the menu is a line that is longer than the window.
  $(".menu [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  const log = $("#log");
  if (log) tail(log);
  follow();
})();
