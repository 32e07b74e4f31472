// A client using npm's ws, for the programs that are mainly publishers.
import { WebSocket } from 'ws';
import { within } from '../check.mjs';

// connect returns a client that has been greeted: next returns its next message, closed resolves to "CODE REASON" when it has
// ended, and the rest is from its address.
export async function connect(url, options) {
  const client = new WebSocket(url, options);
  const messages = []; // received, not yet taken
  let wake = () => {};
  client.on('message', (data, isBinary) => {
    messages.push(isBinary ? data : data.toString());
    wake();
  });
  const closed = new Promise((resolve) => {
    client.on('close', (code, reason) => resolve(`${code} ${reason}`));
  });
  client.on('error', () => {}); // close follows
  const next = async () => {
    if (messages.length === 0) await within(10, 'message', new Promise((resolve) => { wake = resolve; }));
    return messages.shift();
  };
  const { username: id, host, hostname, port, pathname } = new URL(await next());
  return { client, next, closed, id, host, hostname, port, pathname };
}
