// The client's rules, in a browser that is not there: node --test client/test
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, describe, it } from 'node:test';
import { connect } from '../wspush.js';
import { Locks, Storage, World, restoreGlobals, settle } from './world.mjs';

afterEach(restoreGlobals);

const P = '\x06p';

// start is a connection whose hello has come.
function start(options = {}, hello) {
  const w = new World();
  const c = connect('/ws', { ...w.handlers, ...options });
  w.last.greet(hello);
  w.heard();
  return { w, c, first: w.last };
}

// back makes the client's next attempt and answers it.
function back(w, hello) {
  w.pass(1000);
  w.last.greet(hello);
}

describe('connecting', () => {
  it('resolves the address against the page, as a WebSocket', () => {
    const w = new World();
    const url = (u) => { connect(u).close(); return w.last.url; };
    assert.equal(url('/ws'), 'wss://example.com/ws');
    assert.equal(url('ws?a=b#c'), 'wss://example.com/app/ws?a=b');
    assert.equal(url('http://127.0.0.1:8080/ws'), 'ws://127.0.0.1:8080/ws');
    assert.equal(url('ws://other/ws'), 'ws://other/ws');
  });

  it('offers wspush.v1 and what the application wants, and no ticket', () => {
    const w = new World();
    connect('/ws', { protocols: ['chat', 'chat2'] });
    assert.deepEqual(w.last.protocols, ['wspush.v1', 'chat', 'chat2']);
    connect('/ws', { protocols: 'chat' });
    assert.deepEqual(w.last.protocols, ['wspush.v1', 'chat']);
    connect('/ws');
    assert.deepEqual(w.last.protocols, ['wspush.v1']);
    assert.equal(w.last.binaryType, 'arraybuffer');
  });

  it('throws for what a WebSocket throws, and leaves nothing behind', () => {
    const w = new World();
    assert.throws(() => connect('/ws', { protocols: ['a', 'a'] }), SyntaxError);
    assert.throws(() => connect('http://[', {}), TypeError);
    assert.equal(w.listening, 0);
    assert.equal(w.timers.length, 0);
  });

  it('the hello opens it, and is no message', () => {
    const w = new World();
    const c = connect('/ws', w.handlers);
    assert.equal(c.state, 'connecting');
    assert.equal(c.send('early'), false);
    w.last.open();
    assert.equal(c.state, 'connecting');
    assert.equal(c.send('early'), false);
    w.last.hello({ address: 'http://a@h/ws,http://a@k/ws', protocol: 'chat' });
    assert.equal(c.state, 'open');
    assert.deepEqual(c.address, ['http://a@h/ws', 'http://a@k/ws']);
    assert.equal(c.protocol, 'chat');
    assert.deepEqual(w.heard(), [['address', ['http://a@h/ws', 'http://a@k/ws']]]);
  });

  it('tells no address where the server keeps it to itself', () => {
    const w = new World();
    const c = connect('/ws', w.handlers);
    w.last.greet({ address: '' });
    w.last.message('m');
    assert.deepEqual(c.address, []);
    assert.deepEqual(w.heard(), [['message', 'm']]);
  });

  it('does nothing without handlers', () => {
    const w = new World();
    const c = connect('/ws');
    w.last.greet();
    w.last.message('m');
    w.last.lose(1000);
    assert.equal(c.state, 'ended');
  });

  it('gives up a WebSocket that does not open within 10 s', () => {
    const w = new World();
    connect('/ws', w.handlers);
    w.pass(9999);
    assert.equal(w.last.closed, null);
    w.pass(1);
    assert.equal(w.last.closed, 3901);
    w.pass(500);
    assert.equal(w.sockets.length, 2);
    assert.deepEqual(w.heard(), []);
  });

  it('gives up a WebSocket whose hello does not come within 10 s of its opening', () => {
    const w = new World();
    connect('/ws', w.handlers);
    w.pass(9000);
    w.last.open();
    w.pass(9999);
    assert.equal(w.last.closed, null);
    w.pass(1);
    assert.equal(w.last.closed, 3901);
    assert.equal(w.last.onmessage, null);
  });

  it('waits again if that time passed while the page was frozen', () => {
    const w = new World();
    connect('/ws', w.handlers);
    w.last.open();
    w.freeze(60_000);
    w.pass(0);
    assert.equal(w.last.closed, null);
    w.last.hello();
    assert.deepEqual(w.heard().map(([name]) => name), ['address']);
    w.pass(60_000);
    assert.equal(w.sockets.length, 1);
  });

  for (const [what, message] of Object.entries({
    'a message of the application': 'hello there', 'a number': '123', 'null': 'null', 'a string': '"x"', 'an empty message': '', 'an object that is no hello': '{"text":"hi"}',
    'a binary message': new ArrayBuffer(3), 'no address': '{"window":120,"ticket":"T"}', 'a ticket that is none': '{"address":"a","window":120,"ticket":"a b"}',
    'resumed without having asked': '{"address":"a","window":120,"ticket":"T","resumed":true,"offset":0}',
  })) {
    it(`ends if the server is another one: ${what}`, () => {
      const w = new World();
      const c = connect('/ws', w.handlers);
      w.last.open();
      w.last.message(message);
      assert.deepEqual(w.heard(), [['end', 1002, 'no hello of wspush.v1']]);
      assert.equal(c.state, 'ended');
      assert.equal(w.last.closed, 1000);
      w.pass(3_600_000);
      assert.equal(w.sockets.length, 1);
      assert.equal(w.listening, 0);
    });
  }
});

