// The page of examples/workers in headless Chromium, through the end of the worker that holds it; then, in Chromium and Firefox, on a network
// that fails: workers-browser.mjs PROGRAM
// With E2E_SHOTS set to a folder, screenshots go there.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { launch } from './browsers.mjs';
import { check } from './check.mjs';
import { relay } from './relay.mjs';
import { startSite } from './site.mjs';

const program = process.argv[2];
const shots = process.env.E2E_SHOTS;
const site = await startSite(program, '-restart', '0');
const browser = await launch.Chromium();
const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'] });
context.setDefaultTimeout(20_000);

let killed = false; // while a worker is expected not to answer
const complaints = []; // console errors and uncaught exceptions
async function open() {
  const page = await context.newPage();
  page.on('console', (message) => {
    if (message.type() !== 'error' || killed && /status of 502|WebSocket connection to .* failed/.test(message.text())) return;
    complaints.push(message.text());
  });
  page.on('pageerror', (err) => complaints.push(String(err)));
  await page.goto(site.url);
  return page;
}

const isOpen = (page) => page.locator('#status[data-state=open]', { hasText: 'Connected as' }).waitFor();
const worker = async (page) => Number(await page.locator('#worker').getAttribute('data-worker'));
const message = (page, text) => page.locator('#messages li[data-type=text]', { hasText: text }).waitFor();
const run = (command) => promisify(execFile)('bash', ['-c', command], { timeout: 10_000, env: { ...process.env, PUSH_TOKEN: site.token } });

