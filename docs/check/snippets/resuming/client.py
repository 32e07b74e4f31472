"""The program in docs/resuming.md. It prints what is pushed to it, however often its connection is lost: client.py URL"""

import asyncio, json, random, sys
import websockets


async def receive(url, handle):
    """Calls handle with every message, once and in order, until the server ends the session, and returns why."""
    ticket, offset, failures = None, 0, 0
    while True:
        ws = None
        try:
            offers = ["wspush.v1"] + ([f"wspush.resume.{ticket}.{offset}"] if ticket else [])
            ws = await websockets.connect(url, subprotocols=offers)
            hello = json.loads(await ws.recv())
            if "refused" in hello:
                if hello["refused"] != "retry":
                    return hello["refused"]
                await asyncio.sleep(hello["after"])
                continue
            if ticket and not hello["resumed"] or "missed" in hello:
                print("lost:", hello.get("why", "some"), flush=True)
            ticket, offset, failures = hello.get("ticket"), hello.get("offset", 0), 0
            print("address:", hello["address"], flush=True)
            async for message in ws:
                if message[:1] == "\x06":  # control, unless there are two
                    if message[:2] != "\x06\x06":
                        continue
                    message = message[1:]
                offset += 1
                handle(message)
        except (OSError, asyncio.TimeoutError, websockets.WebSocketException):
            pass
        finally:
            if ws:
                await ws.close(3901)  # "I shall be back"; the usual 1000 would end the session
        if ws and ws.close_code not in (1001, 1005, 1006, 1012, 1013, 3000):
            return ws.close_code
        await asyncio.sleep(random.random() * min(30, 0.5 * 2**failures))
        failures += 1


if __name__ == "__main__":
    print("end:", asyncio.run(receive(sys.argv[1], lambda message: print("message:", message, flush=True))), flush=True)
