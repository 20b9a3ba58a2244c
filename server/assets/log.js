// The log viewer: a list of which only the visible lines exist, over a cache of pages, with the end followed live.
const box = document.getElementById('log');
const url = box && box.dataset.log;
const tools = name => document.getElementById(`log-${name}`);
const ROW = 20, PAGE = 500, CACHED = 40, TALLEST = 8e6, SPANS = 200, LETTERS = 10000;
let total = 0, ended = false, opened = [], missing = 0, unheard = false, bytes = [0, 0], following = false, seen = 0;
let pages = new Map(), wanted = new Set(), stream = null, drawing = false, chosen = null, moved = -1, errors = 0, told = 0;
let pad, rows;

// ---- text: what a terminal shows of a line, as DOM nodes; nothing is ever parsed as HTML
const visible = text => text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g, c => {
  const code = c.charCodeAt(0);
  return code < 32 ? String.fromCharCode(0x2400 + code) : code === 127 ? '\u2421' : '\ufffd';
});
const ESCAPE = /(?:\x1b\[|\x9b)([ -?]*)([@-~]?)|(?:\x1b[\]PX^_]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|\x1b|$)|\x1b[ -\/]+[0-~]?|\x1b[0-~]?/g;
const cube = n => n < 16 ? null : n < 232 ? [36, 6, 1].map(part => { const step = Math.floor((n - 16) / part) % 6; return step ? step * 40 + 55 : 0; }) : Array(3).fill((n - 232) * 10 + 8);

function select(style, codes) {
  const list = codes.split(/[;:]/).map(Number);
  for (let i = 0; i < list.length; i++) {
    const code = list[i];
    if (code === 0) style = {};
    else if (code === 1) style.b = true; else if (code === 2) style.d = true; else if (code === 3) style.i = true;
    else if (code === 4) style.u = true; else if (code === 9) style.s = true;
    else if (code === 22) style.b = style.d = false; else if (code === 23) style.i = false; else if (code === 24) style.u = false; else if (code === 29) style.s = false;
    else if (code >= 30 && code <= 37) style.colour = code - 30; else if (code >= 90 && code <= 97) style.colour = code - 82;
    else if (code === 39) style.colour = undefined;
    else if (code === 38 || code === 48) {
      let colour;
      if (list[i + 1] === 5) { const n = list[i + 2]; colour = n >= 0 && n < 16 ? n : n < 256 ? cube(n) : undefined; i += 2; }
      else if (list[i + 1] === 2) { colour = list.slice(i + 2, i + 5).map(part => Math.max(0, Math.min(255, part || 0))); i += 4; }
      if (code === 38) style.colour = colour;
    }
  }
  return style;
}

function paint(into, line, budget) {
  let text = line.text.replace(/\r+$/, '');
  text = text.slice(text.lastIndexOf('\r') + 1);
  const cut = line.cut || text.length > LETTERS;
  text = text.slice(0, LETTERS);
  let style = {}, at = 0;
  const add = piece => {
    if (!piece) return;
    const classes = ['b', 'd', 'i', 'u', 's'].filter(flag => style[flag]).map(flag => `t-${flag}`);
    const colour = style.colour;
    if (!classes.length && colour === undefined || budget.spans <= 0) { into.append(visible(piece)); return; }
    budget.spans--;
    const span = document.createElement('span');
    if (typeof colour === 'number') classes.push(`f${colour}`); else if (colour) span.style.color = `rgb(${colour.join(' ')})`;
    span.className = classes.join(' ');
    span.textContent = visible(piece);
    into.append(span);
  };
  for (const match of text.matchAll(ESCAPE)) {
    add(text.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[2] === 'm' && !/[^0-9;:]/.test(match[1])) style = select(style, match[1]);
  }
  add(text.slice(at));
  if (cut) { style = { d: true }; add(' … cut; the raw log has all of it'); }
  into.normalize();
}

