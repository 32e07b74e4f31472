"""Clients that vanish, as their publishers see it: vanish.py IDLE [PART NAMESPACE ADDRESS INBOX LOG]...

Runs beside the server, which must have -idle IDLE (seconds) and -ping half of that; for the part large, the defaults.
Each part, a function below, has a client of its own: clients/listen.py in a network namespace, with the link "hub".
They all run at once.
"""

import datetime, http.client, json, os, re, subprocess, sys, threading, time, traceback, urllib.parse

IDLE = float(sys.argv[1])
LATE = IDLE / 10  # how late the server may be
WRITE = 10  # WriteTimeout
LINGER = 2  # how long a connection outlives its close frame
now = time.monotonic


class Client:
    def __init__(self, part, namespace, address, inbox, log):
        self.part, self.namespace, self.inbox, self.log = part, namespace, inbox, log
        url = urllib.parse.urlsplit(address)
        self.path, self.id = f"{url.path}/@connections/{url.username}", url.username[:8]
        self.http = http.client.HTTPConnection(url.hostname, url.port, timeout=2 * WRITE)
        self.taken = 0  # the number of the last message; the greeting is 0

    def result(self, good, what):
        sys.stdout.write(f"{'ok' if good else 'not ok'} - {self.part}: {what}\n")
        sys.stdout.flush()

    def ask(self, method="GET", body=None):
        self.http.request(method, self.path, body, {"Content-Type": "text/plain"})
        answer = self.http.getresponse()
        self.body = answer.read().decode()
        return answer.status

    def push(self, text):
        return self.ask("POST", text)

    def has(self, n):
        return os.path.exists(f"{self.inbox}/{n}.text")

    def takes(self, text):
        """Return whether the client's next message is this one."""
        self.taken += 1
        wait_for(lambda: self.has(self.taken))
        with open(f"{self.inbox}/{self.taken}.text") as f:
            return f.read() == text

    def is_pushed(self, text):
        status = self.push(text)
        assert status == 204, status
        assert self.takes(text)

    def ip(self, *arguments):
        subprocess.run(["ip", "-n", self.namespace, *arguments], check=True)

    def link(self, state):
        self.ip("link", "set", "hub", state)

    def connected(self):
        """Return how long ago the client connected, by the server's clock."""
        assert self.ask() == 200
        at = json.loads(self.body)["connectedAt"]
        return time.time() - datetime.datetime.fromisoformat(at).timestamp()

    def until_gone(self, ask, alive):
        """Ask until the answer is 410; return when the connection was last there and when it no longer was."""
        there = now()
        end = there + 3 * IDLE
        while True:
            asked = now()
            status = ask()
            if status == 410:
                return there, now()
            assert status == alive, status
            assert asked < end, f"still there after {3 * IDLE:g} s"
            there = asked
            time.sleep(0.02)

    def ended(self, gone, cause):
        """Check what the server logged, and when it released the connection."""
        line = re.compile(rf'"wspush: disconnected" conn={self.id} cause=(\S+)')

        def logged():
            with open(self.log) as f:
                return line.search(f.read())

        found = wait_for(logged)[1]
        took = now() - gone
        self.result(found == cause, f"the log says why: {found}")
        self.result(took < LINGER + LATE, f"released {took:.2f} s later, at most {LINGER + LATE:g} s")


def wait_for(condition):
    end = now() + 10
    while not (found := condition()):
        assert now() < end, "nothing for 10 s"
        time.sleep(0.02)
    return found


def idle(client):
    """The link goes down, and only pings are sent."""
    begun = now()
    assert client.push("one") == 204
    answered = now()  # the last activity was between these two
    assert client.takes("one")
    client.link("down")
    assert now() - begun < IDLE / 2, "too slow: it may have been pinged before it vanished"
    there, gone = client.until_gone(client.ask, 200)
    client.result(
        gone - begun >= IDLE and there - answered <= IDLE + LATE,
        f"ended {gone - begun:.3f} s after the last message, due after {IDLE:g} s",
    )
    client.result(client.push("two") == 410, "a push after that: 410")
    client.ended(gone, "idle")


def pushed(client):
    """The link stays up but loses packets; the client is pushed to all the time."""
    connected = now() - client.connected()
    client.is_pushed("one")
    client.ip("addr", "flush", "dev", "hub")
    silent = now()  # the last byte came in before this and after connected
    there, gone = client.until_gone(lambda: client.push("more"), 204)
    client.result(
        gone - connected >= 2 * IDLE and there - silent <= 2 * IDLE + LATE,
        f"pushes are 204 for {there - silent:.3f} s more, then 410, {gone - connected:.3f} s after it connected: "
        f"due after {2 * IDLE:g} s without a byte from it",
    )
    client.ended(gone, "no-answer")


def large(client):
    """The link goes down, and a message does not fit into the kernel's buffer."""
    client.is_pushed("one")
    client.link("down")
    begun = now()
    status = client.push("x" * (1 << 20))
    gone = now()
    took = gone - begun
    client.result(
        status == 504 and WRITE <= took < WRITE + 1,
        f"a push of 1 MiB is {status} after {took:.3f} s, due: 504 after the write timeout, {WRITE} s",
    )
    client.result(client.push("two") == 410, "a push after that: 410")
    client.ended(gone, "write-timeout")


def returns(client):
    """The link goes down for half of IDLE."""
    client.is_pushed("one")
    client.link("down")
    end = now() + IDLE / 2
    texts = []
    while now() < end:
        texts.append(f"meanwhile {len(texts)}")
        assert client.push(texts[-1]) == 204
        time.sleep(0.1)
    assert not client.has(client.taken + 1), "the link was not down"
    client.link("up")
    up = now()
    good = all(client.takes(text) for text in texts)
    took = now() - up
    client.result(good, f"{len(texts)} messages pushed meanwhile arrive in order, the last {took:.1f} s after its return")
    time.sleep(IDLE + 2 * LATE)
    client.is_pushed("last")  # it would be a different one if any had come twice
    good = not client.has(client.taken + 1)
    client.result(good, f"silent for more than {IDLE:g} s after that, it stays open; nothing came twice")


def stays(client):
    """The client is pushed to all the time, and answers pings. It vanishes below, just before the server is stopped."""
    connected = now() - client.connected()
    n = 0
    while now() - connected < 2 * IDLE + 1:
        client.is_pushed(f"message {n}")
        n += 1
        time.sleep(0.05)
    client.result(True, f"pushed to all the time for {now() - connected:.1f} s, {n} messages, it stays open")


clients = [Client(*sys.argv[i : i + 5]) for i in range(2, len(sys.argv), 5)]


def run(client):
    try:
        globals()[client.part](client)
    except Exception:
        client.result(False, "could go on: " + traceback.format_exc())


threads = [threading.Thread(target=run, args=(client,)) for client in reversed(clients)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
next(client for client in clients if client.part == "stays").link("down")
