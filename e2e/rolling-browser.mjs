// The page of examples/users in Chromium and Firefox while each of three workers behind nginx is replaced: rolling-browser.mjs PROGRAM
// Each worker is a process, and their directory is in Redis. Meanwhile the user is pushed to, always at the same URL.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect as dial, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launch } from './browsers.mjs';
import { check, sleep, within } from './check.mjs';

const program = process.argv[2];
const PAUSE = 100;  // ms between pushes
const PATIENCE = 2; // s that pages are given between one step and the next, in which they are pushed to

// Processes.

const children = [];
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL'))); // no effect on those that have ended

// run starts a program that is killed at the end, if it is still there.
function run(path, args, options) {
  const child = spawn(path, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options });
  children.push(child);
  child.exited = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
  return child;
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listens(port) {
  for (;;) {
    const isThere = await new Promise((resolve) => {
      const socket = dial(port, '127.0.0.1');
      socket.on('connect', () => { socket.destroy(); resolve(true); });
      socket.on('error', () => resolve(false));
    });
    if (isThere) return;
    await sleep(0.05);
  }
}

const dir = mkdtempSync(join(tmpdir(), 'wspush-rolling-'));
chmodSync(dir, 0o711); // nginx, started by root, has processes of another user's
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));

// Debian's redis-tools has the server under another name, and decides by the name that it is called by.
const redisPort = await freePort();
const redis = run('redis-check-rdb', ['--port', redisPort, '--bind', '127.0.0.1', '--dir', dir, '--save', ''],
  { argv0: 'redis-server', stdio: ['ignore', 'ignore', 'inherit'] });
await within(10, 'Redis', listens(redisPort));

// startWorker starts a worker at a port, and waits until it is ready.
const key = randomBytes(32).toString('hex'), token = 'rolling';
async function startWorker(port) {
  const child = run(program, ['-listen', `127.0.0.1:${port}`, '-push', '127.0.0.1:0',
    '-redis', `redis://127.0.0.1:${redisPort}`, '-key', key, '-token', token]);
  await within(20, 'worker', new Promise((resolve) => child.stdout.on('data', resolve)));
  return { port, child };
}

// stop ends a worker as a deploy does.
async function stop(worker) {
  worker.child.kill('SIGTERM');
  assert.equal(await within(20, 'exit', worker.child.exited), 0);
}

