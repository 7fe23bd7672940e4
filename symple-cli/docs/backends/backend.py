"""What a backend does with a Symple server: it says who comes in, and sends frames.

As a program, for trying it out: `backend.py session USER [ROOM…]`, `token USER [ROOM…]`, `emit TO DATA`,
`post TO DATA KEY`. The settings are the server's own, in the environment.
"""
import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
import time
import urllib.request

import redis

API = "http://127.0.0.1:4501"


def session(db: redis.Redis, user: str, rooms: list[str], seconds: int = 3600) -> str:
    """Makes a session in Redis; the token that the browser comes in with."""
    token = secrets.token_urlsafe(32)
    value = {"user": user, "rooms": rooms}
    db.set(f"symple:session:{token}", json.dumps(value), ex=seconds)
    return token


def token(secret: str, user: str, rooms: list[str], seconds: int = 3600) -> str:
    """A JSON Web Token that says the same, and needs no Redis."""
    def encode(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    claims = {"sub": user, "rooms": rooms, "exp": int(time.time()) + seconds}
    parts = [encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = ".".join(parts)
    return f"{signed}.{encode(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


def emit(db: redis.Redis, frame: dict) -> None:
    """Sends a frame over Redis: whoever its `to` names gets it, if the server is there just now."""
    db.publish("symple:broadcast", json.dumps(frame))


def post(key: str, frame: dict, once: str) -> dict:
    """Sends a frame over HTTP, once however often it is tried; how many got it."""
    request = urllib.request.Request(f"{API}/v1/emit", json.dumps(frame).encode(), {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Idempotency-Key": once,
    })
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def main(command: str, *arguments: str) -> None:
    settings = os.environ
    if command == "token":
        user, *rooms = arguments
        print(token(settings["SYMPLE_JWT_SECRET"], user, rooms))
        return
    if command == "post":
        to, data, once = arguments
        frame = {"type": "event", "name": "deployed", "to": to, "data": json.loads(data)}
        print(json.dumps(post(settings["SYMPLE_ADMIN_KEY"], frame, once)))
        return
    db = redis.Redis.from_url(settings["SYMPLE_REDIS_URL"])
    if command == "session":
        user, *rooms = arguments
        print(session(db, user, rooms))
    elif command == "emit":
        to, data = arguments
        emit(db, {"type": "event", "name": "deployed", "to": to, "data": json.loads(data)})


if __name__ == "__main__":
    main(*sys.argv[1:])