describe('messages', () => {
  it('are handed on as they are, and each is one count', () => {
    const { w, first } = start();
    const binary = new Uint8Array([6, 112]).buffer;
    for (const data of ['123', '', 'zwölf ✓', binary, '{"refused":"retry"}', '{"address":"a"}']) first.message(data);
    assert.deepEqual(w.heard(), ['123', '', 'zwölf ✓', binary, '{"refused":"retry"}', '{"address":"a"}'].map((data) => ['message', data]));
    first.lose();
    w.pass(1000);
    assert.equal(w.last.offered, 'wspush.resume.T1.6');
  });

  it('control is neither handed on nor counted; a doubled U+0006 is both, without the first', () => {
    const { w, first } = start();
    for (const data of [P, '\x06', '\x06x', '\x06unknown \x06', '\x06\x06p', '\x06\x06', '\x06\x06\x06', 'a\x06p']) first.message(data);
    assert.deepEqual(w.heard(), ['\x06p', '\x06', '\x06\x06', 'a\x06p'].map((data) => ['message', data]));
    first.lose();
    w.pass(1000);
    assert.equal(w.last.offered, 'wspush.resume.T1.4');
  });

  it('an exception in a handler is reported, and the message is not repeated', async () => {
    const reported = [];
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', (err) => reported.push(err.message));
    try {
      const { w, first } = start({ message(data) { throw new Error(`on ${data}`); }, suspended() { throw new Error('suspended'); } });
      first.message('one');
      first.message('two');
      first.lose();
      w.pass(1000);
      assert.equal(w.last.offered, 'wspush.resume.T1.2');
      await settle();
      assert.deepEqual(reported, ['on one', 'on two', 'suspended']);
    } finally {
      process.removeAllListeners('uncaughtException');
      for (const listener of listeners) process.on('uncaughtException', listener);
    }
  });

  it('a handler that causes a reconnect has its message counted already', () => {
    const { w, first } = start({ message: () => first.lose() });
    first.message('one');
    w.pass(1000);
    assert.equal(w.last.offered, 'wspush.resume.T1.1');
  });
});

describe('sending', () => {
  it('doubles a leading U+0006, and leaves everything else alone', () => {
    const { c, first } = start();
    const binary = new Uint8Array([6, 112]);
    for (const data of ['hi', P, '\x06\x06', binary, '']) assert.equal(c.send(data), true);
    assert.deepEqual(first.sent, ['hi', '\x06\x06p', '\x06\x06\x06', binary, '']);
  });

  it('returns false when there is no WebSocket, and does not send it later', () => {
    const { w, c, first } = start();
    first.readyState = 2; // the close event has yet to come
    assert.equal(c.send('a'), false);
    first.lose();
    assert.equal(c.send('b'), false);
    w.pass(1000);
    assert.equal(c.send('c'), false);
    w.last.greet({ resumed: true, offset: 0 });
    assert.equal(c.send('d'), true);
    assert.deepEqual(w.last.sent, ['d']);
    c.close();
    assert.equal(c.send('e'), false);
  });
});

