// The console's page in headless Chromium, with examples/console behind it: console.mjs PROGRAM
// With E2E_SHOTS set to a folder, screenshots go there.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { connect as dial, createServer } from 'node:net';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { WebSocket } from 'ws';
import { check, skip, sleep, within } from './check.mjs';

const program = process.argv[2];
const shots = process.env.E2E_SHOTS;

// start runs examples/console: login is the link that it prints, and stop returns its exit status.
async function start(...args) {
  const child = spawn(program, ['-listen', '127.0.0.1:0', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill('SIGKILL')); // no effect once it has ended
  const exited = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
  const site = { log: '' };
  site.login = new URL(await within(20, 'link', new Promise((resolve) => {
    child.stdout.on('data', (data) => {
      const found = /^Open (\S+)$/m.exec(site.log += data);
      if (found) resolve(found[1]);
    });
  })));
  site.stop = () => {
    child.kill('SIGTERM');
    return within(20, 'exit', exited);
  };
  return site;
}

// relay forwards connections to a port, which lead changes. While cut, it forwards none, until mended. freeze stops the
// existing ones from forwarding but keeps them open, as when a network is gone. heard holds the beginnings of what was
// forwarded.
async function relay(port) {
  const sockets = new Set(), heard = [];
  let broken = false;
  const server = createServer((socket) => {
    const far = dial(port, '127.0.0.1');
    for (const [one, other] of [[socket, far], [far, socket]]) {
      sockets.add(one);
      one.pipe(other);
      one.on('data', (data) => heard.push(data.toString('latin1', 0, 2000)));
      one.on('error', () => {});
      one.on('close', () => { sockets.delete(one); other.destroy(); });
    }
    if (broken) socket.destroy();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: server.address().port,
    heard,
    lead(to) { port = to; },
    freeze() { for (const socket of sockets) socket.unpipe().pause(); },
    cut() { broken = true; for (const socket of sockets) socket.destroy(); },
    mend() { broken = false; },
    close() { this.cut(); server.close(); },
  };
}

// client is a client of the application, shown by the page as user: next returns its next message, and closed resolves when it
// ends.
async function client(site, user) {
  const ws = new WebSocket(`ws://${site.login.host}/ws/test?user=${encodeURIComponent(user)}`, { headers: { 'User-Agent': 'e2e' } });
  const messages = [], waiting = [];
  ws.on('message', (data, isBinary) => {
    const message = isBinary ? data : data.toString();
    if (/^(123 )+$/.test(message)) return; // the application's own
    if (waiting.length) waiting.shift()(message);
    else messages.push(message);
  });
  const next = () => messages.length ? messages.shift() : within(10, 'message', new Promise((resolve) => { waiting.push(resolve); }));
  const closed = new Promise((resolve) => ws.on('close', (code, reason) => resolve(`${code} ${reason}`)));
  await next(); // the greeting
  return { ws, next, closed };
}

const site = await start('-clients', '24', '-stalled', '0', '-churn', '0', '-pushes', '5');
const between = await relay(Number(site.login.port));
const base = `http://127.0.0.1:${between.port}`;

const browser = await chromium.launch({
  executablePath: execFileSync('bash', ['-c', 'command -v chromium']).toString().trim(),
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const context = await browser.newContext({ viewport: { width: 1200, height: 800 } });
context.setDefaultTimeout(20_000);
const page = await context.newPage();
let cut = false; // while failed connects are expected
const complaints = []; // console errors and uncaught exceptions
page.on('console', (message) => {
  if (message.type() === 'error' && !(cut && /WebSocket connection to .* failed/.test(message.text()))) complaints.push(message.text());
});
page.on('pageerror', (err) => complaints.push(String(err)));

const state = (name) => page.locator(`#status[data-state=${name}]`).waitFor();
const row = (text) => page.getByRole('row').filter({ hasText: text });
// inTime measures up to five times something that should take less than a second, since the machine may be busy.
async function inTime(measure) {
  const took = [];
  while (took.length < 5) {
    took.push(await measure(took.length));
    if (took.at(-1) < 1000) return;
  }
  assert.fail(`${took} ms`);
}
// choose opens the details of a connection. The list may move between finding its row and clicking there.
async function choose(name) {
  for (let tries = 0; ; tries++) {
    await row(name).click();
    const opened = await page.getByRole('heading', { name }).waitFor({ timeout: 2000 }).then(() => true, () => false);
    if (opened) return;
    assert.ok(tries < 5, `another connection than ${name} is opened, again and again`);
  }
}
const column = (n) => page.locator(`tbody td:nth-child(${n})`).allInnerTexts();
const focused = () => page.evaluate(() => document.activeElement.id);

await check('who has not logged in gets nothing', async () => {
  for (const path of ['', 'feed', 'push']) assert.equal((await fetch(`${base}/debug/wspush/${path}`)).status, 403);
});
await check('the page is live, and shows the clients', async () => {
  await page.goto(`${base}${site.login.pathname}${site.login.search}`);
  await state('live');
  await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 24);
  assert.equal(await page.locator('#count').innerText(), '24 connections');
});
let zoe;
await check('a new connection is shown within a second', async () => {
  await inTime(async (n) => {
    const name = n ? `Zoë ${n}` : 'Zoë';
    await page.evaluate((name) => {
      window.seen = new Promise((resolve) => {
        new MutationObserver(() => { if (document.querySelector('tbody').textContent.includes(name)) resolve(Date.now()); })
          .observe(document.querySelector('tbody'), { subtree: true, childList: true, characterData: true });
      });
    }, name);
    zoe?.ws.close();
    zoe = await client(site, name);
    const began = Date.now();
    return await page.evaluate(() => window.seen) - began;
  });
  if (await row(/^.*Zoë \d/).count()) { // the steps below find her by name
    zoe.ws.close();
    zoe = await client(site, 'Zoë');
  }
  await row('Zoë').waitFor();
});
await check('what a client says of itself is shown as text', async () => {
  const bad = await client(site, '<img src=x onerror=alert(1)>');
  await row('<img src=x onerror=alert(1)>').waitFor();
  assert.equal(await page.locator('main img').count(), 0);
  bad.ws.close();
  await row('<img').waitFor({ state: 'detached' });
});
await check('columns sort, and say so', async () => {
  const label = page.getByRole('columnheader', { name: 'Label' });
  await label.getByRole('button').click();
  await page.locator('table[aria-busy=false]').waitFor();
  const labels = await column(2);
  assert.equal(labels.length, 25);
  assert.deepEqual(labels, [...labels].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))); // in Go's order
  assert.equal(await label.getAttribute('aria-sort'), 'ascending');
  await label.getByRole('button').click();
  await page.locator('table[aria-busy=false]').waitFor();
  await page.waitForFunction((first) => document.querySelector('tbody td:nth-child(2)').textContent === first, labels.at(-1));
  assert.equal(await label.getAttribute('aria-sort'), 'descending');
});
await check('by keyboard alone: filter, choose, open, push', async () => {
  await page.keyboard.press('/');
  assert.equal(await focused(), 'filter');
  await page.keyboard.type('e2e ZOË');
  await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1);
  assert.equal(await page.locator('#count').innerText(), '1 of 25 match');
  await page.waitForFunction(() => document.querySelector('#announce').textContent === '1 of 25 match');
  await page.keyboard.press('Enter');
  assert.equal(await focused(), 'table');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Zoë' }).waitFor();
  await page.keyboard.press('p');
  assert.equal(await focused(), 'message');
  await page.keyboard.type('grüße <b>');
  await page.keyboard.press('Control+Enter');
  assert.equal(await zoe.next(), 'grüße <b>');
  await page.locator('#outcome[data-of=good]', { hasText: /^The client has read it, after [\d.]+ .?s\.$/ }).waitFor();
});
await check('… in hex as well', async () => {
  await page.getByLabel('Type of the message').selectOption('binary');
  await page.getByLabel('Push a message').fill('zz');
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  await page.locator('#outcome[data-of=bad]').waitFor();
  await page.getByLabel('Push a message').fill('00 01 ff');
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  assert.deepEqual(await zoe.next(), Buffer.from([0, 1, 255]));
  await page.locator('#outcome[data-of=good]').waitFor();
  await page.getByLabel('Push a message').fill('ab'.repeat(200_000)); // more bytes than a call can have arguments
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  assert.equal((await zoe.next()).length, 200_000);
  await page.locator('#outcome[data-of=good]').waitFor();
  await page.getByLabel('Push a message').fill('');
});
await check('arrows, j and k move; Esc closes details, and clears the filter', async () => {
  await page.locator('#message').press('Escape');
  await page.locator('#details').waitFor({ state: 'hidden' });
  await page.keyboard.press('/');
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 25);
  await page.keyboard.press('Escape');
  assert.equal(await focused(), 'table');
  const at = () => page.evaluate(() => [...document.querySelectorAll('tbody tr')].findIndex((tr) => tr.id === document.querySelector('table').getAttribute('aria-activedescendant')));
  await page.keyboard.press('Home');
  assert.equal(await at(), 0);
  for (const key of ['j', 'ArrowDown', 'j', 'k', 'ArrowUp']) await page.keyboard.press(key);
  assert.equal(await at(), 1);
  await page.keyboard.press('End');
  assert.equal(await at(), 24);
  assert.ok(await page.evaluate(() => document.querySelector('tr[data-active]').getBoundingClientRect().bottom <= innerHeight));
});
await check('Tab reaches every control', async () => {
  await choose('Zoë');
  await page.locator('#details').waitFor();
  await page.locator('body').press('Home');
  const reached = new Set();
  for (let i = 0; i < 25; i++) {
    await page.keyboard.press('Tab');
    reached.add(await focused() || await page.evaluate(() => document.activeElement.textContent));
  }
  for (const id of ['keys', 'filter', 'hold', 'table', 'Age', 'close', 'message', 'type', 'send', 'disconnect']) assert.ok(reached.has(id), `${id}: ${[...reached]}`);
});
await check('every control, chart and region has a name for screen readers', async () => {
  const devtools = await context.newCDPSession(page);
  const { nodes } = await devtools.send('Accessibility.getFullAXTree');
  const named = ['button', 'textbox', 'searchbox', 'combobox', 'img', 'image', 'grid', 'region', 'dialog', 'columnheader', 'heading', 'complementary'];
  const found = nodes.filter((node) => !node.ignored && named.includes(node.role?.value));
  assert.deepEqual(found.filter((node) => !node.name?.value).map((node) => node.role.value), []);
  const roles = new Set(found.map((node) => node.role.value));
  for (const role of ['button', 'searchbox', 'combobox', 'grid', 'region', 'columnheader', 'complementary']) assert.ok(roles.has(role), `${role}: ${[...roles]}`);
  const charts = await page.locator('#charts [role=img]').evaluateAll((all) => all.map((e) => e.getAttribute('aria-label')));
  assert.equal(charts.length, 6);
  assert.match(charts[0], /^Connections, last three minutes: now 25; max 2\d$/);
  assert.match(charts[2], /^Pushes per second, last three minutes: now written [\d.]+, refused/);
});
// contrasts returns the texts with too little contrast (WCAG 2.2, 1.4.3).
const contrasts = () => page.evaluate(() => {
  const parse = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility() || e.closest('script') || ![...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(`${e.tagName} ${e.id} ${e.textContent.trim().slice(0, 20)}: ${ratio.toFixed(2)}`);
  }
  return bad;
});
await check('text stands out, in light and in dark', async () => {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await contrasts(), [], colorScheme);
    const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number));
    assert.ok((background[0] < 64) === (colorScheme === 'dark'), `${background}`);
  }
});
if (shots) {
  mkdirSync(shots, { recursive: true });
  for (const [name, colorScheme, width] of [['phone', 'light', 390], ['light', 'light', 1200], ['dark', 'dark', 1200]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 800 });
    await page.screenshot({ path: join(shots, `console-${name}.png`), fullPage: true });
  }
}
await check('fits a phone: no sideways scrolling', async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `${wide} pixels wide`);
  await page.setViewportSize({ width: 1200, height: 800 });
});
await check('a held list stays as it is, and then catches up', async () => {
  await page.getByRole('columnheader', { name: 'Age' }).getByRole('button').click();
  await page.locator('#hold').click();
  const before = await column(1);
  const late = await client(site, 'late');
  await page.waitForFunction(() => document.querySelector('#count').textContent === '26 connections');
  assert.deepEqual(await column(1), before);
  await page.locator('#hold').click();
  await row('late').waitFor();
  await page.locator('#hold').click();
  late.ws.close();
  await sleep(1.2); // the page learns that it has ended, but shows nothing yet
  await row('late').click(); // a row that is still visible can be chosen
  await page.locator('#name', { hasText: /^late$/ }).waitFor();
  await page.getByText('This connection has ended.').waitFor();
  await page.locator('#hold').click();
  await row('late').waitFor({ state: 'detached' });
});
await check('a connection that ends under the keyboard leaves it where it is: what is typed next does nothing else', async () => {
  const brief = await client(site, 'brief');
  await choose('brief');
  await page.keyboard.press('p');
  await page.keyboard.type('hello');
  brief.ws.close();
  await page.getByText('This connection has ended.').waitFor();
  assert.equal(await focused(), 'message');
  for (const key of ['Enter', 'p', 'h', 'Control+Enter']) await page.keyboard.press(key);
  assert.equal(await page.getByLabel('Push a message').inputValue(), 'hello');
  await page.locator('#name', { hasText: /^brief$/ }).waitFor();
  assert.equal(await page.locator('#hold').getAttribute('aria-pressed'), 'false');
  await page.locator('#outcome[data-of=bad]').waitFor();
  const closed = await client(site, 'closed');
  await choose('closed');
  await page.locator('#disconnect').press('Enter');
  await page.getByRole('dialog', { name: 'Disconnect closed?' }).waitFor();
  await page.locator('#reason').press('Enter');
  await closed.closed;
  await page.getByText('This connection has ended.').waitFor();
  assert.equal(await focused(), 'name'); // not the page's body, where Enter opens another connection
  await choose('Zoë');
  await page.getByLabel('Push a message').fill('');
});
await check('where the system sets the colours, the row at the keyboard, the chosen one and what charts show can be told', async () => {
  await page.emulateMedia({ forcedColors: 'active' });
  await page.locator('#table').focus(); // while Zoë, who is not the eldest, is chosen
  await page.keyboard.press('End');
  const seen = await page.evaluate(() => {
    const style = (selector) => getComputedStyle(document.querySelector(selector));
    return {
      active: style('tr[data-active]').outlineStyle,
      chosen: style('tr[aria-selected=true] td').backgroundColor, other: style('tr[aria-selected=false] td').backgroundColor,
      legend: [...document.querySelectorAll('figure:nth-child(2) .values i')].map((i) => getComputedStyle(i).backgroundColor),
    };
  });
  await page.emulateMedia({ forcedColors: 'none' });
  assert.equal(seen.active, 'solid');
  assert.notEqual(seen.chosen, seen.other);
  assert.equal(new Set(seen.legend).size, 2, `${seen.legend}`);
});
await check('when the server cannot be reached, the page says so loudly, and comes back with what it showed', async () => {
  cut = true;
  await page.locator('#hold').click();
  between.cut();
  await page.getByRole('alert').filter({ hasText: /^The connection to the server is lost\. What you see is from [\d:]+\.$/ }).waitFor();
  await state('lost');
  assert.match(await page.title(), /^Lost/);
  if (shots) await page.screenshot({ path: join(shots, 'console-lost.png') });
  await page.locator('#banner').filter({ hasText: /again in [4-9] s/ }).waitFor(); // it neither tries all the time nor announces each second
  between.mend();
  await page.getByRole('button', { name: 'Try now' }).click();
  await state('live');
  await page.getByRole('alert').waitFor({ state: 'hidden' });
  await page.getByRole('heading', { name: 'Zoë' }).waitFor();
  assert.equal(await page.locator('#send').isDisabled(), false);
  for (const i of [0, 6, 12, 18]) { // the server renumbers them; a held list must not lead to others
    const held = page.locator('tbody tr').nth(i);
    await held.click();
    const [id, name] = await held.locator('td').allInnerTexts();
    await page.locator('#name').filter({ hasText: name }).waitFor();
    await page.locator('#facts [data-of=ID]').filter({ hasText: id }).waitFor();
  }
  await page.locator('#hold').click();
  await choose('Zoë');
  cut = false;
});
await check('when nothing comes from the server any more, though the connection stays, the page says so, and connects again', async () => {
  const lost = page.evaluate(() => new Promise((resolve) => { // it is lost for less than half a second
    const status = document.querySelector('#status');
    new MutationObserver(() => status.dataset.state === 'lost' && resolve()).observe(status, { attributes: true });
  }));
  between.freeze();
  await within(30, 'loss', lost);
  await state('live');
});
await check('Delete asks first, and then disconnects: the client sees the code', async () => {
  await choose('Zoë');
  await page.locator('#send:enabled').waitFor();
  await page.locator('#table').focus();
  await page.keyboard.press('Delete');
  const dialog = page.getByRole('dialog', { name: 'Disconnect Zoë?' });
  await dialog.waitFor();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  await row('Zoë').waitFor();
  await page.keyboard.press('Delete');
  await dialog.getByLabel('Close code').selectOption('1008');
  await dialog.getByLabel('Reason').fill('enough');
  await page.keyboard.press('Enter');
  assert.equal(await within(5, 'end of the connection', zoe.closed), '1008 enough');
  await row('Zoë').waitFor({ state: 'detached' });
  await page.getByText('This connection has ended.').waitFor();
  assert.equal(await page.locator('#send').isDisabled(), true);
});
await check('both are in the log, by whom, and with shortened IDs', () => {
  assert.match(site.log, /msg="wspush\/console: push" type=text bytes=11 user=operator conn=[0-9a-f]{8} remote=127\.0\.0\.1:\d+ outcome=received/);
  assert.match(site.log, /msg="wspush\/console: disconnect" code=1008 reason=enough user=operator conn=[0-9a-f]{8} /);
});
await check('a page of another origin can do neither, nor listen, though it is of the same site and the browser sends the cookie', async () => {
  const foreign = await context.newPage();
  await foreign.goto(`http://${site.login.host}/login`); // not through the relay: another port
  between.heard.length = 0;
  const socket = await foreign.evaluate(async (base) => {
    for (const what of ['push', 'disconnect']) { // the page never gets the answers to these
      await fetch(`${base}/debug/wspush/${what}`, { method: 'POST', mode: 'no-cors', credentials: 'include', body: '{}' }).catch(() => {});
    }
    return new Promise((resolve) => {
      const ws = new WebSocket(`${base.replace('http', 'ws')}/debug/wspush/feed`);
      ws.onopen = () => resolve('open');
      ws.onerror = () => resolve('refused');
    });
  }, base);
  assert.equal(socket, 'refused');
  const asked = between.heard.filter((text) => /^(POST|GET) /.test(text)), answers = between.heard.filter((text) => /^HTTP/.test(text));
  assert.deepEqual(asked.map((text) => text.split(' ', 2).join(' ')), ['POST /debug/wspush/push', 'POST /debug/wspush/disconnect', 'GET /debug/wspush/feed']);
  for (const text of asked) assert.match(text, /^Cookie: operator=/mi); // otherwise the login would refuse
  assert.deepEqual(answers.map((text) => text.split(' ', 2)[1]), ['403', '403', '403']);
  await foreign.close();
});
await check('the page sees the worker shut down, which ends with status 0', async () => {
  cut = true;
  const seen = page.evaluate(() => new Promise((resolve) => {
    const seen = [];
    new MutationObserver(() => {
      const now = document.querySelector('#status').dataset.state;
      if (seen.at(-1) !== now) seen.push(now);
      if (now === 'over') resolve(seen);
    }).observe(document.querySelector('#status'), { attributes: true });
  }));
  assert.equal(await site.stop(), 0);
  assert.deepEqual(await within(15, 'the end', seen), ['draining', 'over']);
});
await check('the page goes on with the next process, and does not say of what that cannot know that it has ended', async () => {
  const next = await start('-clients', '3', '-churn', '0');
  await context.request.get(next.login.href); // the cookie applies to every port
  between.lead(Number(next.login.port));
  await state('live');
  await page.waitForFunction(() => document.querySelector('#count').textContent === '3 connections');
  await page.getByText('This is a different server now. It does not know this connection.').waitFor();
  assert.equal(await page.locator('#send').isDisabled(), true);
  await page.locator('tbody tr').first().click();
  await page.locator('#gone').waitFor({ state: 'hidden' });
  assert.equal(await next.stop(), 0);
});
await check('no errors on the console', () => assert.deepEqual(complaints, []));
await page.close();
between.close();

