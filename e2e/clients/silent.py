"""A client that completes the handshake and then does nothing: silent.py URL PING IDLE (seconds)

It must receive a ping after PING and after 2 * PING, then a close frame after IDLE = 3 * PING, then the end of
the stream. Times count from just before the handshake was sent: the server's clock cannot have started earlier,
so nothing can wrongly seem early.
"""

import base64, os, socket, sys, time, urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
ping, idle = map(float, sys.argv[2:])
LATE = 0.9 * ping  # far more than the server may need, far less than would hide a missed ping


def read(n):
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise EOFError(data)
        data += part
    return data


def read_head():
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read(1)
    return head


def read_frame():
    """One unfragmented frame with a short payload: opcode and payload."""
    first, length = read(2)
    assert first & 0xF0 == 0x80, f"not a whole frame: {first:#x}"
    assert length < 126, f"masked or long: {length}"
    return first & 0xF, read(length)


def result(good, what):
    print("ok -" if good else "not ok -", what, flush=True)


TEXT, CLOSE, PING = 1, 8, 9
sock = socket.create_connection((url.hostname, url.port))
sock.settimeout(idle + 5)
start = time.monotonic()
sock.sendall(
    f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n".encode()
)
assert read_head().startswith(b"HTTP/1.1 101 ")
assert read_frame()[0] == TEXT  # the greeting

frames = []  # (seconds, opcode, payload), up to the close frame
while not frames or frames[-1][1] != CLOSE:
    opcode, payload = read_frame()
    frames.append((time.monotonic() - start, opcode, payload))
closed = time.monotonic()
rest = sock.recv(1)
ended = time.monotonic() - closed

for name, due in (("ping", ping), ("second ping", 2 * ping)):
    at, opcode, payload = frames.pop(0) if frames[0][1] == PING else (float("nan"), None, b"")
    result(due <= at < due + LATE, f"{name} after {at:.3f} s of silence, due after {due:g} s")
at, opcode, payload = frames.pop(0)
result(opcode == CLOSE and not frames, "nothing else before the close frame")
result(
    payload == (1001).to_bytes(2, "big") + b"idle timeout" and idle <= at < idle + LATE,
    f"close {payload!r} after {at:.3f} s, due after {idle:g} s",
)
result(rest == b"" and ended < 3, f"the end of the stream {ended:.3f} s later, due within 2 s")
