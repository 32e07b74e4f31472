# shellcheck shell=bash disable=SC2034,SC2154 # variables that lib.sh sets or reads
# Clients that vanish: no FIN, no RST, only silence. Sourced by e2e/run. The servers are in one network namespace of this run's
# own, and each client is in another, linked to it: no packet leaves these, and the host is not changed.

# vanish: the whole test, or one skipped result if namespaces cannot be made.
vanish() {
  # The pushed client comes last: the sooner it vanishes, the tighter are the bounds of its end.
  local parts=(large stays returns idle pushed)
  local hub=wspush-e2e-$$-hub here=192.0.2.1 here6='' enter=() listeners=() arguments=() defaults part
  if ! star "${parts[@]}" 2>"$tmp/why"; then
    skip "a client that vanishes: $(tail -n 1 "$tmp/why")"
    return
  fi

  enter=(ip netns exec "$hub")
  start_server -listen :0 # with an idle timeout far longer than the write timeout
  defaults=$server
  join large "$here"
  start_server -listen :0 -ping 2s -idle 4s
  for part in stays returns idle; do join "$part" "$here"; done
  join pushed "${here6:-$here}"
  program 'a client that vanishes' 60 "${enter[@]}" "$python" clients/vanish.py 4 "${arguments[@]}"

  check 'SIGTERM with a client that has just vanished: exit status 0 within 5 s' stop_server
  server=$defaults
  check 'SIGTERM with one that was given up: exit status 0 within 5 s' stop_server
  # Leaving politely would take long, since their close frames get no answer. The one told to go has gone.
  kill -KILL "${listeners[@]}" 2>/dev/null || true
  wait "${listeners[@]}" 2>/dev/null || true
}

# star PART...: a namespace for each, linked to the hub's. The addresses are reserved for documentation by RFC 5737 and RFC
# 3849. Sets $here6 if there is IPv6.
star() {
  local part name n=1
  [ "$(uname -s)" = Linux ] || { echo 'only Linux has network namespaces' >&2; return 1; }
  [ "$(id -u)" = 0 ] || { echo 'a network namespace takes root' >&2; return 1; }
  namespace "$hub" || return 1
  for part; do
    name=wspush-e2e-$$-$part n=$((n + 1))
    namespace "$name" &&
      ip -n "$hub" link add "$part" type veth peer name hub netns "$name" &&
      ip -n "$hub" link set "$part" up && ip -n "$name" link set hub up &&
      ip -n "$hub" addr add "$here" peer 192.0.2.$n dev "$part" &&
      ip -n "$name" addr add 192.0.2.$n peer "$here" dev hub || return 1
    ip -n "$hub" addr add 2001:db8::1 peer 2001:db8::$n dev "$part" nodad &&
      ip -n "$name" addr add 2001:db8::$n peer 2001:db8::1 dev hub nodad &&
      here6='[2001:db8::1]'
  done
  return 0
}

# namespace NAME: makes one that clean_up will delete.
namespace() {
  namespaces+=("$1")
  ip netns add "$1" && ip netns exec "$1" ip link set lo up
}

# join PART HOST: a client of the newest server, in the part's namespace.
join() {
  local name=wspush-e2e-$$-$1 port=${ws##*:}
  local enter=(ip netns exec "$name") ws=ws://$2:$port
  listen
  listeners+=("$listener")
  arguments+=("$1" "$name" "$address" "$inbox" "$server_log")
}
