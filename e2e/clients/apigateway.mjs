// API Gateway's client of AWS's SDK for JavaScript: apigateway.mjs URL [small]
// It signs with made-up keys, which workers do not verify. The server must be examples/quickstart or e2e/small.
import assert from 'node:assert/strict';
import {
  ApiGatewayManagementApiClient, DeleteConnectionCommand, GetConnectionCommand, PostToConnectionCommand,
  ApiGatewayManagementApiServiceException, ForbiddenException, GoneException, LimitExceededException, PayloadTooLargeException,
} from '@aws-sdk/client-apigatewaymanagementapi';
import { check, sleep, within } from '../check.mjs';
import { connect as greeted } from './connect.mjs';

const [url, small] = process.argv.slice(2);
const maxPushBytes = small ? 256 << 10 : 1 << 20;

const connect = () => greeted(url, { headers: { 'User-Agent': 'e2e/1' } });
const browser = await connect();
const sdk = (more) => new ApiGatewayManagementApiClient({
  endpoint: `http://${browser.host}${browser.pathname}`, region: 'eu-central-1',
  credentials: { accessKeyId: 'NOBODY', secretAccessKey: 'secret' }, maxAttempts: 1, ...more,
});
const api = sdk();
const post = (id, data, by = api) => by.send(new PostToConnectionCommand({ ConnectionId: id, Data: data }));

// raises checks that the promise is rejected with this exception of the SDK.
async function raises(exception, status, promise, name = exception.name) {
  const err = await promise.then(() => assert.fail('it succeeds'), (err) => err);
  assert.ok(err instanceof exception, `${err.name}: ${err.message}`);
  assert.deepEqual({ name: err.name, status: err.$metadata.httpStatusCode }, { name, status });
  return err;
}

// stall pauses a client, and posts to it until a post has to wait: waiting is that one's outcome. Each message begins with its
// number; last is the number of the waiting one.
async function stall({ client, id }, by) {
  client.pause();
  for (let last = 0; last < 1000; last++) {
    const waiting = post(id, `${last} `.padEnd(maxPushBytes, '.'), by).catch((err) => err);
    if (!await Promise.race([waiting, sleep(0.5)])) return { waiting, last };
  }
  throw new Error('a client that does not read takes everything');
}

const text = 'zwölf Boxkämpfer ✓ 🥊';
const bytes = Buffer.from([0, 1, 0x80, 0xff, 0xfe, 0xc3, 0x28, 10, 13]);

await check('PostToConnection: text', async () => {
  assert.equal((await post(browser.id, text)).$metadata.httpStatusCode, 204);
  assert.equal(await browser.next(), text);
  await post(browser.id, Buffer.from(text));
  assert.equal(await browser.next(), text);
});
await check('… bytes that are not UTF-8, as binary', async () => {
  await post(browser.id, bytes);
  assert.deepEqual(await browser.next(), bytes);
});
await check('… nothing, as an empty text', async () => {
  await post(browser.id, new Uint8Array(0));
  assert.equal(await browser.next(), '');
});
await check('… 100 KB', async () => {
  const large = '0123456789'.repeat(10_000);
  await post(browser.id, large);
  assert.equal(await browser.next(), large);
});
await check('GetConnection: the times as Dates, and who it is', async () => {
  const { ConnectedAt, LastActiveAt, Identity } = await api.send(new GetConnectionCommand({ ConnectionId: browser.id }));
  for (const time of [ConnectedAt, LastActiveAt]) {
    assert.ok(time instanceof Date && Math.abs(Date.now() - time) < 10_000, time);
  }
  assert.ok(ConnectedAt <= LastActiveAt);
  assert.deepEqual(Identity, { SourceIp: '127.0.0.1', UserAgent: 'e2e/1' });
});
await check('PayloadTooLargeException', async () => {
  await raises(PayloadTooLargeException, 413, post(browser.id, Buffer.alloc(maxPushBytes + 1)));
});
await check('GoneException, for an ID that never was, by each command', async () => {
  const gone = { ConnectionId: '0f8fad5b-d9cb-469f-a165-70867728950e' };
  const err = await raises(GoneException, 410, post(gone.ConnectionId, text));
  assert.match(err.message, /there is no such connection/);
  await raises(GoneException, 410, api.send(new GetConnectionCommand(gone)));
  await raises(GoneException, 410, api.send(new DeleteConnectionCommand(gone)));
});
await check('… for a client that has left', async () => {
  const client = await connect();
  client.client.close(1000);
  await client.closed;
  await raises(GoneException, 410, post(client.id, text));
});
await check('DeleteConnection: the client sees the close frame', async () => {
  const client = await connect();
  const { $metadata } = await api.send(new DeleteConnectionCommand({ ConnectionId: client.id }));
  assert.equal($metadata.httpStatusCode, 204);
  assert.equal(await within(2, 'close', client.closed), '1000 ');
  await raises(GoneException, 410, post(client.id, text));
});
await check('LimitExceededException, for a client that does not read; by default it tries again, and succeeds once the client reads', async () => {
  const client = await connect();
  await stall(client);
  await raises(LimitExceededException, 429, post(client.id, Buffer.alloc(maxPushBytes)));
  const again = post(client.id, text, sdk({ maxAttempts: undefined }));
  await sleep(0.6);
  client.client.resume();
  const { httpStatusCode, attempts } = (await again).$metadata;
  assert.ok(httpStatusCode === 204 && attempts > 1, `${httpStatusCode} after ${attempts} attempts`);
  client.client.terminate();
});
if (small) {
  await check('ForbiddenException, and an error without a name for 401', async () => {
    const keyed = (accessKeyId) => sdk({ credentials: { accessKeyId, secretAccessKey: 'secret' } });
    await raises(ForbiddenException, 403, post(browser.id, text, keyed('FORBIDDEN')));
    await raises(ApiGatewayManagementApiServiceException, 401, post(browser.id, text, keyed('UNKNOWN')), 'Unknown');
  });
  await check('504 is an error without a name, with maxAttempts: 1', async () => {
    const client = await connect();
    const { waiting } = await stall(client);
    const err = await raises(ApiGatewayManagementApiServiceException, 504, waiting.then((err) => Promise.reject(err)), 'Unknown');
    assert.equal(err.connection, 'open');
    client.client.terminate();
  });
  await check('… and without it is tried again, so that the client gets the message twice', async () => {
    const client = await connect();
    const { waiting, last } = await stall(client, sdk({ maxAttempts: 10 })); // the default is 3; more for a busy machine
    await sleep(1.5);
    client.client.resume();
    assert.equal((await waiting).$metadata.httpStatusCode, 204);
    const numbers = [];
    while (numbers.filter((n) => n === last).length < 2) numbers.push(parseInt(await client.next()));
    client.client.terminate();
  });
}
browser.client.close();