// The configuration is that of the example, a template of Go's.
const template = readFileSync(new URL('../examples/users/nginx.conf', import.meta.url), 'utf8');
const nginxPort = await freePort();
function configure(workers) {
  const filled = template
    .replace(/\{\{- range \.Workers\}\}(.*?)\{\{- end\}\}/gs, (_, each) => workers.map(({ port }) => each.replace('{{.}}', `127.0.0.1:${port}`)).join(''))
    .replace('{{.Listen}}', `127.0.0.1:${nginxPort}`);
  assert.doesNotMatch(filled, /\{\{\s*[.-]/);
  writeFileSync(join(dir, 'nginx.conf'), filled);
}

// The page, in both browsers.

const complaints = []; // uncaught exceptions, and console errors but those of lost connections

async function visit(name) {
  const browser = await launch[name]();
  const context = await browser.newContext();
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  page.on('pageerror', (err) => complaints.push(`${name}: ${err}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && !/WebSocket|wspush\.js|can.t establish a connection|was interrupted/i.test(message.text())) complaints.push(`${name}: ${message.text()}`);
  });
  await page.addInitScript(() => {
    globalThis.opened = 0;
    globalThis.WebSocket = class extends WebSocket {
      constructor(...args) {
        super(...args);
        globalThis.opened++;
      }
    };
  });
  return { name, browser, page };
}

const shown = ({ page }) => page.evaluate(() => [...document.querySelectorAll('#messages .body')].map((m) => m.textContent));
const notes = ({ page }) => page.locator('#messages .note').allInnerTexts();
const until = (page, holds, arg) => page.waitForFunction(holds, arg, { polling: 100 });

// The publisher.

const url = `http://127.0.0.1:${nginxPort}/ws/@users/ann`;
const pushed = []; // what each push came to
let again = 0;     // pushes that were sent again after 503, which says that nothing was written
let pushing = true;

// push has a connection of its own: nginx ends those that rest when it is reloaded, and a request may just be on its way then.
const push = (text) => new Promise((resolve, reject) => {
  const r = request(url, { method: 'POST', agent: false, headers: { authorization: `Bearer ${token}`, 'content-type': 'text/plain' }, timeout: 20_000 }, (answer) => {
    let body = '';
    answer.setEncoding('utf8').on('data', (data) => { body += data; }).on('end', () => resolve({ status: answer.statusCode, body, retryAfter: answer.headers['retry-after'] }));
  });
  r.on('error', reject).on('timeout', () => r.destroy(new Error('no answer')));
  r.end(text);
});

// publish pushes one message after the other, so that their order is known.
async function publish() {
  for (let due = Date.now(); pushing; due += PAUSE) {
    const text = `message ${pushed.length + 1}`;
    let answer = await push(text);
    while (answer.status === 503) {
      again++;
      await sleep(Number(answer.retryAfter));
      answer = await push(text);
    }
    pushed.push(answer);
    await sleep(Math.max(0, due + PAUSE - Date.now()) / 1000);
  }
}

// Everything.

let workers = [], nginx, pages, publishing;

await check('three workers behind nginx', async () => {
  for (let i = 0; i < 3; i++) workers.push(await startWorker(await freePort()));
  configure(workers);
  nginx = run('nginx', ['-p', dir, '-c', join(dir, 'nginx.conf'), '-e', 'stderr'], { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
  await within(10, 'nginx', listens(nginxPort));
});
await check('the page, in Chromium and Firefox', async () => {
  pages = [await visit('Chromium'), await visit('Firefox')];
  for (const { page } of pages) {
    await page.goto(`http://127.0.0.1:${nginxPort}/`);
    await page.getByLabel('Name', { exact: true }).fill('ann');
    await page.keyboard.press('Enter');
    await until(page, () => document.querySelector('#status').dataset.state === 'open');
  }
  assert.ok((await pages[0].page.locator('#command').innerText()).includes(url), 'the command has the same URL');
});
await check('the user is pushed to', async () => {
  publishing = publish();
  publishing.catch(() => {}); // reported below
  for (const { page } of pages) await until(page, () => document.querySelectorAll('#messages .body').length >= 5);
});

// replaced has what is pushed meanwhile arrive.
async function replaced(step) {
  await step();
  await sleep(PATIENCE);
  for (const { page } of pages) await until(page, () => document.querySelector('#status').dataset.state === 'open');
}

for (const i of [0, 1]) {
  await check(`worker ${i + 1} is replaced: the new one is started, nginx leads to it, and the old one is told to stop`, () => replaced(async () => {
    const old = workers[i];
    workers[i] = await startWorker(await freePort());
    configure(workers);
    nginx.kill('SIGHUP');
    await sleep(1);
    await stop(old);
  }));
}
await check('worker 3 is restarted at its port, which nginx is not told', () => replaced(async () => {
  await stop(workers[2]);
  workers[2] = await startWorker(workers[2].port);
}));
await check('the first is replaced once more, since pages may have come to it', () => replaced(async () => {
  await stop(workers[0]);
  workers[0] = await startWorker(workers[0].port);
}));
await check('no push has failed, and each has found both pages', async () => {
  pushing = false;
  await within(30, 'end of pushing', publishing);
  for (const [i, { status, body }] of pushed.entries()) {
    assert.equal(status, 200, `message ${i + 1}: ${body}`);
    const { written, buffered } = JSON.parse(body);
    assert.equal((written ?? 0) + (buffered ?? 0), 2, `message ${i + 1}: ${body}`);
  }
});
const want = pushed.map((_, i) => `message ${i + 1}`);
for (const page of pages) {
  await check(`${page.name} shows each message once, and in order`, async () => {
    await until(page.page, (n) => document.querySelectorAll('#messages .body').length >= n, want.length).catch(() => {});
    assert.deepEqual(await shown(page), want);
  });
  await check('… over several WebSockets, and has been told of no loss', async () => {
    page.opened = await page.page.evaluate(() => globalThis.opened);
    assert.ok(page.opened > 1, `${page.opened} WebSocket`); // each worker that there was has been replaced
    assert.deepEqual(await notes(page), []);
  });
}
await check('no errors on the console', () => assert.deepEqual(complaints, []));
console.log(`${pushed.length} pushes, ${again} times sent again after 503; WebSockets: ${pages.map(({ name, opened }) => `${opened} of ${name}'s`).join(', ')}`);
for (const { browser } of pages) await browser.close();
await check('the workers exit with status 0', () => Promise.all(workers.map(stop)));
nginx.kill('SIGQUIT');
await within(10, 'exit of nginx', nginx.exited);
redis.kill('SIGTERM');
await within(10, 'exit of Redis', redis.exited);
