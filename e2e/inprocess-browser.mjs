// The page of examples/inprocess in Chromium and Firefox, behind a network that fails in the middle of a job: inprocess-browser.mjs PROGRAM
// With E2E_SHOTS set to a folder, screenshots go there.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { launch } from './browsers.mjs';
import { check, sleep, within } from './check.mjs';
import { relay } from './relay.mjs';

const program = process.argv[2];
const shots = process.env.E2E_SHOTS;
const STEPS = 20, STEP = 0.1; // of a job; in seconds

// start is the running program; listen says where.
async function start(listen) {
  const child = spawn(program, ['-listen', listen, '-step', `${STEP}s`], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill()); // no effect once it has ended
  const exited = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
  let said = '';
  const url = await within(20, 'URL from inprocess', new Promise((resolve) => {
    child.stdout.on('data', (data) => {
      const found = /^Open (\S+)$/m.exec(said += data);
      if (found) resolve(new URL(found[1]));
    });
  }));
  return { url, stop: () => { child.kill('SIGTERM'); return within(20, 'exit', exited); } };
}

let server = await start('127.0.0.1:0');

async function scenario(name) {
  const it = (what, step) => check(`${name}: ${what}`, step);
  const net = await relay(Number(server.url.port));
  const browser = await launch[name]();
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(20_000);
  const complaints = []; // uncaught exceptions
  const page = await context.newPage();
  // Firefox reports WebSockets that fail like this.
  page.on('pageerror', (err) => { if (!/ws:\/\/127/.test(err)) complaints.push(String(err)); });

  const isStatus = (state) => page.locator(`#status[data-state=${state}]`).waitFor();
  const news = (text) => page.locator('#news', { hasText: text }).waitFor();
  const isDone = (n) => page.waitForFunction((n) => globalThis.seen.includes(n), n, { polling: 20 });
  const begin = async () => {
    await page.evaluate(() => { globalThis.seen = []; });
    await page.locator('#start').focus();
    await page.keyboard.press('Enter');
    await news('The job is under way.');
  };
  // all waits for the end of the job: the page must have seen every step of it, once and in order. It shows 0 twice: when the job is asked
  // for, and when it begins.
  const all = async () => {
    await news('The job is done.');
    assert.deepEqual(await page.evaluate(() => globalThis.seen), [0, ...Array(STEPS + 1).keys()]);
    assert.equal(await page.locator('#count').innerText(), '100 %');
  };
  const shot = async (what) => {
    if (!shots) return;
    mkdirSync(shots, { recursive: true });
    for (const [colorScheme, width] of [['light', 1280], ['dark', 1280], ['light', 375], ['dark', 375]]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 700 });
      await page.screenshot({ path: join(shots, `inprocess-${name}-${what}-${colorScheme}-${width}.png`) });
    }
  };

  await it('a job by keyboard, and its progress', async () => {
    await page.goto(net.url);
    await isStatus('open');
    await page.evaluate(() => {
      new MutationObserver((changes) => {
        for (const _ of changes) globalThis.seen.push(document.querySelector('#bar').value);
      }).observe(document.querySelector('#bar'), { attributeFilter: ['value'] });
    });
    await begin();
    await all();
  });
  await it('the connection is lost in the middle of a job: the page says so, comes back, and sees the rest of it', async () => {
    await begin();
    await isDone(3);
    net.cut();
    await isStatus('suspended');
    await news('The connection is lost. The job goes on');
    assert.equal(await page.locator('#start').getAttribute('aria-disabled'), 'true');
    await shot('lost');
    net.mend();
    await isStatus('open');
    await all();
  });
  await it('… and comes back when the job has ended', async () => {
    await begin();
    await isDone(3);
    net.cut();
    await isStatus('suspended');
    await sleep(STEPS * STEP + 0.5);
    net.mend();
    await isStatus('open');
    await all();
  });
  await it('… and may start the next one', async () => {
    await begin();
    await all();
    await shot('done');
  });
  await it('the server restarts: the page says that the job is lost, and may start another', async () => {
    await begin();
    await isDone(3);
    assert.equal(await server.stop(), 0);
    await isStatus('suspended');
    server = await start(server.url.host);
    await news('The server has lost this page, and its job with it.');
    await page.locator('#start[aria-disabled=false]').waitFor();
    await begin();
    await all();
  });
  await it('fits a phone: no sideways scrolling', async () => {
    await page.setViewportSize({ width: 375, height: 812 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 375, `${wide} pixels wide`);
  });
  await it('no uncaught exceptions', () => assert.deepEqual(complaints, []));
  await browser.close();
  net.close();
}

await scenario('Chromium');
await scenario('Firefox');
await check('SIGTERM: exit status 0', async () => assert.equal(await server.stop(), 0));
