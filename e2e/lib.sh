# shellcheck shell=bash disable=SC2034,SC2154 # variables that e2e/run or transcript.sh sets or reads
# Helpers for e2e/run, which sources this file: results, servers, listeners. Expects $tmp, a folder of the run's own.

passed=0 failed=0 skipped=0
started=0        # numbers servers and listeners, for their file names
program_running= # pid of what program is waiting for
namespaces=()    # network namespaces that were made here
enter=()         # prefix that runs a program in the servers' and listeners' namespace

# Debian's own, which has python3-websockets and python3-boto3: another python3 may come first on PATH.
python=/usr/bin/python3

ok() { passed=$((passed + 1)); echo "ok - $1"; }
not_ok() { failed=$((failed + 1)); echo "not ok - $1"; }
skip() { skipped=$((skipped + 1)); echo "skip - $1"; }

# check WHAT COMMAND...: one result, by the command's status. Its output explains a failure.
check() {
  local what=$1
  shift
  if "$@" >"$tmp/said" 2>&1; then ok "$what"; else
    not_ok "$what"
    sed 's/^/    /' "$tmp/said"
  fi
}

# program WHAT SECONDS COMMAND...: runs a program that prints its own result lines, and counts them.
program() {
  local what=$1 seconds=$2 status=0 line out
  shift 2
  exec {out}< <(exec timeout --kill-after=5 "$seconds" "$@" 2>&1)
  program_running=$!
  while IFS= read -r line <&"$out"; do
    case $line in
    'ok - '*) ok "$what: ${line#ok - }" ;;
    'not ok - '*) not_ok "$what: ${line#not ok - }" ;;
    'skip - '*) skip "$what: ${line#skip - }" ;;
    *) echo "    $line" ;;
    esac
  done
  exec {out}<&-
  wait "$program_running" || status=$?
  program_running=
  case $status in
  0) ;;
  124 | 137) not_ok "$what: stopped after $seconds s" ;;
  *) not_ok "$what: exit status $status" ;;
  esac
}

# wait_for SECONDS COMMAND...: waits until the command succeeds; fails if it does not in time.
wait_for() {
  local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
  shift
  until "$@"; do
    [ "${EPOCHREALTIME/./}" -lt "$end" ] || { echo "gave up waiting for: $*"; return 1; }
    sleep 0.05
  done
}

# start_server FLAGS...: a quickstart on a port that the system chooses. Sets $server (its pid), $ws (its URL) and
# $server_log.
start_server() { start "$quickstart" "$@"; }

# start_small: the same for e2e/small.
start_small() { start "$small" "$@"; }

start() { # PROGRAM FLAGS...
  local out=$tmp/server$((started += 1)) page
  server_log=$out.log
  "${enter[@]}" "$1" -listen 127.0.0.1:0 -v "${@:2}" >"$out.out" 2>"$server_log" </dev/null &
  server=$!
  wait_for 10 grep -qsE 'http://[^/]+:[0-9]+/' "$out.out" || fatal "${1##*/} ${*:2} prints its URL"
  page=$(grep -oE -m 1 'http://[^/]+:[0-9]+/' "$out.out")
  ws=${page/http:/ws:}ws
}

# stop_server: stops the server; succeeds if it exits with status 0 within 5 s.
stop_server() {
  local status=0
  kill -TERM "$server" && wait_for 5 has_ended "$server" || return 1
  wait "$server" || status=$?
  [ $status = 0 ] || { echo "exit status $status"; return 1; }
}

has_ended() { ! kill -0 "$1" 2>/dev/null; }

