# The system's store of Fedora, RHEL and openSUSE. As root: sh ca-trust.sh install|remove CA.pem NAME
set -eu
for directory in /etc/pki/ca-trust/source/anchors /etc/pki/trust/anchors; do
    [ ! -d "$directory" ] || target=$directory/$3.pem
done
case $1 in
install) cp "$2" "${target:?no directory for anchors}" && chmod 0644 "$target" ;;
remove) rm -f "${target:?no directory for anchors}" ;;
esac
if command -v update-ca-trust >/dev/null; then update-ca-trust extract; else update-ca-certificates >&2; fi
