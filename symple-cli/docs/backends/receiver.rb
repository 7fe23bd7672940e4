# Keeps who is online, as a Symple server tells it. Needs verify.rb beside it.
require 'json'
require 'socket'
require_relative 'verify'

# Who is online. Batches may come twice, and those of two nodes out of order.
class Presence
  def initialize
    @last = {}
    @numbers = Hash.new(0)
    @users = {}
  end

  def take(batch)
    node = batch['events'].first['node']
    return if @last[node] == batch['id']

    @last[node] = batch['id']
    puts 'some events are missing: ask GET /v1/peers who is there' if batch['dropped'].positive?
    batch['events'].each { |event| change(event) }
  end

  private

  def change(event)
    peer, user, number = event.values_at('peer', 'user', 'number')
    return if number < @numbers[peer]

    # In a program that runs for long this belongs in a table, and old rows are deleted some day.
    @numbers[peer] = number
    event['type'] == 'offline' ? @users.delete(peer) : @users[peer] = user
    puts "#{event['type']} #{user}"
  end
end

# A server of a few lines; in Rails this is a controller.
if $PROGRAM_NAME == __FILE__
  $stdout.sync = true
  presence = Presence.new
  server = TCPServer.new('127.0.0.1', 8000)
  loop do
    client = server.accept
    head = client.gets("\r\n\r\n").to_s
    header = ->(name) { head[/^#{name}: *(.*)\r$/i, 1] }
    body = client.read(header.('content-length').to_i)
    signed = signed?(ENV.fetch('SYMPLE_WEBHOOK_SECRET'), header.('symple-signature'), body)
    presence.take(JSON.parse(body)) if signed
    # Whatever is answered but 2xx means that the batch is sent again.
    client.write("HTTP/1.1 #{signed ? '204 No Content' : '401 Unauthorized'}\r\nConnection: close\r\n\r\n")
    client.close
  end
end
