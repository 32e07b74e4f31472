// Many clients and pushes through a real nginx: workers.mjs PROGRAM, which is examples/workers.
// A push through any worker must arrive at its client, exactly once.
import assert from 'node:assert/strict';
import http from 'node:http';
import { WebSocket } from 'ws';
import { check, sleep, within } from './check.mjs';
import { startSite } from './site.mjs';

const CLIENTS = 30, PUSHES = 3000, AT_A_TIME = 24;

const site = await startSite(process.argv[2], '-restart', '5s');

// connect returns a client that has been greeted: its greeting, its messages since, and its end.
async function connect() {
  const client = { socket: new WebSocket(site.url.replace('http', 'ws') + '/ws'), got: [] };
  const greeting = new Promise((resolve, reject) => {
    client.socket.once('message', (data) => {
      Object.assign(client, JSON.parse(data));
      client.socket.on('message', (more, isBinary) => client.got.push(isBinary ? more : String(more)));
      resolve();
    });
    client.socket.on('error', reject); // after the greeting, this has no effect
  });
  client.closed = new Promise((resolve) => client.socket.on('close', (code) => resolve(code)));
  await within(10, 'greeting', greeting);
  return client;
}

function ask(address, method = 'GET', body = undefined, headers = {}) {
  return fetch(address, {
    method, body, signal: AbortSignal.timeout(20_000),
    headers: { Authorization: `Bearer ${site.token}`, 'Content-Type': 'text/plain', ...headers },
  });
}

// push returns the status of the answer, and the worker that took the request.
async function push(client, text) {
  const answer = await ask(client.address, 'POST', text);
  await answer.arrayBuffer();
  return { status: answer.status, takenIn: Number(answer.headers.get('X-Worker')) };
}

// pushMany pushes the texts to their clients, several at a time, and calls told with each outcome.
async function pushMany(all, told) {
  let next = 0;
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    while (next < all.length) {
      const [client, text] = all[next++];
      told(client, text, await push(client, text));
    }
  }));
}

const arrival = async (what, done) => {
  for (let i = 0; !done(); i++) {
    assert.ok(i < 200, `waited 10 s for ${what}`);
    await sleep(0.05);
  }
};

// allGot waits until each client has got the wanted messages, in any order, and nothing else; then it forgets them.
async function allGot(clients, wanted) {
  await arrival('messages', () => clients.every((c) => c.got.length >= wanted(c).length));
  for (const c of clients) assert.deepEqual(c.got.splice(0).sort(), wanted(c).sort());
}

const statsOf = async () => Promise.all([1, 2, 3].map(async (n) => (await fetch(`${site.url}/workers/${n}`)).json()));

let clients;
await check(`${CLIENTS} clients connect, to each of 3 workers`, async () => {
  clients = await Promise.all(Array.from({ length: CLIENTS }, connect));
  for (const n of [1, 2, 3]) assert.ok(clients.some((c) => c.worker === n), `nobody is at worker ${n}`);
});

await check(`${PUSHES} pushes under the public name: each is answered 204, and arrives at its client, once`, async () => {
  const before = await statsOf();
  const wanted = new Map(clients.map((c) => [c, []]));
  const all = Array.from({ length: PUSHES }, (_, i) => {
    const client = clients[Math.floor(Math.random() * clients.length)];
    wanted.get(client).push(`push ${i}`);
    return [client, `push ${i}`];
  });
  const takenIn = { 1: 0, 2: 0, 3: 0 }, forwarded = { 1: 0, 2: 0, 3: 0 }, statuses = {};
  await pushMany(all, (client, _, answer) => {
    statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
    takenIn[answer.takenIn]++;
    if (answer.takenIn !== client.worker) forwarded[answer.takenIn]++;
  });
  assert.deepEqual(statuses, { 204: PUSHES });
  await allGot(clients, (c) => wanted.get(c));
  const after = await statsOf();
  console.log('worker  clients held  pushes taken in  of these, sent on  written to its clients');
  for (const [i, s] of after.entries()) {
    const did = (what) => s[what] - before[i][what];
    console.log([s.worker, s.held, did('takenIn'), did('forwarded'), did('written')]
      .map((n, at) => String(n).padStart([6, 14, 17, 20, 24][at])).join(''));
    assert.equal(did('takenIn'), takenIn[s.worker]);
    assert.equal(did('forwarded'), forwarded[s.worker]);
    assert.ok(did('forwarded') > 0, 'nothing was sent on');
    assert.equal(s.held, clients.filter((c) => c.worker === s.worker).length);
  }
  assert.equal(after.reduce((sum, s, i) => sum + s.written - before[i].written, 0), PUSHES);
});

