// Submitting with files of any size: each goes to the blob store in pieces and can be resumed; then the form is sent without them.
const form = document.getElementById('submit');
const spec = form.elements.spec, picker = form.elements.files, list = document.getElementById('uploads'), status = document.getElementById('submit-status');
const PIECE = 8 << 20;
const stored = JSON.parse(form.elements.uploads.value || '{}');
let chosen = new Map();

// SHA-256 over a stream: the browser's own wants the whole file in memory, and HTTPS.
const K = [], START = [];
for (let n = 2; K.length < 64; n++) {
  let prime = true;
  for (let d = 2; d * d <= n; d++) if (n % d === 0) { prime = false; break; }
  if (!prime) continue;
  const part = x => (x - Math.floor(x)) * 2 ** 32 | 0;
  if (START.length < 8) START.push(part(Math.sqrt(n)));
  K.push(part(Math.cbrt(n)));
}
class Sha256 {
  constructor() { this.h = Int32Array.from(START); this.rest = new Uint8Array(64); this.have = 0; this.length = 0; this.w = new Int32Array(64); }
  block(bytes, at) {
    const w = this.w, h = this.h;
    for (let i = 0; i < 16; i++, at += 4) w[i] = bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15], y = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3) + ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10) | 0;
    }
    let a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], i = h[7];
    for (let n = 0; n < 64; n++) {
      const t = i + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) + (e & f ^ ~e & g) + K[n] + w[n] | 0;
      const u = ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + (a & b ^ a & c ^ b & c) | 0;
      i = g; g = f; f = e; e = d + t | 0; d = c; c = b; b = a; a = t + u | 0;
    }
    h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += i;
  }
  add(bytes) {
    this.length += bytes.length;
    let at = 0;
    if (this.have) {
      at = Math.min(64 - this.have, bytes.length);
      this.rest.set(bytes.subarray(0, at), this.have);
      this.have += at;
      if (this.have < 64) return this;
      this.block(this.rest, 0);
    }
    for (; at + 64 <= bytes.length; at += 64) this.block(bytes, at);
    this.rest.set(bytes.subarray(at));
    this.have = bytes.length - at;
    return this;
  }
  hex() {
    const bits = new DataView(new ArrayBuffer(8)), length = this.length;
    bits.setUint32(0, Math.floor(length / 2 ** 29));
    bits.setUint32(4, length * 8 % 2 ** 32);
    this.add(Uint8Array.of(128)).add(new Uint8Array((120 - this.have) % 64)).add(new Uint8Array(bits.buffer));
    return [...this.h].map(word => (word >>> 0).toString(16).padStart(8, '0')).join('');
  }
}

const size = bytes => bytes < 1024 ? `${bytes} B` : bytes < 1 << 20 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / (1 << 20)).toFixed(1)} MiB`;

async function pieces(file, from, each) {
  for (let at = from; at < file.size || at === 0; at += PIECE) {
    await each(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()), at);
    if (!file.size) return;
  }
}

async function put(hash, file, offset, body) {
  const answer = await fetch(`/api/v1/blobs/sha256/${hash}?offset=${offset}&size=${file.size}`, { method: 'PUT', body, headers: { 'content-type': 'application/octet-stream' } });
  if (answer.ok || answer.status === 409) {
    const have = await answer.json();
    if (typeof have.have === 'number') return have;
    throw new Error(have.detail || `status ${answer.status}`);
  }
  const problem = await answer.json().catch(() => ({}));
  throw new Error(problem.detail || `status ${answer.status}`);
}

async function upload(path, file, say) {
  const hash = new Sha256();
  await pieces(file, 0, (bytes, at) => { hash.add(bytes); say(`reading, ${size(at + bytes.length)} of ${size(file.size)}`); });
  const sha256 = hash.hex();
  const there = await fetch(`/api/v1/blobs/sha256/${sha256}`, { method: 'HEAD' });
  let offset = 0, still = 0, complete = there.ok;
  while (!complete) {
    const body = await file.slice(offset, offset + PIECE).arrayBuffer();
    const have = await put(sha256, file, offset, body);
    still = have.have === offset && !have.complete ? still + 1 : 0;
    if (still > 3) throw new Error('the server takes no more of it');
    offset = have.have;
    complete = have.complete;
    say(`sent ${size(offset)} of ${size(file.size)}`);
  }
  say('stored');
  stored[path] = { size: file.size, sha256 };
}

function show() {
  list.replaceChildren();
  const line = (path, text) => {
    const item = list.appendChild(document.createElement('li'));
    item.append(`${path} · `);
    const note = item.appendChild(document.createElement('span'));
    note.textContent = text;
    return note;
  };
  for (const [path, { size: bytes }] of Object.entries(stored)) if (!chosen.has(path)) line(path, `${size(bytes)} · stored`);
  for (const [path, entry] of chosen) entry.note = line(path, size(entry.file.size));
}

picker.addEventListener('change', () => {
  for (const file of picker.files) chosen.set(file.webkitRelativePath || file.name, { file });
  picker.value = '';
  show();
});

form.elements.spec_file.addEventListener('change', async event => {
  const file = event.target.files[0];
  if (file) spec.value = await file.text();
  event.target.value = '';
  spec.focus();
});

form.addEventListener('submit', async event => {
  if (!chosen.size) return;
  event.preventDefault();
  const buttons = [...form.querySelectorAll('button')];
  for (const button of buttons) button.disabled = true;
  try {
    for (const [path, { file, note }] of [...chosen]) {
      status.textContent = `Sending ${path}`;
      await upload(path, file, text => { note.textContent = text; });
      chosen.delete(path);
    }
    form.elements.uploads.value = JSON.stringify(stored);
    status.textContent = '';
    for (const button of buttons) button.disabled = false;
    form.requestSubmit(event.submitter);
  } catch (error) {
    status.textContent = `A file was not stored: ${error.message}. Press the button to try again; it goes on where it stopped.`;
    for (const button of buttons) button.disabled = false;
  }
});

// A problem leads to its place in the text.
for (const link of document.querySelectorAll('[data-line]')) link.addEventListener('click', event => {
  event.preventDefault();
  const lines = spec.value.split('\n'), line = Math.min(Number(link.dataset.line), lines.length) - 1;
  const from = lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
  spec.focus();
  spec.setSelectionRange(from, from + lines[line].length);
  spec.scrollTop = Math.max(0, line - 6) * parseFloat(getComputedStyle(spec).lineHeight);
  spec.scrollIntoView({ block: 'nearest' });
});

// Tab indents; Escape first leaves the field by Tab.
let leave = false;
spec.addEventListener('keydown', event => {
  if (event.key === 'Escape') leave = true;
  else if (event.key === 'Tab' && !event.shiftKey && !leave) { event.preventDefault(); spec.setRangeText('  ', spec.selectionStart, spec.selectionEnd, 'end'); }
  else leave = false;
});

const first = document.getElementById('problems') || document.getElementById('plan');
if (first) first.focus();
show();