describe('coming back', () => {
  it('the same session: suspended, resumed, and nothing else', () => {
    const { w, c, first } = start();
    first.message('1');
    w.heard();
    first.lose();
    assert.equal(c.state, 'suspended');
    assert.deepEqual(w.heard(), [['suspended']]);
    w.pass(1000);
    assert.deepEqual(w.last.protocols, ['wspush.v1', 'wspush.resume.T1.1']);
    assert.equal(c.state, 'suspended');
    w.last.greet({ resumed: true, offset: 1, ticket: 'T2' });
    assert.equal(c.state, 'open');
    w.last.message('2');
    assert.deepEqual(w.heard(), [['resumed'], ['message', '2']]);
    w.last.lose();
    w.pass(1000);
    assert.equal(w.last.offered, 'wspush.resume.T2.2');
  });

  it('the application’s subprotocols are offered again', () => {
    const { w, first } = start({ protocols: ['chat'] });
    first.lose();
    w.pass(1000);
    assert.deepEqual(w.last.protocols, ['wspush.v1', 'wspush.resume.T1.0', 'chat']);
  });

  it('tells a new address, once', () => {
    const { w, c, first } = start();
    first.lose();
    w.heard();
    back(w, { resumed: true, offset: 0, address: 'http://a@other/ws' });
    assert.deepEqual(w.heard(), [['address', ['http://a@other/ws']], ['resumed']]);
    assert.deepEqual(c.address, ['http://a@other/ws']);
  });

  it('missed messages are told with their number, and the count is the server’s', () => {
    const { w, first } = start();
    first.message('1');
    first.lose();
    w.heard();
    back(w, { resumed: true, offset: 4, missed: 3, ticket: 'T2' });
    assert.deepEqual(w.heard(), [['lost', 'missed', 3], ['resumed']]);
    w.last.message('5');
    w.last.lose();
    w.pass(1000);
    assert.equal(w.last.offered, 'wspush.resume.T2.5');
  });

  for (const why of ['expired', 'unknown', 'unreachable']) {
    it(`a new session is told: ${why}`, () => {
      const { w, c, first } = start();
      first.message('1');
      first.lose();
      w.heard();
      w.pass(1000);
      const addresses = [];
      w.last.greet({ why, ticket: 'N', address: 'http://b@host/ws' });
      addresses.push(c.address[0]);
      assert.deepEqual(w.heard(), [['lost', why, undefined], ['address', ['http://b@host/ws']], ['resumed']]);
      w.last.message('1');
      w.last.lose();
      w.pass(1000);
      assert.equal(w.last.offered, 'wspush.resume.N.1');
    });
  }

  it('a new session without a reason is told all the same', () => {
    const { w, first } = start();
    first.lose();
    w.heard();
    back(w);
    assert.deepEqual(w.heard()[0], ['lost', 'unknown', undefined]);
  });

  it('without sessions (window 0) no ticket is offered, and lost is told each time', () => {
    const { w, c } = start({}, { window: 0, ticket: undefined });
    for (const address of ['http://b@host/ws', 'http://c@host/ws']) {
      w.last.message('x');
      w.heard();
      w.last.lose();
      w.pass(1000);
      assert.deepEqual(w.last.protocols, ['wspush.v1']);
      w.last.greet({ window: 0, ticket: undefined, address });
      assert.deepEqual(w.heard(), [['suspended'], ['lost', 'off', undefined], ['address', [address]], ['resumed']]);
      assert.equal(c.state, 'open');
    }
  });

  it('an offset that is lower than what was received is no hello: it would repeat messages', () => {
    const { w, first } = start();
    first.message('1');
    first.message('2');
    first.lose();
    w.heard();
    back(w, { resumed: true, offset: 1 });
    assert.deepEqual(w.heard(), [['end', 1002, 'no hello of wspush.v1']]);
  });

  it('attempts that fail are no news, and the ticket and the count stay', () => {
    const { w, first } = start();
    first.message('1');
    first.lose();
    w.heard();
    for (let i = 0; i < 20; i++) {
      w.tick();
      assert.equal(w.last.offered, 'wspush.resume.T1.1');
      w.last.lose();
    }
    assert.deepEqual(w.heard(), []);
    assert.equal(w.sockets.length, 21);
  });

  it('a handler that closes hears nothing more', () => {
    const { w, c, first } = start({ lost: () => c.close() });
    first.lose();
    w.heard();
    back(w, { why: 'expired', address: 'http://b@host/ws' });
    assert.deepEqual(w.heard(), []);
    assert.equal(w.last.closed, 1000);
  });

  it('the old WebSocket is deaf before its successor is made (fault 16)', () => {
    const { w, c, first } = start();
    w.pass(60_000);
    w.event('online');
    w.pass(5000);
    const handlers = [first.onopen, first.onmessage, first.onclose];
    assert.deepEqual(handlers, [null, null, null]);
    assert.equal(first.closed, 3901);
    back(w, { resumed: true, offset: 0, ticket: 'T2' });
    w.heard();
    first.message('stale');
    first.lose(3909); // the worker has only now noticed
    assert.equal(c.state, 'open');
    assert.deepEqual(w.heard(), []);
    w.last.lose();
    w.pass(1000);
    assert.equal(w.last.offered, 'wspush.resume.T2.0');
  });

  it('comes back after these codes (fault 11)', () => {
    for (const code of [1001, 1002, 1005, 1006, 1012, 1013, 1014, 1015, 3000]) {
      const { w, c, first } = start();
      first.lose(code);
      assert.equal(c.state, 'suspended', code);
      w.pass(1000);
      assert.equal(w.last.offered, 'wspush.resume.T1.0', code);
      c.close();
    }
  });

  it('every other code is the end, 3909 above all (fault 10)', () => {
    for (const code of [1000, 1003, 1007, 1008, 1009, 1011, 3001, 3003, 3901, 3909, 4000, 4999]) {
      const { w, c, first } = start();
      first.lose(code, 'why');
      assert.equal(c.state, 'ended', code);
      assert.deepEqual(w.heard(), [['end', code, 'why']]);
      w.event('online');
      w.event('pageshow', { persisted: true });
      w.pass(3_600_000);
      assert.equal(w.sockets.length, 1, code);
      assert.equal(w.listening, 0);
    }
  });

  it('a code in place of the hello is the end: the session’s own, or 1002 for a wrong count', () => {
    for (const code of [1000, 1002, 1008, 1011, 3000, 3003, 4000]) {
      const { w, first } = start();
      first.lose();
      w.heard();
      w.pass(1000);
      w.last.open();
      w.last.lose(code, 'said');
      assert.deepEqual(w.heard(), [['end', code, 'said']], code);
      w.pass(3_600_000);
      assert.equal(w.sockets.length, 2, code);
    }
  });

  it('… but a worker that is leaving is not', () => {
    for (const code of [1001, 1006, 1012, 1013]) {
      const { w, first } = start();
      first.lose();
      w.pass(1000);
      w.last.open();
      w.last.lose(code);
      w.pass(1000);
      assert.equal(w.last.offered, 'wspush.resume.T1.0', code);
      assert.equal(w.sockets.length, 3);
    }
  });
});

