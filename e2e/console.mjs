// The console's page in headless Chromium, with examples/console behind it: console.mjs PROGRAM
// With E2E_SHOTS set to a folder, screenshots go there.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { launch } from './browsers.mjs';
import { check, push as pushTo, skip, sleep, within } from './check.mjs';
import { relay } from './relay.mjs';

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
  const address = await next(); // the greeting
  return { ws, address, next, closed };
}

const site = await start('-clients', '24', '-stalled', '0', '-travellers', '0', '-churn', '0', '-pushes', '5');
const between = await relay(Number(site.login.port));
const base = between.url;

const browser = await launch.Chromium();
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
  for (const path of ['', 'feed', 'members', 'push']) assert.equal((await fetch(`${base}/debug/wspush/${path}`)).status, 403);
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
  const label = page.getByRole('columnheader', { name: 'User' }); // there is no Label
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
await check('arrows, j and k move; Esc closes details, and clears the filter and leaves it', async () => {
  await page.locator('#message').press('Escape');
  await page.locator('#details').waitFor({ state: 'hidden' });
  await page.keyboard.press('/');
  await page.keyboard.press('Escape');
  assert.equal(await focused(), 'table'); // what is typed next is not typed into the filter
  await page.keyboard.press('k');
  assert.equal(await page.locator('#filter').inputValue(), '');
  await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 25);
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
  for (const id of ['keys', 'filter', 'find', 'hold', 'table', 'Age', 'close', 'message', 'type', 'send', 'disconnect']) assert.ok(reached.has(id), `${id}: ${[...reached]}`);
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
  assert.match(charts[0], /^Connections, last [^:]+: now 25; max 2\d$/);
  assert.match(charts[2], /^Pushes per second, last [^:]+: now written [\d.]+, refused/);
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
// lookUp finds a user or a group by keyboard alone.
async function lookUp(kind, name, on = page) {
  await on.locator('#table').focus();
  await on.keyboard.press('u');
  const dialog = on.getByRole('dialog', { name: 'Who is there?' });
  await dialog.getByLabel('Of a').selectOption(kind);
  await dialog.getByLabel('Name').fill(name);
  await dialog.getByLabel('Name').press('Enter');
  await on.locator('#name bdi').filter({ hasText: name }).waitFor();
}
// expected waits for an error on the console that a step has provoked.
async function expected(error) {
  for (let tries = 0; !complaints.some((text) => error.test(text)); tries++) {
    assert.ok(tries < 50, `no ${error} on the console: ${complaints}`);
    await sleep(0.1);
  }
  complaints.splice(complaints.findIndex((text) => error.test(text)), 1);
}
const summary = (text) => page.locator('#summary').filter({ hasText: text }).waitFor();
const outcome = (text, of) => page.locator(`#outcome[data-of=${of}]`).filter({ hasText: text }).waitFor();
const told = ` \u202e"Ann" & <b>'s`, both = [];
await check('who is there of a user is found by name, whatever is in it, and is one click away from a connection of hers', async () => {
  both.push(await client(site, told), await client(site, told));
  await lookUp('user', told);
  await summary(/^2 connections, [\d:]+\.$/);
  assert.equal(await focused(), 'name');
  assert.equal(await page.locator('#name').innerText(), `User ${told}`);
  assert.equal(await page.locator('main b').count(), 0);
  const members = page.locator('#members li');
  assert.equal(await members.count(), 2);
  const id = await members.first().getByRole('button').innerText();
  await members.first().getByRole('button').click();
  await page.locator('#facts [data-of=ID]').filter({ hasText: id }).waitFor();
  await page.locator('#members').waitFor({ state: 'hidden' });
  assert.deepEqual(await page.locator('#facts [data-of=Groups] button').allInnerTexts(), ['everybody', 'test']);
  await page.locator('#facts [data-of=User] button').click();
  await summary(/^2 connections, /);
  await page.keyboard.press('Escape');
  await page.locator('#details').waitFor({ state: 'hidden' });
});
await check('a push reaches all connections of a user, or in a group, and says how many have read it', async () => {
  await lookUp('user', told);
  await page.getByLabel('Type of the message').selectOption('text');
  await page.locator('#table').focus();
  await page.keyboard.press('p');
  await page.keyboard.type('to you both');
  await page.keyboard.press('Control+Enter');
  for (const one of both) assert.equal(await one.next(), 'to you both');
  await outcome(/^2 clients have read it\.$/, 'good');
  await lookUp('group', 'test');
  await summary(/^3 connections, /);
  assert.equal(await page.locator('#outcome').innerText(), ''); // that of another
  await page.getByLabel('Push a message').fill('to you both');
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  for (const one of [...both, zoe]) assert.equal(await one.next(), 'to you both');
  await outcome(/^3 clients have read it\.$/, 'good');
  await lookUp('user', 'nobody at all');
  await summary(/^Nobody is there, [\d:]+\.$/);
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  await outcome(/^Nobody is there\. Nothing was written\.$/, 'bad');
  await page.getByLabel('Push a message').fill('');
});
await check('what was written to one is not there for another, where Ctrl+Enter would send it, but still is for that one', async () => {
  const box = page.getByLabel('Push a message'), type = page.getByLabel('Type of the message');
  await choose('Zoë');
  await box.fill('61');
  await type.selectOption('binary');
  await lookUp('user', told);
  assert.equal(await box.inputValue(), '');
  await type.selectOption('text');
  await box.fill('for both');
  await lookUp('group', 'test');
  assert.equal(await box.inputValue(), '');
  await page.keyboard.press('Escape');
  await row('"Ann"').first().click();
  await page.locator('#members').waitFor({ state: 'hidden' });
  assert.equal(await box.inputValue(), '');
  await choose('Zoë');
  assert.deepEqual([await box.inputValue(), await type.inputValue()], ['61', 'binary']);
  await box.press('Control+Enter');
  assert.deepEqual(await zoe.next(), Buffer.from('a'));
  await page.locator('#outcome[data-of=good]').waitFor();
  await box.fill('');
  await lookUp('user', told);
  assert.deepEqual([await box.inputValue(), await type.inputValue()], ['for both', 'text']);
  await box.fill('');
});
await check('a push of which nobody knows what became of it is not told of as one that has failed', async () => {
  const vague = await client(site, 'vague');
  vague.ws.pong = () => {}; // the library answers pings with it
  await choose('vague');
  await page.getByLabel('Push a message').fill('perhaps');
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  assert.equal(await vague.next(), 'perhaps');
  vague.ws.terminate();
  await outcome(/^The message may have been written in part or in full: the connection is gone\.$/, 'partly');
  await row('vague').waitFor({ state: 'detached' });
});
await check('a name that nobody can have is refused, and spaces count', async () => {
  await lookUp('user', 'a/b');
  await summary(/^It is not known who is there\. 400: not a name of a user or a group: it has a slash$/);
  await expected(/status of 400/);
  await lookUp('group', 'test ');
  await summary(/^Nobody is there, /);
});
await check('what is not known is not taken for nobody, and the page says what is', async () => {
  for (const [answer, says] of [
    [{ members: [], total: 0, detail: 'It cannot be known who is there: 1 of 3 workers have answered.' },
      /^It is not known who is there\. It cannot be known who is there: 1 of 3 workers have answered\.$/],
    [{ members: [{ memberSince: Date.now() - 5000 }], total: 1, detail: 'Not everybody was found within 10 s.' },
      /^At least 1 connection, [\d:]+\. There may be more\. Not everybody was found within 10 s\.$/],
    [{ members: [{ memberSince: Date.now() - 5000 }], total: 1 }, /^1 connection, [\d:]+\.$/],
  ]) {
    await page.route('**/members', (route) => route.fulfill({ json: answer }));
    await lookUp('group', 'elsewhere');
    await summary(says);
    assert.equal(await page.locator('#members li', { hasText: 'not on this worker' }).count(), answer.total);
    await page.unroute('**/members');
  }
  const sent = { outcome: 'partly', detail: 'x', says: ['2 clients have read it.', 'It cannot be known who is there: 1 of 3 workers have answered.'] };
  await page.route('**/push', (route) => route.fulfill({ json: sent }));
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  await outcome(/^2 clients have read it\.\s+It cannot be known/, 'partly');
  await page.unroute('**/push');
  await page.route('**/members', (route) => route.abort());
  await page.keyboard.press('Escape'); // out of the message box, or whatever has the keyboard
  await lookUp('group', 'elsewhere');
  await summary(/^It is not known who is there\. The console did not answer: /);
  await page.unroute('**/members');
  await expected(/net::ERR_FAILED/);
});
await check('in a pane with members, too, text stands out, and every control has a name', async () => {
  await lookUp('user', told);
  await summary(/^2 connections, /);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await contrasts(), [], colorScheme);
  }
  const devtools = await context.newCDPSession(page);
  const { nodes } = await devtools.send('Accessibility.getFullAXTree');
  const unnamed = nodes.filter((node) => !node.ignored && ['button', 'region', 'list'].includes(node.role?.value) && !node.name?.value);
  assert.deepEqual(unnamed.map((node) => node.role.value).filter((role) => role !== 'list'), []);
});
if (shots) {
  const long = 'x'.repeat(120) + 'é'.repeat(60);
  const one = await client(site, long);
  for (const [name, of] of [['user', told], ['group', 'everybody'], ['long', long], ['ended', 'nobody'], ['connection', null]]) {
    for (const [scheme, width] of [['light', 1200], ['dark', 1200], ['light', 375], ['dark', 375]]) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize({ width, height: 800 });
      if (of) await lookUp(name === 'group' ? 'group' : 'user', of);
      else await choose('Zoë');
      await page.locator('#summary:not(:text("Looking"))').waitFor({ state: of ? 'visible' : 'hidden' });
      if (name === 'user') {
        await page.getByLabel('Push a message').fill('hello');
        await page.getByRole('button', { name: 'Push', exact: true }).click();
        await page.locator('#outcome[data-of=good]').waitFor();
      }
      await page.screenshot({ path: join(shots, `console-${name}-${scheme}-${width}.png`), fullPage: width < 400 });
      if (name === 'user') {
        for (const client of both) await client.next();
        await page.locator('#disconnect').click();
        await page.screenshot({ path: join(shots, `console-confirm-${scheme}-${width}.png`) });
        await page.keyboard.press('Escape');
        await page.locator('#find').click();
        await page.screenshot({ path: join(shots, `console-lookup-${scheme}-${width}.png`) });
        await page.keyboard.press('Escape');
      }
    }
  }
  one.ws.close();
  await page.getByLabel('Push a message').fill('');
  await page.setViewportSize({ width: 1200, height: 800 });
}
await check('Delete asks first, and then ends all connections of a user, and no other', async () => {
  await lookUp('user', told);
  await summary(/^2 connections, /);
  await page.keyboard.press('Delete');
  const dialog = page.getByRole('dialog', { name: `Disconnect user ${told} everywhere?` });
  await dialog.getByText('All connections of this user are closed, on whatever worker they are. 2 were there at the last look.').waitFor();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  await page.keyboard.press('r');
  await summary(/^2 connections, /);
  await page.keyboard.press('Delete');
  await dialog.getByLabel('Close code').selectOption('1008');
  await dialog.getByLabel('Reason').fill('everywhere');
  await page.keyboard.press('Enter');
  for (const one of both) assert.equal(await within(5, 'end of the connection', one.closed), '1008 everywhere');
  await outcome(/^2 connections have been closed\.$/, 'good');
  await summary(/^Nobody is there, /);
  await lookUp('group', 'test');
  await summary(/^1 connection, /);
  await page.keyboard.press('Escape');
  await choose('Zoë');
});
await check('fits a phone: no sideways scrolling', async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = () => page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(await wide() <= 390, `${await wide()} pixels wide`);
  await page.setViewportSize({ width: 375, height: 800 });
  await lookUp('user', 'x'.repeat(256));
  assert.ok(await wide() <= 375, `${await wide()} pixels wide`);
  await page.keyboard.press('Escape');
  await choose('Zoë');
  await page.setViewportSize({ width: 1200, height: 800 });
});
// staged opens the page with a server of this program's: tell sends it an update.
async function staged() {
  const it = { page: await context.newPage() };
  it.page.on('pageerror', (err) => complaints.push(String(err)));
  let ask;
  const asked = new Promise((resolve) => { ask = resolve; });
  await it.page.routeWebSocket(/\/feed$/, (ws) => {
    ws.onMessage((data) => { if (data.startsWith('{')) ask(ws); });
    ws.send('{"address":""}'); // of wspush.v1
    ws.send(JSON.stringify({ console: 'staged', readOnly: false, labels: false, rows: 200 }));
  });
  await it.page.goto(`${base}/debug/wspush/`);
  const ws = await within(10, 'question', asked);
  it.tell = (update) => ws.send(JSON.stringify({ seq: 0, now: update.samples.at(-1).at, total: 0, matches: 0, order: null, ...update }));
  return it;
}
// samples are taken every half second from a time on, after others; each adds these numbers, or has them.
function samples(from, n, adds, has, after = []) {
  const all = [];
  let last = { accepted: 0, ended: 0, written: 0, refused: 0, unknown: 0, buffered: 0, in: 0, out: 0, ...after.at(-1) };
  for (let i = 0; i < n; i++) {
    last = { ...last, ...has, gap: false, at: from + i * 500 };
    for (const [key, by] of Object.entries(adds)) last[key] += by;
    all.push(last);
  }
  return [...after, ...all];
}
// drawn returns the lines of a chart, each as its unbroken parts, and those as [x, y] of 180 and 40.
const drawn = (on, title) => on.locator('figure', { hasText: title }).locator('path:not(.area)').evaluateAll((paths) => paths.map((path) =>
  path.getAttribute('d').split('M').slice(1).map((part) => [...part.matchAll(/(?:^|L)([\d.]+) ([\d.]+)/g)].map((at) => [Number(at[1]), Number(at[2])]))));
