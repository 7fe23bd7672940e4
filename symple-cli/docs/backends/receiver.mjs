// Keeps who is online, as a Symple server tells it. Needs verify.mjs beside it.
import { createServer } from 'node:http'
import { isSigned } from './verify.mjs'

// Who is online. Batches may come twice, and those of two nodes out of order.
export class Presence {
  last = new Map()
  numbers = new Map()
  users = new Map()

  take(batch) {
    const { node } = batch.events[0]
    if (this.last.get(node) === batch.id) return
    this.last.set(node, batch.id)
    if (batch.dropped) console.log('some events are missing: ask GET /v1/peers who is there')
    for (const { type, peer, user, number } of batch.events) {
      if (number < (this.numbers.get(peer) ?? 0)) continue
      // In a program that runs for long this belongs in a table, and old rows are deleted some day.
      this.numbers.set(peer, number)
      if (type === 'offline') this.users.delete(peer)
      else this.users.set(peer, user)
      console.log(type, user)
    }
  }
}

const presence = new Presence()
createServer(async (request, response) => {
  const parts = []
  for await (const part of request) parts.push(part)
  const body = Buffer.concat(parts)
  const signed = isSigned(process.env.SYMPLE_WEBHOOK_SECRET, request.headers['symple-signature'], body)
  if (signed) presence.take(JSON.parse(body))
  // Whatever is answered but 2xx means that the batch is sent again.
  response.writeHead(signed ? 204 : 401).end()
}).listen(8000, '127.0.0.1')
