// The page of examples/workers in headless Chromium, through the end of the worker that holds it: workers-browser.mjs PROGRAM
// With E2E_SHOTS set to a folder, screenshots go there.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { check } from './check.mjs';
import { startSite } from './site.mjs';

const shots = process.env.E2E_SHOTS;
const site = await startSite(process.argv[2], '-restart', '0');
const browser = await chromium.launch({
  executablePath: execFileSync('bash', ['-c', 'command -v chromium']).toString().trim(),
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
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
await check('kill -9 of its worker: the page connects to another, keeps its name, and can be pushed to', async () => {
  const [number, address] = [await worker(page), await page.locator('#address').innerText()];
  killed = true;
  process.kill(site.pids[`worker ${number}`], 'SIGKILL');
  await page.waitForFunction((old) => document.querySelector('#address').textContent !== old, address);
  await isOpen(page);
  assert.notEqual(await worker(page), number);
  assert.equal(await page.locator('#status').innerText(), 'Connected as Visitor 1');
  await page.locator(`#workers tr[data-worker="${number}"][data-gone]`).waitFor();
  await run(`set -e; ${await page.locator('#command').innerText()}`);
  await page.waitForFunction(() => document.querySelectorAll('#messages li[data-type=text]').length === 2);
});
if (shots) await page.screenshot({ path: join(shots, 'workers-killed.png'), fullPage: true });
await check('the other page never noticed', async () => {
  assert.equal(await other.locator('#messages li.note').count(), 0);
});
await check('no errors on the console', () => assert.deepEqual(complaints, []));

await browser.close();
await check('SIGTERM: exit status 0', async () => assert.equal(await site.stop(), 0));
