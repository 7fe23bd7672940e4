"""Checks the signature of a request from a Symple server.

As a program: `verify.py SECRET SIGNATURE < body` ends with exit code 0 if it is right.
"""
import hashlib
import hmac
import re
import sys
import time


def is_signed(secret: str, header: str, body: bytes, tolerance: int = 300) -> bool:
    """True if the body is from somebody who has the secret, and from just now."""
    parts = re.fullmatch(r"t=([0-9]+),v1=([0-9a-f]{64})", header or "")
    if not parts or abs(time.time() - int(parts[1])) > tolerance:
        return False
    expected = hmac.new(secret.encode(), parts[1].encode() + b"." + body, hashlib.sha256)
    return hmac.compare_digest(expected.hexdigest(), parts[2])


if __name__ == "__main__":
    sys.exit(0 if is_signed(sys.argv[1], sys.argv[2], sys.stdin.buffer.read()) else 1)
