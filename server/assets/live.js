// Keeps a page as it is on the server: one event stream says that something changed, the page is fetched again at most once a
// second, and its live regions are morphed in place. Works under Trusted Types 'none': nothing is ever parsed from a string.
document.documentElement.classList.add('js');
const sign = document.getElementById('live');
let source = null, poll = 0, timer = 0, busy = false, again = false, last = 0;

const key = node => node.nodeType === 1 ? node.id || node.dataset.key || '' : '';

function morph(from, to) {
  if (from.nodeType !== 1) { if (from.data !== to.data) from.data = to.data; return; }
  if (from.hasAttribute('data-keep')) return;
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  for (const { name } of [...from.attributes]) if (name !== 'open' && !to.hasAttribute(name)) from.removeAttribute(name);
  children(from, to);
}

function children(from, to) {
  const keyed = new Map();
  for (const child of from.children) if (key(child)) keyed.set(key(child), child);
  let at = from.firstChild;
  for (const want of to.childNodes) {
    const name = key(want);
    let match = name ? keyed.get(name) : null;
    if (!match && !name && at && !key(at) && at.nodeName === want.nodeName) match = at;
    if (match && match.nodeName === want.nodeName) {
      if (match === at) at = at.nextSibling; else from.insertBefore(match, at);
      keyed.delete(name);
      morph(match, want);
    } else from.insertBefore(document.importNode(want, true), at);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

function apply(page) {
  document.title = page.title;
  for (const one of document.querySelectorAll('#log-of')) {
    const other = page.getElementById(one.id);
    if (other && other.dataset.liveReload !== one.dataset.liveReload) { location.reload(); return; }
  }
  const regions = new Set([...document.querySelectorAll('[data-live]')].map(region => region.id));
  for (const region of page.querySelectorAll('[data-live]')) {
    regions.delete(region.id);
    const here = document.getElementById(region.id);
    if (here) { morph(here, region); continue; }
    // A region that was not there before comes after the one that precedes it.
    const before = region.previousElementSibling && region.previousElementSibling.id && document.getElementById(region.previousElementSibling.id);
    const node = document.importNode(region, true);
    if (before) before.after(node); else document.getElementById('main').append(node);
  }
  for (const gone of regions) document.getElementById(gone).remove();
  tick();
  document.dispatchEvent(new CustomEvent('dsg:fresh'));
}

function refresh() {
  clearTimeout(timer);
  timer = 0;
  if (busy) { again = true; return; }
  if (document.hidden) return;
  busy = true;
  again = false;
  last = Date.now();
  const request = new XMLHttpRequest();
  request.open('GET', location.pathname + location.search);
  request.responseType = 'document';
  request.timeout = 15000;
  request.setRequestHeader('x-live', '1');
  request.onloadend = () => {
    busy = false;
    const page = request.response;
    if (request.status === 200 && page && page.getElementById('main')) {
      if (request.responseURL && new URL(request.responseURL).pathname === '/login') location.assign('/login');
      else apply(page);
    } else if (request.status === 401) location.assign('/login');
    if (again) soon();
  };
  request.send();
}

function soon() {
  if (!timer) timer = setTimeout(refresh, Math.max(50, 1000 - (Date.now() - last)));
}

function say(on, word) {
  if (sign) { sign.classList.toggle('on', on); sign.textContent = word; }
}

function open() {
  if (source || document.hidden) return;
  source = new EventSource('/api/v1/events');
  source.onopen = () => { clearInterval(poll); poll = 0; say(true, 'live'); };
  source.onmessage = soon;
  source.addEventListener('change', soon);
  source.onerror = () => {
    say(false, 'reconnecting');
    if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(open, 5000); }
    fall();
  };
  setTimeout(() => { if (source && source.readyState !== EventSource.OPEN) fall(); }, 5000);
}

function fall() {
  if (!poll) poll = setInterval(() => { if (!document.hidden) refresh(); }, 5000);
}

function close() {
  if (source) source.close();
  source = null;
  clearInterval(poll);
  poll = 0;
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) close(); else { soon(); open(); }
});
addEventListener('pagehide', close);
addEventListener('pageshow', event => { if (event.persisted) { soon(); open(); } });

// Relative times go on without the server.
const units = [[60, 1, 's'], [3600, 60, 'min'], [86400, 3600, 'h'], [Infinity, 86400, 'd']];
function tick() {
  for (const time of document.querySelectorAll('main time[datetime]')) {
    const seconds = Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000);
    const size = Math.abs(seconds);
    if (!(size < 1e10)) continue;
    const [, part, unit] = units.find(([limit]) => size < limit);
    const amount = `${Math.floor(size / part)} ${unit}`;
    const text = size < 5 ? (seconds < 0 ? 'in a moment' : 'just now') : seconds < 0 ? `in ${amount}` : `${amount} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(tick, 10000);

// One question at a time; a click elsewhere and Escape close it.
addEventListener('click', event => {
  for (const ask of document.querySelectorAll('details.ask[open]')) if (!ask.contains(event.target)) ask.open = false;
});

// Keys: `/` filter, `g` and a letter go, `j` and `k` move over rows, `?` says so.
const places = { o: '/', j: '/jobs', r: '/runners', q: '/queue', s: '/submit' };
let going = 0;
addEventListener('keydown', event => {
  if (event.key === 'Escape') for (const ask of document.querySelectorAll('details.ask[open]')) { ask.open = false; ask.firstElementChild.focus(); }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea, select, dialog, .log, canvas')) return;
  if (going && Date.now() - going < 1500 && places[event.key]) { location.assign(places[event.key]); return; }
  going = 0;
  if (event.key === 'g') going = Date.now();
  else if (event.key === '/') { const field = document.querySelector('[data-slash]'); if (field) { event.preventDefault(); field.focus(); } }
  else if (event.key === '?') help();
  else if (event.key === 'j' || event.key === 'k') {
    const links = [...document.querySelectorAll('tr[data-href] a')].filter(link => link.closest('tr').querySelector('a') === link);
    const at = links.indexOf(document.activeElement);
    const next = links[Math.max(0, Math.min(links.length - 1, at + (event.key === 'j' ? 1 : -1)))];
    if (next) next.focus();
  }
});

function help() {
  const rows = [['/', 'filter'], ['j k', 'next, previous row'], ['g o', 'overview'], ['g j', 'jobs'], ['g r', 'runners'], ['g q', 'queue'], ['g s', 'submit'], ['f', 'follow a log'], ['Esc', 'close']];
  const dialog = document.createElement('dialog');
  const table = dialog.appendChild(document.createElement('table'));
  for (const [keys, means] of rows) {
    const row = table.insertRow();
    row.insertCell().appendChild(document.createElement('kbd')).textContent = keys;
    row.insertCell().textContent = means;
  }
  dialog.onclose = () => dialog.remove();
  dialog.onclick = () => dialog.close();
  document.body.append(dialog);
  dialog.showModal();
}

tick();
open();
