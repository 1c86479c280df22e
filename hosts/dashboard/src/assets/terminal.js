// A terminal into a container: keys go to its program by a WebSocket, and what that writes is shown.
"use strict";
(() => {
  const place = document.getElementById("terminal");
  if (!place) return;
  const out = place.querySelector(".screen"), input = place.querySelector("textarea"), said = place.querySelector(".said");
  const again = place.querySelector("button"), writer = new TextEncoder();
  const [STDIN, STDOUT, STDERR, OUTCOME, SIZE] = [0, 1, 2, 3, 4];
  let socket = null, planned = false, shownPast = 0;

  const send = (channel, text) => {
    if (socket?.readyState !== WebSocket.OPEN) return;
    const bytes = writer.encode(text), message = new Uint8Array(bytes.length + 1);
    message[0] = channel;
    message.set(bytes, 1);
    socket.send(message);
  };
  const screen = new globalThis.TerminalScreen(80, 24, (text) => send(STDIN, text));
  // For those who look into it, as tests do.
  place.screen = screen;

  const palette = (n) => {
    if (n < 232) { const step = (v) => v ? 55 + v * 40 : 0; n -= 16; return `rgb(${step(Math.floor(n / 36))},${step(Math.floor(n / 6) % 6)},${step(n % 6)})`; }
    const grey = 8 + (n - 232) * 10;
    return `rgb(${grey},${grey},${grey})`;
  };
  function painted(text, style, isCursor) {
    const span = document.createElement("span");
    span.textContent = text;
    for (const name of ["bold", "dim", "italic", "line", "turn", "hide", "strike"]) if (style[name]) span.classList.add(name);
    // What is turned has the colours the other way round.
    const [ink, paper] = style.turn ? [style.bg, style.fg] : [style.fg, style.bg];
    for (const [value, letter, property] of [[ink, "f", "color"], [paper, "b", "backgroundColor"]]) {
      if (typeof value === "number" && value < 16) span.classList.add(letter + value);
      else if (value !== undefined) span.style[property] = typeof value === "number" ? palette(value) : value;
    }
    if (isCursor) span.classList.add("cursor");
    return span;
  }
  function row(line, cursor) {
    const parts = [];
    let text = "", style = null;
    const flush = () => { if (text) parts.push(style && Object.keys(style).length ? painted(text, style) : document.createTextNode(text)); text = ""; };
    // Empty cells at the end are no text to select.
    let end = line.length;
    while (end > 0 && line[end - 1].c === " " && line[end - 1].s.bg === undefined && !line[end - 1].s.turn) end--;
    for (let x = 0; x < Math.max(end, cursor + 1); x++) {
      const cell = line[x];
      if (x === cursor) { flush(); parts.push(painted(cell.c || " ", cell.s, true)); continue; }
      if (cell.s !== style) { flush(); style = cell.s; }
      text += cell.c;
    }
    flush();
    return parts;
  }
  function draw() {
    planned = false;
    const low = out.scrollHeight - out.scrollTop - out.clientHeight < 40;
    const [past, now] = out.children;
    if (screen.cleared) { past.replaceChildren(); shownPast = 0; screen.cleared = false; }
    const fresh = Math.min(screen.gone - shownPast, screen.past.length);
    for (const line of fresh > 0 ? screen.past.slice(-fresh) : []) { const div = document.createElement("div"); div.append(...row(line, -1)); past.append(div); }
    shownPast = screen.gone;
    while (past.children.length > screen.past.length) past.firstChild.remove();
    while (now.children.length < screen.rows) now.append(document.createElement("div"));
    while (now.children.length > screen.rows) now.lastChild.remove();
    for (const y of screen.dirty) if (now.children[y]) now.children[y].replaceChildren(...row(screen.lines[y], screen.shown && y === screen.y ? screen.x : -1));
    screen.dirty.clear();
    if (low) out.scrollTop = out.scrollHeight;
  }
  const plan = () => { if (!planned) { planned = true; requestAnimationFrame(draw); } };

  function fit() {
    const probe = document.createElement("span");
    probe.textContent = "W".repeat(50);
    out.lastElementChild.append(probe);
    const { width, height } = probe.getBoundingClientRect();
    probe.remove();
    if (!width || !height) return;
    const style = getComputedStyle(out), across = out.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const columns = Math.max(10, Math.floor(across / (width / 50))), rows = Math.max(4, Math.floor((out.clientHeight - 12) / parseFloat(style.lineHeight)));
    screen.resize(columns, rows);
    send(SIZE, JSON.stringify({ Width: columns, Height: rows }));
    plan();
  }

  function connect() {
    const url = new URL(place.dataset.exec, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    socket = new WebSocket(url, ["v5.channel.k8s.io", "v4.channel.k8s.io"]);
    socket.binaryType = "arraybuffer";
    const readers = { [STDOUT]: new TextDecoder(), [STDERR]: new TextDecoder() };
    let why = "";
    said.textContent = "Connecting…";
    again.hidden = true;
    socket.onopen = () => { said.textContent = ""; place.classList.add("on"); fit(); };
    socket.onmessage = ({ data }) => {
      const bytes = new Uint8Array(data), channel = bytes[0];
      if (channel === STDOUT || channel === STDERR) { screen.feed(readers[channel].decode(bytes.subarray(1), { stream: true })); plan(); }
      else if (channel === OUTCOME) { try { const status = JSON.parse(new TextDecoder().decode(bytes.subarray(1))); if (status.status !== "Success") why = status.message; } catch { /* It is told as ended. */ } }
    };
    socket.onclose = () => {
      const was = place.classList.contains("on");
      place.classList.remove("on");
      said.textContent = why ? `It ended: ${why}` : was ? "It ended." : "It could not be opened: the container may not run, or you may not run commands in it.";
      again.hidden = false;
      socket = null;
    };
  }
  again.addEventListener("click", () => { screen.reset(); shownPast = 0; out.firstElementChild.replaceChildren(); connect(); input.focus(); });

  // Keys, as programs know them.
  const letters = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D", Home: "H", End: "F" };
  const numbers = { Insert: 2, Delete: 3, PageUp: 5, PageDown: 6, F5: 15, F7: 18, F8: 19, F9: 20, F10: 21, F11: 23, F12: 24 };
  const functions = { F1: "P", F2: "Q", F3: "R", F4: "S" };
  function keyed(event) {
    const held = 1 + (event.shiftKey ? 1 : 0) + (event.altKey ? 2 : 0) + (event.ctrlKey ? 4 : 0);
    const { key } = event;
    if (letters[key]) return held > 1 ? `\x1b[1;${held}${letters[key]}` : (screen.arrows ? "\x1bO" : "\x1b[") + letters[key];
    if (functions[key]) return `\x1bO${functions[key]}`;
    if (numbers[key]) return held > 1 ? `\x1b[${numbers[key]};${held}~` : `\x1b[${numbers[key]}~`;
    if (key === "Enter") return "\r";
    if (key === "Backspace") return event.altKey ? "\x1b\x7f" : "\x7f";
    if (key === "Tab") return event.shiftKey ? "\x1b[Z" : "\t";
    if (key === "Escape") return "\x1b";
    if (event.ctrlKey && !event.altKey && !event.metaKey && key.length === 1) {
      const code = key.toUpperCase().charCodeAt(0);
      if (key === " ") return "\0";
      if (code >= 64 && code < 96) return String.fromCharCode(code - 64);
    }
    return event.altKey && !event.ctrlKey && !event.metaKey && key.length === 1 ? "\x1b" + key : null;
  }
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    // One key leads out again, or who has no mouse would be held here.
    if (event.key === "F6") { event.preventDefault(); document.querySelector(".choices select")?.focus(); return; }
    const copies = event.ctrlKey && (event.shiftKey || (event.key === "c" && !getSelection().isCollapsed));
    if (copies || event.isComposing || event.metaKey) return;
    const text = keyed(event);
    if (text === null) return;
    event.preventDefault();
    send(STDIN, text);
    out.scrollTop = out.scrollHeight;
  });
  input.addEventListener("input", (event) => { if (event.isComposing) return; send(STDIN, input.value.replace(/\n/g, "\r")); input.value = ""; });
  input.addEventListener("compositionend", () => { send(STDIN, input.value); input.value = ""; });
  input.addEventListener("paste", (event) => {
    event.preventDefault();
    // What is pasted cannot say that the paste is over.
    const text = event.clipboardData.getData("text").replace(/\r?\n/g, "\r").replaceAll("\x1b", "");
    send(STDIN, screen.pastes ? `\x1b[200~${text}\x1b[201~` : text);
  });
  out.addEventListener("mouseup", () => { if (getSelection().isCollapsed) input.focus({ preventScroll: true }); });
  new ResizeObserver(fit).observe(out);
  addEventListener("pagehide", () => socket?.close());
  connect();
  input.focus({ preventScroll: true });
})();
