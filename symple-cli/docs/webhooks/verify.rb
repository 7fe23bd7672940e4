# Checks the signature of a request from a Symple server.
#
# As a program: `ruby verify.rb SECRET SIGNATURE < body` ends with exit code 0 if it is right.
require 'openssl'

# True if the body is from somebody who has the secret, and from just now.
def signed?(secret, header, body, tolerance: 300)
  parts = /\At=([0-9]+),v1=([0-9a-f]{64})\z/.match(header.to_s)
  return false if parts.nil? || (Time.now.to_i - parts[1].to_i).abs > tolerance

  expected = OpenSSL::HMAC.hexdigest('SHA256', secret, "#{parts[1]}.#{body}")
  OpenSSL.fixed_length_secure_compare(expected, parts[2])
end

exit(signed?(ARGV[0], ARGV[1], $stdin.binmode.read) ? 0 : 1) if $PROGRAM_NAME == __FILE__
