// How long a line takes from the container into the page: the container writes the machine's uptime (in steps of 10 ms), the page notes
// when each line appears in its log. Prints the milliseconds of each line as a JSON list.
// usage: DSG_LOGIN_URL=… node latency.mjs CHUNK_PAGE LINES
import { readFileSync } from 'node:fs';
import { launch } from './chromium.mjs';

const [place, lines] = [process.argv[2], Number(process.argv[3])];
const PATIENCE = 120_000;

const browser = await launch();
const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
page.setDefaultTimeout(PATIENCE);
await page.addInitScript(() => {
  globalThis.seen = new Map();
  // What the log shows when it is first drawn was written before anybody looked.
  let first = true;
  const look = () => {
    const found = [...document.querySelectorAll('.log.js .row > span')].map(node => node.textContent).filter(text => /^\d+\.\d\d$/.test(text));
    if (!found.length) return;
    for (const text of found) if (!seen.has(text)) seen.set(text, first ? null : Date.now());
    first = false;
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
});
await page.goto(process.env.DSG_LOGIN_URL);
await page.goto(place);
await page.waitForFunction(count => [...seen.values()].filter(Boolean).length >= count, lines);
const seen = await page.evaluate(() => [...globalThis.seen].filter(([, at]) => at));
await browser.close();
// Both clocks tick on this machine. The uptime is cut to 10 ms, so of many readings the least difference is the right one.
const readings = Array.from({ length: 2000 }, () => Date.now() - 1000 * Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]));
const booted = Math.min(...readings);
console.log(JSON.stringify(seen.map(([born, at]) => at - booted - 1000 * Number(born))));