const descriptors = Number(execFileSync('bash', ['-c', 'ulimit -Hn']).toString().replace('unlimited', 'Infinity'));
if (descriptors < 12_000) {
  skip('5000 connections', `${descriptors} descriptors are too few`);
} else {
  const crowd = await start('-clients', '5000', '-churn', '20', '-pushes', '200');
  const many = await context.newPage();
  many.on('pageerror', (err) => complaints.push(String(err)));
  let received = 0; // bytes
  many.on('websocket', (ws) => ws.on('framereceived', ({ payload }) => { received += payload.length; }));
  const longest = () => many.evaluate(() => new Promise((resolve) => { // the longest pause between two frames, over five seconds
    let worst = 0, before = performance.now();
    const end = before + 5000;
    requestAnimationFrame(function frame(now) {
      worst = Math.max(worst, now - before);
      before = now;
      if (now < end) requestAnimationFrame(frame);
      else resolve(Math.round(worst));
    });
  }));
  await check('5000 connections: the first 200 are shown', async () => {
    await many.goto(crowd.login.href);
    await many.waitForFunction(() => /^[45],\d{3} connections, the first 200 are shown$/.test(document.querySelector('#count').textContent), null, { timeout: 60_000 });
    assert.equal(await many.locator('tbody tr').count(), 200);
  });
  await check('… while they come and go and are pushed to, the page draws, and is sent little', async () => {
    let pause;
    await inTime(async () => {
      received = 0;
      return pause = await longest();
    });
    assert.ok(received < 400_000, `${received} bytes in 5 s`);
    console.log(`longest pause between two frames ${pause} ms, ${Math.round(received / 5)} bytes/s`);
  });
  await check('… and a filter is answered within a second', async () => {
    const target = await client(crowd, 'needle');
    await sleep(1);
    await inTime(async () => {
      await many.locator('#filter').fill('');
      await many.waitForFunction(() => document.querySelectorAll('tbody tr').length === 200);
      const began = Date.now();
      await many.locator('#filter').fill('needle');
      await many.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1 && document.querySelector('tbody').textContent.includes('needle'));
      return Date.now() - began;
    });
    target.ws.close();
  });
  await check('… nor any errors', () => assert.deepEqual(complaints, []));
  await many.close();
  assert.equal(await crowd.stop(), 0);
}
await browser.close();
