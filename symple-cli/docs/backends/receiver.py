"""Keeps who is online, as a Symple server tells it. Needs verify.py beside it."""
import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

from verify import is_signed


class Presence:
    """Who is online. Batches may come twice, and those of two nodes out of order."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.users: dict[str, str] = {}

    def take(self, batch: dict) -> None:
        node = batch["events"][0]["node"]
        if self.last.get(node) == batch["id"]:
            return
        self.last[node] = batch["id"]
        if batch["dropped"]:
            print("some events are missing: ask GET /v1/peers who is there", flush=True)
        for event in batch["events"]:
            peer = event["peer"]
            if event["number"] < self.numbers.get(peer, 0):
                continue
            # In a program that runs for long this belongs in a table, and old rows are deleted some day.
            self.numbers[peer] = event["number"]
            if event["type"] == "offline":
                self.users.pop(peer, None)
            else:
                self.users[peer] = event["user"]
            print(event["type"], event["user"], flush=True)


class Receiver(BaseHTTPRequestHandler):
    presence = Presence()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        secret = os.environ["SYMPLE_WEBHOOK_SECRET"]
        signed = is_signed(secret, self.headers["Symple-Signature"], body)
        if signed:
            self.presence.take(json.loads(body))
        # Whatever is answered but 2xx means that the batch is sent again.
        self.send_response(204 if signed else 401)
        self.end_headers()


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", 8000), Receiver).serve_forever()
