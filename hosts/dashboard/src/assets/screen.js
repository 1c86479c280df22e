// What a terminal shows: a grid of cells that the output of a program moves about in, as of a VT220 with colours. Pure.
"use strict";
(() => {
  const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]/u;
  const COMBINES = /[\p{Mn}\p{Me}\u200b-\u200f\ufe00-\ufe0f]/u;
  const LINES = "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·";
  const PLAIN = Object.freeze({});
  // How much of what has left the screen is kept, and how long a string of a sequence may be.
  const KEPT = 2000, LONGEST = 4096;

  class Screen {
    constructor(columns, rows, reply = () => {}) {
      this.columns = columns;
      this.rows = rows;
      this.reply = reply;
      this.reset();
    }

    reset() {
      Object.assign(this, {
        past: [], gone: 0, x: 0, y: 0, wraps: false, style: PLAIN, top: 0, bottom: this.rows - 1, other: null, kept: null,
        shown: true, arrows: false, pastes: false, inserts: false, breaks: true, origin: false, sets: ["B", "B"], set: 0,
        state: "text", rest: "", prefix: "", title: "",
      });
      this.lines = this.blank(this.rows);
      this.dirty = new Set();
      this.touch();
    }

    blank(count) { return Array.from({ length: count }, () => this.line()); }
    line() { return Array.from({ length: this.columns }, () => ({ c: " ", s: this.paper() })); }
    // What is erased has the colour of the paper.
    paper() { return this.style?.bg === undefined ? PLAIN : { bg: this.style.bg }; }
    touch(from = 0, to = this.rows - 1) { for (let y = from; y <= to; y++) this.dirty.add(y); }
    text() { return this.lines.map((line) => line.map((cell) => cell.c).join("").trimEnd()).join("\n").trimEnd(); }

    resize(columns, rows) {
      if (columns === this.columns && rows === this.rows) return;
      this.columns = columns;
      const fit = (lines, scrolls) => {
        for (const line of lines) { while (line.length < columns) line.push({ c: " ", s: PLAIN }); line.length = columns; }
        while (lines.length > rows) {
          // What is below the cursor goes first, and then what is at the top leaves.
          if (this.y < lines.length - 1) lines.pop();
          else { const out = lines.shift(); if (scrolls) this.leave(out); this.y--; }
        }
        while (lines.length < rows) lines.push(this.line());
        return lines;
      };
      const count = this.lines.length;
      this.lines = fit(this.lines, !this.other);
      if (this.other) { const { y } = this; this.y = count - 1; this.other.lines = fit(this.other.lines, false); this.y = y; }
      Object.assign(this, { rows, top: 0, bottom: rows - 1, wraps: false });
      this.at(this.x, this.y);
      this.dirty.clear();
      this.touch();
    }

    leave(line) { this.past.push(line); this.gone++; if (this.past.length > KEPT) this.past.shift(); }
    at(x, y) {
      this.dirty.add(this.y);
      this.x = Math.max(0, Math.min(this.columns - 1, x));
      this.y = Math.max(0, Math.min(this.rows - 1, y));
      this.dirty.add(this.y);
      this.wraps = false;
    }

    scroll(by, top = this.top) {
      for (let n = Math.min(Math.abs(by), this.rows); n > 0; n--) {
        if (by > 0) {
          const [out] = this.lines.splice(top, 1);
          if (top === 0 && this.top === 0 && !this.other) this.leave(out);
          this.lines.splice(this.bottom, 0, this.line());
        } else {
          this.lines.splice(this.bottom, 1);
          this.lines.splice(top, 0, this.line());
        }
      }
      this.touch(top, this.bottom);
    }
    down() { if (this.y === this.bottom) this.scroll(1); else if (this.y < this.rows - 1) this.at(this.x, this.y + 1); }
    up() { if (this.y === this.top) this.scroll(-1); else if (this.y > 0) this.at(this.x, this.y - 1); }

    put(c) {
      if (COMBINES.test(c)) { const cell = this.lines[this.y][Math.max(0, this.x - (this.wraps ? 0 : 1))]; if (cell.c.length < 16) cell.c += c; this.dirty.add(this.y); return; }
      const width = WIDE.test(c) && this.columns > 1 ? 2 : 1;
      if ((this.wraps || this.x + width > this.columns) && this.breaks) { const { y } = this; this.x = 0; this.wraps = false; this.dirty.add(y); this.down(); }
      if (this.sets[this.set] === "0") { const at = c.charCodeAt(0) - 0x60; if (at >= 0 && at < LINES.length) c = LINES[at]; }
      const line = this.lines[this.y];
      const x = Math.min(this.x, this.columns - width);
      if (this.inserts) { line.splice(x, 0, ...Array.from({ length: width }, () => ({ c: " ", s: PLAIN }))); line.length = this.columns; }
      line[x] = { c, s: this.style };
      if (width === 2) line[x + 1] = { c: "", s: this.style };
      this.dirty.add(this.y);
      if (x + width >= this.columns) { this.x = this.columns - 1; this.wraps = this.breaks; } else this.x = x + width;
    }

    feed(text) { for (const c of text) this.step(c); }
    step(c) {
      const code = c.codePointAt(0);
      if (this.state === "string") {
        if (code === 7 || code === 0x9c) this.ended();
        else if (code === 27) this.state = "string-end";
        else if (this.rest.length < LONGEST) this.rest += c;
        return;
      }
      if (this.state === "string-end") { this.ended(); if (c === "\\") return; this.state = "escape"; }
      if (code === 27) { this.state = "escape"; this.rest = ""; return; }
      if (code === 24 || code === 26) { this.state = "text"; return; }
      if (code < 32) return this.control(code);
      if (this.state === "text") { if (code !== 127 && !(code >= 0x80 && code < 0xa0)) this.put(c); }
      else if (this.state === "escape") this.escape(c);
      else if (this.state === "set") { this.sets[this.prefix === ")" ? 1 : 0] = c; this.state = "text"; }
      else if (this.state === "skip") this.state = "text";
      else if (code >= 0x40) { this.state = "text"; this.sequence(c); }
      else if (this.rest.length < LONGEST) this.rest += c;
    }
    ended() { this.state = "text"; const [, what, text] = /^\]([012]);(.*)$/s.exec(this.prefix + this.rest) || []; if (what) this.title = text.slice(0, 200); }

    control(code) {
      if (code === 8) this.at(this.x - 1, this.y);
      else if (code === 9) this.at(Math.min(this.columns - 1, (Math.floor(this.x / 8) + 1) * 8), this.y);
      else if (code === 10 || code === 11 || code === 12) { this.wraps = false; this.down(); }
      else if (code === 13) this.at(0, this.y);
      else if (code === 14 || code === 15) this.set = code === 14 ? 1 : 0;
    }

    escape(c) {
      this.state = "text";
      if (c === "[") { this.state = "sequence"; this.rest = ""; }
      else if ("]PX^_".includes(c)) { this.state = "string"; this.prefix = c; this.rest = ""; }
      else if (c === "(" || c === ")") { this.state = "set"; this.prefix = c; }
      else if ("#%*+-./ ".includes(c)) this.state = "skip";
      else if (c === "7") this.keep();
      else if (c === "8") this.restore();
      else if (c === "D") this.down();
      else if (c === "E") { this.at(0, this.y); this.down(); }
      else if (c === "M") this.up();
      else if (c === "c") this.reset();
    }
    keep() { this.kept = { x: this.x, y: this.y, style: this.style, sets: [...this.sets], set: this.set }; }
    restore() { const { x, y, style, sets, set } = this.kept || { x: 0, y: 0, style: PLAIN, sets: ["B", "B"], set: 0 }; Object.assign(this, { style, sets: [...sets], set }); this.at(x, y); }

    sequence(last) {
      const mark = /^[?>=!]/.exec(this.rest)?.[0] || "";
      const words = this.rest.slice(mark.length);
      const numbers = words.split(/[;:]/).map((word) => { const n = parseInt(word, 10); return Number.isNaN(n) ? undefined : Math.min(n, 100000); });
      const n = Math.max(1, numbers[0] ?? 1), first = numbers[0] ?? 0;
      if (mark === "?" && (last === "h" || last === "l")) { for (const mode of numbers) this.mode(mode, last === "h"); return; }
      if (mark) { if (mark === ">" && last === "c") this.reply("\x1b[>1;10;0c"); return; }
      if (/[ -/]$/.test(words)) return;
      const { x, y, columns, rows } = this, line = this.lines[y];
      const from = this.origin ? this.top : 0;
      switch (last) {
        case "A": this.at(x, y >= this.top ? Math.max(this.top, y - n) : y - n); break;
        case "B": case "e": this.at(x, y <= this.bottom ? Math.min(this.bottom, y + n) : y + n); break;
        case "C": case "a": this.at(x + n, y); break;
        case "D": this.at(x - n, y); break;
        case "E": this.at(0, y + n); break;
        case "F": this.at(0, y - n); break;
        case "G": case "`": this.at(n - 1, y); break;
        case "d": this.at(x, from + n - 1); break;
        case "H": case "f": this.at((numbers[1] || 1) - 1, from + n - 1); break;
        case "J": this.erase(first); break;
        case "K": this.wipe(y, first === 0 ? x : 0, first === 1 ? x + 1 : columns); break;
        case "L": case "M":
          if (y < this.top || y > this.bottom) break;
          this.scrollFrom(y, last === "M" ? n : -n);
          break;
        case "@": line.splice(x, 0, ...this.line().slice(0, Math.min(n, columns - x))); line.length = columns; this.dirty.add(y); break;
        case "P": line.splice(x, Math.min(n, columns - x)); while (line.length < columns) line.push({ c: " ", s: this.paper() }); this.dirty.add(y); break;
        case "X": this.wipe(y, x, Math.min(columns, x + n)); break;
        case "S": this.scroll(n); break;
        case "T": this.scroll(-n); break;
        case "r": { const end = Math.min(rows, numbers[1] || rows); if (n < end) { this.top = n - 1; this.bottom = end - 1; this.at(0, this.origin ? this.top : 0); } break; }
        case "m": this.paint(numbers); break;
        case "h": case "l": if (first === 4) this.inserts = last === "h"; break;
        case "s": this.keep(); break;
        case "u": this.restore(); break;
        case "n": if (first === 6) this.reply(`\x1b[${y + 1 - from};${x + 1}R`); else if (first === 5) this.reply("\x1b[0n"); break;
        case "c": this.reply("\x1b[?62;22c"); break;
      }
    }
    scrollFrom(y, by) { const { top } = this; this.top = Math.max(1, y); this.scroll(by, y); this.top = top; this.at(0, y); }

    mode(mode, on) {
      if (mode === 1) this.arrows = on;
      else if (mode === 6) { this.origin = on; this.at(0, on ? this.top : 0); }
      else if (mode === 7) this.breaks = on;
      else if (mode === 25) { this.shown = on; this.dirty.add(this.y); }
      else if (mode === 2004) this.pastes = on;
      else if (mode === 1048) { if (on) this.keep(); else this.restore(); }
      else if (mode === 47 || mode === 1047 || mode === 1049) this.swap(on, mode === 1049);
    }
    // Programs that draw the whole screen have one of their own.
    swap(on, keeps) {
      if (on === !!this.other) return;
      if (on) {
        if (keeps) this.keep();
        this.other = { lines: this.lines };
        this.lines = this.blank(this.rows);
      } else {
        this.lines = this.other.lines;
        this.other = null;
        if (keeps) this.restore();
      }
      Object.assign(this, { top: 0, bottom: this.rows - 1 });
      this.touch();
    }

    wipe(y, from, to) { for (let x = from; x < to; x++) this.lines[y][x] = { c: " ", s: this.paper() }; this.wraps = false; this.dirty.add(y); }
    erase(what) {
      const { x, y, columns, rows } = this;
      if (what === 0 || what === 1) this.wipe(y, what === 0 ? x : 0, what === 0 ? columns : x + 1);
      const [from, to] = what === 0 ? [y + 1, rows] : what === 1 ? [0, y] : what === 2 ? [0, rows] : [0, 0];
      for (let at = from; at < to; at++) this.wipe(at, 0, columns);
      if (what === 3) { this.past = []; this.gone = 0; this.cleared = true; }
    }

    paint(numbers) {
      let style = { ...this.style };
      for (let at = 0; at < numbers.length; at++) {
        const n = numbers[at] ?? 0;
        if (n === 0) style = {};
        else if (n >= 1 && n <= 9) { const name = [, "bold", "dim", "italic", "line", , , "turn", "hide", "strike"][n]; if (name) style[name] = true; }
        else if (n === 22) { delete style.bold; delete style.dim; }
        else if (n >= 23 && n <= 29) { const name = ["italic", "line", , , "turn", "hide", "strike"][n - 23]; if (name) delete style[name]; }
        else if (n === 38 || n === 48) {
          const field = n === 38 ? "fg" : "bg";
          if (numbers[at + 1] === 5) { style[field] = (numbers[at + 2] ?? 0) & 255; at += 2; }
          else if (numbers[at + 1] === 2) { style[field] = `rgb(${[2, 3, 4].map((part) => (numbers[at + part] ?? 0) & 255).join(",")})`; at += 4; }
        }
        else if (n >= 30 && n <= 37) style.fg = n - 30;
        else if (n === 39) delete style.fg;
        else if (n >= 40 && n <= 47) style.bg = n - 40;
        else if (n === 49) delete style.bg;
        else if (n >= 90 && n <= 97) style.fg = n - 82;
        else if (n >= 100 && n <= 107) style.bg = n - 92;
      }
      this.style = Object.keys(style).length ? Object.freeze(style) : PLAIN;
    }
  }
  globalThis.TerminalScreen = Screen;
})();