await check('1 MiB arrives whole, at a client of each worker, from each worker', async () => {
  const text = 'ä'.repeat(1 << 19);
  for (const n of [1, 2, 3]) {
    const client = clients.find((c) => c.worker === n);
    const seen = new Set();
    while (seen.size < 3) {
      const { status, takenIn } = await push(client, text);
      assert.equal(status, 204);
      seen.add(takenIn);
      await allGot([client], () => [text]);
    }
  }
});
await check('a push is confirmed, by whichever worker it goes', async () => {
  for (const c of clients.slice(0, 6)) {
    const answer = await ask(`${c.address}?confirm=received`, 'POST', 'confirm');
    assert.equal(answer.status, 204);
    assert.match(answer.headers.get('Wspush-Rtt'), /^\d+\.\d{3}$/);
    await allGot([c], () => ['confirm']); // already read, as 204 promises
  }
});
await check('GET and HEAD are answered, whichever worker is asked', async () => {
  for (const c of clients.slice(0, 6)) {
    const answer = await ask(c.address);
    assert.equal(answer.status, 200);
    const about = await answer.json();
    assert.match(about.connectionId, /^[0-9a-f-]{36}$/);
    assert.equal(about.path, '/ws');
    assert.equal((await ask(c.address, 'HEAD')).status, 200);
  }
});
await check('without the token: 401; with a changed address: 403', async () => {
  assert.equal((await fetch(clients[0].address, { method: 'POST', body: 'no' })).status, 401);
  assert.equal((await push({ address: clients[0].address.replace(/.{4}$/, 'AAAA') }, 'no')).status, 403);
});

// nginx must pass on each line and each answer at once.
await check('one bulk request reaches the clients of all workers, and is answered while it is being sent', async () => {
  const request = http.request(`${site.url}/ws/@connections`, {
    method: 'POST', headers: { 'Content-Type': 'application/x-ndjson', Authorization: `Bearer ${site.token}` },
  });
  let said = '';
  const ended = new Promise((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (answer) => answer.on('data', (data) => { said += data; }).on('end', resolve).on('error', reject));
  });
  const answers = () => said.split('\n').slice(0, -1).map((line) => JSON.parse(line));
  const sealedID = (c) => new URL(c.address).pathname.split('/').pop();
  const send = (line) => request.write(JSON.stringify(line) + '\n');
  for (const [i, c] of clients.entries()) {
    send({ to: sealedID(c), text: `line ${i + 1}`, ref: `r${i}`, ...(i % 5 ? {} : { confirm: 'received' }) });
    if (i % 10) continue;
    await arrival(`an answer to line ${i + 1}, while the request goes on`, () => answers().length === i + 1);
  }
  send({ to: clients.map(sealedID), text: 'to all' });
  await arrival('all answers', () => answers().length === 2 * clients.length);
  request.end();
  await within(20, 'end of the answer', ended);
  const all = answers();
  assert.deepEqual(all.pop(), { lines: clients.length + 1 });
  const bad = all.filter((a) => a.status !== 204);
  assert.deepEqual(bad, []);
  assert.equal(all.length, 2 * clients.length);
  assert.equal(all.filter((a) => a.rttMs > 0).length, Math.ceil(clients.length / 5));
  await allGot(clients, (c) => [`line ${clients.indexOf(c) + 1}`, 'to all']);
});

await check('DELETE closes a client, by whichever worker it goes', async () => {
  for (const c of clients.splice(0, 3)) {
    assert.equal((await ask(`${c.address}?code=3001&reason=enough`, 'DELETE')).status, 204);
    assert.equal(await within(5, 'close', c.closed), 3001);
    assert.equal((await push(c, 'too late')).status, 410);
  }
});

const dead = clients.filter((c) => c.worker === 2), alive = clients.filter((c) => c.worker !== 2);
await check('kill -9 of one worker: pushes to its clients are 502, all others arrive', async () => {
  const ended = site.said('word of its end', /^worker 2, pid \d+, has ended/);
  process.kill(site.pids['worker 2'], 'SIGKILL');
  await Promise.all([ended, ...dead.map((c) => within(5, 'end', c.closed))]);
  const all = clients.flatMap((c) => [1, 2, 3].map((n) => [c, `after ${n}`]));
  await pushMany(all, (c, _, { status, takenIn }) => {
    assert.equal(status, c.worker === 2 ? 502 : 204, `to a client of worker ${c.worker}, by worker ${takenIn}`);
    assert.notEqual(takenIn, 2);
  });
  await allGot(alive, () => ['after 1', 'after 2', 'after 3']);
});
await check('those clients connect again, elsewhere', async () => {
  for (const c of await Promise.all(dead.map(connect))) {
    assert.notEqual(c.worker, 2);
    assert.equal((await push(c, 'again')).status, 204);
    await allGot([c], () => ['again']);
  }
});
await check('started again on the same ports, it answers 410 for them; all others are as they were', async () => {
  const old = site.pids['worker 2'];
  await arrival('the next worker 2', () => site.pids['worker 2'] !== old);
  const takenIn = new Set();
  const all = clients.flatMap((c) => [1, 2, 3].map((n) => [c, `later ${n}`]));
  await pushMany(all, (c, _, answer) => {
    assert.equal(answer.status, c.worker === 2 ? 410 : 204, `to a client of worker ${c.worker}, by worker ${answer.takenIn}`);
    takenIn.add(answer.takenIn);
  });
  assert.deepEqual([...takenIn].sort(), [1, 2, 3]);
  await allGot(alive, () => ['later 1', 'later 2', 'later 3']);
});
await check('SIGTERM: exit status 0, every client is closed with 1012, and nothing is left running', async () => {
  assert.equal(await site.stop(), 0);
  for (const c of alive) assert.equal(await within(5, 'close', c.closed), 1012);
  for (const [name, pid] of Object.entries(site.pids)) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' }, `${name} is there`);
});
process.exit(0); // does not wait for connected clients
