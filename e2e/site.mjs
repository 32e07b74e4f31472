// Runs examples/workers for the programs that test it.
import { spawn } from 'node:child_process';
import { within } from './check.mjs';

// startSite starts the program and parses its output: url, token, and pids by name ("worker 1", "nginx"). said waits for a
// matching line from now on; stop ends the program as Ctrl-C does, and returns its exit status.
export async function startSite(program, ...args) {
  const child = spawn(program, ['-listen', '127.0.0.1:0', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill()); // no effect once it has ended
  const exited = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
  const site = { pids: {}, exited };
  const waiting = new Set();
  let rest = '';
  child.stdout.on('data', (data) => {
    const lines = (rest + data).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const running = /^(.*): pid (\d+),/.exec(line);
      if (running) site.pids[running[1]] = Number(running[2]);
      for (const wait of waiting) wait(line);
    }
  });
  site.said = (what, pattern) => within(20, what, new Promise((resolve) => {
    const wait = (line) => {
      const found = pattern.exec(line);
      if (!found) return;
      waiting.delete(wait);
      resolve(found);
    };
    waiting.add(wait);
  }));
  site.stop = () => {
    child.kill('SIGTERM');
    return within(20, 'exit', exited);
  };
  const [url, token] = await Promise.all([site.said('URL', /^Open (.*)\/$/), site.said('token', /PUSH_TOKEN=(\w+)/)]);
  return Object.assign(site, { url: url[1], token: token[1] });
}
