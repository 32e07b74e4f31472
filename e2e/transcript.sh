# shellcheck shell=bash disable=SC2154 # variables that lib.sh sets
# The push API as publishers use it: curl and httpie against one listening client. Sourced by e2e/run.

# transcript WHAT PUSH-LISTEN: the whole transcript, with the push listener at that address.
transcript() {
  local over=$1
  start_server -push "$2"
  listen
  local no_id=http://${address#*@}

  check "$over: the greeting is one address: http://UUID@HOST:PORT/ws" is_address "$address" "${2%:0}"

  # The three commands of 'The transcript that must always work'.
  check "$over: echo 123 | http http://ID@…: \"123\\n\", as text" echo_by_httpie
  check "$over: curl -d 123 http://ID@…: \"123\", as text" pushed text <(printf 123) -d 123 "$address"
  check "$over: curl --data-binary @cat.png …/@connections/ID: the same bytes, as binary" \
    pushed binary cat.png --data-binary @cat.png -H 'Content-Type: image/png' "$path_address"

  check "$over: curl -d in the path form" pushed text <(printf grüße) -d grüße "$path_address"
  check "$over: httpie in the path form, a PNG" png_by_httpie
  check "$over: curl with no ID: 401" gives 401 -d 123 "$no_id"
  check "$over: … which asks for Basic, as a problem" is_problem 401 'WWW-Authenticate: Basic realm="wspush"'

  head -c 786432 /dev/urandom | base64 -w 0 >"$tmp/1MiB" # 4 characters for 3 bytes: 1048576
  check "$over: a body of 1 MiB arrives whole" pushed text "$tmp/1MiB" --data-binary "@$tmp/1MiB" "$address"
  check "$over: … and chunked" chunked 204 "$tmp/1MiB"
  check "$over: … as text" received text "$tmp/1MiB"
  (cat "$tmp/1MiB" && printf x) >"$tmp/more"
  check "$over: one byte more: 413" gives 413 --data-binary "@$tmp/more" "$address"
  check "$over: … chunked: 413" chunked 413 "$tmp/more"
  check "$over: … and the client gets the next message, not a part of that one" pushed text <(printf next) -d next "$address"

  check "$over: ?confirm=received: 204 once the client has read it" pushed text <(printf 123) -d 123 "$address?confirm=received&timeout=5s"
  check "$over: … with the round trip" grep -qiE '^wspush-rtt: [0-9]+\.[0-9]{3}' "$tmp/head"
  check "$over: many messages in one request: a line each, and an answer to each" bulk
  program "$over" 20 node clients/bulk.mjs "$no_id" "$id"
  received_so_far=$((received_so_far + 3)) # sent by that program
  check "$over: … as something else than application/x-ndjson: 415" gives 415 -d '{}' "$no_id/@connections"
  check "$over: GET: JSON that names the connection" gives_json
  check "$over: DELETE: 204" gives 204 -X DELETE "$path_address?code=3000&reason=enough"
  check "$over: … and the client is closed with that code and reason" closed_with '3000 enough'
  check "$over: a push after that: 410" wait_for 5 gives 410 -d 123 "$address"
  check "$over: … as a problem" is_problem 410 'x-amzn-ErrorType: GoneException'

  listen
  kill -TERM "$listener"
  check "$over: a push after the client left: 410" wait_for 5 gives 410 -d 123 "$path_address"
  check "$over: SIGTERM: exit status 0 within 5 s" stop_server
}

is_address() { # ADDRESS HOST
  local hex='[0-9a-f]'
  [[ $1 =~ ^http://$hex{8}-$hex{4}-4$hex{3}-[89ab]$hex{3}-$hex{12}@(.*):[0-9]+/ws$ && ${BASH_REMATCH[1]} = "$2" ]] || { echo "$1"; return 1; }
}

# gives STATUS CURL-ARGUMENTS...: whether curl gets that status. Keeps the answer in $tmp/head and $tmp/body.
gives() {
  local want=$1 got
  shift
  got=$(curl -sS --max-time 20 -D "$tmp/head" -o "$tmp/body" -w '%{http_code}' "$@") || return 1
  [ "$got" = "$want" ] || { echo "status $got, want $want"; cat "$tmp/body"; return 1; }
}

# pushed TYPE FILE CURL-ARGUMENTS...: whether curl gets 204 and the client gets the file's contents.
pushed() {
  local type=$1 file=$2
  shift 2
  gives 204 "$@" && received "$type" "$file"
}

# answered_204 HTTPIE-OUTPUT
answered_204() { [[ $1 == 'HTTP/1.1 204 '* ]] || { echo "$1"; return 1; }; }

echo_by_httpie() {
  answered_204 "$(echo 123 | http --timeout 20 --check-status --headers "$address")" && received text <(echo 123)
}

png_by_httpie() {
  answered_204 "$(http --timeout 20 --check-status --headers "$path_address" Content-Type:image/png <cat.png)" &&
    received binary cat.png
}

chunked() { # STATUS FILE
  gives "$1" -X POST -H 'Transfer-Encoding: chunked' -T - -v "$address" <"$2"
}

ndjson='Content-Type: application/x-ndjson'

bulk() {
  printf '%s\n' "{\"to\":\"$id\",\"text\":\"one\",\"ref\":\"r\"}" '{"to":5}' "{\"to\":[\"$id\"],\"binary\":\"AAEC\"}" >"$tmp/lines"
  gives 200 -H "$ndjson" --data-binary "@$tmp/lines" "$no_id/@connections" &&
    received text <(printf one) && received binary <(printf '\0\1\2') &&
    diff <(sort "$tmp/body") - <<'EOF'
{"line":1,"ref":"r","status":204}
{"line":2,"status":400,"type":"urn:wspush:bad-request","detail":"to must be a string, or an array of strings"}
{"line":3,"index":0,"status":204}
{"lines":3}
EOF
}

gives_json() {
  gives 200 "$path_address" && "$python" - "$id" "$tmp/body" <<'EOF'
import json, sys
print(about := json.load(open(sys.argv[2])))
assert about["connectionId"] == sys.argv[1] and about["path"] == "/ws"
EOF
}

# is_problem STATUS HEADER: whether the last answer was problem+json with that status and header.
is_problem() {
  cat "$tmp/head" "$tmp/body"
  grep -qiF "$2" "$tmp/head" && grep -qi '^content-type: application/problem+json' "$tmp/head" &&
    "$python" -c 'import json, sys; assert json.load(open(sys.argv[2]))["status"] == int(sys.argv[1])' "$1" "$tmp/body"
}
