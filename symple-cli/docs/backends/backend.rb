# What a backend does with a Symple server: it says who comes in, and sends frames.
#
# As a program, for trying it out: `ruby backend.rb session USER [ROOM…]`, `token USER [ROOM…]`, `emit TO DATA`,
# `post TO DATA KEY`. The settings are the server's own, in the environment.
require 'base64'
require 'json'
require 'net/http'
require 'openssl'
require 'securerandom'

module Symple
  API = URI('http://127.0.0.1:4501')

  module_function

  # Makes a session in Redis; the token that the browser comes in with. `db` is a `Redis` of the gem `redis`.
  def session(db, user, rooms, seconds: 3600)
    token = SecureRandom.urlsafe_base64(32)
    db.set("symple:session:#{token}", JSON.generate(user: user, rooms: rooms), ex: seconds)
    token
  end

  # A JSON Web Token that says the same, and needs no Redis.
  def token(secret, user, rooms, seconds: 3600)
    claims = { sub: user, rooms: rooms, exp: Time.now.to_i + seconds }
    encode = ->(part) { Base64.urlsafe_encode64(part, padding: false) }
    signed = [{ alg: 'HS256', typ: 'JWT' }, claims].map { |part| encode.(JSON.generate(part)) }.join('.')
    "#{signed}.#{encode.(OpenSSL::HMAC.digest('SHA256', secret, signed))}"
  end

  # Sends a frame over Redis: whoever its `to` names gets it, if the server is there just now.
  def emit(db, frame)
    db.publish('symple:broadcast', JSON.generate(frame))
  end

  # Sends a frame over HTTP, once however often it is tried; how many got it.
  def post(key, frame, once:)
    headers = { 'Authorization' => "Bearer #{key}", 'Content-Type' => 'application/json',
                'Idempotency-Key' => once }
    Net::HTTP.start(API.host, API.port, open_timeout: 5, read_timeout: 10) do |http|
      answer = http.post('/v1/emit', JSON.generate(frame), headers)
      raise "#{answer.code} #{answer.body}" unless answer.is_a?(Net::HTTPSuccess)

      JSON.parse(answer.body)
    end
  end
end

# Of the gem `redis` what is used above, by the program `redis-cli`: so that this runs without any gem.
class RedisCli
  def initialize(url) = @command = ['redis-cli', '-u', url]
  def set(key, value, ex:) = system(*@command, 'SET', key, value, 'EX', ex.to_s, out: File::NULL, exception: true)
  def publish(channel, text) = system(*@command, 'PUBLISH', channel, text, out: File::NULL, exception: true)
end

if $PROGRAM_NAME == __FILE__
  db = RedisCli.new(ENV.fetch('SYMPLE_REDIS_URL'))
  event = ->(to, data) { { type: 'event', name: 'deployed', to: to, data: JSON.parse(data) } }
  case ARGV
  in ['session', user, *rooms] then puts Symple.session(db, user, rooms)
  in ['token', user, *rooms] then puts Symple.token(ENV.fetch('SYMPLE_JWT_SECRET'), user, rooms)
  in ['emit', to, data] then Symple.emit(db, event.(to, data))
  in ['post', to, data, once]
    puts JSON.generate(Symple.post(ENV.fetch('SYMPLE_ADMIN_KEY'), event.(to, data), once: once))
  end
end