// ---- pages
function keep(page) {
  for (const line of page.lines) {
    const index = Math.floor(line.n / PAGE);
    if (!pages.has(index)) pages.set(index, { lines: new Map(), whole: false, to: 0 });
    const one = pages.get(index);
    one.lines.set(line.n, line);
    one.to = Math.max(one.to, line.n + 1);
    pages.delete(index);
    pages.set(index, one);
    if (line.stream === 'stderr' && line.n >= seen) errors++;
  }
  if (page.total >= total) opened = page.open || [];
  total = Math.max(total, page.total);
  seen = Math.max(seen, page.next);
  ended ||= page.ended;
  missing = page.missing_bytes;
  unheard = !!page.unheard;
  bytes = [page.stdout_bytes, page.stderr_bytes];
  while (pages.size > CACHED) pages.delete(pages.keys().next().value);
}

async function need(index) {
  if (wanted.has(index)) return;
  wanted.add(index);
  try {
    const end = Math.min((index + 1) * PAGE, total);
    let from = index * PAGE;
    while (from < end) {
      const answer = await fetch(`${url}?from=${from}&limit=${end - from}`);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const page = await answer.json();
      keep(page);
      if (page.next <= from || !page.lines.length) break;
      from = page.next;
    }
    const one = pages.get(index) || { lines: new Map() };
    one.whole = true;
    one.to = end;
    pages.set(index, one);
  } catch (error) {
    tools('status').textContent = `Lines could not be fetched: ${error.message}`;
    await new Promise(done => setTimeout(done, 2000));
  }
  wanted.delete(index);
  draw();
}

// ---- drawing: real height up to a limit, scaled above it
const count = () => total + opened.length;
const tall = () => Math.min(count() * ROW, TALLEST);
function top() {
  const range = tall() - box.clientHeight;
  if (count() * ROW <= TALLEST || range <= 0) return box.scrollTop / ROW;
  return Math.min(1, box.scrollTop / range) * Math.max(0, count() - box.clientHeight / ROW);
}
function scrollTo(line) {
  const range = tall() - box.clientHeight, last = Math.max(1, count() - box.clientHeight / ROW);
  box.scrollTop = count() * ROW <= TALLEST ? line * ROW : line / last * range;
  moved = box.scrollTop;
}

function draw() {
  if (!drawing) { drawing = true; requestAnimationFrame(() => { drawing = false; render(); }); }
}

function render() {
  pad.style.height = `${tall()}px`;
  if (following) { box.scrollTop = box.scrollHeight; moved = box.scrollTop; }
  const first = Math.max(0, Math.floor(top())), shift = -(top() - first) * ROW;
  const last = Math.min(count(), first + Math.ceil(box.clientHeight / ROW) + 1);
  const budget = { spans: SPANS };
  const list = [];
  for (let n = first; n < last; n++) list.push(row(n, budget));
  rows.replaceChildren(...list);
  rows.style.transform = `translateY(${shift}px)`;
  tools('size').textContent = header();
  tools('follow').setAttribute('aria-pressed', following);
  const unread = total - readTo;
  if (following || ended && !unread) readTo = total;
  const fresh = tools('fresh');
  fresh.hidden = following || unread <= 0;
  fresh.textContent = `${unread.toLocaleString('en')} new line${unread === 1 ? '' : 's'} ↓`;
}
let readTo = 0;

function row(n, budget) {
  const line = n < total ? line_of(n) : opened[n - total];
  const div = document.createElement('div');
  div.className = 'row';
  const link = div.appendChild(document.createElement('a'));
  link.textContent = n + 1;
  link.href = `#L${n + 1}`;
  if (chosen && n + 1 >= chosen[0] && n + 1 <= chosen[1]) div.classList.add('chosen');
  const mark = div.appendChild(document.createElement('b'));
  if (!line) { div.classList.add('gap'); div.append(line === null ? 'not kept: see the size above' : '…'); return div; }
  if (line.stream === 'stderr') { div.classList.add('err'); mark.textContent = 'err'; }
  if (box.classList.contains('times')) div.appendChild(document.createElement('time')).textContent = new Date(line.time_ms).toISOString().slice(0, 23).replace('T', ' ');
  paint(div.appendChild(document.createElement('span')), line, budget);
  return div;
}

// The line; null if the server has it no more; undefined while it is fetched.
function line_of(n) {
  const index = Math.floor(n / PAGE), one = pages.get(index);
  const line = one && one.lines.get(n);
  if (line) return line;
  if (one && one.whole && n < one.to) return null;
  need(index);
  return undefined;
}