# listen: a client that stores what it receives. Sets $listener (its pid), $inbox, and from the greeting $address, $path_address
# (the other form) and $id.
listen() {
  inbox=$tmp/listener$((started += 1))
  mkdir "$inbox"
  "${enter[@]}" "$python" clients/listen.py "$ws" "$inbox" >"$inbox.log" 2>&1 </dev/null &
  listener=$!
  wait_for 10 test -e "$inbox/0.text" || fatal "a client of $ws is greeted"
  received_so_far=0
  address=$(cat "$inbox/0.text")
  id=${address#http://} id=${id%%@*}
  path_address=${address/$id@/}/@connections/$id
}

# received TYPE FILE: whether the listener's next message has that type and equals the file, byte for byte.
received() {
  local message=$inbox/$((received_so_far += 1)).$1
  wait_for 10 test -e "$message" || { ls "$inbox"; return 1; }
  cmp "$message" "$2"
}

# closed_with PATTERN: whether the listener got a close frame whose code and reason match.
closed_with() {
  wait_for 10 test -e "$inbox/close" || return 1
  # shellcheck disable=SC2053 # it is a pattern
  [[ $(cat "$inbox/close") == $1 ]] || { echo "closed with: $(cat "$inbox/close")"; return 1; }
}

install_missing() {
  local missing=() module
  command -v curl >/dev/null || missing+=(curl)
  command -v http >/dev/null || missing+=(httpie)
  command -v chromium >/dev/null || missing+=(chromium fonts-liberation)
  command -v firefox-esr >/dev/null || missing+=(firefox-esr)
  command -v node >/dev/null || missing+=(nodejs)
  command -v npm >/dev/null || missing+=(npm)
  command -v ip >/dev/null || missing+=(iproute2)
  command -v caddy >/dev/null || missing+=(caddy)
  command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] || missing+=(haproxy)
  command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx-light)
  command -v redis-check-rdb >/dev/null || missing+=(redis-tools) # which is redis-server by another name
  "$python" -c 'import websockets' 2>/dev/null || missing+=(python3-websockets)
  "$python" -c 'import boto3' 2>/dev/null || missing+=(python3-boto3)
  for module in requests httpx aiohttp; do "$python" -c "import $module" 2>/dev/null || missing+=("python3-$module"); done
  command -v php >/dev/null || missing+=(php-cli)
  php -r 'exit(function_exists("curl_init") ? 0 : 1);' 2>/dev/null || missing+=(php-curl)
  command -v ruby >/dev/null || missing+=(ruby)
  command -v javac >/dev/null || missing+=(default-jdk-headless)
  command -v perl >/dev/null || missing+=(perl) # with HTTP::Tiny
  [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates) # for Go's modules
  [ ${#missing[@]} != 0 ] || return 0
  echo "installing ${missing[*]}"
  export RUNLEVEL=1 # in which no service is started: the proxies are for us to start
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
    >"$tmp/apt" 2>&1 </dev/null || { tail -n 20 "$tmp/apt"; exit 1; }
}

# Everything below is on loopback, must not depend on this user's settings for curl, httpie, AWS's SDKs or a proxy, and leaves
# nothing behind: Chromium drops files of its own.
no_personal_settings() {
  unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
  unset "${!AWS_@}"
  export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
  export CURL_HOME=$tmp HTTPIE_CONFIG_DIR=$tmp NETRC=/dev/null TMPDIR=$tmp
}

# fatal WHAT: a failure that makes further tests pointless.
fatal() {
  not_ok "$1"
  summary || exit 1
}

summary() {
  local log
  if [ $failed != 0 ]; then
    for log in "$tmp"/*.log; do
      [ -s "$log" ] && echo "--- the end of ${log##*/}:" && tail -n 40 "$log"
    done
  fi
  echo "$passed passed, $failed failed, $skipped skipped"
  [ $failed = 0 ]
}

# clean_up ends everything started here that is still running, and nothing else.
clean_up() {
  local pid pids name end=$((SECONDS + 6)) IFS=$' \n' # the trap may come while read has another
  pids="$(jobs -rp) $program_running"
  for pid in $pids; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in $pids; do
    wait_for $((end > SECONDS ? end - SECONDS : 0)) has_ended "$pid" >/dev/null && continue
    { disown "$pid"; kill -KILL "$pid"; } 2>/dev/null || true # disowned: its end is not reported
  done
  for name in "${namespaces[@]}"; do ip netns del "$name" 2>/dev/null || true; done
  rm -rf "$tmp"
}
