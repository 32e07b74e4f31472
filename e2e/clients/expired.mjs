// A JavaScript client whose login expires: expired.mjs ws|builtin URL
// Both have the browser's WebSocket interface. The server needs -login 2s.
import assert from 'node:assert/strict';
import { check, confirmed, within } from '../check.mjs';

const [kind, url] = process.argv.slice(2);
const WebSocket = kind === 'ws' ? (await import('ws')).WebSocket : globalThis.WebSocket;

const client = new WebSocket(url);
const greeting = new Promise((resolve) => { client.onmessage = ({ data }) => resolve(data); });
const closed = new Promise((resolve) => { client.onclose = resolve; });
const address = await within(2, 'greeting', greeting);

await check("is closed with 3000 'expired' when its login expires", async () => {
  const { code, reason, wasClean } = await within(4, 'close', closed);
  assert.deepEqual({ code, reason, wasClean }, { code: 3000, reason: 'expired', wasClean: true });
});
await check('a push after that is told that it has gone', async () => {
  assert.match(await confirmed(address, 'late'), /^410/);
});
