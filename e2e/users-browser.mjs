// The page of examples/users in Chromium and Firefox at once, then with the browsers changed over: users-browser.mjs PROGRAM ARGUMENTS...
// With E2E_SHOTS set to a folder, screenshots go there.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { launch } from './browsers.mjs';
import { check, within } from './check.mjs';
import { relay } from './relay.mjs';

const [program, ...args] = process.argv.slice(2);
const isOneProcess = args.length === 0;
const shots = process.env.E2E_SHOTS;
// How long a session waits. Firefox does not let a page end its session, so this is also how long one of its tabs is seen after it was closed.
const RESUME = '8s';

// start is the running program; listen says where.
async function start(listen) {
  const child = spawn(program, ['-listen', listen, '-resume', RESUME, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill()); // no effect once it has ended
  const exited = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
  let said = '';
  const url = await within(20, 'URL from users', new Promise((resolve) => {
    child.stdout.on('data', (data) => {
      const found = /^Open (\S+)$/m.exec(said += data);
      if (found) resolve(found[1]);
    });
  }));
  return { url, stop: () => { child.kill('SIGTERM'); return within(20, 'exit', exited); } };
}

const browsers = { Chromium: await launch.Chromium(), Firefox: await launch.Firefox() };

let server = await start('127.0.0.1:0');
let failing = false;     // while failed connects are expected
const complaints = [];   // console errors and uncaught exceptions

// visit opens a new browser session, and in it a function that opens tabs. url is a function, since the server restarts.
async function visit(name, options, url = () => server.url) {
  const context = await browsers[name].newContext(options);
  context.setDefaultTimeout(20_000);
  return async () => {
    const page = await context.newPage();
    page.on('console', (message) => {
      // Browsers also complain of the answers 400 and 410, which are what the page asked for.
      if (message.type() === 'error' && !failing && !/status of 4[01]0/.test(message.text())) complaints.push(`${name}: ${message.text()}`);
    });
    page.on('pageerror', (err) => { if (!failing) complaints.push(`${name}: ${err}`); });
    await page.goto(url());
    return page;
  };
}

// until waits for something on a page. Not once per frame, as Playwright does by itself: there are hardly any frames in a background tab.
const until = (page, holds, arg) => page.waitForFunction(holds, arg, { polling: 100 });
const isStatus = (page, state, text) => until(page, ([state, text]) => {
  const status = document.querySelector('#status');
  return status.dataset.state === state && status.textContent.includes(text);
}, [state, text]);
const isIn = (page, who) => isStatus(page, 'open', who);
const isOut = (page, text = 'You have been logged out.') => isStatus(page, 'out', text);
const message = (page, text) => until(page, (text) => [...document.querySelectorAll('#messages .body')].some((m) => m.textContent === text), text);
const run = (command) => promisify(execFile)('bash', ['-c', `set -e; ${command}`], { timeout: 10_000 });

// people waits until exactly these are shown, as NAME N.
const people = (page, ...want) => until(page, (want) => [...document.querySelectorAll('#people button')]
  .map((b) => `${b.dataset.user} ${/\d+/.exec(b.querySelector('small').textContent)}`).join('\n') === want, want.join('\n'));

async function logIn(page, name, group) {
  await page.getByLabel('Name', { exact: true }).fill(name);
  if (group !== undefined) await page.getByLabel('Group', { exact: true }).fill(group);
  await page.keyboard.press('Enter');
}

const ann = `Änn <b> O'Hara & "co"`;

// pushWith types into the page, and runs the command that it shows.
async function pushWith(page, to, text) {
  await page.getByLabel('To', { exact: true }).fill(to);
  await page.getByLabel('Text', { exact: true }).fill(text);
  return (await run(await page.locator('#command').innerText())).stdout;
}

// scenario has Ann in both browsers, and Bob in the second.
async function scenario(first, second) {
  const it = (what, step) => check(`${first} and ${second}: ${what}`, step);
  const net = await relay(Number(new URL(server.url).port)); // between the first browser and the server
  const openFirst = await visit(first, { viewport: { width: 1280, height: 900 } }, () => net.url);
  let tab, other, third, bob;
  await it('one tab logs in by keyboard, and another is then logged in, too', async () => {
    tab = await openFirst();
    await isOut(tab, 'Not logged in');
    await until(tab, () => document.activeElement.id === 'name');
    await tab.keyboard.type(ann);
    await tab.keyboard.press('Enter');
    await isIn(tab, `${ann}, in lobby`);
    other = await openFirst();
    await isIn(other, `${ann}, in lobby`);
    await people(tab, `${ann} 2`);
  });
  await it('the same user in the other browser, and another user there', async () => {
    third = await (await visit(second))();
    await logIn(third, ann);
    await isIn(third, ann);
    bob = await (await visit(second, { viewport: { width: 375, height: 812 }, colorScheme: 'dark' }))();
    await logIn(bob, 'bob');
    await isIn(bob, 'bob');
  });
  await it('each sees the others come', async () => {
    for (const page of [tab, other, third, bob]) await people(page, 'bob 1', `${ann} 3`);
  });
  await it('the command on the page, run by bash, pushes to all tabs of a user in both browsers, and to nobody else', async () => {
    const answer = JSON.parse(await pushWith(bob, ann, `it's <i>"me"</i> $HOME \`x\` ✓`));
    assert.equal(answer.written, 3);
    assert.equal(answer.complete, true);
    for (const page of [tab, other, third]) await message(page, `it's <i>"me"</i> $HOME \`x\` ✓`);
    assert.equal(await bob.locator('#messages li').count(), 0);
  });
  await it('… and also with text that begins with @', async () => {
    assert.equal(JSON.parse(await pushWith(bob, ann, '@/etc/hostname')).written, 3);
    await message(third, '@/etc/hostname');
  });
  await it('… and to a user called ..', async () => {
    const dots = await (await visit(second))();
    await logIn(dots, '..', '');
    await isIn(dots, '..');
    await people(dots, '.. 1');
    assert.equal(JSON.parse(await pushWith(tab, '..', 'dots')).written, 1);
    await message(dots, 'dots');
    await dots.close();
  });
  await it('the button copies the command', async () => {
    await tab.getByRole('button', { name: 'Copy command' }).click();
    await until(tab, () => document.querySelector('#copy').textContent === 'Copied');
  });
  await it('by keyboard, the page itself pushes to one who is there', async () => {
    await tab.bringToFront();
    await tab.locator('#people button', { hasText: 'bob' }).focus();
    await tab.keyboard.press('Enter');
    await until(tab, () => document.activeElement.id === 'text' && document.querySelector('#to').value === 'bob');
    await tab.keyboard.type('lunch?'); // in place of what was written to another
    await tab.keyboard.press('Enter');
    await message(bob, 'lunch?');
    await until(tab, () => document.querySelector('#outcome').textContent === 'Written to one connection of bob.');
  });
  await it('… and says if somebody is not there', async () => {
    await tab.getByLabel('To', { exact: true }).fill('dan');
    await tab.getByRole('button', { name: 'Push', exact: true }).click();
    await until(tab, () => document.querySelector('#outcome').textContent.includes('dan is not there'));
  });
  await it('fits a phone: no sideways scrolling', async () => {
    const wide = await bob.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 375, `${wide} pixels wide`);
  });
  const shot = (page, name) => page.screenshot({ path: join(shots, `users-${isOneProcess ? '' : 'workers-'}${name}.png`), fullPage: true });
  if (shots) {
    mkdirSync(shots, { recursive: true });
    await shot(tab, `${first}-light`);
    await shot(bob, `${second}-phone`);
  }
  await it('a tab that is closed is seen to go', async () => {
    await other.close();
    await people(tab, 'bob 1', `${ann} 2`);
    other = await openFirst();
    await people(bob, 'bob 1', `${ann} 3`);
  });
  const comeBack = async (...pages) => {
    net.mend();
    for (const page of pages) await page.evaluate(() => dispatchEvent(new Event('online'))); // so that it does not wait for long
    for (const page of pages) await isStatus(page, 'open', '');
    failing = false;
  };
  const shown = (page) => page.evaluate(() => [...document.querySelectorAll('#messages .body')].map((m) => m.textContent));
  await it('the connection is lost: the page says so, and comes back to all that it has missed', async () => {
    const before = { tab: await shown(tab), other: await shown(other) };
    failing = true;
    net.cut();
    for (const page of [tab, other]) await isStatus(page, 'connecting', 'Reconnecting');
    if (shots) await shot(tab, `${first}-lost`);
    const { written, buffered } = JSON.parse(await pushWith(bob, ann, 'away 1'));
    assert.deepEqual([written, buffered], [1, 2]);
    await bob.getByLabel('Text', { exact: true }).fill('away 2');
    await bob.getByRole('button', { name: 'Push', exact: true }).click();
    await until(bob, (ann) => document.querySelector('#outcome').textContent === `Written to one connection of ${ann}. 2 connections will get it if back in time.`, ann);
    await people(bob, 'bob 1', `${ann} 3`); // those who are away are there
    await comeBack(tab, other);
    for (const [page, had] of [[tab, before.tab], [other, before.other]]) {
      await until(page, () => [...document.querySelectorAll('#messages li')].some((m) => m.className === 'note' || m.textContent.includes('away 2')));
      assert.deepEqual(await shown(page), [...had, 'away 1', 'away 2']);
    }
    for (const page of [tab, other, third]) assert.equal(await page.locator('#messages .note').count(), 0, 'it is told of a loss');
  });
  if (shots) await shot(tab, `${first}-back`);
  await it('… and everybody is there once more', async () => {
    for (const page of [tab, third, bob]) await people(page, 'bob 1', `${ann} 3`);
    assert.equal(JSON.parse(await pushWith(bob, ann, 'all again')).written, 3);
    for (const page of [tab, other, third]) await message(page, 'all again');
  });
  if (isOneProcess) {
    await it('the server restarts: all tabs come back by themselves', async () => {
      failing = true;
      assert.equal(await server.stop(), 0);
      for (const page of [tab, other, third, bob]) await isStatus(page, 'connecting', 'Reconnecting');
      server = await start(new URL(server.url).host);
      for (const page of [tab, other, third, bob]) await isStatus(page, 'open', '');
      for (const page of [tab, other, third, bob]) await people(page, 'bob 1', `${ann} 3`);
      failing = false;
    });
    await it('… and the new command works', async () => {
      assert.equal(JSON.parse(await pushWith(bob, ann, 'again')).written, 3);
      await message(other, 'again');
    });
  }
  await it('logged out everywhere: all tabs in both browsers say so, and bob’s sees them go', async () => {
    await other.getByLabel('Text', { exact: true }).fill('for bob'); // which the next user of this tab is not to see
    await other.getByLabel('To', { exact: true }).fill('bob');
    await other.getByRole('button', { name: 'Push', exact: true }).click();
    await message(bob, 'for bob');
    await until(other, () => document.querySelector('#outcome').textContent !== '');
    await third.getByRole('button', { name: 'Log out everywhere' }).click();
    for (const page of [tab, other, third]) await isOut(page);
    await people(bob, 'bob 1');
  });
  await it('… they do not come back, not even when they are loaded again', async () => {
    await until(tab, async () => (await fetch('/who')).status === 204); // each page has asked to forget its cookie
    await tab.reload();
    await isOut(tab, 'Not logged in');
    await other.waitForTimeout(1500); // longer than a page waits before it first tries again
    await isOut(other);
    await people(bob, 'bob 1');
  });
  await it('… and can log in as somebody else, who sees nothing of before', async () => {
    await logIn(other, 'cat');
    await isIn(other, 'cat');
    await people(bob, 'bob 1', 'cat 1');
    assert.equal(await other.locator('#messages li').count(), 0);
    assert.deepEqual(await other.evaluate(() => [document.querySelector('#text').value, document.querySelector('#outcome').textContent]), ['Hello', '']);
  });
  await it('… and whoever has logged in as somebody else while a tab was away is that one there, too', async () => {
    failing = true;
    net.cut();
    await isStatus(other, 'connecting', 'Reconnecting');
    await other.context().request.post(`${server.url}login`, { form: { as: 'dog', group: 'lobby' } }); // shares the cookies
    await comeBack(other);
    await isIn(other, 'dog');
    await people(other, 'bob 1', 'dog 1');
  });
  await it('a name that cannot be is refused with the reason', async () => {
    await logIn(third, 'a/b');
    await until(third, () => document.querySelector('[role=alert]').textContent.includes('no slashes'));
  });
  if (shots) await third.screenshot({ path: join(shots, `users-${second}-login.png`), fullPage: true });
  for (const page of [tab, other, third, bob]) await page.context().close();
  net.close();
}

await scenario('Chromium', 'Firefox');
await scenario('Firefox', 'Chromium');
await check('no errors on the console', () => assert.deepEqual(complaints, []));
for (const browser of Object.values(browsers)) await browser.close();
await check('SIGTERM: exit status 0', async () => assert.equal(await server.stop(), 0));
