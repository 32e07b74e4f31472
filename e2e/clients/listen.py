"""A client that stores what it receives: listen.py URL FOLDER

Message N, counted from 0, becomes FOLDER/N.text or FOLDER/N.binary; the end becomes FOLDER/close, "CODE REASON".
SIGTERM closes the connection.
"""

import asyncio, os, signal, sys
import websockets

url, folder = sys.argv[1:]


def keep(name, data):
    """Write under another name first, so that a visible file is complete."""
    partial = os.path.join(folder, "partial")
    with open(partial, "wb") as f:
        f.write(data)
    os.rename(partial, os.path.join(folder, name))


async def main():
    async with websockets.connect(url, ping_interval=None, max_size=None) as client:
        closing = lambda: asyncio.ensure_future(client.close())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, closing)
        n = 0
        try:
            while True:
                message = await client.recv()
                if isinstance(message, str):
                    keep(f"{n}.text", message.encode())
                else:
                    keep(f"{n}.binary", message)
                n += 1
        except websockets.ConnectionClosed:
            keep("close", f"{client.close_code} {client.close_reason}".strip().encode())


asyncio.run(main())
