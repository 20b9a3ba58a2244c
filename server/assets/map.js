// The map of a job's chunks: one canvas, one cell per chunk, however many there are.
const canvas = document.getElementById('map');
const info = document.getElementById('map-info');
const names = ['waiting', 'held', 'leased', 'running', 'storing', 'succeeded', 'failed', 'cancelled', 'skipped'];
const base = document.createElement('canvas');
let states = new Uint8Array(0), columns = 1, cell = 12, chosen = -1, busy = false, again = false, ink = '', dense = 1;

// Colours come from the style sheet, so that both schemes have theirs.
function palette() {
  const probe = document.createElement('i');
  canvas.after(probe);
  const one = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const colours = names.map(name => {
    probe.style.color = `var(--${name})`;
    one.fillStyle = getComputedStyle(probe).color;
    one.fillRect(0, 0, 1, 1);
    const [r, g, b] = one.getImageData(0, 0, 1, 1).data;
    return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  });
  probe.style.color = 'var(--panel)';
  const ground = getComputedStyle(probe).color;
  probe.style.color = 'var(--text)';
  ink = getComputedStyle(probe).color;
  probe.remove();
  return { colours, ground };
}

function draw() {
  const width = Math.max(1, Math.floor(canvas.clientWidth));
  const count = states.length;
  dense = window.devicePixelRatio || 1;
  cell = 1;
  for (const size of [14, 12, 10, 8, 6, 5, 4, 3, 2]) {
    if (Math.ceil(count / Math.max(1, Math.floor(width / size))) * size <= 260) { cell = size; break; }
  }
  columns = Math.max(1, Math.floor(width / cell));
  const rows = Math.max(1, Math.ceil(count / columns));
  const { colours, ground } = palette();
  const small = document.createElement('canvas');
  small.width = columns;
  small.height = rows;
  const pen = small.getContext('2d');
  const image = pen.createImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < count; i++) pixels[i] = colours[states[i]] || 0;
  pen.putImageData(image, 0, 0);
  base.width = canvas.width = width * dense;
  base.height = canvas.height = rows * cell * dense;
  canvas.style.height = `${rows * cell}px`;
  const brush = base.getContext('2d');
  brush.scale(dense, dense);
  brush.imageSmoothingEnabled = false;
  brush.drawImage(small, 0, 0, columns * cell, rows * cell);
  if (cell >= 4) {
    brush.fillStyle = ground;
    for (let x = 1; x <= columns; x++) brush.fillRect(x * cell - 1, 0, 1, rows * cell);
    for (let y = 1; y <= rows; y++) brush.fillRect(0, y * cell - 1, width, 1);
  }
  // A failed chunk has a shape, too, where there is room for one.
  if (cell >= 8) {
    brush.strokeStyle = ground;
    brush.lineWidth = 1.5;
    brush.beginPath();
    for (let i = 0; i < count; i++) if (states[i] === 6) {
      const x = i % columns * cell, y = Math.floor(i / columns) * cell;
      brush.moveTo(x + 2, y + 2); brush.lineTo(x + cell - 3, y + cell - 3);
      brush.moveTo(x + cell - 3, y + 2); brush.lineTo(x + 2, y + cell - 3);
    }
    brush.stroke();
  }
  mark();
}

// The picture, and a frame round the chosen cell.
function mark() {
  const brush = canvas.getContext('2d');
  brush.setTransform(1, 0, 0, 1, 0, 0);
  brush.clearRect(0, 0, canvas.width, canvas.height);
  brush.drawImage(base, 0, 0);
  brush.scale(dense, dense);
  if (chosen >= 0 && chosen < states.length) {
    const side = Math.max(cell, 5);
    brush.strokeStyle = ink;
    brush.lineWidth = 2;
    brush.strokeRect(chosen % columns * cell - (side - cell) / 2 - .5, Math.floor(chosen / columns) * cell - (side - cell) / 2 - .5, side, side);
  }
}

function tell() {
  info.textContent = chosen < 0 || chosen >= states.length ? '' : `Chunk ${chosen}: ${names[states[chosen]] || 'unknown'}. Enter or a click opens it.`;
}

function at(event) {
  const box = canvas.getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left) / cell), row = Math.floor((event.clientY - box.top) / cell);
  const index = row * columns + column;
  return column >= 0 && column < columns && index < states.length ? index : -1;
}

function visit() {
  if (chosen >= 0 && chosen < states.length) location.assign(`${canvas.dataset.job}/chunks/main/${chosen}`);
}

async function load() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(canvas.dataset.map);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    states = new Uint8Array(await answer.arrayBuffer());
    draw();
    tell();
  } catch (error) {
    info.textContent = `The map could not be fetched (${error.message}); the table below has the same chunks.`;
  }
  setTimeout(() => { busy = false; if (again) { again = false; load(); } }, 1000);
}

if (canvas) {
  canvas.addEventListener('mousemove', event => { chosen = at(event); mark(); tell(); });
  canvas.addEventListener('mouseleave', () => { chosen = -1; mark(); tell(); });
  canvas.addEventListener('click', event => { chosen = at(event); visit(); });
  canvas.addEventListener('keydown', event => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -states.length, End: states.length }[event.key];
    if (event.key === 'Enter') visit();
    if (!step || !states.length) return;
    event.preventDefault();
    chosen = Math.max(0, Math.min(states.length - 1, Math.max(chosen, 0) + step));
    mark();
    tell();
  });
  new ResizeObserver(() => { if (states.length) draw(); }).observe(canvas.parentElement);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  document.addEventListener('dsg:fresh', load);
  load();
}
