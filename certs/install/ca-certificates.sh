# The system's store of Debian, Ubuntu and Alpine. As root: sh ca-certificates.sh install|remove CA.pem NAME
set -eu
target=/usr/local/share/ca-certificates/$3.crt
case $1 in
install) mkdir -p "${target%/*}" && cp "$2" "$target" && chmod 0644 "$target" && update-ca-certificates >&2 ;;
# Without --fresh the link to a certificate that is gone stays.
remove) rm -f "$target" && update-ca-certificates --fresh >&2 ;;
esac