describe('refused', () => {
  for (const [refused, code] of [['unauthorized', 3000], ['forbidden', 3003], ['something new', 3003]]) {
    it(`${refused}: the end`, () => {
      for (const again of [false, true]) {
        const w = new World();
        const c = connect('/ws', w.handlers);
        if (again) {
          w.last.greet();
          w.last.lose(3000, 'too old');
          w.pass(1000);
          w.heard();
        }
        w.last.open();
        w.last.message(JSON.stringify({ refused }));
        assert.deepEqual(w.heard(), [['end', code, refused]]);
        assert.equal(c.state, 'ended');
        w.pass(3_600_000);
        assert.equal(w.sockets.length, again ? 2 : 1);
      }
    });
  }

  it('retry: waits as it says, and longer by chance, and nothing makes it sooner', () => {
    const { w, c, first } = start();
    first.message('1');
    first.lose();
    w.heard();
    w.pass(1000);
    w.last.open();
    w.last.message('{"refused":"retry","after":20}');
    assert.equal(w.sockets.length, 2);
    w.pass(10_000);
    w.event('online');
    w.event('focus');
    w.pass(9_999);
    assert.equal(w.sockets.length, 2, 'not before 20 s');
    w.pass(1000);
    assert.equal(w.sockets.length, 3);
    assert.equal(w.last.offered, 'wspush.resume.T1.1');
    assert.deepEqual(w.heard(), []);
    assert.equal(c.state, 'suspended');
  });

  it('retry with nonsense: backs off by itself', () => {
    for (const after of ['-5', '"x"', 'null', '{}', '1e999']) {
      const w = new World();
      connect('/ws', w.handlers);
      w.last.open();
      w.last.message(`{"refused":"retry","after":${after}}`);
      const [timer] = w.timers;
      assert.ok(timer.due > w.now && timer.due <= w.now + 86_401_000, after); // more than 24 days would be at once
    }
  });
});