const titles = ['Connections', 'Clients per second', 'Pushes per second', 'Bytes per second', 'Push latency', 'Pending bytes'];
const began = 1_800_000_000_000;
await check('charts are full from the beginning, and say of what time they are', async () => {
  const { page: other, tell } = await staged();
  const told = samples(began, 7, { accepted: 1, ended: 1, written: 5, refused: 1, unknown: 1, buffered: 1, in: 10, out: 20 }, { conns: 5, pending: 5, p50: 100, p99: 900 });
  for (const [from, to, range] of [[0, 3, 'last 1 s'], [3, 7, 'last 3 s']]) {
    tell({ samples: told.slice(from, to) });
    for (const title of titles) {
      await other.locator('figure', { hasText: title }).locator('.range', { hasText: range }).waitFor();
      for (const line of await drawn(other, title)) {
        assert.deepEqual([line.length, line[0][0][0], line[0].at(-1)[0]], [1, 0, 180], `${title}, ${range}: ${JSON.stringify(line)}`);
      }
    }
  }
  tell({ samples: samples(began + 3500, 400, { accepted: 1 }, {}, told).slice(7) });
  await other.locator('.range', { hasText: 'last 3 min' }).first().waitFor();
  for (const line of await drawn(other, 'Clients per second')) assert.deepEqual([line[0][0][0] < 1, line[0].at(-1)[0]], [true, 180], `${line}`);
  await other.close();
});
await check('of a time without a page they show the average, and nothing of what is not known', async () => {
  const { page: other, tell } = await staged();
  let all = samples(began, 11, { accepted: 1 }, { conns: 10, pending: 0, p50: 0, p99: 0 }); // 5 s at two a second
  all = samples(began + 65_000, 1, { accepted: 600 }, { conns: 50, p50: 100, p99: 100 }, all); // 60 s at ten a second
  all.at(-1).gap = true;
  all = samples(began + 65_500, 10, { accepted: 1 }, { conns: 50, p50: 0, p99: 0 }, all); // 5 s at two a second
  tell({ samples: all });
  await other.locator('.range', { hasText: 'last 70 s' }).first().waitFor();
  const x = (seconds) => Number((seconds / 70 * 180).toFixed(1));
  const [[accepted]] = await drawn(other, 'Clients per second');
  const high = accepted.filter(([, y]) => y === 2), low = accepted.filter(([, y]) => y !== 2); // of 40, from the top
  assert.deepEqual(high.map(([x]) => x), [x(5), x(65)], JSON.stringify(accepted));
  assert.ok(low.every(([, y]) => y === 31.6), JSON.stringify(accepted)); // a fifth of that, right before and right after
  assert.deepEqual([low.filter(([at]) => at <= x(5)).length, low.filter(([at]) => at > x(65)).length], [11, 10]);
  for (const [line] of await drawn(other, 'Push latency')) assert.deepEqual([line.map(([x]) => x), line[0][1]], [[x(5), x(65)], line[1][1]]);
  const [connections] = await drawn(other, 'Connections');
  assert.deepEqual(connections.map((part) => [part[0][0], part.at(-1)[0]]), [[0, x(5)], [x(65), 180]]);
  const more = samples(began + 70_500, 340, { accepted: 1 }, {}, all); // until that time is only in part among the last three minutes
  tell({ samples: more.slice(all.length) });
  await other.locator('.range', { hasText: 'last 3 min' }).first().waitFor();
  const [[later]] = await drawn(other, 'Clients per second');
  assert.deepEqual(later.filter(([, y]) => y === 2), [[0, 2], [5, 2]], JSON.stringify(later.slice(0, 5)));
  await other.close();
});
// cutOff returns the texts that are not shown whole. What can be scrolled to counts as shown.
const cutOff = (on, selector) => on.locator(selector).evaluateAll((all) => all.filter((e) => e.checkVisibility() && e.textContent).flatMap((e) => {
  const range = document.createRange();
  range.selectNodeContents(e);
  const text = range.getBoundingClientRect();
  for (let a = e; a; a = a.parentElement) {
    const { overflowX, contain } = getComputedStyle(a), box = a.getBoundingClientRect();
    if (/auto|scroll/.test(overflowX)) break;
    if (overflowX === 'visible' && !/paint|content|strict/.test(contain)) continue;
    if (a.scrollWidth > a.clientWidth || text.right > box.right + 0.5 || text.left < box.left - 0.5 || text.bottom > box.bottom + 0.5) return [`${e.tagName} ${e.textContent}`];
  }
  return [];
}));
await check('no legend, unit, header, label or ID is cut off, however wide the page is', async () => {
  const { page: other, tell } = await staged();
  const wide = { written: 60_000, refused: 12_340, unknown: 0.25, buffered: 4_999, accepted: 4_000, ended: 49_999, in: 1e5, out: 4.99e8 };
  const row = {
    n: 1, handle: 'x', id: 'deadbeef', label: 'barbara-liskov', remote: '203.0.113.254:65535', path: '/ws/tickets',
    since: began - 86_399_000, active: began - 86_399_000, rtt: 2e9, pending: 999_000,
  };
  let told = samples(began, 300, wide, { conns: 1_234_567, pending: 999_000_000, p50: 131_072, p99: 2e9 });
  tell({ samples: told, order: [1], rows: [row], total: 1, matches: 1 });
  await other.locator('tbody tr').waitFor();
  const seen = async (what) => {
    for (const width of [320, 375, 390, 640, 641, 768, 960, 1056, 1057, 1200, 1280, 1920]) {
      await other.setViewportSize({ width, height: 800 });
      assert.deepEqual(await cutOff(other, 'figure :is(h2, span, b), th, td:not(:nth-child(4))'), [], `${what}, ${width} pixels wide`);
      assert.ok(await other.evaluate(() => document.documentElement.scrollWidth) <= width, `${what}: scrolls sideways at ${width} pixels`);
      if (shots) await other.screenshot({ path: join(shots, `console-full-${what.replaceAll(' ', '-')}-${width}.png`), fullPage: width < 600 });
    }
  };
  await seen('without sessions');
  await other.getByRole('button', { name: 'Round trip' }).click(); // which adds an arrow
  const next = samples(told.at(-1).at + 500, 1, wide, {}, told);
  tell({ samples: next.slice(told.length), rows: [{ ...row, session: began - 86_399_000, suspended: true, buffered: 12_345, bufferedBytes: 999_000 }] });
  await other.getByRole('columnheader', { name: 'Session' }).waitFor();
  await seen('with sessions');
  await other.close();
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
// traveller is a client with a session, for a page that has not been told of any before.
async function traveller(resume) {
  const offers = ['wspush.v1', ...(resume ? [`wspush.resume.${resume.ticket}.${resume.count}`] : [])];
  const ws = new WebSocket(`ws://${site.login.host}/ws/test?user=tess`, offers, { headers: { 'User-Agent': 'e2e' } });
  const it = { ws, messages: [], count: 0 };
  await within(10, 'hello', new Promise((resolve, reject) => {
    ws.once('error', reject);
    ws.on('message', (data, isBinary) => {
      if (it.hello) {
        it.count++;
        it.messages.push(data.toString());
        return;
      }
      it.hello = JSON.parse(data);
      it.count = it.hello.offset ?? 0;
      resolve();
    });
  }));
  it.ticket = it.hello.ticket;
  return it;
}
await check('a session is shown as connected, and as suspended while its client is away, with what is buffered', async () => {
  const push = async (text, of, says) => {
    await page.getByLabel('Push a message').fill(text);
    await page.getByRole('button', { name: 'Push', exact: true }).click();
    await page.locator(`#outcome[data-of=${of}]`, { hasText: says }).waitFor();
  };
  assert.equal(await page.getByRole('columnheader', { name: 'Session' }).count(), 0); // while there is none
  const tess = await traveller();
  assert.equal(tess.hello.resumed, false);
  await page.getByRole('columnheader', { name: 'Session' }).waitFor();
  await row('tess').filter({ hasText: /here \d+ s/ }).waitFor();
  await choose('tess');
  await page.locator('#facts [data-of=Session]', { hasText: /^connected since [\d:]+, for \d+ s$/ }).waitFor();
  await push('here', 'good', /^The client has read it/);
  tess.ws.terminate();
  await row('tess').filter({ hasText: /away \d+ s/ }).waitFor();
  await page.locator('#facts [data-of=Session]', { hasText: /^suspended since [\d:]+, for \d+ s$/ }).waitFor();
  await push('away', 'bad', 'The client is away, and was not back within 10 s. Nothing was written, and nothing will be.'); // 409
  assert.equal(await pushTo(tess.hello.address, 'buffered', 'text/plain'), 202);
  await page.locator('#facts [data-of=Buffered]', { hasText: /^\d+ messages?, [\d,]+ bytes$/ }).waitFor();
  await row('tess').filter({ hasText: /away \d+ s\d+, [\d.]+ k?B/ }).waitFor();
  assert.deepEqual(await contrasts(), []);

  // While it waits, the client comes back: it has read both.
  await page.getByLabel('Push a message').fill('patient');
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  const back = await traveller(tess);
  assert.equal(back.hello.resumed, true);
  await page.locator('#outcome[data-of=good]').waitFor();
  assert.deepEqual(back.messages.filter((text) => !/^(123 )+$/.test(text)), ['buffered', 'patient']);
  await row('tess').filter({ hasText: /here \d+ s/ }).waitFor();

  // A client that has it, as far as is known, and does not confirm: 202.
  back.ws.pong = () => {}; // the library answers pings with it
  await page.getByLabel('Push a message').fill('unconfirmed');
  await page.getByRole('button', { name: 'Push', exact: true }).click();
  await within(10, 'message', (async () => { while (!back.messages.includes('unconfirmed')) await sleep(0.05); })());
  back.ws.terminate();
  await page.locator('#outcome[data-of=partly]', { hasText: /^The client has not confirmed that it has read it\. Its session has the message: the client gets it if it is back within \d+ s\.$/ }).waitFor();
  const last = await traveller(back);
  last.ws.close(1000);
  await row('tess').waitFor({ state: 'detached' });
  await choose('Zoë');
  await page.getByLabel('Push a message').fill('');
});
await check('when the server cannot be reached, the page says so loudly, and comes back with what it showed', async () => {
  cut = true;
  await page.locator('#hold').click();
  between.cut();
  await page.getByRole('alert').filter({ hasText: /^The connection to the server is lost\. What you see is from [\d:]+\.$/ }).waitFor();
  await state('lost');
  assert.match(await page.title(), /^Lost/);
  if (shots) await page.screenshot({ path: join(shots, 'console-lost.png') });
  await page.locator('#banner').filter({ hasText: 'Reconnecting …' }).waitFor();
  await sleep(2); // attempts fail
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
await check('… also if it has never been reached, as behind a proxy that passes no WebSockets', async () => {
  const other = await context.newPage();
  await other.addInitScript(() => { globalThis.WebSocket = class { close() {} }; });
  await other.goto(`${base}/debug/wspush/`);
  await other.locator('#status[data-state=connecting]').waitFor();
  await other.getByRole('alert').filter({ hasText: /^There is no connection to the server\.$/ }).waitFor();
  await other.close();
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
  assert.deepEqual([await dialog.getByLabel('Close code').inputValue(), await dialog.getByLabel('Reason').inputValue()], ['1000', '']); // not those for another
  await dialog.getByLabel('Close code').selectOption('1008');
  await dialog.getByLabel('Reason').fill('enough');
  await page.keyboard.press('Enter');
  assert.equal(await within(5, 'end of the connection', zoe.closed), '1008 enough');
  await row('Zoë').waitFor({ state: 'detached' });
  await page.getByText('This connection has ended.').waitFor();
  assert.equal(await page.locator('#send').isDisabled(), true);
});
await check('all of that is in the log, by whom, with its outcome, and with shortened IDs', () => {
  assert.match(site.log, /msg="wspush\/console: push" type=text bytes=11 user=operator conn=[0-9a-f]{8} remote=127\.0\.0\.1:\d+ outcome=received/);
  assert.match(site.log, /msg="wspush\/console: push" type=text bytes=7 user=operator conn=[0-9a-f]{8} remote=127\.0\.0\.1:\d+ outcome=unknown detail="wspush: the message may have been written/);
  assert.match(site.log, /msg="wspush\/console: disconnect" code=1008 reason=enough user=operator conn=[0-9a-f]{8} /);
  assert.match(site.log, /msg="wspush\/console: push" .* received=3 .* user=operator kind=group name=test remote=127\.0\.0\.1:\d+ outcome=received/);
  assert.match(site.log, /msg="wspush\/console: disconnect" code=1008 reason=everywhere closed=2 user=operator kind=user name=.*Ann.* outcome=closed/);
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
await check('the page sees the worker shut down, which ends with status 0, and not before nothing is pending', async () => {
  cut = true;
  const stuck = await client(site, 'stuck');
  stuck.ws.pause();
  for (let i = 0; i < 12; i++) pushTo(stuck.address, Buffer.alloc(1 << 20), 'application/octet-stream').catch(() => {}); // more than the system takes
  const pending = page.locator('figure', { hasText: 'Pending bytes' }).locator('b');
  await pending.filter({ hasText: /MB$/ }).waitFor();
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
  await pending.filter({ hasText: /^0 B$/ }).waitFor();
  assert.equal(await page.locator('#count').innerText(), '0 connections');
});
await check('the page goes on with the next process, and does not say of what that cannot know that it has ended', async () => {
  const next = await start('-clients', '3', '-travellers', '0', '-churn', '0');
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
  const crowd = await start('-clients', '5000', '-travellers', '0', '-churn', '20', '-pushes', '200');
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
  await check('… a group of all of them is counted, and the first 1000 are listed', async () => {
    await lookUp('group', 'everybody', many);
    await many.locator('#summary', { hasText: /^[45],\d{3} connections, [\d:]+\. 1,000 of them are listed\.$/ }).waitFor();
    assert.equal(await many.locator('#members li').count(), 1000);
    await many.keyboard.press('Escape');
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
