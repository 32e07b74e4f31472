// The client of wspush.v1, documented in wspush.d.ts.

const HELLO = 10_000, STABLE = 10_000, ANSWER = 5_000, LATE = 1_000; // in milliseconds
const EVENTS = ["pagehide", "pageshow", "visibilitychange", "online", "focus"];
const kept = new Set(); // keys in sessionStorage

export function connect(url, options = {}) {
  const where = new URL(url, globalThis.document?.baseURI);
  where.protocol = where.protocol.replace("http", "ws");
  where.hash = "";

  let state = "connecting", addresses = [], protocol = "";
  let ticket = "", count = 0; // with these a client comes back
  let socket, greeted; // greeted: the hello has come
  let timer, due; // for the hello, a probe, or the next attempt
  let attempts = 0, since = Infinity, notBefore = 0;
  let probing, quiet, heard, patience = ANSWER;
  let storage, name, claimed, release; // name is the lock's
  const key = "wspush " + where;

  function call(handler, ...args) {
    try {
      options[handler]?.(...args);
    } catch (err) {
      queueMicrotask(() => { throw err; });
    }
  }

  function wait(ms, act) {
    clearTimeout(timer);
    due = Date.now() + ms;
    timer = setTimeout(act, ms);
  }

  // A frozen page runs its timers before it gets its messages.
  const isLate = () => Date.now() > due + LATE;

  // The WebSocket.

  function open() {
    if (socket || state === "ended") return;
    if (storage && !release) return (claimed ??= claim()).then(open).catch((err) => end(1002, String(err)));
    const ws = new WebSocket(where, [
      "wspush.v1", ...(ticket ? [`wspush.resume.${ticket}.${count}`] : []), ...[].concat(options.protocols ?? [])]);
    socket = ws;
    greeted = false;
    ws.binaryType = "arraybuffer";
    ws.onopen = expectHello;
    ws.onmessage = ({ data }) => (greeted ? receive : greet)(data);
    ws.onclose = ({ code, reason }) => {
      // Some browsers report 1012 as 1002.
      const comesBack = (greeted ? /^(3000|10(0[1256]|1[2-5]))$/ : /^10(0[156]|1[2-5])$/).test(code);
      comesBack ? suspend() : end(code, reason);
    };
    expectHello();
  }

  function expectHello() {
    wait(HELLO, () => isLate() ? expectHello() : suspend());
  }

  // No event may reach its successor.
  function drop(code) {
    clearTimeout(timer);
    const ws = socket;
    if (!ws) return;
    socket = ws.onopen = ws.onmessage = ws.onclose = null;
    if (!ws.readyState && code === 1000) ws.onopen = () => ws.close(code); // the server is told
    else ws.close(code);
  }

  function lose(code) {
    drop(code);
    if (Date.now() - since >= STABLE) attempts = 0;
    since = due = Infinity;
    probing = false;
  }

  function suspended() {
    if (state !== "open") return;
    state = "suspended";
    call("suspended");
  }

  function suspend(after) {
    lose(3901);
    after = Math.min(Math.max(after, 0) || 0, 86400) * 1000;
    notBefore = Date.now() + after;
    wait(after + Math.random() * Math.min(30_000, 500 * 2 ** attempts++), open);
    suspended();
  }

  // Messages.

  function greet(data) {
    let hello;
    try {
      hello = JSON.parse(data);
    } catch {}
    const { refused, address, resumed, offset, ticket: next = "" } = hello ?? {};
    if (refused === "retry") return suspend(hello.after);
    if (refused === "unauthorized") return end(3000, refused, true); // connect may come back after a login
    if (refused) return end(3003, refused);
    if (typeof address !== "string" || !/^[\w-]*$/.test(next) || (resumed && !(ticket && offset >= count))) {
      return end(1002, "no hello of wspush.v1");
    }

    const wasSuspended = state === "suspended";
    const missed = (resumed && offset - count) || undefined;
    const why = resumed ? missed && "missed" : hello.why ?? (ticket ? "unknown" : wasSuspended && "off");
    const isNew = address !== addresses.join();
    state = "open";
    greeted = true;
    [ticket, count, addresses, protocol] = [next, resumed ? offset : 0, address ? address.split(",") : [], hello.protocol ?? ""];
    heard = since = Date.now();
    clearTimeout(timer);
    save();

    const ws = socket;
    const tell = (...args) => ws === socket && call(...args);
    if (why) tell("lost", why, missed);
    if (isNew) tell("address", addresses);
    if (wasSuspended || resumed) tell("resumed");
  }

  function receive(data) {
    heard = Date.now();
    quiet = false;
    patience = ANSWER;
    if (data[0] === "\x06") {
      if (data === "\x06p" && probing) {
        probing = false;
        clearTimeout(timer);
      }
      if (data[1] !== "\x06") return;
      data = data.slice(1);
    }
    count++; // before the handler, which may throw, or connect anew
    save();
    call("message", data);
  }

  // Liveness.

  // Any message is an answer, but may have waited in a frozen page.
  function probe() {
    probing = quiet = true;
    socket.send("\x06p");
    wait(patience, () => {
      if (!quiet || isLate()) return probe();
      patience = Math.min(2 * patience, 40_000); // for long messages on slow networks
      suspend();
    });
  }

  const probeIfIdle = () => probing || Date.now() - heard < ANSWER || probe();

  function happened({ type, persisted }) {
    if (type === "pagehide") {
      lose(persisted || storage ? 3901 : 1000);
      letGo();
      return suspended();
    }
    if (type === "visibilitychange" && document.hidden) return;
    if (state === "open") return type === "online" && !probing ? probe() : probeIfIdle();
    const ms = Math.max(notBefore - Date.now(), 0) + (type === "online" && Math.random() * 1000);
    if (!socket && due > Date.now() + ms) wait(ms, open);
  }

  // Over a reload.

  function restore() {
    try {
      if (!navigator.locks || kept.has(key)) return;
      const [, lock = crypto.randomUUID(), t = "", n = 0] = /^(\S+) ([\w-]+) (\d+)$/.exec(sessionStorage.getItem(key)) ?? [];
      [name, ticket, count, storage] = [lock, t, +n, sessionStorage];
      kept.add(key);
    } catch {}
  }

  function save() {
    try {
      if (ticket) storage?.setItem(key, `${name} ${ticket} ${count}`);
      else forget();
    } catch {
      forget(); // a count that is too low would repeat messages
    }
  }

  function forget() {
    try {
      storage?.removeItem(key);
    } catch {}
  }

  const lock = (signal) => new Promise((done) => {
    navigator.locks.request(name, { signal }, () => new Promise((free) => done(release = free))).catch(() => done());
  });

  // A duplicated tab copies the storage, not the lock. After a reload, it may take a moment.
  async function claim() {
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 1000);
    if (!await lock(abort.signal)) {
      if (ticket && state === "connecting") state = "suspended"; // lost will be told
      [name, ticket, count] = [crypto.randomUUID(), "", 0];
      if (!await lock()) storage = null;
    }
    if (state === "ended") letGo();
  }

  function letGo() {
    if (!release) return; // the lock may be yet to come
    release();
    release = claimed = null;
  }

  function stop(keep) {
    lose(keep ? 3901 : 1000);
    state = "ended";
    for (const type of EVENTS) globalThis.removeEventListener?.(type, happened);
    if (release && !keep) forget();
    letGo();
    if (storage) kept.delete(key);
  }

  function end(code, reason, keep) {
    stop(keep);
    call("end", code, reason);
  }

  if (options.persist === "session") restore();
  open();
  for (const type of EVENTS) globalThis.addEventListener?.(type, happened);

  return {
    get state() { return state; },
    get address() { return addresses; },
    get protocol() { return protocol; },
    send(data) {
      if (state !== "open" || socket.readyState !== 1) return false;
      probeIfIdle();
      socket.send(data[0] === "\x06" ? "\x06" + data : data);
      return true;
    },
    close() {
      if (state !== "ended") stop();
    },
  };
}
