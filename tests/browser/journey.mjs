// The journey of a person through the dashboard: log in, submit with an error, see the line, fix it, run, follow the log live, meet a
// failing chunk, retry it, fetch the result. Then the same pages without JavaScript, in both schemes, small, and with hostile names.
// usage: DSG_URL=… DSG_LOGIN_URL=… node journey.mjs PICTURES
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { launch } from './chromium.mjs';

const base = process.env.DSG_URL.replace(/\/$/, '');
const pictures = process.argv[2];
const PATIENCE = 120_000;
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const SPEC = `name: browser-journey
description: Three chunks, one of which talks a lot and one of which fails at first.
image: dsg-shell:1
chunks:
  items: [quiet, talker, stumbler]
  label: "{{item.value}}"
script: |
  case $ITEM_VALUE in
    talker)
      i=0; while [ $i -lt 4000 ]; do i=$((i + 1)); echo "line $i of the talker"; done
      i=0; while [ $i -lt 40 ]; do
        # The two streams have no order between them: what is looked for comes again and again, so that it is always in view.
        i=$((i + 1)); sleep 0.5; echo "slow line $i"
        [ $((i % 4)) = 0 ] || continue
        printf '\\033[1;33mwarning\\033[0m: this is a colour\\n' >&2
        printf '10 %%\\r50 %%\\r100 %% done\\n'
      done ;;
    stumbler)
      [ "$DSG_ATTEMPT" -gt 1 ] || { echo "cannot read the catalogue" >&2; exit 2; } ;;
  esac
  echo "result of $ITEM_VALUE" > "$DSG_OUTPUT_DIR/result.txt"
resources: {cpus: 0.25, memory: 64MiB}
outputs:
  - {name: result, path: /out/result.txt}
gather: {mode: concat, from: result, output: all-results}
`;
const WRONG = SPEC.replace('cpus: 0.25', 'cpu: 0.25');
const HOSTILE = `<img src=x onerror=alert(1)>"'><script>alert(2)</script>`;

const browser = await launch();
const complaints = [];
let steps = 0;

function watch(page) {
  page.setDefaultTimeout(PATIENCE);
  page.on('pageerror', error => complaints.push(`error on ${page.url()}: ${error}`));
  page.on('dialog', dialog => { complaints.push(`dialog on ${page.url()}: ${dialog.message()}`); dialog.dismiss(); });
  // Violations of the content security policy and of Trusted Types are told here, too.
  page.on('console', message => {
    // A bridge or a cable that comes or goes on this machine is no fault of the page, which asks again.
    const expected = /status of (4\d\d)|net::ERR_(ABORTED|INCOMPLETE|EMPTY|NETWORK_CHANGED)/;
    if (message.type() === 'error' && !expected.test(message.text())) complaints.push(`console on ${page.url()}: ${message.text()}`);
  });
  return page;
}

async function step(name, work) {
  const begun = Date.now();
  await work();
  console.log(`${String(++steps).padStart(2)}. ${name} (${Date.now() - begun} ms)`);
}

const picture = (page, name) => page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });

async function accessible(page, name) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }));
  for (const one of found.violations) {
    // Line numbers are as high as their lines: a larger target would mean fewer lines. Every line has its address beside.
    const nodes = one.nodes.filter(node => one.id !== 'target-size' || !String(node.target).includes('#L'));
    if (!nodes.length) continue;
    const where = nodes.slice(0, 3).map(node => `${node.target} ${node.failureSummary}`);
    complaints.push(`axe on ${name}: ${one.help}: ${where.join(' | ')}`);
  }
}

const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 }, colorScheme: 'light', acceptDownloads: true });
const page = watch(await context.newPage());
let job = '', talker = '', stumbler = '';

await step('a login link logs in, once', async () => {
  await page.goto(process.env.DSG_LOGIN_URL);
  await page.getByRole('heading', { name: 'Overview', exact: true }).waitFor();
  await page.locator('#live.on').waitFor();
  await picture(page, 'overview-first');
  const stranger = watch(await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage());
  await stranger.goto(process.env.DSG_LOGIN_URL);
  await stranger.getByText('used already').waitFor();
  await stranger.goto(`${base}/jobs`);
  assert.equal(new URL(stranger.url()).pathname, '/login');
  await picture(stranger, 'login');
  await stranger.context().close();
});

