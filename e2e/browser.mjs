// The quickstart page in headless Chromium, through a restart of the server: browser.mjs QUICKSTART
// With E2E_SHOTS set to a folder, screenshots go there.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { check, confirmed, push, within } from './check.mjs';

const quickstart = process.argv[2];
const shots = process.env.E2E_SHOTS;

// start is a running server; listen says where.
async function start(listen) {
  const child = spawn(quickstart, ['-listen', listen], { stdio: ['ignore', 'pipe', 'ignore'] });
  process.on('exit', () => child.kill('SIGKILL')); // no effect once it has ended
  const exited = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
  let said = '';
  const url = await within(10, 'URL from quickstart', new Promise((resolve) => {
    child.stdout.on('data', (data) => {
      const found = /http:\/\/127\.0\.0\.1:\d+\//.exec(said += data);
      if (found) resolve(found[0]);
    });
  }));
  return { child, exited, url };
}

let server = await start('127.0.0.1:0');

const browser = await chromium.launch({
  executablePath: execFileSync('bash', ['-c', 'command -v chromium']).toString().trim(),
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'] });
context.setDefaultTimeout(20_000);
const page = await context.newPage();

let restarting = false; // while failed connects are expected
const complaints = []; // console errors and uncaught exceptions
page.on('console', (message) => {
  const expected = restarting && /WebSocket connection to .* failed/.test(message.text());
  if (message.type() === 'error' && !expected) complaints.push(message.text());
});
page.on('pageerror', (err) => complaints.push(String(err)));

const state = (name) => page.locator(`#status[data-state=${name}]`).waitFor();
const address = async () => (await page.locator('#address').innerText()).trim();
const command = async () => (await page.locator('#command').innerText()).trim();
const messages = (type) => page.locator(`#messages li[data-type=${type}]`);

// oneMore runs act and waits until the page shows one more message of that type.
async function oneMore(type, act) {
  const before = await messages(type).count();
  await act();
  await page.waitForFunction(
    ([type, want]) => document.querySelectorAll(`#messages li[data-type=${type}]`).length === want, [type, before + 1]);
}

const runCommand = async () => promisify(execFile)('bash', ['-c', `set -e; ${await command()}`], { timeout: 10_000 });

let first;

await check('the page connects and shows its address', async () => {
  await page.goto(server.url);
  await state('open');
  assert.notEqual((await page.locator('#status').innerText()).trim(), '');
  first = await address();
  assert.match(first, /^http:\/\/[0-9a-f-]{36}@127\.0\.0\.1:\d+\/ws$/);
});
await check('the command on the page, run by bash, makes a message appear', () => oneMore('text', runCommand));
await check('pushed text is shown as it is', async () => {
  const text = '<b>zwölf</b> & ✓';
  await oneMore('text', async () => assert.equal(await push(first, text, 'text/plain'), 204));
  assert.equal(await messages('text').filter({ hasText: text }).count(), 1);
});
await check('a push is confirmed by the browser itself', () =>
  oneMore('text', async () => assert.equal(await confirmed(first, 'confirm'), '204 rtt')));
await check('a pushed binary message is shown', () =>
  oneMore('binary', async () => assert.equal(await push(first, Buffer.from([0, 0xff, 1]), 'image/png'), 204)));
await check('Tab reaches the copy button, and Enter copies the command', async () => {
  const focused = () => page.evaluate(() => document.activeElement.id);
  for (let i = 0; await focused() !== 'copy'; i++) {
    assert.ok(i < 30, 'pressed Tab 30 times');
    await page.keyboard.press('Tab');
  }
  await page.keyboard.press('Enter');
  await page.waitForFunction(async (want) => await navigator.clipboard.readText() === want, await command());
});
await check('fits a phone: no sideways scrolling', async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `${wide} pixels wide`);
});
if (shots) {
  mkdirSync(shots, { recursive: true });
  for (const [name, colorScheme, width, height] of [
    ['phone', 'light', 390, 844], ['light', 'light', 1280, 800], ['dark', 'dark', 1280, 800]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height });
    await page.screenshot({ path: join(shots, `${name}.png`) });
  }
}
await check('SIGTERM with the page open: the server exits with status 0', async () => {
  restarting = true;
  server.child.kill('SIGTERM');
  assert.equal(await within(5, 'exit', server.exited), 0);
});
await check('the page says that it is reconnecting', () => state('reconnecting'));
if (shots) await page.screenshot({ path: join(shots, 'reconnecting.png') });
await check('the server is back: the page reconnects and shows a new address', async () => {
  server = await start(new URL(server.url).host);
  await state('open');
  restarting = false;
  await page.waitForFunction((old) => document.querySelector('#address').innerText.trim() !== old, first);
  assert.match(await address(), /^http:\/\/[0-9a-f-]{36}@127\.0\.0\.1:\d+\/ws$/);
});
await check('its new command works', () => oneMore('text', runCommand));
await check('no errors on the console', () => assert.deepEqual(complaints, []));

await browser.close();
server.child.kill('SIGTERM');
await within(5, 'exit', server.exited);