let page, other;
await check('the page shows the worker that holds its WebSocket: number, pid and port', async () => {
  page = await open();
  await isOpen(page);
  const [, number, pid] = /^Worker (\d), pid (\d+), port \d+$/.exec(await page.locator('#worker').innerText());
  assert.equal(Number(pid), site.pids[`worker ${number}`]);
});
await check('… and its sealed address, which the button copies in full', async () => {
  const address = await page.locator('#address').innerText();
  assert.ok(address.startsWith(`${site.url}/ws/@connections/v1.`), address);
  await page.getByRole('button', { name: 'Copy address' }).click();
  await page.waitForFunction(async (want) => await navigator.clipboard.readText() === want, address);
});
await check('the command on the page, run by bash, makes a message appear, and says which worker took it in', async () => {
  const { stdout } = await run(`set -e; ${await page.locator('#command').innerText()}`);
  assert.match(stdout, /^HTTP\/1.1 204 /);
  assert.match(stdout, /^X-Worker: [123]\r?$/m);
  await message(page, '123');
});
await check('… and without the token it is refused', async () => {
  const { stdout } = await run(`unset PUSH_TOKEN; ${await page.locator('#command').innerText()}`);
  assert.match(stdout, /^HTTP\/1.1 401 /);
});
await check('by keyboard, one visitor sends to another, who is held by another worker', async () => {
  other = await open();
  await isOpen(other);
  assert.notEqual(await worker(other), await worker(page)); // round robin
  await page.bringToFront();
  await page.waitForFunction(() => document.querySelector('#to').value === 'Visitor 2');
  await page.locator('#text').focus();
  await page.keyboard.type('grüße <b>');
  await page.keyboard.press('Enter');
  await message(other, 'Visitor 1: grüße <b>');
  await page.locator('#outcome', { hasText: 'Visitor 2’s browser has read it' }).waitFor();
});
await check('the table shows what each worker has done, and which one is the page’s', async () => {
  const mine = page.locator('#workers tr[data-mine]');
  assert.equal(Number(await mine.getAttribute('data-worker')), await worker(page));
  await page.waitForFunction(() => document.querySelectorAll('#workers tr').length === 3 &&
    [...document.querySelectorAll('#workers tr')].reduce((sum, tr) => sum + Number(tr.cells[5].textContent), 0) === 2);
});
await check('Tab reaches both copy buttons', async () => {
  const reached = new Set();
  await page.locator('#worker').click();
  for (let i = 0; i < 10; i++) {
    await page.keyboard.press('Tab');
    reached.add(await page.evaluate(() => document.activeElement.dataset.of));
  }
  assert.ok(reached.has('address') && reached.has('command'), [...reached].join());
});
await check('fits a phone: no sideways scrolling', async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `${wide} pixels wide`);
});
if (shots) {
  mkdirSync(shots, { recursive: true });
  for (const [name, colorScheme, width] of [['phone', 'light', 390], ['light', 'light', 1280], ['dark', 'dark', 1280]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    await page.screenshot({ path: join(shots, `workers-${name}.png`), fullPage: true });
  }
}
await check('kill -9 of its worker: the page says what it has lost, connects to another, keeps its name, and can be pushed to', async () => {
  const [number, address] = [await worker(page), await page.locator('#address').innerText()];
  killed = true;
  process.kill(site.pids[`worker ${number}`], 'SIGKILL');
  // It is given a new session when its worker has been looked for in vain, for ten seconds and some attempts.
  await page.waitForFunction((old) => document.querySelector('#address').textContent !== old, address, { timeout: 40_000 });
  await isOpen(page);
  assert.notEqual(await worker(page), number);
  assert.equal(await page.locator('#status').innerText(), 'Connected as Visitor 1');
  await page.locator(`#workers tr[data-worker="${number}"][data-gone]`).waitFor();
  assert.deepEqual(await page.locator('#messages li.note span').allInnerTexts(),
    ['The session is lost, and its address with it: messages may have been missed.', `Connected to worker ${await worker(page)}.`]);
  await run(`set -e; ${await page.locator('#command').innerText()}`);
  await page.waitForFunction(() => document.querySelectorAll('#messages li[data-type=text]').length === 2);
});
if (shots) await page.screenshot({ path: join(shots, 'workers-killed.png'), fullPage: true });
await check('the other page never noticed', async () => {
  assert.equal(await other.locator('#messages li.note').count(), 0);
});
await check('… until it is closed by DELETE: it says so, and does not come back', async () => {
  const { stdout } = await run(`set -e; ${(await other.locator('#command').innerText()).replace('-d 123', '-X DELETE')}`);
  assert.match(stdout, /^HTTP\/1.1 204 /);
  await other.locator('#status[data-state=ended]', { hasText: 'Closed' }).waitFor();
  await other.locator('#card.stale').waitFor();
  await other.locator('#messages li.note', { hasText: 'The server has closed the connection (code 1000). Reload the page for another one.' }).waitFor();
  if (shots) await other.screenshot({ path: join(shots, 'workers-closed.png'), fullPage: true });
});
await check('no errors on the console', () => assert.deepEqual(complaints, []));

await browser.close();
await check('SIGTERM: exit status 0', async () => assert.equal(await site.stop(), 0));

// away cuts off the page of a site until something has been pushed to it, and returns the texts on the page: messages and notes.
async function away(name, workers) {
  const site = await startSite(program, '-workers', String(workers));
  const net = await relay(Number(new URL(site.url).port));
  const browser = await launch[name]();
  const context = await browser.newContext({ viewport: { width: 375, height: 812 }, colorScheme: 'dark' });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  await page.goto(net.url);
  await isOpen(page);
  const [before, command] = [await page.locator('#address').innerText(), await page.locator('#command').innerText()];
  const push = async (text) => {
    const { stdout } = await promisify(execFile)('bash', ['-c', command.replace('-d 123', `-d '${text}'`)], { timeout: 10_000, env: { ...process.env, PUSH_TOKEN: site.token } });
    return /^HTTP\/1.1 (\d+)/.exec(stdout)[1];
  };
  const statuses = [await push('before')];
  await message(page, 'before');
  net.cut();
  await page.locator('#status[data-state=suspended]', { hasText: 'Reconnecting' }).waitFor();
  if (shots) await page.screenshot({ path: join(shots, `workers-${name}-${workers}-lost.png`), fullPage: true });
  for (const text of ['away 1', 'away 2']) statuses.push(await push(text));
  net.mend();
  await page.evaluate(() => dispatchEvent(new Event('online'))); // so that it does not wait for long
  await isOpen(page);
  statuses.push(await push('after'));
  await message(page, 'after');
  if (workers > 1) await page.locator('#messages li.note', { hasText: 'It is at worker' }).waitFor();
  const found = {
    statuses, isSame: await page.locator('#address').innerText() === before,
    texts: await page.locator('#messages li > :not(time)').allInnerTexts(),
  };
  if (shots) await page.screenshot({ path: join(shots, `workers-${name}-${workers}-back.png`), fullPage: true });
  await browser.close();
  net.close();
  assert.equal(await site.stop(), 0);
  return found;
}
for (const name of Object.keys(launch)) {
  await check(`${name}: the connection is lost, and there is one worker: the page misses nothing, and nothing comes twice`, async () => {
    assert.deepEqual(await away(name, 1), {
      statuses: ['204', '202', '202', '204'], isSame: true,
      texts: ['before', 'Connected again, to the same session.', 'away 1', 'away 2', 'after'],
    });
  });
}
await check('… and there are two: it is at the other, and misses nothing either', async () => {
  const { statuses, isSame, texts } = await away('Chromium', 2);
  assert.equal(isSame, false);
  assert.deepEqual(statuses, ['204', '202', '202', '204']); // all of them to the first address
  const told = texts.filter((text) => /^It is at worker [12] now\.$/.test(text));
  assert.equal(told.length, 1);
  assert.deepEqual(texts.filter((text) => text !== told[0]), ['before', 'Connected again, to the same session.', 'away 1', 'away 2', 'after']);
});
