# The system's keychain of macOS. As root: sh macos.sh install|remove CA.pem NAME
set -eu
case $1 in
install) security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain "$2" ;;
remove) security remove-trusted-cert -d "$2" ;;
esac
