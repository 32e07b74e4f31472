// A browser for tests: a WebSocket that the test is the server of, time that the test moves, events of the page, sessionStorage and locks.
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';

// Sock is the WebSocket that the client makes. The test speaks for the browser and the server.
class Sock {
  readyState = 0;
  onopen = null;
  onmessage = null;
  onclose = null;
  sent = [];
  closed = null; // the code with which the client has closed it
  constructor(url, protocols) {
    this.url = String(url);
    this.protocols = protocols;
    if (new Set(protocols).size !== protocols.length) throw new SyntaxError('a subprotocol twice');
    world.sockets.push(this);
  }
  send(data) {
    assert.notEqual(this.readyState, 0, 'a browser throws if send comes before open');
    if (this.readyState === 1) this.sent.push(data);
  }
  close(code) {
    assert.ok(code === undefined || code === 1000 || (code >= 3000 && code <= 4999), `a browser refuses code ${code}`);
    this.closed ??= code;
    if (this.readyState < 2) this.readyState = 2;
  }
  // What the test does:
  open() {
    if (this.readyState === 0) this.readyState = 1;
    this.onopen?.({});
  }
  message(data) { this.onmessage?.({ data }); }
  hello(hello) { this.message(JSON.stringify({ address: 'http://a@host/ws', ticket: 'T1', window: 120, protocol: '', resumed: false, ...hello })); }
  greet(hello) {
    this.open();
    this.hello(hello);
  }
  lose(code = 1006, reason = '') {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
  get offered() { return this.protocols.find((p) => p.startsWith('wspush.resume.')); }
}

// Locks are the origin's: several worlds, as of several tabs, can have the same.
export class Locks {
  held = new Set();
  queue = [];
  request(name, { signal }, callback) {
    return new Promise((resolve, reject) => {
      const turn = { name, run: async () => {
        this.held.add(name);
        await null; // never within request
        resolve(await callback({ name }));
        this.held.delete(name);
        this.next();
      } };
      this.queue.push(turn);
      signal?.addEventListener('abort', () => {
        if (!this.queue.includes(turn)) return;
        this.queue.splice(this.queue.indexOf(turn), 1);
        reject(new DOMException('aborted', 'AbortError'));
      });
      this.next();
    });
  }
  next() {
    const at = this.queue.findIndex(({ name }) => !this.held.has(name));
    if (at >= 0) this.queue.splice(at, 1)[0].run();
  }
}

export class Storage {
  items = new Map();
  full = false;
  getItem(key) { return this.items.get(key) ?? null; }
  setItem(key, value) {
    if (this.full) throw new DOMException('full', 'QuotaExceededError');
    this.items.set(key, String(value));
  }
  removeItem(key) { this.items.delete(key); }
  copy() {
    const copy = new Storage();
    copy.items = new Map(this.items);
    return copy;
  }
}

let world; // the present one
const real = { now: Date.now, random: Math.random };

export class World {
  sockets = [];
  now = 1_700_000_000_000;
  random = 0.5;
  timers = [];
  listeners = new Map();
  document = { baseURI: 'https://example.com/app/page?x#y', hidden: false };
  said = []; // what the handlers were told
  constructor({ storage, locks } = {}) {
    this.storage = storage;
    this.locks = locks;
    this.enter();
  }
  // enter makes this world the present one, as if the user changed to another tab.
  enter() {
    world = this;
    const set = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    set('WebSocket', Sock);
    set('crypto', webcrypto); // which Node 18 does not have there
    set('document', this.document);
    set('navigator', { locks: this.locks });
    Object.defineProperty(globalThis, 'sessionStorage', { configurable: true, get: () => {
      if (this.storage === undefined) throw new DOMException('not allowed', 'SecurityError');
      return this.storage;
    } });
    set('setTimeout', (act, ms) => {
      const timer = { act, due: this.now + ms };
      this.timers.push(timer);
      return timer;
    });
    set('clearTimeout', (timer) => { this.timers = this.timers.filter((t) => t !== timer); });
    set('addEventListener', (type, listener) => {
      if (!this.listeners.has(type)) this.listeners.set(type, new Set());
      this.listeners.get(type).add(listener);
    });
    set('removeEventListener', (type, listener) => this.listeners.get(type)?.delete(listener));
    Date.now = () => this.now;
    Math.random = () => this.random;
  }
  // pass lets time go by; what is due runs in order.
  pass(ms) {
    const end = this.now + ms;
    for (;;) {
      const next = this.timers.filter((t) => t.due <= end).sort((a, b) => a.due - b.due)[0];
      if (!next) break;
      this.now = Math.max(this.now, next.due);
      this.timers = this.timers.filter((t) => t !== next);
      next.act();
    }
    this.now = end;
  }
  // tick lets time go by until the next timer has run.
  tick() { this.pass(Math.min(...this.timers.map((t) => t.due)) - this.now); }
  // freeze lets time go by in which no timer runs; the next pass runs them late.
  freeze(ms) { this.now += ms; }
  event(type, properties = {}) {
    for (const listener of [...this.listeners.get(type) ?? []]) listener({ type, ...properties });
  }
  get last() { return this.sockets.at(-1); }
  get listening() { return [...this.listeners.values()].reduce((n, set) => n + set.size, 0); }
  // handlers note what they are told.
  get handlers() {
    const note = (name) => (...args) => { this.said.push([name, ...args]); };
    return Object.fromEntries(['message', 'address', 'suspended', 'resumed', 'lost', 'end'].map((name) => [name, note(name)]));
  }
  // heard returns what was said since the last time.
  heard() { return this.said.splice(0); }
}

// settle lets promises go on. It is made of what the worlds do not replace.
export const settle = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

export function restoreGlobals() {
  Date.now = real.now;
  Math.random = real.random;
}