const size = value => { let unit = 0; while (value >= 1023.5 && unit < 4) { value /= 1024; unit++; } return `${unit && value < 99.5 ? value.toFixed(1) : Math.round(value)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`; };
function header() {
  const parts = [`${total.toLocaleString('en')} line${total === 1 ? '' : 's'}`, size(bytes[0] + bytes[1]) + (bytes[1] ? ` (${size(bytes[1])} stderr)` : '')];
  if (missing) parts.push(`${size(missing)} missing in the middle`);
  if (unheard) parts.push('its runner has not said that this is all');
  parts.push(ended ? 'ended' : stream ? 'live' : 'connecting');
  return parts.join(' · ');
}

// A listener hears a short summary now and then, not every line.
function announce() {
  if (Date.now() - told < 10000 && !ended) return;
  told = Date.now();
  tools('status').textContent = `${ended ? 'Ended' : 'Running'}, ${total} lines${errors ? `, ${errors} new on stderr` : ''}`;
  errors = 0;
}

// ---- the live end
function listen() {
  if (stream || ended || document.hidden) return;
  stream = new EventSource(`${url}/follow?from=${seen}`);
  const take = event => {
    if (!event.data) return;
    keep(JSON.parse(event.data));
    if (ended) hush();
    announce();
    draw();
  };
  stream.onmessage = take;
  for (const name of ['log', 'lines', 'page']) stream.addEventListener(name, take);
  stream.onopen = draw;
  stream.onerror = () => {
    hush();
    if (!ended) setTimeout(listen, 2000);
  };
}
function hush() {
  if (stream) stream.close();
  stream = null;
}

function follow(on) {
  following = on;
  if (on) readTo = total;
  draw();
}

function jump() {
  const match = /^#L(\d+)(?:-L?(\d+))?$/.exec(location.hash);
  if (!match) { chosen = null; return false; }
  const ends = [Number(match[1]), Number(match[2] || match[1])];
  chosen = [Math.min(...ends), Math.max(...ends)];
  following = false;
  pad.style.height = `${tall()}px`;
  scrollTo(Math.max(0, chosen[0] - 4));
  draw();
  return true;
}

async function start() {
  total = Number(box.dataset.total);
  ended = box.dataset.ended === 'true';
  const answer = await fetch(`${url}?tail=200`);
  if (!answer.ok) return;
  keep(await answer.json());
  box.classList.add('js');
  pad = document.createElement('div');
  pad.className = 'pad';
  rows = document.createElement('div');
  rows.className = 'rows';
  box.replaceChildren(rows, pad);
  readTo = total;
  box.addEventListener('scroll', () => {
    if (Math.abs(box.scrollTop - moved) < 2) { draw(); return; }
    moved = -1;
    const end = box.scrollTop + box.clientHeight >= box.scrollHeight - 2;
    if (following && !end) following = false; else if (end && !ended && count()) following = true;
    if (end) readTo = total;
    draw();
  });
  box.addEventListener('keydown', event => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20 }[event.key];
    if (event.key === 'f') follow(!following);
    else if (event.key === 'Home') { following = false; scrollTo(0); draw(); }
    else if (event.key === 'End') { scrollTo(count()); follow(!ended); }
    else if (step && count() * ROW > TALLEST) { following = false; scrollTo(top() + step); draw(); }
    else return;
    event.preventDefault();
  });
  rows.addEventListener('click', event => {
    const link = event.target.closest('a');
    if (!link || !event.shiftKey || !chosen) return;
    event.preventDefault();
    location.hash = `L${chosen[0]}-L${link.textContent}`;
  });
  tools('follow').onclick = () => follow(!following);
  tools('fresh').onclick = () => { scrollTo(count()); follow(!ended); };
  tools('times').onclick = event => event.currentTarget.setAttribute('aria-pressed', box.classList.toggle('times')) || draw();
  addEventListener('hashchange', jump);
  new ResizeObserver(draw).observe(box);
  document.addEventListener('visibilitychange', () => { if (document.hidden) hush(); else listen(); });
  addEventListener('pagehide', hush);
  if (!jump()) { if (!ended) following = true; render(); if (ended) scrollTo(count()); }
  announce();
  draw();
  listen();
}

if (box) start();
