// Compares the worker's answers with docs/openapi.yaml: openapi.mjs URL [PID [UNLISTED LONELY]]
// The server must be examples/quickstart or, with its PID, e2e/small, which is told to stop at the end. UNLISTED is the URL of one that
// cannot find out which other workers there are, and LONELY of one whose only other worker cannot be reached.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { Readable } from 'node:stream';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import YAML from 'yaml';
import { check, skip, sleep, within } from '../check.mjs';
import { connect, visit } from './connect.mjs';

const [url, small, unlisted, lonely] = process.argv.slice(2);
const source = await readFile(new URL('../../docs/openapi.yaml', import.meta.url), 'utf8');
const doc = YAML.parse(source);

// Schemas are found by their place in the document. JSON is used as it is; text in HTTP may stand for a number.
const ajv = new Ajv2020({ strict: false, allErrors: true });
const ajvText = new Ajv2020({ strict: false, coerceTypes: true });
addFormats.default(ajv);
ajv.addSchema(doc, 'doc');
ajvText.addSchema(doc, 'doc');

const resolve = (value) => (value?.$ref ? value.$ref.slice(2).split('/').reduce((at, key) => at[key], doc) : value);

// matchesJSON checks that value matches the schema and has no member beyond it.
function matchesJSON(schema, value) {
  const valid = ajv.compile({ $ref: `doc#/${schema.map((key) => encodeURIComponent(key.replaceAll('/', '~1'))).join('/')}`, unevaluatedProperties: false });
  assert.ok(valid(value), `${JSON.stringify(value)} ${ajv.errorsText(valid.errors)}`);
}

// matchesText reports whether a header or parameter matches its schema.
const matchesText = (schema, value) => ajvText.validate({ properties: { value: rooted(schema) } }, { value });

// rooted makes the references of a schema start at the document.
const rooted = (schema) => JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"doc#/'));

const ourHeaders = ['Allow', 'Retry-After', 'WWW-Authenticate', 'Wspush-Address', 'Wspush-Buffered', 'Wspush-Rtt', 'Wspush-State', 'x-amzn-ErrorType'];
const given = new Set(); // each "OPERATION STATUS" that the worker has answered with

// conforms checks an answer against its operation in the document.
function conforms(method, path, { status, headers, body }) {
  const [, item] = Object.entries(doc.paths).find(([template]) => new RegExp(`^${template.replaceAll(/{\w+}/g, '[^/]+')}$`).test(path));
  const operation = item[method.toLowerCase()];
  const reference = operation ? operation.responses[status] : item['x-other-methods'];
  assert.ok(reference, `${status} is not in the document: ${body}`);
  const response = resolve(reference);
  if (!operation) assert.equal(status, 405);
  given.add(`${operation?.operationId} ${status}`);

  for (const name of ourHeaders) {
    const value = headers[name.toLowerCase()], header = resolve(response.headers?.[name]);
    if (value === undefined) assert.ok(!header?.required, `no ${name}`);
    else assert.ok(header && matchesText(header.schema, value), `${name}: ${value}`);
  }
  if (!response.content) {
    assert.equal(body, '');
    return;
  }
  const [[type, media]] = Object.entries(response.content);
  assert.equal(headers['content-type'], type);
  if (method === 'HEAD') assert.equal(body, '');
  else if (media['x-itemSchema']) {
    for (const line of body.trimEnd().split('\n')) matchesJSON(media['x-itemSchema'].$ref.slice(2).split('/'), JSON.parse(line));
  } else if (reference.$ref) {
    matchesJSON([...reference.$ref.slice(2).split('/'), 'content', type, 'schema'], JSON.parse(body));
  }
}

const agent = new http.Agent({ keepAlive: true });

// raw returns the answer to a request.
function raw(method, path, { body, headers, query = '', ...options } = {}) {
  return new Promise((resolve, reject) => {
    const whole = typeof body === 'string' || Buffer.isBuffer(body);
    const length = whole ? { 'Content-Length': Buffer.byteLength(body) } : {};
    const sent = http.request({ method, hostname, port, path: path + query, headers: { ...length, ...headers }, agent, timeout: 10_000, ...options });
    sent.on('timeout', () => sent.destroy(new Error('no answer'))).on('error', reject).on('response', (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (data) => { text += data; }).on('error', reject)
        .on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, body: text }));
    });
    if (whole || body === undefined) sent.end(body);
    else Readable.from(body, { objectMode: false }).pipe(sent);
  });
}

