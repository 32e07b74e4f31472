// A JavaScript client's whole life: client.mjs ws|builtin URL
// Both have the browser's WebSocket interface. The server needs -echo, -ping 1s and -idle 3s.
import assert from 'node:assert/strict';
import { check, confirmed, push, sleep, within } from '../check.mjs';

const [kind, url] = process.argv.slice(2);
const WebSocket = kind === 'ws' ? (await import('ws')).WebSocket : globalThis.WebSocket;

const client = new WebSocket(url);
client.binaryType = 'arraybuffer';

const messages = []; // received, not yet taken
let wake = () => {};
client.onmessage = ({ data }) => {
  messages.push(typeof data === 'string' ? data : Buffer.from(data));
  wake();
};
const closed = new Promise((resolve) => { client.onclose = resolve; });
client.onerror = ({ message }) => console.log(`error event: ${message}`);

let pings = 0;
if (kind === 'ws') client.on('ping', () => { pings++; }); // the browser's interface hides pings

async function next() {
  if (messages.length === 0) await within(10, 'message', new Promise((resolve) => { wake = resolve; }));
  return messages.shift();
}

const text = 'zwölf Boxkämpfer ✓ 🥊';
const bytes = Buffer.from([0, 1, 0x80, 0xff, 0xfe, 0xc3, 0x28, 10, 13]);
let address;

await check('the greeting is one address', async () => {
  address = await next();
  assert.match(address, /^http:\/\/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}@127\.0\.0\.1:\d+\/ws$/);
});
await check('is pushed text', async () => {
  assert.equal(await push(address, text, 'text/plain'), 204);
  assert.equal(await next(), text);
});
await check('is pushed binary', async () => {
  assert.equal(await push(address, bytes, 'application/octet-stream'), 204);
  assert.deepEqual(await next(), bytes);
});
await check('its own text and binary messages come back, type kept', async () => {
  client.send(text);
  assert.equal(await next(), text);
  client.send(bytes);
  assert.deepEqual(await next(), bytes);
});
await check('confirms a push without knowing of it', async () => {
  assert.equal(await confirmed(address, text), '204 rtt');
  assert.equal(await next(), text);
});
if (kind === 'ws') {
  await check('200 publishers at once confirm 2000 pushes with few pings', async () => {
    const before = pings;
    await Promise.all(Array.from({ length: 200 }, async () => {
      for (let i = 0; i < 10; i++) assert.equal(await confirmed(address, text), '204 rtt');
    }));
    for (let i = 0; i < 2000; i++) assert.equal(await next(), text);
    console.log(`${pings - before} pings`);
    assert.ok(pings - before < 1000);
  });
}
await check('answers pings: silent for longer than the idle timeout, it stays open', async () => {
  await sleep(4.5);
  assert.equal(client.readyState, WebSocket.OPEN);
  assert.deepEqual(messages, []);
  if (kind === 'ws') assert.ok(pings >= 3, `${pings} pings`);
  assert.equal(await push(address, text, 'text/plain'), 204);
  assert.equal(await next(), text);
});
await check("its close, 3001 'bye', is answered", async () => {
  client.close(3001, 'bye');
  const { code, wasClean } = await within(2, 'close', closed);
  assert.deepEqual({ code, wasClean }, { code: 3001, wasClean: true });
});