await step('a wrong job file is refused, and its line is shown', async () => {
  await page.getByRole('link', { name: 'Submit', exact: true }).click();
  await page.locator('#spec').fill(WRONG);
  await page.getByRole('button', { name: 'Submit', exact: true }).click();
  const problems = page.locator('#problems');
  await problems.waitFor();
  assert.match(await problems.innerText(), /cpus/, 'it says what was meant');
  assert.ok(await problems.evaluate(node => node === document.activeElement), 'the focus is on what is wrong');
  assert.equal(await page.locator('#spec').inputValue(), WRONG, 'what was typed is kept');
  await picture(page, 'submit-problems');
  await accessible(page, 'submit');
  await problems.getByRole('link').first().click();
  const chosen = await page.locator('#spec').evaluate(node => node.value.slice(node.selectionStart, node.selectionEnd));
  assert.match(chosen, /cpu: 0\.25/, 'the link leads to the line');
});

await step('corrected, it is checked and submitted', async () => {
  await page.locator('#spec').fill(SPEC);
  await page.getByRole('button', { name: 'Check', exact: true }).click();
  await page.getByText('This would run 3 chunks').waitFor();
  await picture(page, 'submit-plan');
  await page.getByRole('button', { name: 'Submit', exact: true }).click();
  await page.waitForURL(/\/jobs\/\d+$/);
  job = page.url();
  await page.locator('.flash.good').waitFor();
  await page.reload();
  assert.equal(await page.locator('.flash').count(), 0, 'a result is told once');
  [talker, stumbler] = [`${job}/chunks/main/1`, `${job}/chunks/main/2`];
});

await step('the log is followed live, with few nodes', async () => {
  await page.goto(talker);
  const log = page.locator('#log.js');
  await log.waitFor();
  await page.getByText(/^slow line \d+$/).first().waitFor();
  assert.equal(await page.locator('#log-follow').getAttribute('aria-pressed'), 'true');
  const before = Number((await page.locator('#log-size').innerText()).replace(/ line.*/s, '').replace(/,/g, ''));
  await page.waitForFunction(count => Number(document.getElementById('log-size').textContent.replace(/ line.*/s, '').replace(/,/g, '')) > count, before);
  await page.locator('.row.err b', { hasText: 'err' }).first().waitFor();
  assert.equal(await page.locator('.row span.f3').first().innerText(), 'warning');
  await page.getByText('100 % done', { exact: true }).first().waitFor();
  assert.equal(await page.getByText('50 %', { exact: true }).count(), 0, 'progress shows its last state');
  assert.ok(await log.evaluate(node => node.querySelectorAll('*').length) <= 600);
  await picture(page, 'chunk-live');
});

await step('scrolling up stops following, and says what is new', async () => {
  await page.locator('#log').evaluate(node => { node.scrollTop = 400; });
  await page.locator('#log-follow[aria-pressed=false]').waitFor();
  await page.locator('#log-fresh', { hasText: 'new line' }).waitFor();
  await page.locator('#log-fresh').click();
  await page.locator('#log-follow[aria-pressed=true]').waitFor();
});

await step('a line has an address', async () => {
  await page.goto(`${talker}#L2000`);
  await page.reload();
  await page.locator('.row.chosen', { hasText: /^2000\s*line 2000 of the talker$/ }).waitFor();
  await page.getByRole('button', { name: 'Times' }).click();
  await page.locator('.log.times .row time').first().waitFor();
  assert.ok(await page.locator('#log').evaluate(node => node.querySelectorAll('*').length) <= 600);
});

await step('the end of the log is said', async () => {
  await page.locator('#log-size', { hasText: 'ended' }).waitFor();
  await page.locator('#head .pill.succeeded').waitFor();
  await accessible(page, 'chunk');
  await picture(page, 'chunk-ended');
});

