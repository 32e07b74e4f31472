// Many messages in one request, with Node's own HTTP client. Usage: node bulk.mjs MOUNT ID

import assert from 'node:assert/strict';
import http from 'node:http';
import { createInterface } from 'node:readline';
import { check, within } from '../check.mjs';

const [mount, id] = process.argv.slice(2);

await check('bulk: each line is sent when the one before has been answered', async () => {
  const request = http.request(`${mount}/@connections`, { method: 'POST', headers: { 'Content-Type': 'application/x-ndjson' } });
  request.flushHeaders();
  const [response] = await within(10, 'answer', once(request, 'response'));
  assert.equal(response.statusCode, 200);
  const answers = createInterface({ input: response })[Symbol.asyncIterator]();
  const answer = async () => JSON.parse((await within(10, 'line', answers.next())).value);
  for (let line = 1; line <= 3; line++) {
    request.write(`${JSON.stringify({ to: id, text: `${line}` })}\n`);
    assert.deepEqual(await answer(), { line, status: 204 });
  }
  request.end();
  assert.deepEqual(await answer(), { lines: 3 });
});

function once(emitter, event) {
  return new Promise((resolve, reject) => emitter.once(event, (...args) => resolve(args)).once('error', reject));
}
