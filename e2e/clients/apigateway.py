"""API Gateway's client of AWS's SDK for Python, boto3: apigateway.py URL [small]

It signs with made-up keys, which workers do not verify. The server must be examples/quickstart or e2e/small.
"""

import asyncio, datetime, sys, urllib.parse
import boto3, botocore.config, botocore.exceptions
import websockets

url, *small = sys.argv[1:]
MAX_PUSH_BYTES = 256 << 10 if small else 1 << 20
TEXT = "zwölf Boxkämpfer ✓ 🥊"
BYTES = bytes([0, 1, 0x80, 0xFF, 0xFE, 0xC3, 0x28, 10, 13])
NEVER = "0f8fad5b-d9cb-469f-a165-70867728950e"


def sdk(endpoint, key="NOBODY", attempts=1):
    retries = {"total_max_attempts": attempts, "mode": "standard"}
    return boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=endpoint,
        region_name="eu-central-1",
        aws_access_key_id=key,
        aws_secret_access_key="secret",
        config=botocore.config.Config(retries=retries, read_timeout=10),
    )


async def call(method, connection_id, data=None):
    """Call in a thread, since boto3 blocks."""
    arguments = {"ConnectionId": connection_id}
    if data is not None:
        arguments["Data"] = data
    return await asyncio.wait_for(asyncio.to_thread(method, **arguments), 10)


async def raises(exception, status, call):
    """Await a call that must raise this exception; return the error's code."""
    try:
        await call
    except exception as e:
        assert e.response["ResponseMetadata"]["HTTPStatusCode"] == status, e.response
        assert status not in (403, 410, 413, 429) or e.response["Error"]["Message"], e.response
        return e.response["Error"]["Code"]
    raise AssertionError("it succeeds")


async def identify(client):
    """Read a client's greeting; return its ID and endpoint."""
    address = urllib.parse.urlsplit(await receive(client))
    return address.username, f"http://{address.netloc.partition('@')[2]}{address.path}"


async def receive(client):
    return await asyncio.wait_for(client.recv(), 10)


async def stall(post, id):
    """Post to a client that does not read until a post has to wait; return the future of its answer."""
    for _ in range(1000):
        waiting = asyncio.ensure_future(call(post, id, b"." * MAX_PUSH_BYTES))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        if not done:
            return waiting
        waiting.result()
    raise AssertionError("a client that does not read takes everything")


async def life():
    """Each step yields what it has proved."""
    connect = lambda: websockets.connect(url, ping_interval=None, max_size=None)
    async with connect() as client:
        id, endpoint = await identify(client)
        api = sdk(endpoint)
        errors = api.exceptions
        post = api.post_to_connection

        answer = await call(post, id, TEXT.encode())
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204, answer
        assert await receive(client) == TEXT
        yield "post_to_connection: text"

        await call(post, id, BYTES)
        assert await receive(client) == BYTES
        yield "… bytes that are not UTF-8, as binary"

        await call(post, id, b"")
        assert await receive(client) == ""
        yield "… nothing, as an empty text"

        await call(post, id, b"0123456789" * 10_000)
        assert await receive(client) == "0123456789" * 10_000
        yield "… 100 KB"

        about = await call(api.get_connection, id)
        now = datetime.datetime.now(datetime.timezone.utc)
        for time in about["ConnectedAt"], about["LastActiveAt"]:
            assert abs(now - time) < datetime.timedelta(seconds=10), about
        assert about["Identity"]["SourceIp"] == "127.0.0.1" and "websockets/" in about["Identity"]["UserAgent"], about
        yield "get_connection: the times as datetimes, and who it is"

        await raises(errors.PayloadTooLargeException, 413, call(post, id, bytes(MAX_PUSH_BYTES + 1)))
        yield "PayloadTooLargeException"

        for method, data in (post, b"x"), (api.get_connection, None), (api.delete_connection, None):
            await raises(errors.GoneException, 410, call(method, NEVER, data))
        yield "GoneException, for an ID that never was, by each method"

        async with connect() as other:
            left, _ = await identify(other)
        await raises(errors.GoneException, 410, call(post, left, b"x"))
        yield "… for a client that has left"

        async with connect() as other:
            deleted, _ = await identify(other)
            answer = await call(api.delete_connection, deleted)
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204, answer
            await asyncio.wait_for(other.wait_closed(), 2)
            assert other.close_code == 1000, other.close_code
        await raises(errors.GoneException, 410, call(post, deleted, b"x"))
        yield "delete_connection: the client sees the close frame"

        async with connect() as other:
            full, _ = await identify(other)
            other.transport.pause_reading()
            waiting = await stall(post, full)
            await raises(errors.LimitExceededException, 429, call(post, full, bytes(MAX_PUSH_BYTES)))
            again = asyncio.ensure_future(call(sdk(endpoint, attempts=5).post_to_connection, full, b"x"))
            await asyncio.sleep(0.6)
            other.transport.resume_reading()
            answer = await again
            assert answer["ResponseMetadata"]["RetryAttempts"] > 0, answer
            await asyncio.gather(waiting, return_exceptions=True)
            other.transport.abort()
        yield "LimitExceededException, for a client that does not read; with retries it succeeds once the client reads"

        if small:
            await raises(errors.ForbiddenException, 403, call(sdk(endpoint, "FORBIDDEN").post_to_connection, id, b"x"))
            unknown = call(sdk(endpoint, "UNKNOWN").post_to_connection, id, b"x")
            assert await raises(botocore.exceptions.ClientError, 401, unknown) == "401"
            yield "ForbiddenException, and an error without a name for 401"


async def main():
    async for shown in life():
        print("ok -", shown, flush=True)


asyncio.run(main())