await step('the job page shows the failure first', async () => {
  await page.goto(job);
  await page.locator('#failures', { hasText: 'exit' }).waitFor();
  await page.locator('#map').focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowRight');
  await page.locator('#map-info', { hasText: /Chunk \d/ }).waitFor();
  await picture(page, 'job-failed');
  await accessible(page, 'job');
  await page.locator('#failures').getByRole('link', { name: '2', exact: true }).click();
  await page.waitForURL(stumbler);
  await page.locator('#log', { hasText: 'cannot read the catalogue' }).waitFor();
  await picture(page, 'chunk-failed');
});

await step('a retry brings it home', async () => {
  await page.getByRole('button', { name: 'Retry this chunk' }).click();
  await page.locator('.flash').waitFor();
  await page.locator('#head .pill.succeeded').waitFor();
  await page.locator('[data-key="attempt-2"]').waitFor();
  await page.locator('[data-key="attempt-1"]', { hasText: 'exit' }).waitFor();
});

await step('the gathered result is fetched', async () => {
  await page.goto(job);
  await page.locator('#head .pill.succeeded').waitFor();
  const link = page.locator('#results td a').first();
  await link.waitFor();
  const [download] = await Promise.all([page.waitForEvent('download'), link.click()]);
  const text = await readFile(await download.path(), 'utf8');
  assert.deepEqual(text.trim().split('\n'), ['result of quiet', 'result of talker', 'result of stumbler']);
  await picture(page, 'job-succeeded');
});

await step('a runner is drained and takes work again', async () => {
  await page.goto(`${base}/runners`);
  await picture(page, 'runners');
  await accessible(page, 'runners');
  const card = page.locator('article').first();
  await card.locator('details.ask', { hasText: 'Drain' }).locator('summary').click();
  await card.getByRole('button', { name: 'Drain the runner' }).click();
  await page.locator('article .pill', { hasText: 'draining' }).waitFor();
  await page.getByRole('button', { name: 'Take work again' }).click();
  await page.locator('article .pill', { hasText: 'ready' }).waitFor();
});

await step('hostile names are shown and not obeyed', async () => {
  await page.goto(`${base}/submit`);
  const text = JSON.stringify(HOSTILE);
  await page.locator('#spec').fill(`name: ${text}\ndescription: ${text}\nimage: dsg-shell:1\ncommand: [echo, ${text}]\nhold: true\nchunks: {count: 2}\nlabels: {course: ${text}}\n`);
  await page.getByRole('button', { name: 'Submit', exact: true }).click();
  await page.waitForURL(/\/jobs\/\d+$/);
  assert.equal(await page.locator('h1').innerText().then(text => text.startsWith(HOSTILE)), true);
  for (const place of ['/', '/jobs', '/queue']) {
    await page.goto(base + place);
    await page.getByText(HOSTILE).first().waitFor();
  }
  assert.equal(await page.locator('img[src=x]').count(), 0);
  await picture(page, 'queue');
  await accessible(page, 'queue');
  await page.getByText(HOSTILE).first().click();
  await page.waitForURL(/\/jobs\/\d+$/);
  await page.getByRole('button', { name: 'Release' }).waitFor();
  await page.locator('details.ask', { hasText: 'Cancel' }).locator('summary').click();
  await page.getByRole('button', { name: 'Cancel 2 chunks' }).click();
  await page.locator('#head .pill.cancelled').waitFor();
});

await step('files go with a job', async () => {
  await page.goto(`${base}/submit`);
  await page.locator('#spec').fill('name: with-a-file\nimage: dsg-shell:1\ncommand: [cat, /in/data.txt]\nhold: true\nchunks: {count: 1}\ninputs:\n  - {name: data, from: "upload:data.txt", path: /in/data.txt}\n');
  await page.locator('#files').setInputFiles({ name: 'data.txt', mimeType: 'text/plain', buffer: Buffer.from('x'.repeat(300_000)) });
  await page.getByRole('button', { name: 'Check', exact: true }).click();
  await page.getByText('This would run 1 chunk').waitFor();
  await page.locator('#uploads', { hasText: 'data.txt' }).waitFor();
  await page.getByRole('button', { name: 'Submit', exact: true }).click();
  await page.waitForURL(/\/jobs\/\d+$/);
});

