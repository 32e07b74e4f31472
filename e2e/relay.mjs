// A network that fails, for the programs with a browser.
import { connect as dial, createServer } from 'node:net';

// relay forwards connections to a port, which lead changes. freeze stops those that it has from forwarding but keeps them open, as when a
// network is gone. cut ends them, and refuses others until mended. heard holds the beginnings of what was forwarded.
export async function relay(port) {
  const sockets = new Set(), heard = [];
  let broken = false;
  const server = createServer((socket) => {
    if (broken) return socket.destroy();
    const far = dial(port, '127.0.0.1');
    for (const [one, other] of [[socket, far], [far, socket]]) {
      sockets.add(one);
      one.pipe(other);
      one.on('data', (data) => heard.push(data.toString('latin1', 0, 2000)));
      one.on('error', () => {});
      one.on('close', () => { sockets.delete(one); other.destroy(); });
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: server.address().port,
    url: `http://127.0.0.1:${server.address().port}`,
    heard,
    lead(to) { port = to; },
    freeze() { for (const socket of sockets) socket.unpipe().pause(); },
    cut() { broken = true; for (const socket of sockets) socket.destroy(); },
    mend() { broken = false; },
    close() { this.cut(); server.close(); },
  };
}
