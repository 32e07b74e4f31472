"""The program in docs/resuming.md. It prints what is pushed to it, however often its connection is lost: client.py URL"""

import asyncio, json, random, sys
import websockets


async def receive(url):
    """Yields the hello of each new session, and every message, once and in order. A hello also comes with a new address, and where messages are missing."""
    ticket, count, address, delay = None, 0, None, 0
    while True:
        await asyncio.sleep(delay * random.uniform(1, 2))
        delay = min(2 * delay + 0.5, 15)
        resume = [f"wspush.resume.{ticket}.{count}"] if ticket else []
        try:
            async with websockets.connect(url, subprotocols=["wspush.v1", *resume]) as ws:
                hello = json.loads(await ws.recv())
                delay = hello.get("after", 0.5)
                if hello.get("refused") in ("unauthorized", "forbidden"):
                    return
                if "refused" in hello:  # "retry"
                    continue
                ticket, count = hello.get("ticket"), hello.get("offset", 0)
                if not hello["resumed"] or "missed" in hello or hello.get("address") != address:
                    address = hello.get("address")
                    yield hello
                while True:
                    message = await ws.recv()
                    if message[:1] == "\x06" and message[1:2] != "\x06":
                        continue  # control
                    count += 1
                    yield message[1:] if message[:1] == "\x06" else message
        except websockets.ConnectionClosed as closed:
            if closed.rcvd and closed.rcvd.code not in (1001, 1005, 1012, 1013, 3000):
                return
        except (OSError, websockets.WebSocketException):
            pass  # there is no way to the server at the moment


async def main(url):
    async for received in receive(url):
        if isinstance(received, dict):
            print("address:", received["address"], flush=True)
        else:
            print("message:", received, flush=True)
    print("end", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
