# In a network namespace of its own, as root: Egret runs as user 65532, and everything else is held.
set -eu
egret=$1
ip link set lo up
# An interface with a route: without one the kernel refuses before any rule is asked.
ip link add out0 type veth peer name out1
ip link set out0 up
ip link set out1 up
ip addr add 10.9.0.1/24 dev out0
ip route add default via 10.9.0.2 dev out0

as() {
    user=$1
    shift
    setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
}
own() { as 65532 "$egret" --config egret.toml --data-dir data "$@"; }

mkdir data
cat >egret.toml <<EOF
[proxy]
listen = "127.0.0.1:7070"
[admin]
listen = "127.0.0.1:7071"
[transparent]
listen = ["127.0.0.1:7072"]
principal = "default"
action = "held"
[upstream]
allow_private = ["127.0.0.0/8"]
resolve = ["$HOST:80=127.0.0.1:8081"]
EOF
chown -R 65532:65532 .
chmod 711 .
cat >upstream.py <<'EOF'
import http.server
class Upstream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("seen", "w") as seen:
            seen.write(self.headers["X-Api-Key"])
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 8081), Upstream)
open("upstream.ready", "w").close()
server.serve_forever()
EOF
python3 upstream.py &
upstream=$!
# Not by a function, whose shell would be what is killed.
setpriv --reuid 65532 --regid 65532 --clear-groups \
    "$egret" --config egret.toml --data-dir data serve >log 2>&1 &
server=$!
trap 'kill $upstream $server 2>/dev/null || true' EXIT
tries=0
until own health >/dev/null 2>&1 && [ -e upstream.ready ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || {
        cat log >&2
        exit 1
    }
    sleep 0.1
done
printf '%s\n' "$VALUE" | own credential add "$SLUG" --host "http://$HOST" --in header >/dev/null
own nftables --all-but 65532 | nft -f -

ask() {
    as 1001 curl -sS --max-time 20 --resolve "$HOST:80:203.0.113.5" -o /dev/null \
        -H "X-Api-Key: <<$SLUG>>" "http://$HOST/"
}
ask
printf 'arrived: '
cat seen
echo
as 1001 /usr/bin/python3 - <<'EOF'
import socket
def fails(name, kind, address):
    s = socket.socket(socket.AF_INET, kind)
    s.settimeout(20)
    try:
        s.connect(address)
        s.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:7072\r\n\r\n")
        if s.recv(1) == b"":
            raise OSError
    except TimeoutError:
        print(name, "WAITED")
    except OSError:
        print(name, "refused")
    else:
        print(name, "WENT THROUGH")
fails("udp", socket.SOCK_DGRAM, ("203.0.113.5", 443))
fails("other port", socket.SOCK_STREAM, ("203.0.113.5", 22))
fails("itself", socket.SOCK_STREAM, ("127.0.0.1", 7072))
EOF
kill $server
wait $server 2>/dev/null || true
if ask 2>/dev/null; then echo "WENT OUT WITHOUT EGRET"; else echo stopped; fi
