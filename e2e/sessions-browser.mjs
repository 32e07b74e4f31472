// wspush.js in Chromium and Firefox, while messages are pushed without a pause: sessions-browser.mjs PROGRAM
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect as dial, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, firefox } from 'playwright-core';
import { check, pathForm, skip, sleep, within } from './check.mjs';

const program = process.argv[2];
const folder = mkdtempSync(join(tmpdir(), 'sessions-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
const args = ['-session-file', join(folder, 'file')];

// start is the running program; listen says where.
async function start(listen) {
  const child = spawn(program, ['-listen', listen, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill('SIGKILL')); // no effect once it has ended
  const exited = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
  let said = '';
  const url = await within(20, 'URL from sessions', new Promise((resolve) => {
    child.stdout.on('data', (data) => {
      const found = /^Open (\S+)$/m.exec(said += data);
      if (found) resolve(new URL(found[1]));
    });
  }));
  return { url, stop: (signal = 'SIGTERM') => { child.kill(signal); return within(20, 'exit', exited); } };
}

// relay forwards connections to a port. frozen, it keeps those that it has and forwards nothing, as when a network is gone; cut, it ends
// them, and refuses others until mended.
async function relay(port) {
  const sockets = new Set();
  let broken = false;
  const server = createServer((socket) => {
    if (broken) return socket.destroy();
    const far = dial(port, '127.0.0.1');
    for (const [one, other] of [[socket, far], [far, socket]]) {
      sockets.add(one);
      one.pipe(other);
      one.on('error', () => {});
      one.on('close', () => { sockets.delete(one); other.destroy(); });
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    freeze() { for (const socket of sockets) socket.unpipe().pause(); },
    cut(how = 'destroy') { broken = true; for (const socket of sockets) socket[how](); },
    mend() { broken = false; },
    close() { this.cut(); server.close(); },
  };
}

let server = await start('127.0.0.1:0');

// pushing pushes numbers to an address without a pause, until stop, which returns those that were accepted, in order.
function pushing(address) {
  const url = pathForm(address), accepted = [];
  let going = true, done;
  const ended = new Promise((resolve) => { done = resolve; });
  (async () => {
    for (let n = 1; going; n++) {
      const body = `${n}`;
      try {
        const { status } = await fetch(url, { method: 'POST', body, headers: { 'Content-Type': 'text/plain' }, signal: AbortSignal.timeout(10_000) });
        if (status === 204 || status === 202) accepted.push(body);
        else if (status === 410) break;
        else await sleep(0.05);
      } catch { // while the server restarts; such a message is not accepted, and may have been
        accepted.push(`${body}?`);
        await sleep(0.05);
      }
      await sleep(0.02);
    }
    done(accepted);
  })();
  return { accepted, stop() { going = false; return ended; } };
}

// got compares what a page got with what was accepted: nothing twice, nothing out of order, and what was accepted exactly once.
function judge(got, accepted) {
  const maybe = new Set(accepted.filter((m) => m.endsWith('?')).map((m) => m.slice(0, -1)));
  const sure = accepted.filter((m) => !m.endsWith('?'));
  const twice = got.filter((m, i) => got.indexOf(m) !== i);
  assert.deepEqual(twice, [], 'twice');
  assert.deepEqual(got, [...got].sort((a, b) => a - b), 'out of order');
  assert.deepEqual(sure.filter((m) => !got.includes(m)), [], 'missed');
  assert.deepEqual(got.filter((m) => !sure.includes(m) && !maybe.has(m)), [], 'never accepted');
}

const pathOf = (name) => execFileSync('bash', ['-c', `command -v ${name}`]).toString().trim();

async function scenario(name, launch) {
  const browser = await launch();
  const it = (what, step) => check(`${name}: ${what}`, async () => {
    try {
      await step();
    } catch (err) {
      const told = await story(tab).catch(String);
      console.log(`# told last: ${JSON.stringify(told.slice(-12))}; state ${await tab.evaluate(() => globalThis.c?.state).catch(String)}`);
      throw err;
    }
  });
  const net = await relay(server.url.port);
  const context = await browser.newContext();
  context.setDefaultTimeout(20_000);
  const complaints = [];
  let tab;

  const until = (page, holds, arg) => page.waitForFunction(holds, arg, { polling: 50 });
  const isOpen = (page) => until(page, () => globalThis.c?.state === 'open');
  const story = (page) => page.evaluate(() => globalThis.story());

  async function open(query = '') {
    const page = await context.newPage();
    page.on('pageerror', (err) => {
      // Firefox reports WebSockets that fail, or that a reload ends, like this.
      if (!/ws:\/\/127/.test(err)) complaints.push(String(err));
    });
    await page.goto(net.url + query);
    await isOpen(page);
    return page;
  }
  const address = (page) => page.evaluate(() => globalThis.c.address[0]);
  // flows waits until something new arrives.
  const flows = async (page) => {
    const before = await page.evaluate(() => globalThis.count());
    await until(page, (n) => globalThis.story?.().slice(n).some(([, what]) => what === 'message'), before);
  };
  // all waits for the last message, and judges them all.
  async function all(page, pusher, since = 0) {
    const accepted = await pusher.stop();
    const messages = async () => (await story(page)).slice(since).filter(([, what]) => what === 'message').map(([,, text]) => text);
    const last = accepted.findLast((m) => !m.endsWith('?'));
    for (let i = 0; i < 100 && !(await messages()).includes(last); i++) await sleep(0.1);
    judge(await messages(), accepted);
    return accepted.length;
  }

  let pusher, first;

  await it('the page connects, and messages flow', async () => {
    tab = await open();
    first = await address(tab);
    pusher = pushing(first);
    await flows(tab);
  });

  await it('reloaded ten times, slowly and quickly, with persist: the same session', async () => {
    for (let i = 0; i < 10; i++) {
      if (i % 2) await flows(tab);
      await tab.reload();
    }
    await isOpen(tab);
    await flows(tab);
    assert.equal(await address(tab), first);
  });

  await it('into the back-forward cache, and back', async () => {
    const before = await tab.evaluate(() => globalThis.me);
    await tab.goto(`${net.url}elsewhere`);
    await sleep(1);
    await tab.evaluate(() => { history.back(); }).catch(() => {}); // goBack would wait for a load that does not come
    await isOpen(tab);
    await flows(tab);
    assert.equal(await address(tab), first);
    if (await tab.evaluate(() => globalThis.me) !== before) return skip(`${name}: … from the cache itself`, 'this browser does not keep pages with a WebSocket in it');
    const events = (await story(tab)).filter(([page, what]) => page === before && what !== 'message').map(([, what, how]) => `${what} ${how}`);
    assert.deepEqual(events.slice(-3), ['suspended undefined', 'pageshow true', 'resumed undefined']);
  });

  await it('a duplicated tab has a session of its own, and takes nothing away', async () => {
    const opened = context.waitForEvent('page');
    await tab.evaluate(() => { globalThis.open(location.href); }); // which copies sessionStorage, as duplicating does
    const copy = await opened;
    await isOpen(copy);
    const own = await address(copy);
    assert.notEqual(own, first);
    const begun = (await story(copy)).length;
    const other = pushing(own);
    await flows(copy);
    await copy.reload();
    await isOpen(copy);
    assert.equal(await address(copy), own, 'it persists, too');
    await flows(copy);
    await tab.reload();
    await isOpen(tab);
    assert.equal(await address(tab), first);
    await flows(tab);
    await all(copy, other, begun);
    await copy.close();
  });

  await it('the network is gone without a word, and another one comes: resumed after the probe', async () => {
    net.freeze();
    await sleep(1);
    const before = (await story(tab)).length;
    await tab.evaluate(() => dispatchEvent(new Event('online')));
    const begun = Date.now();
    // Not by its state, which may be "open" again by the next look.
    await until(tab, (n) => globalThis.story().slice(n).some(([, what]) => what === 'suspended'), before);
    await isOpen(tab);
    assert.ok(Date.now() - begun > 4000 && Date.now() - begun < 9000, `${Date.now() - begun} ms`);
    await flows(tab);
    assert.equal(await address(tab), first);
  });

  await it('the browser says that it is offline, and then online', async () => {
    await context.setOffline(true);
    await sleep(2);
    await context.setOffline(false);
    await isOpen(tab);
    await flows(tab);
    assert.equal(await address(tab), first);
  });

  await it('connections end by FIN, by RST, and are refused for a while', async () => {
    for (const how of ['destroy', 'resetAndDestroy', 'destroy', 'resetAndDestroy']) {
      net.cut(how);
      await until(tab, () => globalThis.c.state === 'suspended');
      await sleep(0.5);
      net.mend();
      // It waits longer each time, since it is not up for 10 s in between.
      await tab.evaluate(() => dispatchEvent(new Event('online')));
      await isOpen(tab);
      await flows(tab);
    }
    assert.equal(await address(tab), first);
  });

  await it('nothing twice, nothing missed, everything in order, and the page was told of no loss', async () => {
    const n = await all(tab, pusher);
    assert.ok(n > 200, `${n} messages`);
    const events = (await story(tab)).filter(([, what]) => what === 'lost' || what === 'end');
    assert.deepEqual(events, []);
  });

  // restart ends the server and starts it again, and returns when the page is back: what it was told of loss since then.
  const restart = async (since, signal, meanwhile = () => {}) => {
    await server.stop(signal);
    await meanwhile();
    server = await start(server.url.host);
    // A WebSocket has not lasted for long yet, so wspush.js may pause for up to 30 s.
    await tab.waitForFunction((since) => globalThis.c.state === 'open' && globalThis.story().slice(since).some(([, what]) => what === 'resumed'), since, { timeout: 60_000 });
    return (await story(tab)).slice(since).filter(([, what]) => what === 'lost').map(([,, why]) => why);
  };

  for (const [how, meanwhile] of [['at once', () => {}], ['after some seconds', () => sleep(4)]]) {
    await it(`the server restarts ${how}: nothing is lost`, async () => {
      const since = (await story(tab)).length;
      pusher = pushing(first);
      await flows(tab);
      assert.deepEqual(await restart(since, 'SIGTERM', meanwhile), []);
      assert.equal(await address(tab), first);
      assert.deepEqual(readdirSync(folder), ['file.lock']);
      await flows(tab);
      await all(tab, pusher, since);
    });
  }

  await it('the server is killed: the page is told', async () => {
    const since = (await story(tab)).length;
    pusher = pushing(first);
    await flows(tab);
    assert.deepEqual(await restart(since, 'SIGKILL'), ['unknown']);
    assert.notEqual(await address(tab), first);
    await pusher.stop();
  });

  await it('without persist, a reload is a new session', async () => {
    const page = await open('?persist=no');
    const old = await address(page);
    await page.reload();
    await isOpen(page);
    assert.notEqual(await address(page), old);
    assert.deepEqual((await story(page)).filter(([, what]) => what === 'lost'), []);
    // The old one has ended. Firefox closes WebSockets with 1001 before it tells the page that it goes, so there it waits for nobody.
    const status = name === 'Firefox' ? 202 : 410;
    await within(5, `${status} for the old session`, (async () => {
      while ((await fetch(pathForm(old), { method: 'POST', body: 'x', headers: { 'Content-Type': 'text/plain' } })).status !== status) await sleep(0.05);
    })());
    await page.close();
  });

  await it('DELETE ends it, and the page does not come back', async () => {
    await fetch(pathForm(await address(tab)), { method: 'DELETE' });
    await until(tab, () => globalThis.c.state === 'ended');
    assert.deepEqual((await story(tab)).at(-1).slice(1, 3), ['end', 1000]);
    await sleep(1);
    assert.equal(await tab.evaluate(() => globalThis.c.state), 'ended');
  });

  await it('no uncaught exceptions', () => assert.deepEqual(complaints, []));
  net.close();
  await browser.close();
}

await scenario('Chromium', () => chromium.launch({
  executablePath: pathOf('chromium'),
  ignoreDefaultArgs: ['--disable-back-forward-cache'],
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
}));
// Debian's own, by WebDriver BiDi: Playwright's is a build of its own, which cannot be had from a package registry.
await scenario('Firefox', () => firefox.launch({ channel: 'moz-firefox', executablePath: pathOf('firefox-esr') }));
await check('SIGTERM: exit status 0', async () => assert.equal(await server.stop(), 0));