await step('tokens are made, shown once and revoked', async () => {
  await page.goto(`${base}/tokens`);
  await page.getByLabel('Name').fill('a-join');
  await page.getByRole('button', { name: 'Make' }).click();
  await page.getByText(/^dsg-runner join /).waitFor();
  await accessible(page, 'tokens');
  await page.goto(`${base}/tokens`);
  assert.equal(await page.getByText('dsg_j_').count(), 0);
  const row = page.getByRole('row', { name: /a-join/ });
  await row.locator('summary').click();
  await row.getByRole('button', { name: 'Revoke the token' }).click();
  await page.locator('.flash.good').waitFor();
  assert.equal(await page.getByRole('row', { name: /a-join/ }).count(), 0);
});

await step('all of it is there without JavaScript', async () => {
  const plain = await browser.newContext({ ignoreHTTPSErrors: true, javaScriptEnabled: false, storageState: await context.storageState() });
  const still = watch(await plain.newPage());
  await still.goto(talker);
  await still.locator('#log li', { hasText: 'slow line 40' }).waitFor();
  assert.ok(await still.locator('#log li').count() <= 201);
  await still.goto(`${base}/submit?example=hello`);
  await still.locator('#files').setInputFiles({ name: 'data.txt', mimeType: 'text/plain', buffer: Buffer.from('abc') });
  await still.locator('#spec').fill(WRONG);
  await still.getByRole('button', { name: 'Check', exact: true }).click();
  await still.locator('#problems a').first().click();
  assert.match(still.url(), /#line-\d+$/);
  await still.locator('#uploads', { hasText: 'data.txt' }).waitFor();
  await picture(still, 'submit-plain');
  await still.locator('#spec').fill(SPEC.replace('browser-journey', 'without-javascript').replace('gather', 'hold: true\ngather'));
  await still.getByRole('button', { name: 'Submit', exact: true }).click();
  await still.getByRole('button', { name: 'Release' }).waitFor();
  await still.locator('details.ask', { hasText: 'Cancel' }).locator('summary').click();
  await still.getByRole('button', { name: 'Cancel 3 chunks' }).click();
  await still.locator('#head .pill.cancelled').waitFor();
  await plain.close();
});

await step('dark and small are as good', async () => {
  for (const [scheme, width] of [['dark', 1280], ['light', 320], ['dark', 320]]) {
    const other = await browser.newContext({ ignoreHTTPSErrors: true, colorScheme: scheme, viewport: { width, height: 800 }, storageState: await context.storageState() });
    const small = watch(await other.newPage());
    for (const [name, place] of Object.entries({ overview: base, jobs: `${base}/jobs`, job, chunk: talker, runners: `${base}/runners`, queue: `${base}/queue`, submit: `${base}/submit`, tokens: `${base}/tokens` })) {
      await small.goto(place);
      await small.locator('#live.on').waitFor();
      if (name === 'chunk') await small.locator('.log.js .row').first().waitFor();
      await picture(small, `${name}-${scheme}-${width}`);
      const wide = await small.evaluate(() => document.documentElement.scrollWidth);
      if (wide > width) complaints.push(`${name} is ${wide} wide on a screen of ${width}`);
      await accessible(small, `${name} ${scheme} ${width}`);
    }
    await other.close();
  }
});

await step('a page that is not there says so, and logging out ends it', async () => {
  const answer = await page.goto(`${base}/jobs/999999`);
  assert.equal(answer.status(), 404);
  await page.getByText('There is no job 999999').waitFor();
  await picture(page, 'not-found');
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.waitForURL(/\/login$/);
  await page.goto(job);
  assert.equal(new URL(page.url()).pathname, '/login');
});

await browser.close();
assert.deepEqual(complaints, []);
console.log(`${steps} steps, no complaint of the browser; pictures in ${pictures}`);
