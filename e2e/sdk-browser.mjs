// API Gateway's client of AWS's SDK for JavaScript in pages in headless Chromium: sdk-browser.mjs SMALL
// One page is of an origin in WorkerOptions.PushOrigins, the other is not.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import http from 'node:http';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { check, within } from './check.mjs';
import { connect } from './clients/connect.mjs';

const bundle = await build({
  stdin: { contents: "export * from '@aws-sdk/client-apigatewaymanagementapi';", resolveDir: import.meta.dirname ?? '.' },
  bundle: true, format: 'esm', platform: 'browser', write: false, logLevel: 'silent',
});

// site serves a page with the SDK, at an origin of its own.
const sites = [];
async function site() {
  const server = http.createServer((request, response) => {
    const [type, body] = request.url === '/sdk.js' ? ['text/javascript', bundle.outputFiles[0].text]
      : ['text/html', '<!doctype html><link rel="icon" href="data:,"><script type="module">window.sdk = await import("/sdk.js")</script>'];
    response.writeHead(200, { 'Content-Type': type }).end(body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  sites.push(server);
  return `http://127.0.0.1:${server.address().port}`;
}
const admin = await site(), foreign = await site();

const child = spawn(process.argv[2], ['-listen', '127.0.0.1:0', '-origins', admin], { stdio: ['ignore', 'pipe', 'ignore'] });
process.on('exit', () => child.kill('SIGKILL')); // no effect once it has ended
const exited = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
let said = '';
const url = await within(10, 'URL from the server', new Promise((resolve) => {
  child.stdout.on('data', (data) => {
    const found = /http:\/\/127\.0\.0\.1:\d+\//.exec(said += data);
    if (found) resolve(found[0]);
  });
}));
const client = await connect(`${url.replace('http', 'ws')}ws`);

const browser = await chromium.launch({
  executablePath: execFileSync('bash', ['-c', 'command -v chromium']).toString().trim(),
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
async function open(origin) {
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(origin);
  await page.waitForFunction(() => window.sdk);
  return page;
}

// send has a page send a command of the SDK. It returns the answer's status, or the error's name and status.
const send = (page, command, input, accessKeyId = 'NOBODY') => page.evaluate(async ([endpoint, command, input, accessKeyId]) => {
  const api = new sdk.ApiGatewayManagementApiClient({
    endpoint, region: 'eu-central-1', credentials: { accessKeyId, secretAccessKey: 'secret', sessionToken: 'session' }, maxAttempts: 1,
  });
  try {
    const { $metadata, Identity } = await api.send(new sdk[command](input));
    return [$metadata.httpStatusCode, Identity?.SourceIp].filter(Boolean).join(' ');
  } catch (err) {
    return `${err.name} ${err.$metadata?.httpStatusCode}`;
  }
}, [`http://${client.host}${client.pathname}`, command, input, accessKeyId]);

const here = { ConnectionId: client.id }, never = { ConnectionId: '0f8fad5b-d9cb-469f-a165-70867728950e' };

const allowed = await open(admin);
await check('a page of an allowed origin: PostToConnection', async () => {
  assert.equal(await send(allowed, 'PostToConnectionCommand', { ...here, Data: 'from a page' }), '204');
  assert.equal(await client.next(), 'from a page');
});
await check('… GetConnection', async () => assert.equal(await send(allowed, 'GetConnectionCommand', here), '200 127.0.0.1'));
await check('… GoneException and ForbiddenException, by x-amzn-errortype', async () => {
  assert.equal(await send(allowed, 'PostToConnectionCommand', { ...never, Data: 'x' }), 'GoneException 410');
  assert.equal(await send(allowed, 'PostToConnectionCommand', { ...here, Data: 'x' }, 'FORBIDDEN'), 'ForbiddenException 403');
});
await check('a page of another origin: no command gets through', async () => {
  const page = await open(foreign);
  for (const [command, input] of [['PostToConnectionCommand', { ...here, Data: 'evil' }], ['GetConnectionCommand', here], ['DeleteConnectionCommand', here]]) {
    assert.match(await send(page, command, input), /^TypeError /, command);
  }
  assert.equal(await send(allowed, 'PostToConnectionCommand', { ...here, Data: 'nothing before' }), '204');
  assert.equal(await client.next(), 'nothing before');
});
await check('… DeleteConnection, of an allowed one', async () => {
  assert.equal(await send(allowed, 'DeleteConnectionCommand', here), '204');
  assert.equal(await within(5, 'close', client.closed), '1000 ');
});

await browser.close();
for (const server of sites) server.close();
child.kill('SIGTERM');
await within(5, 'exit', exited);
