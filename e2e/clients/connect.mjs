// A client using npm's ws, for the programs that are mainly publishers.
import { WebSocket } from 'ws';
import { within } from '../check.mjs';

// open returns a client, what comes to it, and its end.
function open(url, protocols, options) {
  const client = new WebSocket(url, protocols, options);
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
  return { client, next, closed };
}

// of returns the parts of an address.
function of(address) {
  const { username: id, host, hostname, port, pathname } = new URL(address);
  return { id, host, hostname, port, pathname };
}

// visit is connect for a client that speaks wspush.v1. resume is "TICKET.OFFSET" of one that comes back.
export async function visit(url, resume) {
  const opened = open(url, ['wspush.v1', ...(resume ? [`wspush.resume.${resume}`] : [])]);
  const hello = JSON.parse(await opened.next());
  return { ...opened, ...of(hello.address), hello };
}

// connect returns a client that has been greeted: next returns its next message, closed resolves to "CODE REASON" when it has
// ended, and the rest is from its address.
export async function connect(url, options) {
  const opened = open(url, [], options);
  return { ...opened, ...of(await opened.next()) };
}
