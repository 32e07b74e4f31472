"""The life of a client of Python's websockets: client.py URL

The server needs -echo, -ping 1s and -idle 3s.
"""

import asyncio, re, sys, urllib.parse, urllib.request
import websockets

HEX = "[0-9a-f]"
ADDRESS = rf"http://{HEX}{{8}}-{HEX}{{4}}-4{HEX}{{3}}-[89ab]{HEX}{{3}}-{HEX}{{12}}@127\.0\.0\.1:\d+/ws"
TEXT = "zwölf Boxkämpfer ✓ 🥊"
BYTES = bytes([0, 1, 0x80, 0xFF, 0xFE, 0xC3, 0x28, 10, 13])


async def push(address, body, content_type, query=""):
    """Push in the path form, since urllib does not support userinfo either."""
    url = urllib.parse.urlsplit(address)
    where = f"http://{url.hostname}:{url.port}{url.path}/@connections/{url.username}{query}"
    request = urllib.request.Request(where, body, {"Content-Type": content_type})
    answer = await asyncio.to_thread(urllib.request.urlopen, request, timeout=10)
    assert answer.status == 204, answer.status
    return answer


async def life():
    """Each step yields what it has proved."""
    # No pings of the client's own, which would count as activity.
    async with websockets.connect(sys.argv[1], ping_interval=None) as client:
        receive = lambda: asyncio.wait_for(client.recv(), 10)

        address = await receive()
        assert re.fullmatch(ADDRESS, address), address
        yield "the greeting is one address"

        await push(address, TEXT.encode(), "text/plain")
        assert await receive() == TEXT
        yield "is pushed text"

        await push(address, BYTES, "application/octet-stream")
        assert await receive() == BYTES
        yield "is pushed binary"

        for message in TEXT, BYTES:
            await client.send(message)
            assert await receive() == message
        yield "its own text and binary messages come back, type kept"

        answer = await push(address, TEXT.encode(), "text/plain", "?confirm=received")
        assert re.fullmatch(r"\d+\.\d{3}", answer.headers["Wspush-Rtt"]), answer.headers
        assert await receive() == TEXT
        yield "confirms a push without knowing of it"

        await asyncio.sleep(4.5)
        await push(address, TEXT.encode(), "text/plain")
        assert await receive() == TEXT
        yield "answers pings: silent for longer than the idle timeout, it stays open"

        await asyncio.wait_for(client.close(3001, "bye"), 2)
        assert client.close_code == 3001, client.close_code  # 1006 means that no close frame came
        yield "its close, 3001 'bye', is answered"


async def main():
    async for shown in life():
        print("ok -", shown, flush=True)


asyncio.run(main())