describe('backing off (fault 12)', () => {
  // delays returns how long the client waits before each of n attempts that fail.
  function delays(n, random) {
    const { w, first } = start();
    w.random = random;
    first.lose();
    const all = [];
    for (let i = 0; i < n; i++) {
      all.push(w.timers[0].due - w.now);
      w.tick();
      w.last.lose();
    }
    return all;
  }

  it('full jitter: from 0 to 0.5 s × 2ⁿ, and 30 s at most', () => {
    assert.deepEqual(delays(9, 1), [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
    assert.deepEqual(delays(9, 0.5), [250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
    assert.deepEqual(delays(9, 0), [0, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it('begins anew only after 10 s up', () => {
    const { w, first } = start();
    w.random = 1;
    first.lose();
    for (const [up, next] of [[9_999, 1000], [9_999, 2000], [10_000, 500], [0, 1000], [0, 2000], [0, 4000]]) {
      w.tick();
      w.last.greet({ resumed: true, offset: 0 });
      w.pass(up);
      w.last.lose(1012);
      assert.equal(w.timers[0].due - w.now, next, `after ${up} ms up`);
    }
  });

  it('an opened WebSocket without a hello is not up', () => {
    const { w, first } = start();
    w.random = 1;
    first.lose();
    w.pass(500);
    for (const next of [1000, 2000, 4000]) {
      w.last.open();
      w.pass(10_000);
      assert.equal(w.timers[0].due - w.now, next);
      w.pass(next);
    }
  });

  it('the network is back: within a second; the user is back: at once', () => {
    for (const [type, most] of [['online', 1000], ['focus', 0], ['pageshow', 0], ['visibilitychange', 0]]) {
      const { w, first } = start();
      w.random = 0.9;
      first.lose();
      for (let i = 0; i < 8; i++) {
        w.tick();
        w.last.lose();
      }
      const before = w.sockets.length;
      assert.equal(w.timers[0].due - w.now, 27_000);
      w.event(type);
      w.pass(most);
      assert.equal(w.sockets.length, before + 1, type);
    }
  });

  it('these events never make it later, and a hidden page is no reason', () => {
    const { w, first } = start();
    w.random = 0.2;
    first.lose(); // in 100 ms
    w.random = 0.9;
    w.event('online');
    w.document.hidden = true;
    w.event('visibilitychange');
    assert.equal(w.timers[0].due - w.now, 100);
  });

  it('they do not start a second attempt beside one that is under way', () => {
    const { w, first } = start();
    first.lose();
    w.pass(1000);
    for (const type of ['online', 'focus', 'pageshow', 'visibilitychange']) w.event(type);
    w.pass(5000);
    assert.equal(w.sockets.length, 2);
    w.pass(5000);
    assert.equal(w.sockets[1].closed, 3901, 'the hello is still expected within 10 s');
  });
});

describe('liveness', () => {
  for (const type of ['online', 'focus', 'pageshow', 'visibilitychange', 'send']) {
    it(`${type}: a probe, and 5 s for its answer`, () => {
      const { w, c, first } = start();
      w.pass(60_000);
      if (type === 'send') assert.equal(c.send('data'), true);
      else w.event(type);
      assert.deepEqual(first.sent, type === 'send' ? [P, 'data'] : [P]);
      w.pass(4_999);
      assert.equal(c.state, 'open');
      w.pass(1);
      assert.equal(c.state, 'suspended');
      assert.equal(first.closed, 3901);
      assert.deepEqual(w.heard(), [['suspended']]);
      w.pass(500);
      assert.equal(w.last.offered, 'wspush.resume.T1.0');
    });
  }

  it('answered: it stays, and nothing is told', () => {
    const { w, c, first } = start();
    for (let i = 0; i < 3; i++) {
      w.pass(60_000);
      w.event('focus');
      w.pass(4_000);
      first.message(P);
    }
    w.pass(600_000);
    assert.deepEqual(first.sent, [P, P, P]);
    assert.equal(c.state, 'open');
    assert.deepEqual(w.heard(), []);
    assert.equal(w.timers.length, 0);
  });

  it('asks nothing by itself, nothing twice, and nothing of a hidden page', () => {
    const { w, c, first } = start();
    w.pass(3_600_000);
    assert.deepEqual(first.sent, []);
    w.document.hidden = true;
    w.event('visibilitychange');
    assert.deepEqual(first.sent, []);
    w.document.hidden = false;
    for (const type of ['online', 'focus', 'pageshow', 'visibilitychange', 'online']) w.event(type);
    c.send('data');
    assert.deepEqual(first.sent, [P, 'data']);
  });

  it('asks nothing when something was heard within 5 s, unless the network has changed', () => {
    const { w, c, first } = start();
    w.pass(60_000);
    first.message('m');
    w.pass(4_999);
    w.event('focus');
    c.send('a');
    assert.deepEqual(first.sent, ['a']);
    w.event('online');
    assert.deepEqual(first.sent, ['a', P]);
  });

  it('goes by the wall clock: time that a sleeping machine missed counts', () => {
    const { w, first } = start();
    w.freeze(60_000);
    w.event('visibilitychange');
    assert.deepEqual(first.sent, [P]);
  });

  it('any message answers, and is then asked again, since it may have waited', () => {
    const { w, c, first } = start();
    w.pass(60_000);
    w.event('focus');
    w.pass(1000);
    first.message('old');
    w.pass(4000);
    assert.equal(c.state, 'open');
    assert.deepEqual(first.sent, [P, P]);
    w.pass(5000);
    assert.equal(c.state, 'suspended');
  });

  it('a timer that fires more than a second late asks again: the page was frozen', () => {
    const { w, c, first } = start();
    w.pass(60_000);
    w.event('focus');
    w.freeze(6_001);
    w.pass(0);
    assert.equal(c.state, 'open');
    assert.deepEqual(first.sent, [P, P]);
    first.message(P);
    w.pass(600_000);
    assert.equal(c.state, 'open');

    w.event('focus');
    w.freeze(6_000);
    w.pass(0);
    assert.equal(c.state, 'suspended');
  });

  it('is more patient each time, so that a long message gets through a slow network', () => {
    const { w, c } = start();
    for (const seconds of [5, 10, 20, 40, 40]) {
      w.pass(60_000);
      w.event('online');
      w.pass(seconds * 1000 - 1);
      assert.equal(c.state, 'open');
      w.pass(1);
      assert.equal(c.state, 'suspended', `after ${seconds} s`);
      w.pass(30_000);
      w.last.greet({ resumed: true, offset: 0 });
    }
    w.last.message('long');
    w.pass(60_000);
    w.event('online');
    w.pass(5000);
    assert.equal(c.state, 'suspended');
  });

  it('a probe that was under way is forgotten with its WebSocket', () => {
    const { w, c, first } = start();
    w.pass(60_000);
    w.event('focus');
    first.lose();
    back(w, { resumed: true, offset: 0 });
    w.pass(60_000);
    assert.equal(c.state, 'open');
    w.event('focus');
    assert.deepEqual(w.last.sent, [P]);
  });
});

describe('the page goes and returns', () => {
  it('into the back-forward cache: 3901, and back at once', () => {
    const { w, c, first } = start();
    first.message('1');
    w.heard();
    w.event('pagehide', { persisted: true });
    assert.equal(first.closed, 3901);
    assert.equal(c.state, 'suspended');
    assert.deepEqual(w.heard(), [['suspended']]);
    w.pass(3_600_000);
    assert.equal(w.sockets.length, 1, 'nothing happens in the cache');
    w.event('pageshow', { persisted: true });
    w.pass(0);
    assert.equal(w.last.offered, 'wspush.resume.T1.1');
  });

  it('for good: 1000', () => {
    const { w, first } = start();
    w.event('pagehide', { persisted: false });
    assert.equal(first.closed, 1000);
    w.pass(3_600_000);
    assert.equal(w.sockets.length, 1);
  });

  it('while it waits, or connects', () => {
    const { w, first } = start();
    first.lose();
    w.event('pagehide', { persisted: true });
    w.pass(3_600_000);
    assert.equal(w.sockets.length, 1);
    w.event('pageshow', { persisted: true });
    w.pass(0);
    assert.equal(w.sockets.length, 2);
    w.event('pagehide', { persisted: true });
    assert.equal(w.last.closed, 3901);
    w.event('pageshow', { persisted: true });
    w.pass(0);
    assert.equal(w.sockets.length, 3);
    assert.equal(w.last.offered, 'wspush.resume.T1.0');
  });
});

describe('close', () => {
  it('open: 1000, nothing more is told, and nothing stays', () => {
    const { w, c, first } = start();
    c.close();
    c.close();
    assert.equal(first.closed, 1000);
    assert.equal(c.state, 'ended');
    first.message('late');
    first.lose(1000);
    w.event('online');
    w.pass(3_600_000);
    assert.deepEqual(w.heard(), []);
    assert.equal(w.sockets.length, 1);
    assert.equal(w.listening, 0);
    assert.equal(w.timers.length, 0);
  });

  it('while suspended: it does not come back (fault 19)', () => {
    for (const when of ['waiting', 'connecting', 'before the hello']) {
      const { w, c, first } = start();
      first.lose();
      if (when !== 'waiting') w.pass(1000);
      if (when === 'before the hello') w.last.open();
      w.heard();
      c.close();
      const made = w.sockets.length;
      w.event('online');
      w.event('pageshow', { persisted: true });
      w.pass(3_600_000);
      assert.equal(w.sockets.length, made, when);
      assert.deepEqual(w.heard(), []);
    }
  });

  it('while connecting: the WebSocket is closed when it opens, so that the server sees 1000', () => {
    const w = new World();
    const c = connect('/ws', w.handlers);
    c.close();
    assert.equal(w.last.closed, null);
    w.last.open();
    assert.equal(w.last.closed, 1000);
    w.last.hello();
    assert.deepEqual(w.heard(), []);
  });

  it('React’s strict mode: two connections, of which the first is closed properly', () => {
    const w = new World();
    connect('/ws', w.handlers).close();
    const c = connect('/ws', w.handlers);
    const [one, two] = w.sockets;
    one.greet();
    two.greet({ ticket: 'T2' });
    assert.equal(one.closed, 1000);
    assert.equal(two.closed, null);
    assert.equal(c.state, 'open');
    assert.equal(w.listening, 5);
  });
});

it('the code in README.md does what it says', () => {
  const text = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const [, page] = /```html\n<script type="module">\nimport .*\n([^]*?)<\/script>/.exec(text);
  const said = [];
  const say = (name) => (...args) => {
    said.push([name, ...args]);
    return { then(next) { next(); } };
  };
  const w = new World();
  const run = (code) => new Function('connect', 'show', 'tellBackend', 'fetchEverything', 'say', code)(
    connect, say('show'), say('tellBackend'), say('fetchEverything'), say('say'));
  run(page);
  w.last.greet();
  w.last.message('m');
  w.last.lose();
  back(w, { why: 'expired', address: 'http://b@host/ws' });
  w.last.lose(1000, 'bye');
  assert.deepEqual(said.splice(0), [
    ['tellBackend', 'http://a@host/ws'], ['fetchEverything'], ['show', 'm'],
    ['fetchEverything'], ['tellBackend', 'http://b@host/ws'], ['fetchEverything'], ['say', 'Not connected: 1000 bye']]);
  run(/```js\n([^]*?)```/.exec(text)[1]);
  w.last.greet();
  w.last.message('m');
  assert.deepEqual(said, [['show', 'm']]);
});

it('nothing happens at import', async () => {
  const w = new World();
  for (const name of ['WebSocket', 'document', 'navigator', 'sessionStorage', 'addEventListener']) {
    Object.defineProperty(globalThis, name, { configurable: true, get() { throw new Error(`${name} was touched`); } });
  }
  await import('../wspush.js?again');
  assert.equal(w.timers.length, 0);
});

describe('persist', () => {
  const KEY = 'wspush wss://example.com/ws';

  let pages = 0;

  // page is a page of its own, with a module of its own.
  async function page(storage, locks) {
    const w = new World({ storage, locks });
    w.connect = (await import(`../wspush.js?page=${pages++}`)).connect;
    return w;
  }

  // tab is a page with a connection that persists; its lock has been taken.
  async function tab(storage, locks, options = {}) {
    const w = await page(storage, locks);
    const c = w.connect('/ws', { ...w.handlers, persist: 'session', ...options });
    await settle();
    return { w, c };
  }

  // reload ends a page and loads it again.
  async function reload({ w }, locks, options) {
    w.event('pagehide', { persisted: false });
    await settle();
    return tab(w.storage, locks, options);
  }

  it('a reload: 3901, and the next page goes on with the session', async () => {
    const locks = new Locks();
    const one = await tab(new Storage(), locks);
    assert.equal(one.w.last.offered, undefined);
    one.w.last.greet();
    one.w.last.message('1');
    one.w.last.message('2');
    const two = await reload(one, locks);
    assert.equal(one.w.last.closed, 3901);
    assert.equal(two.w.last.offered, 'wspush.resume.T1.2');
    two.w.last.greet({ resumed: true, offset: 2, ticket: 'T2' });
    assert.deepEqual(two.w.heard(), [['address', ['http://a@host/ws']], ['resumed']]);
    const three = await reload(two, locks);
    assert.equal(three.w.last.offered, 'wspush.resume.T2.2', 'a ticket without messages is kept, too');
  });

  it('the count is kept before the handler is called', async () => {
    const seen = [];
    const storage = new Storage();
    const { w } = await tab(storage, new Locks(), { message: () => seen.push(storage.getItem(KEY)) });
    w.last.greet();
    w.last.message('1');
    assert.match(seen[0], / T1 1$/);
  });

  it('the next page is told what was lost', async () => {
    for (const [hello, told] of [[{ why: 'expired' }, ['lost', 'expired', undefined]], [{ resumed: true, offset: 5 }, ['lost', 'missed', 5]]]) {
      const locks = new Locks();
      const one = await tab(new Storage(), locks);
      one.w.last.greet();
      const two = await reload(one, locks);
      two.w.last.greet(hello);
      assert.deepEqual(two.w.heard()[0], told);
    }
  });

  it('a page that crashed was told nothing, and still nothing is repeated', async () => {
    const storage = new Storage();
    const one = await tab(storage, new Locks());
    one.w.last.greet();
    one.w.last.message('1');
    const two = await tab(storage, new Locks()); // the browser has given its locks back
    assert.equal(two.w.last.offered, 'wspush.resume.T1.1');
  });

  it('a reload that is quicker than the lock waits for it', async () => {
    const locks = new Locks();
    const one = await tab(new Storage(), locks);
    one.w.last.greet();
    const two = await tab(one.w.storage, locks); // the first page’s lock is still held
    assert.equal(two.w.sockets.length, 0);
    two.w.pass(999);
    await settle();
    assert.equal(two.w.sockets.length, 0);
    one.w.event('pagehide', { persisted: false });
    await settle();
    assert.equal(two.w.last.offered, 'wspush.resume.T1.0');
  });

  it('a duplicated tab has a session of its own, and both persist (fault 10)', async () => {
    const locks = new Locks();
    const one = await tab(new Storage(), locks);
    one.w.last.greet();
    const two = await tab(one.w.storage.copy(), locks);
    two.w.pass(1000);
    await settle();
    assert.equal(two.w.last.offered, undefined);
    two.w.last.greet({ ticket: 'D1' });
    assert.equal(one.w.last.closed, null);
    assert.deepEqual(two.w.heard(), [['lost', 'off', undefined], ['address', ['http://a@host/ws']], ['resumed']], 'its copy of what the page knew may be old');
    one.w.enter();
    const one2 = await reload(one, locks);
    assert.equal(one2.w.last.offered, 'wspush.resume.T1.0');
    two.w.enter();
    const two2 = await reload(two, locks);
    assert.equal(two2.w.last.offered, 'wspush.resume.D1.0');
  });

  it('… also if the tab is duplicated at its first connect, and from a duplicate', async () => {
    const locks = new Locks();
    let tabs = [await tab(new Storage(), locks)];
    tabs[0].w.last.greet({ ticket: 'T0' });
    for (const ticket of ['T1', 'T2']) {
      const next = await tab(tabs.at(-1).w.storage.copy(), locks);
      next.w.pass(1000);
      await settle();
      assert.equal(next.w.last.offered, undefined);
      next.w.last.greet({ ticket });
      tabs.push(next);
    }
    assert.equal(locks.held.size, 3);
  });

  it('after 3909 a reload does not take the session back (fault 10)', async () => {
    const locks = new Locks();
    const one = await tab(new Storage(), locks);
    one.w.last.greet();
    one.w.last.lose(3909, 'replaced');
    assert.deepEqual(one.w.heard().at(-1), ['end', 3909, 'replaced']);
    const two = await reload(one, locks);
    assert.equal(two.w.last.offered, undefined);
  });

  it('the end forgets, except where a login is missing', async () => {
    for (const [end, forgets] of [
      [({ c }) => c.close(), true], [({ w }) => w.last.lose(1000), true], [({ w }) => w.last.lose(1011), true],
      [({ w }) => w.last.lose(1012), false], [({ w }) => w.last.lose(3000), false]]) {
      const storage = new Storage(), locks = new Locks();
      const one = await tab(storage, locks);
      one.w.last.greet();
      end(one);
      await settle();
      assert.equal(storage.getItem(KEY) === null, forgets, String(end));
      assert.equal(locks.held.size, forgets ? 0 : 1);
      if (!forgets) one.c.close();
    }
  });

  it('unauthorized: the page, or the next one, comes back after a login; forbidden: with a new session', async () => {
    for (const [refused, offered] of [['unauthorized', 'wspush.resume.T1.1'], ['forbidden', undefined]]) {
      const storage = new Storage(), locks = new Locks();
      const one = await tab(storage, locks);
      one.w.last.greet();
      one.w.last.message('1');
      one.w.last.lose(3000);
      one.w.pass(1000);
      one.w.last.open();
      one.w.last.message(JSON.stringify({ refused }));
      assert.equal(one.w.heard().at(-1)[0], 'end');
      one.w.connect('/ws', { ...one.w.handlers, persist: 'session' });
      await settle();
      assert.equal(one.w.last.offered, offered, refused);
    }
  });

  it('3000 in place of the hello is the session’s end, and is not kept', async () => {
    const storage = new Storage(), locks = new Locks();
    const one = await tab(storage, locks);
    one.w.last.greet();
    const two = await reload(one, locks);
    two.w.last.open();
    two.w.last.lose(3000, 'logged out');
    assert.deepEqual(two.w.heard(), [['end', 3000, 'logged out']]);
    assert.equal(storage.getItem(KEY), null);
  });

  it('closed while it waits for a lock that another tab has: nothing is opened', async () => {
    const locks = new Locks();
    const one = await tab(new Storage(), locks);
    one.w.last.greet();
    const two = await tab(one.w.storage.copy(), locks);
    two.c.close();
    two.w.pass(1000);
    await settle();
    assert.equal(two.c.state, 'ended');
    assert.equal(two.w.sockets.length, 0);
    assert.equal(locks.held.size, 1);
    assert.deepEqual(two.w.heard(), []);
  });

  it('the lock is given back for the back-forward cache, and taken again', async () => {
    const locks = new Locks();
    const { w } = await tab(new Storage(), locks);
    w.last.greet();
    assert.equal(locks.held.size, 1);
    w.event('pagehide', { persisted: true });
    assert.equal(w.last.closed, 3901);
    await settle();
    assert.equal(locks.held.size, 0);
    w.event('pageshow', { persisted: true });
    w.pass(0);
    await settle();
    assert.equal(locks.held.size, 1);
    assert.equal(w.last.offered, 'wspush.resume.T1.0');
  });

  it('a page from the back-forward cache whose lock has gone to another page is told', async () => {
    const storage = new Storage(), locks = new Locks();
    const one = await tab(storage, locks);
    one.w.last.greet();
    one.w.event('pagehide', { persisted: true });
    await settle();
    const other = await tab(storage.copy(), locks);
    assert.equal(other.w.last.offered, 'wspush.resume.T1.0');
    one.w.enter();
    one.w.heard();
    one.w.event('pageshow', { persisted: true });
    one.w.pass(1000);
    await settle();
    one.w.pass(1000);
    await settle();
    assert.equal(one.w.last.offered, undefined);
    one.w.last.greet({ ticket: 'N' });
    assert.deepEqual(one.w.heard()[0], ['lost', 'off', undefined]);
  });

  it('React’s strict mode: the first call does not forget what the second goes on with', async () => {
    const storage = new Storage(), locks = new Locks();
    const one = await tab(storage, locks);
    one.w.last.greet();
    one.w.event('pagehide', { persisted: false });
    await settle();
    const w = await page(storage, locks);
    w.connect('/ws', { persist: 'session' }).close();
    w.connect('/ws', { ...w.handlers, persist: 'session' });
    await settle();
    assert.equal(w.sockets.length, 1);
    assert.equal(w.last.offered, 'wspush.resume.T1.0');
  });

  it('a second connection to the same URL in a page does not persist; one to another URL does', async () => {
    const storage = new Storage();
    const { w } = await tab(storage, new Locks());
    w.last.greet();
    const kept = storage.getItem(KEY);
    w.connect('/ws', { persist: 'session' });
    assert.equal(w.last.offered, undefined);
    w.last.greet({ ticket: 'second' });
    w.connect('/ws?2', { persist: 'session' });
    await settle();
    w.last.greet({ ticket: 'third' });
    assert.equal(storage.getItem(KEY), kept);
    assert.match(storage.getItem(`${KEY}?2`), / third 0$/);
  });

  it('close twice is close once: it does not make room for a second connection to the same URL', async () => {
    const { w, c } = await tab(new Storage(), new Locks());
    w.last.greet();
    c.close();
    w.connect('/ws', { persist: 'session' });
    c.close();
    await settle();
    w.last.greet({ ticket: 'second' });
    w.connect('/ws', { persist: 'session' });
    w.last.greet({ ticket: 'third' });
    assert.match(w.storage.getItem(KEY), / second 0$/);
  });

  it('into the back-forward cache and back while it waits for its lock: one lock, one WebSocket', async () => {
    const locks = new Locks();
    const one = await tab(new Storage(), locks);
    one.w.last.greet();
    one.w.event('pagehide', { persisted: true });
    await settle();
    const w = await page(one.w.storage, locks);
    w.connect('/ws', { ...w.handlers, persist: 'session' });
    w.event('pagehide', { persisted: true });
    w.event('pageshow', { persisted: true });
    w.pass(0);
    await settle();
    w.pass(1000);
    await settle();
    assert.equal(w.sockets.length, 1);
    assert.equal(w.last.offered, 'wspush.resume.T1.0');
    assert.equal(locks.held.size, 1);
  });

  it('a session that has no ticket any more forgets the one that is stored', async () => {
    const locks = new Locks();
    const one = await tab(new Storage(), locks);
    one.w.last.greet();
    const two = await reload(one, locks);
    two.w.last.greet({ window: 0, ticket: undefined, why: 'expired' });
    assert.equal(two.w.storage.getItem(KEY), null);
  });

  it('what a WebSocket throws is the end, since connect has returned', async () => {
    const { w } = await tab(new Storage(), new Locks(), { protocols: ['a', 'a'] });
    assert.deepEqual(w.heard(), [['end', 1002, 'SyntaxError: a subprotocol twice']]);
    assert.equal(w.listening, 0);
  });

  it('closed while it waits for its lock: nothing is opened, and the lock is given back', async () => {
    const locks = new Locks();
    const w = await page(new Storage(), locks);
    const c = w.connect('/ws', { ...w.handlers, persist: 'session' });
    c.close();
    await settle();
    assert.equal(w.sockets.length, 0);
    assert.equal(locks.held.size, 0);
  });

  for (const [what, storage, locks] of [
    ['sessionStorage throws', undefined, new Locks()],
    ['there are no locks', new Storage(), undefined],
    ['locks are refused', new Storage(), { request: () => Promise.reject(new DOMException('no', 'SecurityError')) }],
  ]) {
    it(`is off where ${what}`, async () => {
      const { w } = await tab(storage, locks);
      assert.equal(w.sockets.length, 1);
      w.last.greet();
      w.last.message('1');
      assert.equal(storage?.getItem(KEY) ?? null, null);
      w.event('pagehide', { persisted: false });
      assert.equal(w.last.closed, 1000);
    });
  }

  it('a full storage leaves no old count behind', async () => {
    const storage = new Storage();
    const { w } = await tab(storage, new Locks());
    w.last.greet();
    storage.full = true;
    w.last.message('1');
    assert.deepEqual(w.heard().at(-1), ['message', '1']);
    assert.equal(storage.getItem(KEY), null);
    storage.removeItem = () => { throw new DOMException('forbidden by now', 'SecurityError'); };
    w.last.message('2');
    assert.deepEqual(w.heard().at(-1), ['message', '2']);
    w.last.lose();
    w.pass(1000);
    assert.equal(w.last.offered, 'wspush.resume.T1.2');
  });

  it('what is stored and makes no sense is ignored', async () => {
    for (const value of ['', 'x', '{}', 'name ticket -1', 'name tic.ket 1', 'name ticket 1 2', 'name ticket x']) {
      const storage = new Storage();
      storage.setItem(KEY, value);
      const { w } = await tab(storage, new Locks());
      assert.equal(w.last.offered, undefined, value);
    }
  });

  it('without the option nothing is stored', async () => {
    const w = await page(new Storage(), new Locks());
    w.connect('/ws', w.handlers);
    w.last.greet();
    assert.equal(w.storage.items.size, 0);
  });
});
