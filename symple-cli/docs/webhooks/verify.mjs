// Checks the signature of a request from a Symple server.
//
// As a program: `node verify.mjs SECRET SIGNATURE < body` ends with exit code 0 if it is right.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

// True if the body, a Buffer, is from somebody who has the secret, and from just now.
export function isSigned(secret, header, body, tolerance = 300) {
  const parts = /^t=([0-9]+),v1=([0-9a-f]{64})$/.exec(header ?? '')
  if (!parts || Math.abs(Date.now() / 1000 - Number(parts[1])) > tolerance) return false
  const expected = createHmac('sha256', secret).update(`${parts[1]}.`).update(body).digest()
  return timingSafeEqual(expected, Buffer.from(parts[2], 'hex'))
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exit(isSigned(process.argv[2], process.argv[3], readFileSync(0)) ? 0 : 1)
}