// request returns the answer to a request, checking that it has that status and conforms to the document.
async function request(status, method, path, options) {
  const answer = await raw(method, path, options);
  const what = `${method} ${path}${options?.query ?? ''}: ${answer.status} ${answer.body}`;
  if (status) assert.equal(answer.status, status, what);
  try {
    conforms(method, path, answer);
  } catch (err) {
    throw new Error(`${what}: ${err.message}`);
  }
  return answer;
}

const typeOf = ({ body }) => JSON.parse(body).type;

const never = '0f8fad5b-d9cb-469f-a165-70867728950e';
const mount = new URL(url).pathname;
const { client, next, closed, id, hostname, port } = await connect(url);

await check('the document is OpenAPI 3.1, without loose ends', async () => {
  const { valid, errors } = await new Validator().validate(YAML.parse(source));
  assert.ok(valid, JSON.stringify(errors));
  const references = new Set(source.match(/#\/components\/[\w/]+/g));
  for (const $ref of references) assert.ok(resolve({ $ref }), $ref);
  for (const [kind, components] of Object.entries(doc.components)) {
    if (kind === 'securitySchemes') continue;
    for (const name of Object.keys(components)) assert.ok(references.has(`#/components/${kind}/${name}`), `${name} is not used`);
  }
});

await check('a probe: 200', async () => {
  assert.deepEqual(JSON.parse((await request(200, 'GET', '/@ready')).body), { takesPushes: true, draining: false });
  await request(200, 'HEAD', '/@ready');
});
for (const [form, at] of [
  ['path form', (id, mounted = mount) => [`${mounted}/@connections/${id}`, {}]],
  ['userinfo form', (id, mounted = mount) => [mounted, { auth: `${id}:` }]],
]) {
  const to = (status, method, target, more) => {
    const [path, options] = Array.isArray(target) ? target : at(target);
    return request(status, method, path, { ...options, ...more });
  };
  await check(`${form}: POST, 204`, async () => {
    await to(204, 'POST', id, { body: 'grüße' });
    assert.equal(await next(), 'grüße');
    await to(204, 'POST', id, { body: 'grüße', query: '?type=binary' });
    assert.deepEqual(await next(), Buffer.from('grüße'));
    const { headers } = await to(204, 'POST', id, { body: '', query: '?confirm=received&timeout=5s' });
    assert.ok(headers['wspush-rtt']);
    assert.equal(await next(), '');
  });
  await check(`${form}: GET and HEAD, 200; OPTIONS, 204`, async () => {
    assert.equal(JSON.parse((await to(200, 'GET', id)).body).connectionId, id);
    await to(200, 'HEAD', id);
    await to(204, 'OPTIONS', id);
  });
  await check(`${form}: 400, 404, 405, 410, 413`, async () => {
    for (const method of ['POST', 'GET', 'HEAD', 'DELETE']) {
      await to(400, method, 'nobody');
      await to(404, method, at(id, '/elsewhere'));
      await to(410, method, never);
    }
    await to(400, 'POST', id, { body: Buffer.from([0xff]) });
    for (const method of ['PUT', 'PATCH', 'TRACE']) await to(405, method, id);
    await to(413, 'POST', id, { body: Buffer.alloc((small ? 256 << 10 : 1 << 20) + 1) });
    for (const headers of [{ 'Content-Encoding': 'gzip' }, { 'Content-Type': 'multipart/mixed' }, { 'Content-Type': 'text/plain; charset=utf-16' }]) {
      await to(415, 'POST', id, { body: 'x', headers });
    }
  });
  await check(`${form}: 403 for a foreign page`, async () => {
    for (const method of ['POST', 'DELETE']) await to(403, method, id, { headers: { Origin: 'https://example.com' } });
  });
  await check(`${form}: 204 or 400 for a query, as the document says`, async () => {
    for (const [method, name, values] of [
      ['POST', 'type', ['text', 'binary', 'Text', 'x', '']],
      ['POST', 'confirm', ['received', 'read', '']],
      ['POST', 'timeout', ['5s', '1500ms', '1m', '1h2m', '1.5s', '.5s', '+1s', '1µs', '0', '0s', '-1s', '5', 's', '1s ', '1d', '']],
      ['POST', 'keep', ['0', '0s', '10s', '1500ms', '1h2m', '.5s', '+1s', '+0', '1µs', '-1s', '-1ns', '5', 's', '1s ', '1d', 'abc', '']],
      ['DELETE', 'code', ['1000', '1001', '1002', '1007', '1008', '1012', '1014', '4999', '999', '1004', '1005', '1006', '1010', '1015', '2999', '5000', 'x', '']],
      ['DELETE', 'reason', ['', 'x'.repeat(123), 'x'.repeat(124)]],
    ]) {
      for (const value of values) {
        const { schema } = doc.components.parameters[name];
        const expected = matchesText(schema, value) ? 204 : 400;
        const other = method === 'DELETE' ? await connect(url) : { id };
        await to(expected, method, other.id, { body: method === 'POST' ? 'x' : undefined, query: `?${name}=${encodeURIComponent(value)}` });
        other.client?.terminate();
        if (method === 'POST' && expected === 204) await next();
      }
    }
  });
  await check(`${form}: 400 for an unknown parameter, or one that is there twice`, async () => {
    for (const [method, query] of [['POST', '?confrim=received'], ['POST', '?type=text&type=text'], ['POST', '?keep=1s&keep=1s'], ['GET', '?x=1'], ['HEAD', '?x=1'], ['DELETE', '?type=text']]) {
      await to(400, method, id, { query });
    }
  });
  await check(`${form}: DELETE, 204`, async () => {
    const other = await connect(url);
    await to(204, 'DELETE', other.id, { query: '?code=3000&reason=enough' });
    assert.equal(await within(2, 'close', other.closed), '3000 enough');
    await to(410, 'POST', other.id, { body: 'late' });
  });
}
await check('no ID: 401', async () => {
  for (const method of ['POST', 'GET', 'HEAD', 'DELETE']) await request(401, method, mount);
});
if (small) {
  await check('AuthorizePush: 401 and 403', async () => {
    const by = (key) => ({ headers: { Authorization: `AWS4-HMAC-SHA256 Credential=${key}/x` } });
    for (const method of ['POST', 'GET', 'HEAD', 'DELETE']) {
      await request(401, method, `${mount}/@connections/${id}`, by('UNKNOWN'));
      await request(403, method, `${mount}/@connections/${id}`, by('FORBIDDEN'));
    }
  });
}

const sealed = `${mount}/@connections/v1.AbCd-_09`;
if ((await raw('HEAD', sealed)).status === 400) {
  skip('a sealed ID at a worker that has no keys: 421', 'this worker opens no sealed IDs');
} else {
  await check('a sealed ID at a worker that has no keys: 421', async () => {
    for (const method of ['POST', 'GET', 'HEAD', 'DELETE']) await request(421, method, sealed);
    await request(421, 'POST', mount, { auth: 'v1.AbCd-_09:' });
  });
}

// Here a bulk request is sent whole, and its answer is checked at the end.
const lines = [
  { to: id, text: 'one', ref: 'a' },
  '',
  { to: id, binary: 'AAEC' },
  { to: [id, never], text: 'two' },
  { to: id, text: 'three', confirm: 'received', timeout: '5s' },
  '{"to":',
  { to: id, text: 'x', ref: 'b', reff: 'b' },
  { to: id, text: 'x', binary: 'AAEC' },
  { to: id },
  { to: id, binary: '?' },
  { to: id, text: 'x', ref: 'x'.repeat(257) },
  { to: id, text: 'x', confirm: 'read' },
  { to: id, text: 'x', timeout: '5' },
  { to: id, text: 'x', keep: '-1s' },
  { to: id, text: 'four', keep: '0s' },
  { text: 'x' },
  { to: 'nobody', text: 'x' },
  { to: never, text: 'x' },
  { to: id, text: 'x'.repeat((small ? 256 << 10 : 1 << 20) + 1) },
  { user: 'nobody', text: 'x' }, // 410, or 403 without AuthorizePush
  { group: 'nobody', user: 'nobody', text: 'x' },
  { to: never, except: id, text: 'x' },
];
const bulk = `${mount}/@connections`;
const ndjson = { 'Content-Type': 'application/x-ndjson' };
const serves = await raw('POST', bulk, { body: '', headers: ndjson });
if (serves.status !== 200) {
  skip('bulk requests', `POST ${bulk} is answered with ${serves.status}`);
} else {
  await check('bulk: each push and each bad line has its answer', async () => {
    const body = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n');
    const answer = await request(200, 'POST', bulk, { body, headers: ndjson });
    const answers = answer.body.trimEnd().split('\n').map((line) => JSON.parse(line));
    assert.deepEqual(answers.pop(), { lines: lines.length });
    const of = (line, index) => {
      const found = answers.filter((answer) => answer.line === line && answer.index === index);
      assert.equal(found.length, 1, `answers for line ${line}, index ${index}`);
      return found[0];
    };
    assert.deepEqual(of(1), { line: 1, ref: 'a', status: 204 });
    assert.deepEqual(of(3), { line: 3, status: 204 });
    assert.deepEqual(of(4, 0), { line: 4, index: 0, status: 204 });
    assert.equal(of(4, 1).type, 'urn:wspush:gone');
    assert.equal(of(5).status, 204);
    assert.ok(of(5).rttMs > 0);
    assert.equal(of(18).status, 410);
    assert.equal(of(19).status, 413);
    assert.equal(answers.length, lines.length);
    for (const message of ['one', Buffer.from([0, 1, 2]), 'two', 'three', 'four']) assert.deepEqual(await next(), message);

    // Exactly those lines are 400 that are not a BulkLine according to the document.
    lines.forEach((line, i) => {
      if (line === '' || Array.isArray(line.to)) return;
      let good = typeof line === 'object';
      try {
        if (good) matchesJSON(['components', 'schemas', 'BulkLine'], line);
      } catch {
        good = false;
      }
      assert.equal(of(i + 1).status !== 400, good, JSON.stringify(of(i + 1)));
    });
  });
  await check('bulk: 400 for a query, 403, 415', async () => {
    const body = JSON.stringify(lines[0]);
    for (const query of ['?type=text', '?confirm=received', '?timeout=5s', '?keep=0', '?x=1']) await request(400, 'POST', bulk, { body, headers: ndjson, query });
    await request(403, 'POST', bulk, { body, headers: { ...ndjson, Origin: 'https://example.com' } });
    if (small) {
      for (const [status, key] of [[401, 'UNKNOWN'], [403, 'FORBIDDEN']]) {
        await request(status, 'POST', bulk, { body, headers: { ...ndjson, Authorization: `AWS4-HMAC-SHA256 Credential=${key}/x` } });
      }
    }
    await request(415, 'POST', bulk, { body, headers: { 'Content-Type': 'application/json' } });
  });
}

const page = await visit(url);
if (!page.hello.window) {
  skip('a client that is away: 202 and 409', 'there are no sessions');
  page.client.terminate();
} else {
  const away = `${mount}/@connections/${page.id}`;
  await check('a session whose client is there: GET and HEAD, 200', async () => {
    const { headers, body } = await request(200, 'GET', away);
    const { state, since, buffered } = JSON.parse(body);
    assert.deepEqual([state, buffered, headers['wspush-state'], headers['wspush-buffered']], ['connected', { messages: 0, bytes: 0 }, 'connected', undefined]);
    assert.ok(Date.parse(since) > 0);
    await request(200, 'HEAD', away);
    await request(204, 'POST', away, { body: 'x', query: '?keep=0' });
    assert.equal(await page.next(), 'x');
  });
  page.client.terminate();
  while ((await raw('HEAD', away)).headers['wspush-state'] !== 'suspended') await sleep(0.01);
  await check('a client that is away: POST, 202 and 409; GET and HEAD, 200', async () => {
    for (const [form, options] of [[away, {}], [mount, { auth: `${page.id}:` }]]) {
      const { headers } = await request(202, 'POST', form, { ...options, body: 'kept' });
      assert.ok(headers['wspush-buffered'] > 0 && headers['wspush-buffered'] <= page.hello.window, headers['wspush-buffered']);
      for (const query of ['?keep=0', '?keep=10ms', '?confirm=received&timeout=10ms', '?confirm=received&keep=0s', '?keep=1m&timeout=10ms']) {
        assert.equal(typeOf(await request(409, 'POST', form, { ...options, body: 'no', query })), 'urn:wspush:suspended');
      }
      const { state, buffered } = JSON.parse((await request(200, 'GET', form, options)).body);
      assert.deepEqual([state, buffered.seconds > 0], ['suspended', true]);
      assert.ok((await request(200, 'HEAD', form, options)).headers['wspush-buffered'] > 0);
    }
  });
  await check('… in lines of a bulk request', async () => {
    const body = [{ text: 'kept' }, { text: 'no', keep: '0' }, { text: 'no', keep: '10ms', confirm: 'received' }].map((line) => JSON.stringify({ to: page.id, ...line })).join('\n');
    const answers = (await request(200, 'POST', bulk, { body, headers: ndjson })).body.trimEnd().split('\n').map((line) => JSON.parse(line)).sort((a, b) => (a.line ?? 9) - (b.line ?? 9));
    assert.deepEqual(answers.map(({ status }) => status), [202, 409, 409, undefined]);
    assert.ok(answers[0].bufferedFor > 0);
  });
  if (small) {
    await check('… and in a group', async () => {
      const group = `${mount}/@groups/away`;
      await request(204, 'PUT', `${away}/@groups/away`);
      const { written, buffered } = JSON.parse((await request(200, 'POST', group, { body: 'kept' })).body);
      assert.deepEqual([written, buffered], [0, 1]);
      for (const query of ['?keep=0', '?keep=10ms&confirm=received']) assert.deepEqual(JSON.parse((await request(409, 'POST', group, { body: 'no', query })).body).refused, { suspended: 1 });
      await request(400, 'POST', group, { body: 'x', query: '?keep=-1s' });
      const lines = ['0s', undefined].map((keep) => JSON.stringify({ group: 'away', text: keep ? 'no' : 'kept', keep })).join('\n');
      const answers = (await request(200, 'POST', bulk, { body: lines, headers: ndjson })).body.trimEnd().split('\n').map((line) => JSON.parse(line));
      assert.deepEqual(answers.slice(0, 2).map(({ status }) => status).sort(), [200, 409]);
    });
  }
  await check('what was answered with 202 comes when the client is back, and nothing else', async () => {
    const back = await visit(url, `${page.hello.ticket}.1`);
    assert.deepEqual([back.hello.resumed, back.hello.offset, back.hello.missed], [true, 1, undefined]);
    for (let i = small ? 5 : 3; i > 0; i--) assert.equal(await back.next(), 'kept');
    await request(204, 'POST', away, { body: 'the end' });
    assert.equal(await back.next(), 'the end');
    back.client.close(1000);
    await back.closed;
  });
}

if (!small) {
  await check('users and groups without AuthorizePush: 403', async () => {
    for (const method of ['POST', 'GET', 'HEAD', 'DELETE']) {
      await request(403, method, `${mount}/@users/42`);
      await request(403, method, `${mount}/@groups/42`);
    }
    for (const method of ['PUT', 'DELETE']) await request(403, method, `${mount}/@connections/${id}/@groups/42`);
    await request(204, 'OPTIONS', `${mount}/@users/42`);
  });
} else {
  const membership = (of, group) => `${mount}/@connections/${of}/@groups/${group}`;
  await check('groups: joining, pushing, who is there, leaving', async () => {
    const other = await connect(url);
    for (const of of [id, id, other.id]) await request(204, 'PUT', membership(of, 'a%20room'));
    const group = `${mount}/@groups/a%20room`;
    assert.equal(JSON.parse((await request(200, 'POST', group, { body: 'to both' })).body).written, 2);
    assert.equal(await next(), 'to both');
    assert.equal(await other.next(), 'to both');
    const { excepted, received } = JSON.parse((await request(200, 'POST', group, { body: 'to one', query: `?confirm=received&except=${other.id}` })).body);
    assert.deepEqual([excepted, received], [1, 1]);
    assert.equal(await next(), 'to one');
    const { members, total } = JSON.parse((await request(200, 'GET', group, { query: '?limit=1' })).body);
    assert.deepEqual([members.length, total], [1, 2]);
    await request(200, 'HEAD', group);
    const line = JSON.stringify({ group: 'a room', text: 'in a line', except: [other.id] });
    const answers = (await request(200, 'POST', bulk, { body: line, headers: ndjson })).body.split('\n');
    assert.deepEqual([JSON.parse(answers[0]).status, JSON.parse(answers[0]).written], [200, 1]);
    assert.equal(await next(), 'in a line');
    await request(204, 'DELETE', membership(id, 'a%20room'));
    assert.equal(JSON.parse((await request(200, 'DELETE', group, { query: '?close=all&code=4000' })).body).closed, 1);
    await request(410, 'POST', group, { body: 'x' });
    await request(410, 'HEAD', group);
    await request(200, 'GET', group);
    await request(410, 'POST', `${mount}/@users/42`, { body: 'x' });
    await request(200, 'GET', `${mount}/@users/42`);
  });
  await check('users and groups: 400, 401, 403, 404, 405, 409, 410, 413, 415', async () => {
    for (const name of ['a%2Fb', '%0A', '%FF', 'x'.repeat(257)]) {
      await request(400, 'POST', `${mount}/@users/${name}`, { body: 'x' });
      await request(400, 'PUT', membership(id, name));
    }
    await request(400, 'DELETE', `${mount}/@users/42`);
    await request(400, 'GET', `${mount}/@users/42`, { query: '?limit=1001' });
    await request(404, 'PUT', `/elsewhere/@connections/${id}/@groups/a`);
    await request(410, 'PUT', membership(never, 'a'));
    await request(410, 'DELETE', membership(never, 'a'));
    await request(405, 'PUT', `${mount}/@users/42`);
    await request(405, 'POST', membership(id, 'a'));
    await request(204, 'OPTIONS', membership(id, 'a'));
    await request(413, 'POST', `${mount}/@groups/a`, { body: Buffer.alloc((256 << 10) + 1) });
    await request(415, 'POST', `${mount}/@groups/a`, { body: 'x', headers: { 'Content-Encoding': 'gzip' } });
    for (const [status, key] of [[401, 'UNKNOWN'], [403, 'FORBIDDEN']]) {
      await request(status, 'POST', `${mount}/@users/42`, { body: 'x', headers: { Authorization: `AWS4-HMAC-SHA256 Credential=${key}/x` } });
    }
    for (let i = 0; i < 1000; i++) await request(204, 'PUT', membership(id, `group-${i}`));
    await request(409, 'PUT', membership(id, 'one-more'));
    for (let i = 0; i < 1000; i++) await request(204, 'DELETE', membership(id, `group-${i}`));
  });
  if (unlisted) {
    const [here, other] = [await connect(unlisted), await connect(lonely)];
    const [withoutList, withoutOther] = [here, other].map(({ port }) => ({ port, agent: false }));
    await check('users and groups of several workers: 502 and 503 where nobody can know who is there', async () => {
      for (const [method, query] of [['POST', ''], ['GET', ''], ['HEAD', ''], ['DELETE', '?close=all']]) {
        for (const path of [`${mount}/@users/42`, `${mount}/@groups/42`]) {
          const unknown = await request(503, method, path, { ...withoutList, query });
          const alone = await request(method === 'POST' ? 502 : 503, method, path, { ...withoutOther, query });
          if (method === 'HEAD') continue;
          assert.equal(typeOf(unknown), 'urn:wspush:directory');
          assert.equal(typeOf(alone), method === 'POST' ? 'urn:wspush:unreachable' : 'urn:wspush:directory');
          if (method === 'POST') assert.deepEqual([JSON.parse(alone.body).workers, JSON.parse(alone.body).answered], [2, 1]);
        }
      }
      const lines = await request(200, 'POST', bulk, { ...withoutList, body: '{"user":"42","text":"x"}', headers: ndjson });
      assert.equal(typeOf({ body: lines.body.split('\n')[0] }), 'urn:wspush:directory');
    });
    await check('… and 200, but not complete, where somebody is', async () => {
      await request(204, 'PUT', membership(other.id, 'a'), withoutOther);
      const group = `${mount}/@groups/a`;
      for (const [method, query] of [['POST', ''], ['GET', ''], ['DELETE', '?close=all']]) {
        const { workers, answered, complete } = JSON.parse((await request(200, method, group, { ...withoutOther, query })).body);
        assert.deepEqual([workers, answered, complete], [2, 1, false], method);
      }
      await other.closed;
    });
    here.client.close();
  }
  const stalled = await connect(url);
  stalled.client.pause();
  const path = `${mount}/@connections/${stalled.id}`;
  await check('a client that reads nothing: 504, unconfirmed', async () => {
    const answer = await request(504, 'POST', path, { body: 'x', query: '?confirm=received&timeout=200ms' });
    assert.equal(typeOf(answer), 'urn:wspush:unconfirmed');
  });
  await check('… 504, unknown, once it can take no more; then 429', async () => {
    let answer;
    do answer = await request(undefined, 'POST', path, { body: Buffer.alloc(256 << 10), query: '?timeout=200ms' }); while (answer.status === 204);
    assert.equal(answer.status, 504);
    assert.equal(typeOf(answer), 'urn:wspush:unknown');
    await request(429, 'POST', path, { body: Buffer.alloc(256 << 10) });
    stalled.client.terminate();
  });
  await check('as many publishers as there may be: 503, full', async () => {
    agent.destroy();
    // Half a request: idle ones would make room. "100 Continue" says that the worker has read its header, and wants the rest.
    const half = `POST ${mount}/@connections/${id} HTTP/1.1\r\nHost: ${hostname}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n`;
    const begin = async () => {
      for (;;) { // until what has just been closed is not counted any more
        const socket = net.connect(port, hostname).on('error', () => {});
        socket.write(half);
        if (String(await new Promise((resolve) => socket.once('data', resolve).once('close', resolve))).startsWith('HTTP/1.1 100 ')) return socket;
        socket.destroy();
        await sleep(0.05);
      }
    };
    const others = await within(10, '16 times 100 Continue', Promise.all(Array.from({ length: 16 }, begin)));
    for (const method of ['POST', 'GET', 'HEAD', 'DELETE', 'OPTIONS']) {
      const answer = await request(503, method, `${mount}/@connections/${id}`, { agent: false });
      if (method !== 'HEAD') assert.equal(typeOf(answer), 'urn:wspush:full');
    }
    for (const socket of others) socket.destroy();
  });
  await check('a worker that is told to stop, in the middle of a body: 503, shutdown', async () => {
    const mute = await connect(url);
    mute.client.pause(); // it does not answer the close frame, so the worker takes its time
    const late = (async function* () {
      yield 'la';
      await sleep(0.2);
      process.kill(Number(small), 'SIGTERM');
      await within(2, 'close', closed);
      yield 'te';
    })();
    const answer = await request(503, 'POST', `${mount}/@connections/${id}`, { body: late, headers: { 'Content-Length': 4 }, agent: false });
    assert.equal(typeOf(answer), 'urn:wspush:shutdown');
    const probe = await request(503, 'GET', '/@ready', { agent: false });
    assert.equal(JSON.parse(probe.body).draining, true);
    mute.client.terminate();
  });
}

const documented = Object.values(doc.paths).flatMap((item) => Object.values(item)).filter(({ operationId }) => operationId)
  .flatMap(({ operationId, responses }) => Object.keys(responses).map((status) => `${operationId} ${status}`));
const missing = documented.filter((answer) => !given.has(answer));
const statuses = [...new Set(missing.map((answer) => answer.split(' ')[1]))].filter((status) => !documented.some((answer) => given.has(answer) && answer.endsWith(status)));
console.log(`${documented.length - missing.length} of ${documented.length} answers in the document were given; none with ${statuses.sort().join(', ')}`);
client.close();
agent.destroy();
